//! What clients did and saw, and whether one register a key could have answered so.
//!
//! Versions name the order of writes, so nothing has to be searched: whatever ended before something else began must not show a
//! later version than it, and two writes never the same. It must never know replicas.

use std::collections::{BTreeMap, BTreeSet};

/// What was done to a key, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// A write of this value was acknowledged with this version; what the key had to hold before, if that was asked.
    Wrote {
        value: u64,
        version: u64,
        over: Option<u64>,
    },
    /// A write of this value may have happened, then or later.
    InDoubt { value: u64, over: Option<u64> },
    /// A read saw this version, and this value with it unless only the version was told; zero for nothing.
    Saw { value: Option<u64>, version: u64 },
}

/// One thing that a client did; the numbers count beginnings and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    pub(super) key: usize,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) done: Done,
}

/// Whether every key behaved like one register; if not, what did not fit.
pub(super) fn check(acts: &[Act]) -> Result<(), String> {
    let mut keys: BTreeMap<usize, Vec<Act>> = BTreeMap::new();
    for act in acts {
        keys.entry(act.key).or_default().push(*act);
    }
    keys.into_values().try_for_each(|acts| check_key(&acts))
}

const fn version_of(done: &Done) -> Option<u64> {
    match done {
        Done::Wrote { version, .. } | Done::Saw { version, .. } => Some(*version),
        Done::InDoubt { .. } => None,
    }
}

fn check_key(acts: &[Act]) -> Result<(), String> {
    // Every write that anybody saw the version of, were it only in a refusal.
    let all: BTreeSet<u64> = acts
        .iter()
        .filter_map(|act| version_of(&act.done))
        .collect();
    // Which version each value got, as far as anybody saw it.
    let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
    let mut values: BTreeMap<u64, u64> = BTreeMap::new();
    for act in acts {
        let (value, version) = match act.done {
            Done::Wrote { value, version, .. } => (value, version),
            Done::Saw {
                value: Some(value),
                version,
            } if version > 0 => (value, version),
            _ => continue,
        };
        let same = *versions.entry(value).or_insert(version) == version
            && *values.entry(version).or_insert(value) == value;
        if !same {
            return Err(format!(
                "two versions of a value, or values of a version: {act:?}"
            ));
        }
    }
    // Everything that took effect, with its version and whether it wrote it.
    let mut effects: Vec<Effect> = Vec::new();
    for act in acts {
        match act.done {
            Done::Wrote { version, over, .. } => effects.push((version, true, over, *act)),
            Done::Saw { version, .. } => effects.push((version, false, None, *act)),
            Done::InDoubt { value, over } => {
                if let Some(version) = versions.get(&value) {
                    let act = Act {
                        ended: u64::MAX,
                        ..*act
                    };
                    effects.push((*version, true, over, act));
                }
            }
        }
    }
    for (version, is_write, over, act) in &effects {
        if *is_write {
            let before = all.range(..version).next_back().copied().unwrap_or(0);
            if over.is_some_and(|over| over != before) {
                return Err(format!("{act:?} was not over {before}"));
            }
            let mut writes = effects
                .iter()
                .filter(|other| other.1 && other.0 == *version);
            if writes.by_ref().count() > 1 {
                return Err(format!("{act:?} shares its version"));
            }
        }
    }
    in_time(effects)
}

/// What took effect: its version, whether it wrote that, over which, and the act.
type Effect = (u64, bool, Option<u64>, Act);

/// What ended before something began is not behind it.
fn in_time(mut effects: Vec<Effect>) -> Result<(), String> {
    effects.sort_by_key(|(.., act)| act.began);
    let mut by_end: Vec<(u64, u64)> = effects
        .iter()
        .map(|(version, .., act)| (act.ended, *version))
        .collect();
    by_end.sort_unstable();
    let (mut ended, mut highest) = (by_end.into_iter().peekable(), None::<u64>);
    for (version, is_write, _, act) in &effects {
        while let Some((_, seen)) = ended.next_if(|(end, _)| *end < act.began) {
            highest = highest.max(Some(seen));
        }
        let is_behind = highest.is_some_and(|highest| {
            if *is_write {
                *version <= highest
            } else {
                *version < highest
            }
        });
        if is_behind {
            return Err(format!("{act:?} came after version {highest:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(list: &[(u64, u64, Done)]) -> Vec<Act> {
        let act = |(began, ended, done): &(u64, u64, Done)| Act {
            key: 0,
            began: *began,
            ended: *ended,
            done: *done,
        };
        list.iter().map(act).collect()
    }

    #[test]
    fn what_a_register_could_have_done_passes_and_what_none_could_does_not() {
        let wrote = |value, version| Done::Wrote {
            value,
            version,
            over: None,
        };
        let over = |value, version, over| Done::Wrote {
            value,
            version,
            over: Some(over),
        };
        let saw = |value, version| Done::Saw {
            value: Some(value),
            version,
        };
        let doubt = |value| Done::InDoubt { value, over: None };
        let good: [&[(u64, u64, Done)]; 6] = [
            &[
                (1, 2, wrote(1, 5)),
                (3, 4, saw(1, 5)),
                (5, 6, over(2, 7, 5)),
                (7, 8, saw(2, 7)),
            ],
            &[(1, 9, wrote(1, 5)), (2, 3, saw(0, 0)), (4, 5, saw(1, 5))],
            &[(1, 2, doubt(1)), (3, 4, saw(0, 0)), (5, 6, saw(1, 4))],
            &[(1, 2, doubt(1)), (3, 4, wrote(2, 9))],
            &[
                (1, 8, wrote(1, 5)),
                (2, 9, wrote(2, 6)),
                (10, 11, saw(2, 6)),
            ],
            // A write in doubt, seen only by who was refused for it.
            &[
                (1, 2, wrote(1, 5)),
                (3, 4, doubt(2)),
                (
                    5,
                    6,
                    Done::Saw {
                        value: None,
                        version: 6,
                    },
                ),
                (7, 8, over(3, 7, 6)),
            ],
        ];
        for history in good {
            assert_eq!(check(&acts(history)), Ok(()), "{history:?}");
        }
        let bad: [&[(u64, u64, Done)]; 7] = [
            // A lost write.
            &[(1, 2, wrote(1, 5)), (3, 4, saw(0, 0))],
            // A stale read.
            &[(1, 2, wrote(1, 5)), (3, 4, wrote(2, 6)), (5, 6, saw(1, 5))],
            // Back and forth.
            &[(1, 9, wrote(1, 5)), (2, 3, saw(1, 5)), (4, 5, saw(0, 0))],
            // A version twice.
            &[(1, 2, wrote(1, 5)), (3, 4, wrote(2, 5))],
            // A condition that did not hold.
            &[
                (1, 2, wrote(1, 5)),
                (1, 4, wrote(2, 6)),
                (1, 6, over(3, 7, 5)),
            ],
            // A write that happened before it was asked for.
            &[(1, 2, saw(1, 5)), (3, 4, wrote(2, 4))],
            // Done twice.
            &[(1, 2, doubt(1)), (3, 4, saw(1, 4)), (5, 6, saw(1, 6))],
        ];
        for history in bad {
            assert!(check(&acts(history)).is_err(), "{history:?}");
        }
    }
}
