//! Histories known to be good or bad, and a comparison with the naive search over all orders.

use super::*;
use crate::network::Us;
use crate::rng::Rng;

const READ: Op = Op::Read;
const fn write(value: u64) -> Op {
    Op::Write(value)
}
const fn set(expected: Option<u64>, value: u64) -> Op {
    Op::CompareAndSet { expected, value }
}
const fn saw(value: u64) -> Outcome {
    Outcome::Value(Some(value))
}
const NOTHING: Outcome = Outcome::Value(None);
use Outcome::{Conflict, Done, Refused, Unknown};

/// Rows of (asked at, answered at, operation, outcome); 0 as answer time: never answered.
fn history(rows: &[(u64, u64, Op, Outcome)]) -> History {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, (asked, answered, ..)) in rows.iter().enumerate() {
        events.push((*asked, false, at));
        if *answered > 0 {
            events.push((*answered, true, at));
        }
    }
    events.sort_unstable();
    let mut history = History::new();
    let mut ids = vec![None; rows.len()];
    for (moment, answer, at) in events {
        let (.., op, outcome) = rows[at];
        if answer {
            assert!(history.complete(ids[at].unwrap(), outcome, Us(moment)));
        } else {
            ids[at] = Some(history.invoke(u32::try_from(at).unwrap(), 1, op, Us(moment)));
        }
    }
    history
}

fn good(name: &str, rows: &[(u64, u64, Op, Outcome)]) {
    if let Err(violation) = check(&history(rows)) {
        panic!("{name}: {violation}");
    }
}

fn bad(name: &str, window: usize, rows: &[(u64, u64, Op, Outcome)]) {
    let violation = check(&history(rows)).expect_err(name);
    assert_eq!(violation.kind, ViolationKind::NotLinearizable, "{name}");
    assert_eq!(violation.window.len(), window, "{name}: {violation}");
    assert!(violation.culprit.is_some(), "{name}");
}

#[test]
fn accepts_good_histories() {
    good("empty", &[]);
    good(
        "in turn",
        &[
            (1, 2, READ, NOTHING),
            (3, 4, write(1), Done),
            (5, 6, READ, saw(1)),
            (7, 8, Op::Delete, Done),
            (9, 10, READ, NOTHING),
        ],
    );
    good(
        "a read overlapping a write sees either",
        &[
            (1, 2, write(1), Done),
            (3, 10, write(2), Done),
            (4, 5, READ, saw(1)),
            (6, 7, READ, saw(2)),
        ],
    );
    good(
        "an unknown write takes effect late",
        &[
            (1, 2, write(1), Done),
            (3, 4, write(2), Unknown),
            (5, 6, READ, saw(1)),
            (7, 8, write(3), Done),
            (9, 10, READ, saw(3)),
            (11, 12, READ, saw(2)),
        ],
    );
    good(
        "an unknown write never happens",
        &[
            (1, 2, write(1), Done),
            (3, 0, write(2), Unknown),
            (5, 6, READ, saw(1)),
        ],
    );
}

#[test]
fn accepts_conditions_and_unknown_chains() {
    good(
        "compare-and-set",
        &[
            (1, 2, set(None, 1), Done),
            (3, 4, set(None, 2), Conflict),
            (5, 6, set(Some(1), 3), Done),
            (7, 8, READ, saw(3)),
        ],
    );
    good(
        "a chain of unknown changes explains a read",
        &[
            (1, 0, write(1), Unknown),
            (2, 0, set(Some(1), 2), Unknown),
            (3, 0, set(Some(2), 3), Unknown),
            (10, 11, READ, NOTHING),
            (12, 13, READ, saw(3)),
        ],
    );
    good(
        "an unknown write that nobody saw explains a conflict",
        &[
            (1, 2, write(1), Done),
            (3, 0, write(2), Unknown),
            (5, 6, set(Some(1), 3), Conflict),
        ],
    );
    good(
        "an unknown removal explains an absence, another a second one",
        &[
            (1, 0, Op::Delete, Unknown),
            (1, 0, Op::Delete, Unknown),
            (2, 3, write(1), Done),
            (4, 5, READ, NOTHING),
            (6, 7, write(2), Done),
            (8, 9, READ, NOTHING),
        ],
    );
}

#[test]
fn finds_what_is_wrong_and_shows_little_more() {
    bad(
        "stale read",
        3,
        &[
            (1, 2, write(1), Done),
            (3, 4, write(2), Done),
            (5, 6, READ, saw(2)),
            (7, 8, READ, saw(1)),
            (9, 10, READ, saw(2)),
        ],
    );
    bad(
        "lost write",
        2,
        &[(1, 2, write(1), Done), (3, 4, READ, NOTHING)],
    );
    bad(
        "seen, then unseen",
        4,
        &[
            (1, 2, write(1), Done),
            (3, 0, write(2), Unknown),
            (5, 6, READ, saw(2)),
            (7, 8, READ, saw(1)),
        ],
    );
    bad(
        "an unknown write applied twice",
        4,
        &[
            (1, 0, write(1), Unknown),
            (2, 3, READ, saw(1)),
            (4, 5, write(2), Done),
            (6, 7, READ, saw(1)),
        ],
    );
}

#[test]
fn finds_effects_without_a_cause() {
    bad(
        "a refused write seen",
        1,
        &[(1, 2, write(1), Refused), (3, 4, READ, saw(1))],
    );
    bad("a value from nowhere", 1, &[(3, 4, READ, saw(1))]);
    bad(
        "both of two compare-and-sets won",
        3,
        &[
            (1, 2, write(1), Done),
            (3, 6, set(Some(1), 2), Done),
            (4, 5, set(Some(1), 3), Done),
        ],
    );
    bad(
        "a conflict without a cause",
        2,
        &[(1, 2, write(1), Done), (3, 4, set(Some(1), 2), Conflict)],
    );
    bad(
        "one removal for two absences",
        5,
        &[
            (1, 0, Op::Delete, Unknown),
            (2, 3, write(1), Done),
            (4, 5, READ, NOTHING),
            (6, 7, write(2), Done),
            (8, 9, READ, NOTHING),
        ],
    );
    bad(
        "a write seen before it was asked for",
        1,
        &[(1, 2, READ, saw(1)), (3, 4, write(1), Done)],
    );
}

#[test]
fn calls_that_follow_within_one_microsecond_still_follow() {
    let mut history = History::new();
    let first = history.invoke(1, 1, write(1), Us(5));
    history.complete(first, Done, Us(5));
    let second = history.invoke(1, 1, READ, Us(5));
    history.complete(second, NOTHING, Us(5));
    assert!(check(&history).is_err());
    assert!(!history.complete(second, saw(1), Us(6)), "answered once");
}

#[test]
fn an_answer_of_the_wrong_kind_is_told() {
    let violation = check(&history(&[(1, 2, READ, Done)])).unwrap_err();
    assert_eq!(violation.kind, ViolationKind::Unfitting);
}

/// A true register under `clients` clients: every call takes effect at a drawn moment between its question and its answer,
/// or, unanswered, at any later one or never.
fn simulated(seed: u64, calls: usize, clients: u32) -> History {
    struct Open {
        id: crate::history::CallId,
        client: Option<u32>,
        op: Op,
        result: Option<Outcome>,
    }
    let mut rng = Rng::new(seed);
    let mut history = History::new();
    let (mut value, mut open, mut unique) = (None, Vec::<Open>::new(), 0);
    for moment in 0.. {
        let now = Us(moment);
        let busy: Vec<u32> = open.iter().filter_map(|call| call.client).collect();
        let free: Vec<u32> = (0..clients).filter(|at| !busy.contains(at)).collect();
        if history.calls().len() >= calls && busy.is_empty() {
            return history;
        }
        let asks = history.calls().len() < calls && rng.chance_ppm(400_000);
        if let (true, Some(&client)) = (asks, rng.pick(&free)) {
            unique += 1;
            let op = match rng.below(8) {
                0..4 => READ,
                4..6 => write(unique),
                6 => set(value, unique),
                _ => Op::Delete,
            };
            let id = history.invoke(client, 1, op, now);
            open.push(Open {
                id,
                client: Some(client),
                op,
                result: None,
            });
        } else if !open.is_empty() {
            let at = usize::try_from(rng.below(u64::try_from(open.len()).unwrap())).unwrap();
            let call = &mut open[at];
            if call.result.is_none() && rng.chance_ppm(700_000) {
                call.result = Some(apply(&mut value, call.op));
            } else if let (Some(outcome), Some(_)) = (call.result, call.client) {
                history.complete(call.id, outcome, now);
                open.swap_remove(at);
            } else if call.client.is_some() && rng.chance_ppm(300_000) {
                // The client gives up; the call stays and may take effect at any time.
                call.client = None;
            }
        }
    }
    history
}

fn apply(value: &mut Option<u64>, op: Op) -> Outcome {
    match op {
        Op::Read => return Outcome::Value(*value),
        Op::CompareAndSet { expected, .. } if expected != *value => return Conflict,
        Op::Write(new) | Op::CompareAndSet { value: new, .. } => *value = Some(new),
        Op::Delete => *value = None,
    }
    Done
}

#[test]
fn accepts_what_a_true_register_did() {
    let (mut unknown, mut conflicts) = (0, 0);
    for seed in 0..60 {
        let history = simulated(seed, 300, 8);
        unknown += history.count(|call| call.outcome == Unknown && call.op != READ);
        conflicts += history.count(|call| call.outcome == Conflict);
        if let Err(violation) = check(&history) {
            panic!("seed {seed}: {violation}");
        }
    }
    assert!(unknown > 500 && conflicts > 100, "{unknown} {conflicts}");
}

/// Every order, tried one by one: what the clever search must agree with.
fn explained_naively(calls: &[Call], placed: &mut Vec<usize>, value: Option<u64>) -> bool {
    let rest = |at: &usize| !placed.contains(at);
    let left: Vec<usize> = (0..calls.len()).filter(rest).collect();
    if left.iter().all(|&at| calls[at].outcome == Unknown) {
        return true;
    }
    left.iter().any(|&at| {
        let call = calls[at];
        let early = left.iter().any(|&other| {
            calls[other].outcome != Unknown && calls[other].ended.unwrap() < call.began
        });
        let mut next = value;
        let result = apply(&mut next, call.op);
        if early || (call.outcome != Unknown && call.outcome != result) {
            return false;
        }
        placed.push(at);
        let explained = explained_naively(calls, placed, next);
        placed.pop();
        explained
    })
}

#[test]
fn agrees_with_trying_every_order_on_small_histories() {
    let mut verdicts = [0; 2];
    for seed in 0..1_500 {
        let mut history = simulated(seed, 7, 3);
        let mut rng = Rng::new(seed);
        // Two answers in three histories are bent, so that many are wrong.
        let reads: Vec<usize> = (0..7)
            .filter(|&at| history.calls()[at].op == READ)
            .collect();
        if let (true, Some(&at)) = (rng.chance_ppm(666_000), rng.pick(&reads)) {
            history = bent(&history, at, rng.below(8));
        }
        let calls: Vec<Call> = history.calls().to_vec();
        let naive = explained_naively(&calls, &mut Vec::new(), None);
        assert_eq!(check(&history).is_ok(), naive, "seed {seed}: {calls:#?}");
        verdicts[usize::from(naive)] += 1;
    }
    assert!(verdicts.iter().all(|&count| count > 200), "{verdicts:?}");
}

fn bent(history: &History, at: usize, value: u64) -> History {
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (index, call) in history.calls().iter().enumerate() {
        events.push((call.began, index, false));
        events.extend(call.ended.map(|ended| (ended, index, true)));
    }
    events.sort_unstable();
    let mut copy = History::new();
    let mut ids = Vec::new();
    for (_, index, answer) in events {
        let call = history.calls()[index];
        if !answer {
            ids.push(copy.invoke(call.client, call.key, call.op, call.invoked));
            continue;
        }
        let outcome = if index == at {
            Outcome::Value((value > 0).then_some(value))
        } else {
            call.outcome
        };
        copy.complete(ids[index], outcome, call.completed.unwrap());
    }
    copy
}
