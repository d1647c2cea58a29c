//! Tenures against every order of questions, answers and elections. It must never know entries.

mod live;

use proptest::prelude::*;
use ultrakv_actors::BootId;

use super::*;
use crate::NodeId;

const MS: u64 = 1000;
const ELECTION_US_MAX: u64 = 400 * MS;

fn node(number: u128) -> Incarnation {
    Incarnation {
        node: NodeId::from_u128(number),
        boot: BootId::from_u128(number),
    }
}

fn timing() -> GrantorTiming {
    GrantorTiming::of_election_timeout(ELECTION_US_MAX)
}

fn holder() -> Holder {
    Holder::new(node(1), timing().tenure_us)
}

#[test]
fn a_tenure_counts_from_when_it_was_asked_for() {
    let mut holder = holder();
    let ask = holder.ask(1000 * MS, 0);
    let mut grantor = Grantor::new(timing());
    grantor.asked(ask);
    let round = grantor.begin(50 * MS).unwrap();
    let grants = grantor.confirmed(round, |_| Some(0));
    assert_eq!(grants.len(), 1);
    assert!(!holder.is_held(1100 * MS));
    holder.granted(grants[0]);
    assert_eq!(holder.until_us(), Some(1360 * MS));
    assert!(holder.is_held(1360 * MS - 1));
    assert!(!holder.is_held(1360 * MS));
}

#[test]
fn who_led_before_is_waited_for_less_unless_it_asks() {
    let overdue = |grantor: &mut Grantor, at_ms: u64| {
        grantor.overdue([node(1), node(2)], at_ms * MS);
        let both = grantor.overdue([node(1), node(2)], (at_ms + 100) * MS);
        (
            both,
            grantor.overdue([node(1), node(2)], (at_ms + 400) * MS),
        )
    };
    let mut grantor = Grantor::new(timing()).after(Some(node(2)));
    assert_eq!(grantor.steady_us_min(node(1)), 400 * MS);
    assert_eq!(grantor.steady_us_min(node(2)), 100 * MS);
    assert_eq!(
        overdue(&mut grantor, 1_000),
        (vec![node(2)], vec![node(1), node(2)])
    );

    let mut grantor = Grantor::new(timing()).after(Some(node(2)));
    grantor.asked(Holder::new(node(2), u64::MAX).ask(0, 0));
    let round = grantor.begin(1_000 * MS).unwrap();
    assert_eq!(grantor.confirmed(round, |_| Some(0)).len(), 1);
    assert_eq!(
        grantor.steady_us_min(node(2)),
        400 * MS,
        "it is one of many now"
    );
    assert_eq!(overdue(&mut grantor, 1_000).0, []);
}

#[test]
fn a_round_under_way_answers_no_later_question() {
    let mut grantor = Grantor::new(timing());
    let mut holder = holder();
    grantor.asked(Holder::new(node(2), u64::MAX).ask(0, 0));
    let round = grantor.begin(0).unwrap();
    grantor.asked(holder.ask(1, 0));
    assert_eq!(grantor.begin(1), None);
    let grants = grantor.confirmed(round, |_| Some(0));
    assert_eq!(
        grants.iter().map(|grant| grant.holder).collect::<Vec<_>>(),
        [node(2)]
    );
    assert!(
        grantor.confirmed(round, |_| Some(0)).is_empty(),
        "once only"
    );
    assert!(grantor.begin(9 * MS).is_none(), "too fresh");
    let round = grantor.begin(10 * MS).unwrap();
    assert_eq!(grantor.confirmed(round, |_| Some(0)).len(), 1);
}

#[test]
fn late_repeated_and_foreign_answers_do_no_harm() {
    let mut holder = holder();
    let grant = |ask: TenureAsk| TenureGrant {
        holder: ask.holder,
        number: ask.number,
        tenure_us: timing().tenure_us,
    };
    let (first, second) = (holder.ask(0, 0), holder.ask(100 * MS, 0));
    holder.granted(grant(second));
    holder.granted(grant(first));
    holder.granted(grant(second));
    assert_eq!(holder.until_us(), Some(460 * MS));
    let mut reborn = Holder::new(
        Incarnation {
            boot: BootId::from_u128(9),
            ..node(1)
        },
        timing().tenure_us,
    );
    reborn.ask(0, 0);
    reborn.granted(grant(first));
    assert_eq!(reborn.until_us(), None, "a grant to a former life");
    let unasked = TenureAsk {
        number: 77,
        ..second
    };
    holder.granted(grant(unasked));
    holder.granted(TenureGrant {
        tenure_us: u64::MAX,
        ..grant(second)
    });
    assert_eq!(
        holder.until_us(),
        Some(460 * MS),
        "never more than is configured"
    );
    for _ in 0..ASKS_MAX {
        holder.ask(200 * MS, 0);
    }
    let forgotten = holder.clone().until_us();
    holder.granted(grant(first));
    assert_eq!(holder.until_us(), forgotten);
}

#[test]
fn nobody_is_down_while_a_grant_may_last_and_nobody_down_is_granted() {
    let mut grantor = Grantor::new(timing());
    let mut holder = holder();
    assert!(grantor.overdue([node(1)], 0).is_empty());
    assert!(grantor.overdue([node(1)], 399 * MS).is_empty());
    assert_eq!(
        grantor.overdue([node(1)], 400 * MS),
        [node(1)],
        "never asked"
    );
    grantor.asked(holder.ask(0, 0));
    let round = grantor.begin(0).unwrap();
    assert_eq!(grantor.confirmed(round, |_| Some(0)).len(), 1);
    assert!(grantor.overdue([node(1)], 400 * MS - 1).is_empty());
    let held = grantor.declare_down(node(1), 400 * MS - 1);
    assert_eq!(held, Err(StillHeld { until_us: 400 * MS }));
    grantor.asked(holder.ask(350 * MS, 0));
    let round = grantor.begin(400 * MS).unwrap();
    assert_eq!(grantor.overdue([node(1)], 400 * MS), [node(1)]);
    grantor.declare_down(node(1), 400 * MS).unwrap();
    assert!(
        grantor.confirmed(round, |_| Some(0)).is_empty(),
        "not even under way"
    );
    grantor.asked(holder.ask(370 * MS, 0));
    assert_eq!(grantor.begin(440 * MS), None, "barred");
    grantor.forget(|_| false);
    grantor.asked(holder.ask(370 * MS, 0));
    assert_eq!(grantor.begin(440 * MS), None, "still barred");
    // Once that is decided a life that came back has as much time to ask as any other.
    grantor.decided(node(1));
    assert!(grantor.overdue([node(1)], 500 * MS).is_empty());
    assert!(grantor.overdue([node(1)], 899 * MS).is_empty());
    assert_eq!(grantor.overdue([node(1)], 900 * MS), [node(1)]);
    grantor.asked(holder.ask(900 * MS, 0));
    let round = grantor.begin(900 * MS).unwrap();
    assert_eq!(grantor.confirmed(round, |_| Some(0)).len(), 1);
    assert!(grantor.overdue([node(1)], 1299 * MS).is_empty());
}

#[test]
fn a_node_that_has_not_heard_of_its_coming_up_is_granted_nothing() {
    let mut grantor = Grantor::new(timing());
    let mut holder = holder();
    let came_up = |_| Some(7);
    grantor.asked(holder.ask(0, 6));
    let round = grantor.begin(0).unwrap();
    assert!(grantor.confirmed(round, came_up).is_empty());
    grantor.asked(holder.ask(20 * MS, 7));
    let round = grantor.begin(20 * MS).unwrap();
    assert_eq!(grantor.confirmed(round, came_up).len(), 1);
}

#[test]
fn of_several_that_ran_out_the_one_heard_of_last_goes_last() {
    let mut grantor = Grantor::new(timing());
    for (at_us, number) in [(0, 2), (20 * MS, 3), (40 * MS, 1)] {
        grantor.asked(Holder::new(node(number), u64::MAX).ask(at_us, 0));
        let round = grantor.begin(at_us).unwrap();
        assert_eq!(grantor.confirmed(round, |_| Some(0)).len(), 1);
    }
    let all = [1, 2, 3].map(node);
    assert_eq!(grantor.overdue(all, 1000 * MS), [2, 3, 1].map(node));
}

#[test]
fn only_who_is_alive_in_the_applied_state_is_granted() {
    let mut grantor = Grantor::new(timing());
    grantor.asked(holder().ask(0, 0));
    let round = grantor.begin(0).unwrap();
    assert!(grantor.confirmed(round, |_| None).is_empty());
    grantor.asked(holder().ask(0, 0));
    let round = grantor.begin(20 * MS).unwrap();
    grantor.unconfirmed(round);
    assert!(grantor.confirmed(round, |_| Some(0)).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// True time against a holder's clock that runs up to a tenth slower or faster and began anywhere, and answers that
    /// come late, twice, in any order or never: no tenure is held when its leader may be replaced, or says "down".
    #[test]
    fn no_tenure_outlives_what_the_leader_counts(
        skew_us in 0_u64..1_000_000_000,
        rate_percent in 91_u64..=110,
        steps in prop::collection::vec((0_u64..120, 0_u64..90, 0_u64..400, any::<bool>()), 1..40),
        probe_ms in 0_u64..6000,
    ) {
        let local = |true_us: u64| skew_us + true_us * rate_percent / 100;
        let mut holder = holder();
        let mut grantor = Grantor::new(timing());
        let mut arrivals = Vec::new();
        let (mut now_us, mut bound_us) = (0, 0);
        for (wait_ms, way_ms, back_ms, is_twice) in steps {
            now_us += wait_ms * MS;
            let ask = holder.ask(local(now_us), 0);
            now_us += way_ms * MS;
            grantor.asked(ask);
            if let Some(round) = grantor.begin(now_us) {
                let t0_us = now_us;
                for grant in grantor.confirmed(round, |_| Some(0)) {
                    arrivals.push((now_us + back_ms * MS, grant, t0_us));
                    if is_twice {
                        arrivals.push((now_us + 2 * back_ms * MS, grant, t0_us));
                    }
                }
            }
        }
        let probe_us = probe_ms * MS;
        for (at_us, grant, t0_us) in arrivals {
            if at_us <= probe_us {
                holder.granted(grant);
            }
            if t0_us <= probe_us {
                bound_us = bound_us.max(t0_us + timing().over_us);
            }
        }
        if holder.is_held(local(probe_us)) {
            prop_assert!(probe_us < bound_us, "held at {probe_us}, over at {bound_us}");
        }
    }
}
