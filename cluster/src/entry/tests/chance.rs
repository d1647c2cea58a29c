//! Any order of anything, then a calm in which all must come right. It must never know which order is likely.

use proptest::prelude::*;

use super::bench::{Bench, key, put};
use crate::entry::*;

/// What happens next: a kind and two numbers that say to whom and what.
pub(super) type Step = (u8, u16, u8);

fn op(number: u8) -> Op {
    match number % 8 {
        0 | 1 => Op::Get,
        2 => put(number, OnlyIf::Always, Some(30)),
        3 => put(number, OnlyIf::Absent, None),
        4 => put(number, OnlyIf::Present, None),
        5 => Op::Delete {
            only_if: OnlyIf::Always,
        },
        6 => Op::Touch {
            ttl_ms: Some(40),
            only_if: OnlyIf::Always,
        },
        _ => put(number, OnlyIf::Always, None),
    }
}

fn step(bench: &mut Bench, (kind, who, what): Step) {
    let who = usize::from(who);
    let at = who % bench.nodes.len();
    match kind {
        0..=29 => {
            bench.ask(at, key(what / 8 % 4), op(what));
        }
        30..=39 => {
            let owner = bench.owner();
            bench.ask(owner, key(what / 8 % 4), op(what));
        }
        40..=69 if !bench.wire.is_empty() => {
            let index = who % bench.wire.len();
            bench.deliver(index, what % 8 == 0);
        }
        75..=78 if !bench.wire.is_empty() => {
            let index = who % bench.wire.len();
            bench.wire.swap_remove(index);
        }
        79..=84 => {
            bench.now = bench.now.add_ms(u64::from(what % 32));
            bench.handle(at, Event::Tick);
        }
        85..=88 if !bench.proposals.is_empty() => {
            let index = who % bench.proposals.len();
            let proposal = bench.proposals.swap_remove(index);
            bench.decide(proposal);
        }
        89..=92 => bench.hear(at, what % 2 == 0),
        93 => bench.depose(at),
        94 => bench.restart(at),
        95 | 96 => bench.handle(at, Event::Join),
        70..=74 | 97 => {
            let (owner, to) = (bench.owner(), bench.nodes[at].me);
            bench.handle(owner, Event::HandOver { to });
        }
        98 => {
            let event = if what % 2 == 0 {
                Event::Leave
            } else {
                let member = bench.nodes[usize::from(what) % bench.nodes.len()].me;
                Event::Dismiss { member }
            };
            bench.handle(at, event);
        }
        99 => {
            // Another plan: some nodes, beginning with any, of which some are up.
            let all = bench.nodes.len();
            let count = usize::from(what) % (all + 1);
            let up = what / 8;
            bench.plan((at..at + count).map(|node| node % all), |node| {
                up >> node & 3 != 0
            });
        }
        _ => bench.calm(10),
    }
}

/// Any steps; kinds are weighed by [`step`].
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0_u8..100, any::<u16>(), any::<u8>()), 0..400)
}

/// Takes all steps, then a calm in which the owner must answer and all members must agree.
pub(super) fn run(bench: &mut Bench, steps: Vec<Step>) {
    bench.calm(20);
    for next in steps {
        step(bench, next);
    }
    bench.calm(600);
    for number in 0..4 {
        let owner = bench.owner();
        let read = bench.ask(owner, key(number), Op::Get);
        bench.calm(60);
        let answer = &bench.answers[&read];
        assert!(
            matches!(answer, Answer::Found(_)),
            "the owner answers: {answer:?}"
        );
    }
    bench.calm(200);
    bench.check_agreement();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_answered_is_lost_and_nothing_uncommitted_is_seen(
        all in 3_usize..=5,
        members in 1_usize..=3,
        steps in steps(),
    ) {
        run(&mut Bench::new(all, members), steps);
    }
}
