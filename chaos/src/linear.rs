//! Judges a history: is there one order of the calls, key by key, that explains every answer?
//!
//! Responsible for the search of Wing and Gong with Lowe's memory, and for a short proof when there is no such order.
//! It must never know how the answers came about.
//!
//! Four observations keep the search small; each only leaves out orders that another order stands for.
//! 1. A call that changes nothing (a read, a conflict) may be placed as soon as it fits.
//! 2. A call with an unknown outcome need only be placed right before a call whose answer depends on it:
//!    were it overwritten unseen, it could as well never have happened.
//! 3. A value is written once, so it does not go before everybody who saw it has seen it.
//! 4. Of unknown calls that nobody can tell apart (removals; writes that nobody ever saw) the first open one stands for
//!    all; of known writes that nobody ever saw, the first one that ended.

mod search;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::history::{Call, History, Op, Outcome};
use search::{Verdict, search};

/// Up to this many calls a proof is made as short as possible; beyond, it shows its end.
const SHRINK_CALLS_MAX: usize = 600;
/// Calls that a proof shows at most.
const WINDOW_CALLS_MAX: usize = 24;

/// What was judged and found in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Keys.
    pub keys: usize,
    /// Calls whose outcome said something; refused calls and unanswered reads are not among them.
    pub calls: usize,
}

/// Why a history was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationKind {
    /// No order explains all answers.
    NotLinearizable,
    /// A call got an answer that its operation cannot have.
    Unfitting,
    /// The search grew too large to be decided: not a proof, but nothing to build on.
    Undecided,
}

/// One key whose calls no order explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: u32,
    /// What is wrong.
    pub kind: ViolationKind,
    /// Calls that cannot all be true together; in their order of asking.
    pub window: Vec<Call>,
    /// The call with whose answer the contradiction was complete.
    pub culprit: Option<Box<Call>>,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "key {}: {:?}", self.key, self.kind)?;
        for call in &self.window {
            let mark = if Some(call) == self.culprit.as_deref() {
                ">"
            } else {
                " "
            };
            writeln!(formatter, "{mark} {call}")?;
        }
        Ok(())
    }
}

impl Error for Violation {}

/// Judges every key of a history on its own.
///
/// # Errors
///
/// The first key, by number, whose calls cannot be explained.
pub fn check(history: &History) -> Result<Checked, Violation> {
    let mut keys: BTreeMap<u32, Vec<Call>> = BTreeMap::new();
    for call in history.calls() {
        keys.entry(call.key).or_default().push(*call);
    }
    let mut checked = Checked {
        keys: keys.len(),
        calls: 0,
    };
    for (key, calls) in keys {
        checked.calls += check_key(key, calls)?;
    }
    Ok(checked)
}

fn check_key(key: u32, mut calls: Vec<Call>) -> Result<usize, Violation> {
    if let Some(unfit) = calls.iter().find(|call| !fits(call)) {
        return Err(Violation {
            key,
            kind: ViolationKind::Unfitting,
            window: vec![*unfit],
            culprit: Some(Box::new(*unfit)),
        });
    }
    calls.retain_mut(|call| {
        if call.outcome == Outcome::Unknown {
            // An answer "unknown" does not end a call: it may still take effect.
            call.ended = None;
        }
        call.outcome != Outcome::Refused && (call.op != Op::Read || call.ended.is_some())
    });
    match search(&calls) {
        Verdict::Explained => Ok(calls.len()),
        Verdict::Undecided => Err(Violation {
            key,
            kind: ViolationKind::Undecided,
            window: tail(&calls),
            culprit: None,
        }),
        Verdict::Contradiction => Err(prove(key, &calls)),
    }
}

fn fits(call: &Call) -> bool {
    match (call.op, call.outcome) {
        (_, Outcome::Refused | Outcome::Unknown)
        | (Op::Read, Outcome::Value(_))
        | (Op::Write(_) | Op::Delete | Op::CompareAndSet { .. }, Outcome::Done)
        | (Op::CompareAndSet { .. }, Outcome::Conflict) => true,
        (_, Outcome::Value(_) | Outcome::Done | Outcome::Conflict) => false,
    }
}

/// The shortest beginning that is contradictory, without the calls that the contradiction does not need.
fn prove(key: u32, calls: &[Call]) -> Violation {
    let mut ends: Vec<u64> = calls.iter().filter_map(|call| call.ended).collect();
    ends.sort_unstable();
    // Beginnings of an explained history are explained, so the first contradictory one is found by halving.
    let first = ends.partition_point(|&end| search(&until(calls, end)) != Verdict::Contradiction);
    let end = ends.get(first).copied().unwrap_or(u64::MAX);
    let mut window = until(calls, end);
    let culprit = window.iter().find(|call| call.ended == Some(end)).copied();
    if window.len() <= SHRINK_CALLS_MAX {
        shrink(&mut window);
    }
    Violation {
        key,
        kind: ViolationKind::NotLinearizable,
        window: tail(&window),
        culprit: culprit.map(Box::new),
    }
}

/// What was known just after the event `end`.
fn until(calls: &[Call], end: u64) -> Vec<Call> {
    let mut known: Vec<Call> = calls
        .iter()
        .filter(|call| call.began <= end)
        .copied()
        .collect();
    known.retain_mut(|call| {
        if call.ended.is_some_and(|ended| ended > end) {
            call.ended = None;
            call.completed = None;
            call.outcome = Outcome::Unknown;
        }
        call.op != Op::Read || call.ended.is_some()
    });
    known
}

/// Leaves out calls one by one as long as the rest still contradicts itself, and only where leaving out cannot be what
/// makes the contradiction: an order that explains all calls explains those left too.
fn shrink(window: &mut Vec<Call>) {
    loop {
        let before = window.len();
        let mut at = window.len();
        while at > 0 {
            at -= 1;
            if !relaxes(window, at) {
                continue;
            }
            let left_out = window.remove(at);
            if search(window) != Verdict::Contradiction {
                window.insert(at, left_out);
            }
        }
        if window.len() == before {
            return;
        }
    }
}

fn relaxes(window: &[Call], at: usize) -> bool {
    let Some(call) = window.get(at) else {
        return false;
    };
    let seen = |value: Option<u64>| {
        window.iter().any(|other| {
            matches!(other.op, Op::CompareAndSet { expected, .. } if expected == value)
                || other.outcome == Outcome::Value(value)
        })
    };
    // A conflict can rest on any change, so no change may go while there is one.
    let told_apart = window
        .iter()
        .any(|other| other.outcome == Outcome::Conflict);
    match (call.op, call.outcome) {
        (Op::Read, _) | (_, Outcome::Conflict) => true,
        (Op::Write(value) | Op::CompareAndSet { value, .. }, _) => {
            !told_apart && !seen(Some(value))
        }
        (Op::Delete, _) => !told_apart && !seen(None),
    }
}

fn tail(calls: &[Call]) -> Vec<Call> {
    let skipped = calls.len().saturating_sub(WINDOW_CALLS_MAX);
    calls.iter().skip(skipped).copied().collect()
}

#[cfg(test)]
mod tests;
