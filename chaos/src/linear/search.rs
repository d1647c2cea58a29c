//! The search for one explaining order of the calls on one key.
//!
//! Responsible for completeness (what it calls a contradiction is one) and for an end (a bound on the states it
//! looks at). It must never know more than the calls of one key.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Call, Op, Outcome};

/// Stands for every value that no answer depends on: which of them it was makes no difference.
const UNSEEN_VALUE: u64 = u64::MAX;

/// States looked at before the search gives up.
const STATES_MAX: usize = 1_000_000;

/// What the search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Explained,
    Contradiction,
    Undecided,
}

/// How far an order has come.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Progress {
    /// A bit for every call already placed.
    placed: Vec<u64>,
    value: Option<u64>,
    /// The last call placed has an unknown outcome, and nothing has depended on it yet.
    unseen: bool,
}

impl Progress {
    fn has(&self, at: usize) -> bool {
        self.placed
            .get(at / 64)
            .is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn place(&mut self, at: usize) {
        if let Some(word) = self.placed.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    fn with(&self, at: usize, value: Option<u64>, unseen: bool) -> Self {
        let mut next = self.clone();
        next.place(at);
        next.value = value;
        next.unseen = unseen;
        next
    }
}

/// Looks for an order of `calls`, which are sorted by their beginnings.
pub(super) fn search(calls: &[Call]) -> Verdict {
    let observed = observed(calls);
    let needs = needs(calls);
    let mut memory: BTreeSet<Progress> = BTreeSet::new();
    let mut open = vec![Progress {
        placed: vec![0; calls.len().div_ceil(64)],
        value: None,
        unseen: false,
    }];
    while let Some(mut progress) = open.pop() {
        settle(calls, &mut progress);
        if known_all_placed(calls, &progress) {
            return Verdict::Explained;
        }
        if !memory.insert(progress.clone()) {
            continue;
        }
        if memory.len() > STATES_MAX {
            return Verdict::Undecided;
        }
        branch(calls, (&observed, &needs), &progress, &mut open);
    }
    Verdict::Contradiction
}

/// The values whose presence an answer can depend on.
fn observed(calls: &[Call]) -> BTreeSet<u64> {
    let seen = calls.iter().filter_map(|call| match call.outcome {
        Outcome::Value(value) => value,
        _ => None,
    });
    let expected = calls.iter().filter_map(|call| match call.op {
        Op::CompareAndSet { expected, .. } => expected,
        _ => None,
    });
    seen.chain(expected).collect()
}

/// For each value the calls whose answers need it to be there. A value is written once: gone, it never comes back.
fn needs(calls: &[Call]) -> BTreeMap<u64, Vec<usize>> {
    let mut needs: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, call) in calls.iter().enumerate() {
        let needed = match (call.op, call.outcome) {
            (_, Outcome::Value(value)) => value,
            (Op::CompareAndSet { expected, .. }, Outcome::Done) => expected,
            _ => None,
        };
        if let Some(value) = needed {
            needs.entry(value).or_default().push(at);
        }
    }
    needs
}

fn known_all_placed(calls: &[Call], progress: &Progress) -> bool {
    calls
        .iter()
        .enumerate()
        .all(|(at, call)| call.ended.is_none() || progress.has(at))
}

/// The calls that may come next: begun before any call that is not placed yet has ended.
fn candidates<'a>(
    calls: &'a [Call],
    progress: &'a Progress,
) -> impl Iterator<Item = (usize, &'a Call)> {
    let mut first_end = u64::MAX;
    calls
        .iter()
        .enumerate()
        .filter(|(at, _)| !progress.has(*at))
        .take_while(move |(_, call)| {
            let may = call.began < first_end;
            first_end = first_end.min(call.ended.unwrap_or(u64::MAX));
            may
        })
}

/// Places what changes nothing and fits now.
fn settle(calls: &[Call], progress: &mut Progress) {
    loop {
        let fitting: Vec<usize> = candidates(calls, progress)
            .filter(|(_, call)| match (call.op, call.outcome) {
                (_, Outcome::Value(value)) => value == progress.value,
                (Op::CompareAndSet { expected, .. }, Outcome::Conflict) => {
                    expected != progress.value
                }
                _ => false,
            })
            .map(|(at, _)| at)
            .collect();
        if fitting.is_empty() {
            return;
        }
        for at in fitting {
            progress.place(at);
        }
        progress.unseen = false;
    }
}

/// Of the known writes that may come next and that nobody saw, the one that ended first: whatever order begins with another
/// of them is as good with the two exchanged.
fn first_unseen(calls: &[Call], observed: &BTreeSet<u64>, progress: &Progress) -> Option<usize> {
    let unseen = candidates(calls, progress).filter_map(|(at, call)| match call.op {
        Op::Write(value) if !observed.contains(&value) => call.ended.map(|ended| (ended, at)),
        _ => None,
    });
    unseen.min().map(|(_, at)| at)
}

/// Adds every state one changing call further; those by known calls end up on top.
fn branch(
    calls: &[Call],
    (observed, needs): (&BTreeSet<u64>, &BTreeMap<u64, Vec<usize>>),
    progress: &Progress,
    open: &mut Vec<Progress>,
) {
    let mut known = Vec::new();
    let needing = progress.value.and_then(|value| needs.get(&value));
    let needing = needing.into_iter().flatten().copied();
    let needing: Vec<usize> = needing.filter(|at| !progress.has(*at)).collect();
    let (mut removal, mut invisible) = (false, false);
    let hasty = first_unseen(calls, observed, progress);
    for (at, call) in candidates(calls, progress) {
        // Whoever still needs the value comes before it goes; the last of them may be what takes it.
        if needing.iter().any(|needing| *needing != at) {
            continue;
        }
        let unknown = call.ended.is_none();
        let next = match (call.op, call.outcome) {
            (Op::CompareAndSet { expected, value }, Outcome::Done | Outcome::Unknown)
                if expected == progress.value =>
            {
                Some(value)
            }
            (Op::Write(value), Outcome::Done | Outcome::Unknown) if !progress.unseen => {
                let alike = !observed.contains(&value);
                let is_spare = if unknown {
                    alike && std::mem::replace(&mut invisible, true)
                } else {
                    alike && hasty != Some(at)
                };
                if is_spare {
                    continue;
                }
                Some(if alike { UNSEEN_VALUE } else { value })
            }
            (Op::Delete, Outcome::Done) if !progress.unseen => None,
            (Op::Delete, Outcome::Unknown) if !progress.unseen && progress.value.is_some() => {
                if std::mem::replace(&mut removal, true) {
                    continue;
                }
                None
            }
            _ => continue,
        };
        let next = progress.with(at, next, unknown);
        if unknown {
            open.push(next);
        } else {
            known.push(next);
        }
    }
    open.extend(known.into_iter().rev());
}
