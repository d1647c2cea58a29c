//! What each source fetches, and what is said of it afterwards.

use super::*;

#[test]
fn an_arrival_fetches_what_is_elsewhere_from_the_root_to_the_first_gap() {
    // H: here, T: there, N: nowhere; and the places that are fetched.
    for (held, want) in [
        ("HHHH", [].as_slice()),
        ("TTTT", &[0, 1, 2, 3]),
        ("HTHT", &[1, 3]),
        ("HTNT", &[1]),
        ("NTTT", &[]),
        ("TTT", &[0, 1, 2]),
    ] {
        let mut rig = Rig::new(config());
        rig.arrive(addresses(1, 0..4), None);
        let places: Vec<Held> = held
            .chars()
            .map(|letter| match letter {
                'H' => Held::Here,
                'T' => THERE,
                _ => Held::Nowhere,
            })
            .collect();
        let (ticket, _) = rig.question().unwrap();
        rig.tell(PrefetchEvent::Located {
            ticket,
            held: places,
        });
        let fetched: Vec<Wanted> = rig.fetched().into_iter().flat_map(|(_, of)| of).collect();
        let want: Vec<Wanted> = want
            .iter()
            .map(|place| Wanted {
                address: address(1, *place),
                parent: place.checked_sub(1).map(|before| address(1, before).key),
            })
            .collect();
        assert_eq!(fetched, want, "{held}");
    }
}

#[test]
fn loading_must_beat_computing() {
    // Microseconds a megabyte on the link and a token of the model, and whether 4 blocks of 512 tokens are fetched.
    for (block_us, token_us, fetches) in [
        (1_000, 100, true),
        (100_000, 100, false),
        (100_000, 1_000, true),
        (1_000, 1, false),
    ] {
        let mut rig = Rig::new(config());
        for _ in 0..100 {
            let (links, now) = (&mut rig.prefetcher.links, rig.now);
            links.measured(LINK, BLOCK_BYTES, block_us, now);
            let (tokens, before) = (512, 0);
            let elapsed_us = 512 * token_us;
            rig.tell(PrefetchEvent::Computed {
                tokens,
                before,
                elapsed_us,
            });
        }
        rig.arrive(addresses(1, 0..4), None);
        rig.locate(|_| THERE);
        let declined = rig.tally(Source::Arrival).declined_blocks;
        let want = if fetches { (1, 0) } else { (0, 4) };
        assert_eq!(
            (rig.fetched().len(), declined),
            want,
            "{block_us}, {token_us}"
        );
    }
}

#[test]
fn a_link_that_was_slow_is_tried_again_by_a_few_blocks() {
    let mut rig = Rig::new(config());
    let (links, now) = (&mut rig.prefetcher.links, rig.now);
    (0..100).for_each(|_| links.measured(LINK, BLOCK_BYTES, 10_000_000, now));
    rig.arrive(addresses(1, 0..8), None);
    assert_eq!(rig.locate(|_| THERE).len(), 0);
    rig.pass(60_000);
    rig.arrive(addresses(1, 0..8), None);
    rig.locate(|_| THERE);
    assert_eq!(rig.land(STORED), addresses(1, 0..4));
    assert_eq!(rig.tally(Source::Arrival).declined_blocks, 12);
}

#[test]
fn a_block_is_timely_late_wasted_or_known_and_nothing_else() {
    let mut rig = Rig::new(config());
    rig.arrive(addresses(1, 0..6), None);
    rig.locate(|_| THERE);
    let fetched = rig.fetched();
    assert_eq!(fetched.len(), 1);
    // Block 0 is asked for on its way; 1 comes and is used, 2 comes and is evicted, 3 comes and lapses, 4 was here, 5 fails.
    rig.demand(vec![address(1, 0)], THERE, true);
    let landings = vec![STORED, STORED, STORED, STORED, Landing::Known];
    rig.tell(PrefetchEvent::Landed {
        ticket: fetched[0].0,
        landings,
        elapsed_us: 1,
    });
    rig.demand(vec![address(1, 1)], Held::Here, true);
    rig.tell(PrefetchEvent::Evicted {
        key: address(1, 2).key,
        bytes: BLOCK_BYTES,
    });
    rig.pass(config().hold_ms + 1);
    rig.tell(PrefetchEvent::Tick);
    let want = Tally {
        asked_blocks: 6,
        stored_blocks: 4,
        stored_bytes: 4 * BLOCK_BYTES,
        known_blocks: 1,
        failed_blocks: 1,
        timely_blocks: 1,
        late_blocks: 1,
        evicted_blocks: 1,
        lapsed_blocks: 1,
        wasted_bytes: 3 * BLOCK_BYTES,
        ..Tally::default()
    };
    let tally = rig.tally(Source::Arrival);
    assert_eq!(tally, want);
    assert!((tally.accuracy() - 0.4).abs() < 1e-9);
    assert!((tally.timeliness() - 0.5).abs() < 1e-9);
    // Another request needs one that nobody fetched ahead.
    rig.demand(vec![address(2, 0)], THERE, true);
    let coverage = rig.prefetcher.figures().coverage(Source::Arrival);
    assert!((coverage - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(rig.prefetcher.at_risk_bytes(Source::Arrival), 0);
}

#[test]
fn what_is_pushed_out_and_asked_for_again_is_pollution_up_to_what_lies_unused() {
    let mut rig = Rig::new(config());
    rig.arrive(addresses(1, 0..2), None);
    rig.locate(|_| THERE);
    rig.land(STORED);
    // Two blocks lie unused, so of three that go they are to blame for two.
    for place in 0..3 {
        let key = address(7, place).key;
        rig.tell(PrefetchEvent::Evicted {
            key,
            bytes: BLOCK_BYTES,
        });
    }
    rig.demand(addresses(7, 0..3), THERE, true);
    assert_eq!(rig.tally(Source::Arrival).polluted_blocks, 2);
    rig.demand(addresses(7, 0..3), THERE, true);
    assert_eq!(rig.tally(Source::Arrival).polluted_blocks, 2, "told once");
}

#[test]
fn what_waits_for_room_follows_when_there_is_some_and_not_once_it_is_asked_for() {
    let mut rig = Rig::new(config());
    rig.arrive(addresses(1, 0..16), None);
    rig.locate(|_| THERE);
    let first = rig.fetched();
    let count = |fetched: &[(Ticket, Vec<Wanted>)]| -> usize {
        fetched.iter().map(|(_, blocks)| blocks.len()).sum()
    };
    assert_eq!(count(&first), 8, "as many as may be on their way");
    rig.demand(addresses(1, 8..14), THERE, true);
    rig.tell(PrefetchEvent::Landed {
        ticket: first[0].0,
        landings: vec![STORED; 8],
        elapsed_us: 8_000,
    });
    let places: Vec<_> = rig.fetched().into_iter().flat_map(|(_, of)| of).collect();
    let places: Vec<_> = places.iter().map(|wanted| wanted.address).collect();
    assert_eq!(places, addresses(1, 14..16));
}

#[test]
fn a_chain_that_is_read_piece_by_piece_is_read_ahead() {
    let mut rig = Rig::new(PrefetchConfig {
        arrival: false,
        session: false,
        ..config()
    });
    rig.arrive(addresses(1, 0..12), None);
    assert_eq!(rig.question(), None, "arrivals are off, and only teach");
    rig.demand(addresses(1, 0..2), Held::Here, true);
    assert_eq!(rig.question(), None, "nothing else will be asked for");
    rig.demand(addresses(1, 0..2), Held::Here, false);
    let (_, blocks) = rig.question().unwrap();
    assert_eq!(blocks, addresses(1, 2..6));
    rig.locate(|_| THERE);
    let fetched = rig.fetched();
    assert_eq!(fetched[0].1[0].parent, Some(address(1, 1).key));
    rig.land(STORED);
    // They are used, so the reach grows; then some lapse, so it shrinks.
    rig.demand(addresses(1, 2..6), Held::Here, false);
    let (_, blocks) = rig.question().unwrap();
    assert_eq!(blocks, addresses(1, 6..12));
    rig.locate(|_| THERE);
    rig.land(STORED);
    rig.pass(config().hold_ms + 1);
    rig.tell(PrefetchEvent::Tick);
    rig.demand(addresses(1, 0..1), Held::Here, false);
    assert_eq!(rig.question().unwrap().1, addresses(1, 1..2));
    let most = rig.prefetcher.config.read_ahead_blocks_max;
    assert!(rig.prefetcher.reach <= most);
}

/// Teaches that conversations go on after about a minute.
fn habitual(rig: &mut Rig) {
    for chain in 0..70 {
        rig.arrive(addresses(1_000 + chain, 0..4), None);
        rig.pass(55_000 + u64::from(chain) * 100);
        rig.arrive(addresses(1_000 + chain, 0..8), None);
        rig.pass(10);
    }
    rig.tell(PrefetchEvent::Purged { arena: ARENA });
}

/// Ticks until a question is asked, at most so long; gives how long.
fn ticks_until_question(rig: &mut Rig, most_ms: u64) -> Option<u64> {
    (0..most_ms / 1_000).find(|_| {
        rig.pass(1_000);
        rig.tell(PrefetchEvent::Tick);
        rig.question().is_some()
    })
}

#[test]
fn a_conversation_is_fetched_before_it_is_likely_to_go_on() {
    let mut rig = Rig::new(PrefetchConfig {
        arrival: false,
        hold_ms: 30_000,
        ..config()
    });
    habitual(&mut rig);
    rig.arrive(addresses(5, 0..4), None);
    let waited = ticks_until_question(&mut rig, 300_000).unwrap();
    assert!((20..50).contains(&waited), "{waited} s");
    assert_eq!(rig.question().unwrap().1, addresses(5, 0..4));
    rig.locate(|_| THERE);
    rig.land(STORED);
    rig.arrive(addresses(5, 0..6), None);
    rig.demand(addresses(5, 0..6), Held::Here, true);
    assert_eq!(rig.tally(Source::Session).timely_blocks, 4);
}

#[test]
fn a_conversation_is_not_fetched_where_few_go_on() {
    let mut rig = Rig::new(PrefetchConfig {
        arrival: false,
        ..config()
    });
    for chain in 0..400 {
        rig.arrive(addresses(chain, 0..4), None);
        rig.pass(1_000);
    }
    assert_eq!(ticks_until_question(&mut rig, 600_000), None);
}

#[test]
fn hints_raise_and_lapse_conversations() {
    let mut rig = Rig::new(PrefetchConfig {
        arrival: false,
        ..config()
    });
    let hint = |session, hint| PrefetchEvent::Hinted {
        arena: ARENA,
        session: SessionName(session),
        hint,
    };
    rig.arrive(addresses(1, 0..4), Some(7));
    rig.tell(hint(7, SessionHint::Due { ms: 20_000 }));
    rig.tell(hint(8, SessionHint::Due { ms: 1_000 }));
    let waited = ticks_until_question(&mut rig, 60_000).unwrap();
    assert!((17..20).contains(&waited), "{waited}");
    rig.locate(|_| THERE);
    assert_eq!(rig.fetched().len(), 1);
    // It is over: no further look, though the hint would still hold.
    rig.tell(hint(7, SessionHint::Over));
    assert_eq!(ticks_until_question(&mut rig, 60_000), None);
    assert_eq!(rig.prefetcher.sessions.watched(), 0);
    // Said to go on much too far ahead: not taken.
    rig.arrive(addresses(1, 0..4), Some(7));
    rig.tell(hint(7, SessionHint::Due { ms: 3_600_000 }));
    assert_eq!(ticks_until_question(&mut rig, 60_000), None);
}

#[test]
fn a_named_conversation_is_its_own_whatever_it_shares() {
    let mut rig = Rig::new(config());
    rig.arrive(addresses(1, 0..4), Some(1));
    rig.arrive(addresses(1, 0..4), Some(2));
    assert_eq!(rig.prefetcher.sessions.watched(), 2);
    rig.arrive(addresses(1, 0..5), Some(2));
    assert_eq!(rig.prefetcher.sessions.watched(), 2);
    rig.arrive(addresses(1, 0..6), None);
    assert_eq!(
        rig.prefetcher.sessions.watched(),
        2,
        "it continues the second"
    );
}

#[test]
fn a_source_that_is_never_right_stops_and_one_that_is_right_again_comes_back() {
    let mut rig = Rig::new(PrefetchConfig {
        session: false,
        ..config()
    });
    let round = |rig: &mut Rig, chain: u32, is_used: bool| {
        rig.arrive(addresses(chain, 0..8), None);
        rig.locate(|_| THERE);
        let mut landed = rig.land(STORED);
        while let Some(block) = landed.pop() {
            if is_used {
                rig.demand(vec![block], Held::Here, true);
            } else {
                let (key, bytes) = (block.key, BLOCK_BYTES);
                rig.tell(PrefetchEvent::Evicted { key, bytes });
            }
            // The room that this gave is used at once.
            landed.extend(rig.land(STORED));
        }
        // What found no room in time is not fetched for the request after it.
        rig.pass(ARRIVAL_WAIT_MS);
    };
    (0..200).for_each(|chain| round(&mut rig, chain, false));
    let tally = rig.tally(Source::Arrival);
    assert_eq!(rig.prefetcher.allowance_bytes(Source::Arrival), 0);
    assert!(tally.held_back_blocks > 1_000, "{tally:?}");
    // It was tried by probes only: at most a fifth of all after the first windows.
    assert!(tally.asked_blocks < 400, "{tally:?}");
    (200..1_000).for_each(|chain| round(&mut rig, chain, true));
    let allowance = rig.prefetcher.allowance_bytes(Source::Arrival);
    assert_eq!(allowance, config().at_risk_bytes_max);
}

#[test]
fn answers_that_never_come_do_not_hold_the_budget_for_ever() {
    let mut rig = Rig::new(config());
    rig.arrive(addresses(1, 0..8), None);
    rig.locate(|_| THERE);
    let lost = rig.fetched();
    assert!(rig.prefetcher.in_flight_bytes() > 0);
    rig.pass(FLIGHT_MS_MAX);
    rig.tell(PrefetchEvent::Tick);
    assert_eq!(rig.prefetcher.in_flight_bytes(), 0);
    assert_eq!(rig.tally(Source::Arrival).failed_blocks, 8);
    rig.tell(PrefetchEvent::Landed {
        ticket: lost[0].0,
        landings: vec![STORED; 8],
        elapsed_us: 1,
    });
    assert_eq!(rig.tally(Source::Arrival).stored_blocks, 0, "too late");
    // Questions, too.
    for chain in 0..2_000 {
        rig.arrive(addresses(chain, 0..1), None);
    }
    assert_eq!(rig.prefetcher.questions.len(), QUESTIONS_MAX);
    rig.pass(QUESTION_MS_MAX);
    rig.tell(PrefetchEvent::Tick);
    assert!(rig.prefetcher.questions.is_empty());
}

#[test]
fn a_block_larger_than_the_budget_stands_in_nobodys_way() {
    let mut rig = Rig::new(config());
    rig.arrive(addresses(1, 0..3), None);
    let large = address(1, 0);
    rig.locate(|block| match *block == large {
        true => Held::There {
            link: LINK,
            bytes: 1 << 40,
        },
        false => THERE,
    });
    assert_eq!(rig.fetched().len(), 0, "and too slow to load besides");
    rig.arrive(addresses(2, 0..3), None);
    rig.locate(|_| THERE);
    assert_eq!(rig.fetched().len(), 1);
}

#[test]
fn a_purged_domain_is_forgotten() {
    let mut rig = Rig::new(config());
    rig.arrive(addresses(1, 0..16), Some(1));
    rig.locate(|_| THERE);
    let (ticket, blocks) = rig.fetched().remove(0);
    rig.tell(PrefetchEvent::Landed {
        ticket,
        landings: vec![STORED; blocks.len()],
        elapsed_us: 1,
    });
    rig.tell(PrefetchEvent::Purged { arena: ARENA });
    rig.land(Landing::Failed);
    assert_eq!(rig.prefetcher.sessions.watched(), 0);
    assert_eq!(
        rig.prefetcher.at_risk_bytes(Source::Arrival),
        rig.prefetcher.in_flight_bytes()
    );
    assert_eq!(rig.tally(Source::Arrival).purged_blocks, 8);
}
