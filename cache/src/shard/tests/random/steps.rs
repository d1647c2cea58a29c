//! Responsible for which events are tried, and how often.

use proptest::prelude::*;

use super::super::*;
use super::entries::{EntryStep, entry_steps};
use super::{ARENAS, KEYS};

/// Events in small numbers; [`super::Player`] turns them into keys, tickets and ids.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Match {
        of: usize,
        skip: usize,
        term: Option<Term>,
    },
    Get {
        keys: Vec<usize>,
        leading_only: bool,
        term: Term,
    },
    Reserve {
        of: usize,
        arena: u32,
        retain: Retain,
        term: Term,
        is_malformed: bool,
    },
    Commit(usize),
    Abort(usize),
    Release(usize),
    Touch(Vec<usize>),
    Pin(Vec<usize>, Pin),
    Remove(Vec<usize>),
    Purge(u32),
    Entry(EntryStep),
    Evict(u64, u64, u32),
    Tick,
    Resize(u64, Option<u64>, u32),
    Wait(u64),
}

fn terms() -> impl Strategy<Value = Term> {
    prop_oneof![
        Just(Term::Held),
        (0..80_u32).prop_map(|ms| Term::Timed { ms })
    ]
}

fn pins() -> impl Strategy<Value = Pin> {
    prop_oneof![4 => Just(Pin::None), 1 => Just(Pin::Soft), 1 => Just(Pin::Hard)]
}

pub(super) fn ttls() -> impl Strategy<Value = Option<u64>> {
    proptest::option::weighted(0.3, 0..120_u64)
}

fn keys() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..KEYS, 0..5)
}

fn block_steps() -> BoxedStrategy<Step> {
    let reserve = (0..KEYS, 0..ARENAS, pins(), ttls(), terms(), 0..30_u8);
    prop_oneof![
        4 => (0..KEYS, 0..3_usize, proptest::option::weighted(0.3, terms()))
            .prop_map(|(of, skip, term)| Step::Match { of, skip, term }),
        3 => (keys(), any::<bool>(), terms())
            .prop_map(|(keys, leading_only, term)| Step::Get { keys, leading_only, term }),
        8 => reserve.prop_map(|(of, arena, pin, ttl_ms, term, flaw)| Step::Reserve {
            of, arena: if flaw < 20 { 0 } else { arena }, retain: Retain { pin, ttl_ms }, term, is_malformed: flaw == 29,
        }),
        8 => any::<usize>().prop_map(Step::Commit),
        1 => any::<usize>().prop_map(Step::Abort),
        3 => any::<usize>().prop_map(Step::Release),
        1 => keys().prop_map(Step::Touch),
        1 => (keys(), pins()).prop_map(|(keys, pin)| Step::Pin(keys, pin)),
        1 => keys().prop_map(Step::Remove),
    ]
    .boxed()
}

fn other_steps() -> BoxedStrategy<Step> {
    prop_oneof![
        1 => (0..ARENAS).prop_map(Step::Purge),
        8 => entry_steps().prop_map(Step::Entry),
        1 => (0..4_000_u64, 0..40_u64, 0..6_u32).prop_map(|(bytes, tokens, batch)| Step::Evict(bytes, tokens, batch)),
        2 => Just(Step::Tick),
        1 => (0..80_u64, proptest::option::of(0..300_u64), 0..40_u32)
            .prop_map(|(pages, tokens, blocks)| Step::Resize(pages, tokens, blocks)),
        4 => (0..60_u64).prop_map(Step::Wait),
    ]
    .boxed()
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(prop_oneof![3 => block_steps(), 1 => other_steps()], 1..150)
}
