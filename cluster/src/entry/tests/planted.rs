//! The order of reading and asking for the tenure; and, with the feature `sabotage`, that the oracle sees planted bugs.
//! It must never know how a bug is planted.

use std::cell::Cell;
use std::rc::Rc;

use ultrakv_actors::BootId;
use ultrakv_cache::Now;

use super::bench::{MapStore, TIMING, key};
use crate::entry::*;
use crate::{Epoch, Incarnation, NodeId};

/// A store whose reader sleeps through the end of the tenure right after, or right before, a value is read.
struct Sleepy {
    store: MapStore,
    is_held: Rc<Cell<bool>>,
}

impl Store for Sleepy {
    fn get(&mut self, key: &Key) -> Option<Stored> {
        self.is_held.set(false);
        self.store.get(key)
    }

    fn apply(
        &mut self,
        key: &Key,
        change: &Change,
        version: Version,
        now: Now,
    ) -> Result<(), Full> {
        self.store.apply(key, change, version, now)
    }

    fn has_room(&mut self, key: &Key, value_bytes: usize, ahead_bytes: usize) -> bool {
        self.store.has_room(key, value_bytes, ahead_bytes)
    }

    fn page(&mut self, after: Option<&Key>, bytes_max: usize, now: Now) -> Page {
        self.store.page(after, bytes_max, now)
    }

    fn due(&mut self, now: Now, keys_max: usize) -> Vec<Key> {
        self.store.due(now, keys_max)
    }

    fn clear(&mut self) {
        self.store.clear();
    }
}

struct Watched(Rc<Cell<bool>>);

impl Tenure for Watched {
    fn is_held(&mut self) -> bool {
        self.0.get()
    }
}

fn one() -> Incarnation {
    Incarnation {
        node: NodeId::from_u128(1),
        boot: BootId::from_u128(1),
    }
}

/// What a sole owner answers whose tenure ends while it reads.
fn read_across_the_end(mut replica: Replica) -> Answer {
    let is_held = Rc::new(Cell::new(true));
    let mut store = Sleepy {
        store: MapStore::default(),
        is_held: Rc::clone(&is_held),
    };
    let mut tenure = Watched(is_held);
    let mut world = World {
        now: Now(1),
        store: &mut store,
        tenure: &mut tenure,
        wish: &Wish::default(),
    };
    let ownership = Ownership {
        epoch: Epoch(1),
        founded: Epoch(1),
        in_sync: vec![one()],
    };
    let mut effects = Vec::new();
    replica.handle(Event::Ownership(ownership), &mut world, &mut effects);
    let request = Request {
        ticket: 1,
        epoch: Epoch(1),
        key: key(1),
        op: Op::Get,
    };
    replica.handle(Event::Requests(vec![request]), &mut world, &mut effects);
    match effects.pop() {
        Some(Effect::Answer { answer, .. }) => answer,
        other => panic!("a read was answered {other:?}"),
    }
}

#[test]
fn the_tenure_is_asked_after_the_value_was_read() {
    let answer = read_across_the_end(Replica::new(one(), TIMING));
    assert_eq!(answer, Answer::Retry(Delay::NoTenure));
}

#[cfg(feature = "sabotage")]
mod bugs {
    use proptest::test_runner::{Config, TestError, TestRng, TestRunner};

    use super::super::bench::Bench;
    use super::super::chance::{run, steps};
    use super::*;

    const CASES_MAX: u32 = 4000;

    /// Whether any of the random orders of a fixed seed meets an oracle's objection.
    fn is_found(make: fn(Incarnation) -> Replica) -> bool {
        let config = Config {
            cases: CASES_MAX,
            failure_persistence: None,
            max_shrink_iters: 0,
            ..Config::default()
        };
        let seed = TestRng::deterministic_rng(config.rng_algorithm);
        let mut runner = TestRunner::new_with_rng(config, seed);
        let found = runner.run(&steps(), |steps| {
            run(&mut Bench::of(4, 3, make), steps);
            Ok(())
        });
        matches!(found, Err(TestError::Fail(..)))
    }

    fn with(sabotage: Sabotage, me: Incarnation) -> Replica {
        Replica::sabotaged(me, TIMING, sabotage)
    }

    #[test]
    fn an_unchecked_epoch_is_found() {
        assert!(is_found(|me| with(
            Sabotage {
                epoch_unchecked: true,
                ..Sabotage::NONE
            },
            me
        )));
    }

    #[test]
    fn an_early_answer_is_found() {
        assert!(is_found(|me| with(
            Sabotage {
                answer_early: true,
                ..Sabotage::NONE
            },
            me
        )));
    }

    #[test]
    fn a_forgotten_boot_id_is_found() {
        assert!(is_found(|me| with(
            Sabotage {
                boot_forgotten: true,
                ..Sabotage::NONE
            },
            me
        )));
    }

    #[test]
    fn a_tenure_asked_first_lets_an_old_value_out() {
        let sabotage = Sabotage {
            tenure_first: true,
            ..Sabotage::NONE
        };
        let answer = read_across_the_end(with(sabotage, one()));
        assert_eq!(answer, Answer::Found(None));
    }

    #[test]
    fn without_a_bug_nothing_is_found() {
        assert!(!is_found(|me| with(Sabotage::NONE, me)));
    }
}
