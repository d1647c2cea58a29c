//! Told stories: one situation each, from beginning to end. It must never leave an order to chance.

use super::bench::{Bench, TIMING, key, put};
use crate::entry::*;

fn founded(all: usize, members: usize) -> Bench {
    let mut bench = Bench::new(all, members);
    bench.calm(100);
    bench
}

fn answer(bench: &mut Bench, at: usize, number: u8, op: Op) -> Answer {
    let ticket = bench.ask(at, key(number), op);
    bench.calm(50);
    bench.answers[&ticket].clone()
}

fn value(bench: &mut Bench, at: usize, number: u8) -> Option<u8> {
    match answer(bench, at, number, Op::Get) {
        Answer::Found(found) => found.map(|found| found.value[0]),
        other => panic!("a read was answered {other:?}"),
    }
}

fn done(answer: &Answer) -> Version {
    match answer {
        Answer::Done { version, .. } => *version,
        other => panic!("a write was answered {other:?}"),
    }
}

#[test]
fn a_write_is_answered_and_seen_only_when_every_member_has_it() {
    let mut bench = founded(3, 3);
    let write = bench.ask(0, key(1), put(5, OnlyIf::Always, None));
    assert_eq!(bench.wire.len(), 2);
    let read = bench.ask(0, key(1), Op::Get);
    assert_eq!(bench.answers[&read], Answer::Found(None));
    bench.deliver(1, false);
    bench.deliver(1, false);
    assert!(!bench.answers.contains_key(&write), "one member lacks it");
    bench.calm(50);
    done(&bench.answers[&write]);
    assert_eq!(value(&mut bench, 0, 1), Some(5));
    bench.check_agreement();
}

#[test]
fn conditions_are_decided_against_writes_before_them() {
    let mut bench = founded(2, 2);
    let first = bench.ask(0, key(1), put(1, OnlyIf::Absent, None));
    let second = bench.ask(0, key(1), put(2, OnlyIf::Absent, None));
    let third = bench.ask(0, key(1), put(3, OnlyIf::Present, None));
    assert!(
        bench.answers.is_empty(),
        "a refusal waits for what it rests on"
    );
    bench.calm(50);
    let version = done(&bench.answers[&first]);
    let refused = Answer::Refused(Refusal::Condition {
        version: Some(version),
    });
    assert_eq!(bench.answers[&second], refused);
    let version = done(&bench.answers[&third]);
    assert_eq!(value(&mut bench, 0, 1), Some(3));
    let swap = put(4, OnlyIf::Version(version.0), None);
    done(&answer(&mut bench, 0, 1, swap.clone()));
    assert!(matches!(answer(&mut bench, 0, 1, swap), Answer::Refused(_)));
    let delete = Op::Delete {
        only_if: OnlyIf::Present,
    };
    done(&answer(&mut bench, 0, 1, delete.clone()));
    let absent = Answer::Refused(Refusal::Condition { version: None });
    assert_eq!(answer(&mut bench, 0, 1, delete), absent);
    bench.check_agreement();
}

#[test]
fn a_promoted_member_keeps_what_was_answered_and_the_old_owner_serves_nothing() {
    let mut bench = founded(3, 3);
    done(&answer(&mut bench, 0, 1, put(1, OnlyIf::Always, None)));
    let unknown = bench.ask(0, key(2), put(2, OnlyIf::Always, None));
    bench.deliver(0, false); // One follower has it prepared.
    bench.depose(0);
    let stale = bench.ask(0, key(1), Op::Get);
    assert!(matches!(
        bench.answers[&stale],
        Answer::Retry(Delay::Behind)
    ));
    bench.calm(200);
    assert!(matches!(bench.answers[&unknown], Answer::Unknown));
    let owner = bench.owner();
    assert_ne!(owner, 0);
    assert_eq!(value(&mut bench, owner, 1), Some(1));
    done(&answer(&mut bench, owner, 1, put(9, OnlyIf::Always, None)));
    let moved = answer(&mut bench, 0, 1, Op::Get);
    assert_eq!(moved, Answer::Moved(bench.raft.last().unwrap().clone()));
    bench.check_agreement();
}

#[test]
fn a_silent_member_is_removed_by_raft_before_any_answer() {
    let mut bench = founded(3, 3);
    let write = bench.ask(0, key(1), put(1, OnlyIf::Always, None));
    let silent = bench.nodes[2].me;
    for _ in 0..40 {
        bench
            .wire
            .retain(|(from, to, _)| *from != silent && *to != silent);
        bench.now = bench.now.add_ms(5);
        bench.handle(0, Event::Tick);
        while let Some(index) = bench.wire.iter().position(|(_, to, _)| *to != silent) {
            bench.deliver(index, false);
        }
    }
    assert!(!bench.answers.contains_key(&write));
    let proposal = bench.proposals.last().unwrap().clone();
    assert_eq!(proposal.why, Why::Remove(silent));
    assert_eq!(proposal.epoch, bench.raft[0].epoch);
    bench.decide(proposal);
    bench.hear(0, true);
    bench.calm(50);
    done(&bench.answers[&write]);
    assert_eq!(bench.raft.last().unwrap().in_sync.len(), 2);
}

#[test]
fn a_newcomer_copies_while_writes_stream_in_and_takes_the_slot_over() {
    let mut bench = founded(3, 2);
    for number in 0..20 {
        done(&answer(&mut bench, 0, number, put(1, OnlyIf::Always, None)));
    }
    bench.handle(2, Event::Join);
    let mut asked = Vec::new();
    for number in (0..20).rev() {
        let write = bench.ask(0, key(number), put(2, OnlyIf::Always, None));
        bench.calm(5);
        let only_if = OnlyIf::Always;
        let delete = bench.ask(0, key(19 - number), Op::Delete { only_if });
        bench.calm(10);
        asked.extend([write, delete]);
    }
    bench.calm(500);
    for ticket in asked {
        done(&bench.answers[&ticket]);
    }
    let newcomer = bench.nodes[2].me;
    assert!(bench.raft.last().unwrap().in_sync.contains(&newcomer));
    bench.check_agreement();
    bench.handle(0, Event::HandOver { to: newcomer });
    let late = bench.ask(0, key(1), Op::Get);
    assert_eq!(bench.answers[&late], Answer::Retry(Delay::HandingOver));
    bench.calm(100);
    assert_eq!(bench.owner(), 2);
    done(&answer(&mut bench, 2, 3, put(7, OnlyIf::Always, None)));
    assert_eq!(value(&mut bench, 2, 3), Some(7));
    let old = bench.nodes[0].me;
    bench.handle(2, Event::Dismiss { member: old });
    bench.calm(50);
    assert!(!bench.raft.last().unwrap().in_sync.contains(&old));
    assert!(bench.nodes[0].store.entries.is_empty());
    bench.check_agreement();
}

#[test]
fn a_planned_move_takes_no_more_agreements_than_it_needs() {
    let mut bench = founded(4, 3);
    done(&answer(&mut bench, 0, 1, put(1, OnlyIf::Always, None)));
    let lives = [0, 1, 2, 3].map(|at: usize| bench.nodes[at].me);
    let members = |bench: &Bench| bench.raft.last().unwrap().in_sync.clone();

    // The newcomer takes a follower's place.
    bench.plan([0, 1, 3], |_| true);
    let agreed = bench.raft.len();
    bench.handle(3, Event::Join);
    bench.calm(100);
    assert_eq!(members(&bench), [lives[0], lives[1], lives[3]]);
    assert_eq!(bench.raft.len(), agreed + 1, "{:?}", bench.raft);

    // The owner's place is taken; it goes with the hand-over, and not before the set is whole.
    bench.plan([1, 2, 3], |_| true);
    bench.handle(2, Event::Join);
    bench.calm(100);
    assert_eq!(members(&bench), [lives[0], lives[1], lives[3], lives[2]]);
    bench.handle(0, Event::HandOver { to: lives[1] });
    bench.calm(100);
    assert_eq!(members(&bench), [lives[1], lives[3], lives[2]]);
    assert_eq!(bench.raft.len(), agreed + 3, "{:?}", bench.raft);
    assert_eq!(value(&mut bench, 1, 1), Some(1));

    // As long as one is missing, nobody goes, also when the one that is missing is away.
    bench.plan([3, 0], |at| at != 0);
    bench.handle(1, Event::HandOver { to: lives[3] });
    bench.calm(100);
    assert_eq!(members(&bench), [lives[3], lives[1], lives[2]]);

    // One that the plan names and that is about to stop goes with the hand-over.
    bench.plan([3, 1, 2], |at| at != 3);
    bench.handle(3, Event::HandOver { to: lives[1] });
    bench.calm(100);
    assert_eq!(members(&bench), [lives[1], lives[2]]);
    bench.check_agreement();
}

#[test]
fn nobody_goes_while_another_has_not_proven_to_have_everything() {
    let mut bench = founded(3, 3);
    done(&answer(&mut bench, 0, 1, put(1, OnlyIf::Always, None)));
    let [first, second, third] = [0, 1, 2].map(|at: usize| bench.nodes[at].me);
    // A new epoch of which the third has not heard.
    let renewed = Proposal {
        epoch: bench.raft.last().unwrap().epoch,
        in_sync: vec![first, second, third],
        why: Why::Renew,
    };
    bench.decide(renewed);
    bench.hear(0, true);
    bench.wire.retain(|(_, to, _)| *to != third);
    while !bench.wire.is_empty() {
        bench.deliver(0, false);
        bench.wire.retain(|(_, to, _)| *to != third);
    }
    bench.plan([1, 2], |_| true);
    let asked = bench.proposals.len();
    bench.handle(0, Event::Dismiss { member: second });
    assert_eq!(bench.proposals.len(), asked, "the third may have nothing");
    bench.handle(0, Event::HandOver { to: second });
    let proposal = bench.proposals.last().unwrap();
    assert_eq!(proposal.why, Why::HandOver(second));
    assert_eq!(proposal.in_sync, [second, first, third]);
    bench.calm(200);
    assert_eq!(bench.owner(), 1);
    bench.check_agreement();
}

#[test]
fn time_runs_out_by_the_owners_word_alone() {
    let mut bench = founded(2, 2);
    done(&answer(&mut bench, 0, 1, put(1, OnlyIf::Always, Some(300))));
    bench.now = bench.now.add_ms(400);
    let read = bench.ask(0, key(1), Op::Get);
    assert!(
        !bench.answers.contains_key(&read),
        "absent only when all know"
    );
    assert_eq!(bench.nodes[1].store.entries.len(), 1);
    bench.calm(50);
    assert_eq!(bench.answers[&read], Answer::Found(None));
    assert!(bench.nodes[1].store.entries.is_empty());
    done(&answer(&mut bench, 0, 1, put(2, OnlyIf::Absent, Some(300))));
    let touch = Op::Touch {
        ttl_ms: None,
        only_if: OnlyIf::Always,
    };
    done(&answer(&mut bench, 0, 1, touch));
    bench.calm(500);
    assert_eq!(value(&mut bench, 0, 1), Some(2));
    bench.check_agreement();
}

#[test]
fn a_new_life_is_no_member_and_starts_from_nothing() {
    let mut bench = founded(3, 3);
    done(&answer(&mut bench, 0, 1, put(1, OnlyIf::Always, None)));
    bench.restart(0);
    bench.calm(100);
    assert!(!bench.nodes[0].replica.is_member());
    bench.handle(0, Event::Join);
    bench.calm(300);
    assert!(bench.nodes[0].replica.is_member());
    bench.check_agreement();
}

#[test]
fn a_member_without_room_leaves_and_a_full_owner_refuses() {
    let mut bench = founded(3, 3);
    bench.nodes[2].store.entries_max = 1;
    done(&answer(&mut bench, 0, 1, put(1, OnlyIf::Always, None)));
    done(&answer(&mut bench, 0, 2, put(1, OnlyIf::Always, None)));
    bench.calm(200);
    assert_eq!(bench.raft.last().unwrap().in_sync.len(), 2);
    bench.nodes[0].store.entries_max = 2;
    let refused = answer(&mut bench, 0, 3, put(1, OnlyIf::Always, None));
    assert_eq!(refused, Answer::Refused(Refusal::Full));
    bench.check_agreement();
}

#[test]
fn a_full_list_refuses_more_and_messages_keep_their_form() {
    let mut bench = founded(2, 2);
    let asked: Vec<u64> = (0..=PREPARED_MAX)
        .map(|_| bench.ask(0, key(1), put(1, OnlyIf::Always, Some(9000))))
        .collect();
    let busy = Answer::Retry(Delay::Busy);
    assert_eq!(bench.answers[asked.last().unwrap()], busy);
    for (_, _, message) in &bench.wire {
        let bytes = rmp_serde::to_vec_named(message).unwrap();
        let back: Message = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(back, *message);
    }
    bench.calm(50);
    done(&bench.answers[&asked[0]]);
    let version = Version::new(crate::Epoch(3), Seq(8)).unwrap();
    assert_eq!((version.epoch(), version.seq()), (crate::Epoch(3), Seq(8)));
    assert_eq!(Version::new(crate::Epoch(1 << 20), Seq(1)), None);
    assert_eq!(Version::new(crate::Epoch(1), Seq(1 << 44)), None);
}

#[test]
fn a_joiner_that_was_given_up_when_it_had_everything_begins_again() {
    let mut bench = founded(2, 1);
    answer(&mut bench, 0, 1, put(1, OnlyIf::Always, None));
    bench.handle(1, Event::Join);
    let joiner = bench.nodes[1].me;
    // It gets everything, but nothing that it says of that arrives.
    while let Some((from, _, message)) = bench.wire.first() {
        if *from == joiner && matches!(message, Message::Ack { .. }) {
            bench.wire.remove(0);
        } else {
            bench.deliver(0, false);
        }
    }
    assert_eq!(bench.nodes[1].store.entries.len(), 1);
    assert!(bench.nodes[1].replica.is_joining());
    // It owes the next write for too long.
    bench.ask(0, key(1), put(2, OnlyIf::Always, None));
    bench.wire.clear();
    for _ in 0..10 {
        bench.now = bench.now.add_ms(TIMING.silence_ms_max / 5);
        bench.handle(0, Event::Tick);
        bench.wire.clear();
    }
    assert_eq!(bench.raft.last().unwrap().in_sync.len(), 1);
    bench.calm(300);
    assert_eq!(bench.raft.last().unwrap().in_sync.len(), 2);
    assert_eq!(value(&mut bench, 0, 1), Some(2));
}
