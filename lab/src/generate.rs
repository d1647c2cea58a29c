//! Responsible for traces made from a seed: which sessions come when, and what their prompts share. It must never know how
//! a policy works, nor be fitted to one.
//!
//! # Source
//! Kinds and their numbers follow what has been published of production traffic: "KVCache in the wild", ATC 2025 (reuse by
//! category, skewed templates), the Mooncake traces (think times near two minutes, a third of requests continued, more of
//! later turns), "Continuum", 2025 (tool times of agents). Each seed draws its own numbers around those, so that no two
//! traces of a mix have the same shape.

mod chance;
mod session;

use std::collections::BTreeMap;
use std::fmt;

use chance::Chance;
use session::{Kind, Session, Shared};

use crate::trace::{Request, Trace};

/// Kinds of sessions, in the order of a mix's weights.
const KINDS: [Kind; 5] = [
    Kind::Chat,
    Kind::Agent,
    Kind::Template,
    Kind::Document,
    Kind::Scan,
];

/// A mix of traffic by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// People who talk: few system prompts, think times, a third of the requests continued.
    Chat,
    /// Tools in loops: many short steps on growing prompts, some tools slow.
    Agents,
    /// One-shot requests on popular templates.
    Templates,
    /// Questions about popular documents, behind a common prompt.
    Documents,
    /// The four above in phases that follow each other.
    Phases,
    /// People who talk, while jobs read long texts that nobody asks for again.
    Scans,
    /// All of them at once.
    Everything,
}

impl Mix {
    /// Every mix.
    pub const ALL: [Self; 7] = [
        Self::Chat,
        Self::Agents,
        Self::Templates,
        Self::Documents,
        Self::Phases,
        Self::Scans,
        Self::Everything,
    ];

    /// Its name in commands and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Agents => "agents",
            Self::Templates => "templates",
            Self::Documents => "documents",
            Self::Phases => "phases",
            Self::Scans => "scans",
            Self::Everything => "everything",
        }
    }

    /// The mix with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mix| mix.name() == name)
    }

    /// Weights of new sessions by kind, when `done` of the trace's requests are made, from 0 to 1.
    fn weights(self, done: f64) -> [f64; 5] {
        match self {
            Self::Chat => [1.0, 0.0, 0.0, 0.0, 0.0],
            Self::Agents => [0.1, 1.0, 0.1, 0.0, 0.0],
            Self::Templates => [0.1, 0.0, 1.0, 0.0, 0.0],
            Self::Documents => [0.2, 0.0, 0.0, 1.0, 0.0],
            Self::Phases => match done {
                ..0.25 => [1.0, 0.0, 0.0, 0.1, 0.0],
                ..0.5 => [0.1, 1.0, 0.0, 0.0, 0.0],
                ..0.75 => [0.1, 0.0, 1.0, 0.0, 0.0],
                _ => [0.1, 0.0, 0.0, 1.0, 0.0],
            },
            // Bursts: a tenth of the time.
            Self::Scans if (done * 20.0).fract() < 0.2 => [1.0, 0.0, 0.0, 0.0, 2.0],
            Self::Scans => [1.0, 0.0, 0.1, 0.0, 0.0],
            Self::Everything => [1.0, 0.2, 1.0, 0.5, 0.1],
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tokens of a block in generated traces.
pub const BLOCK_TOKENS: u32 = 512;

/// Makes a trace of so many requests. The same mix, seed and number give the same trace.
pub fn generate(mix: Mix, seed: u64, requests: usize) -> Trace {
    let mut chance = Chance::new(seed, mix.name());
    let mut trace = Trace::new(format!("{mix}-{seed}"), BLOCK_TOKENS);
    let shared = Shared::new(&mut chance, &mut trace);
    let gap_ms = chance.between(200.0, 600.0);
    let mut next_new_ms = 0.0;
    // By time, then number, so that ties have an order.
    let mut waiting: BTreeMap<(u64, u64), Session> = BTreeMap::new();
    for number in 0.. {
        let done = crate::replay::ratio(trace.requests.len(), requests);
        if done >= 1.0 {
            break;
        }
        let now_new = chance::millis(next_new_ms);
        let is_continued = waiting
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= now_new);
        let (at_ms, mut session) = match waiting.pop_first() {
            Some(((at, _), session)) if is_continued => (at, session),
            other => {
                waiting.extend(other);
                next_new_ms += chance.exponential(gap_ms);
                let kind = KINDS
                    .get(chance.weighted(&mix.weights(done)))
                    .copied()
                    .unwrap_or(Kind::Chat);
                (
                    now_new,
                    Session::new(kind, &shared, &mut chance, &mut trace),
                )
            }
        };
        let blocks = session.ask(&mut trace);
        trace.requests.push(Request { at_ms, blocks });
        if let Some(after_ms) = session.goes_on(&mut chance, &mut trace) {
            waiting.insert((at_ms + after_ms, number), session);
        }
    }
    trace.keep_used();
    trace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_trace_and_another_another() {
        for mix in Mix::ALL {
            let trace = generate(mix, 1, 500);
            assert_eq!(trace, generate(mix, 1, 500));
            assert_ne!(trace.requests, generate(mix, 2, 500).requests);
            assert_eq!(trace.requests.len(), 500);
            assert_eq!(Mix::named(mix.name()), Some(mix));
        }
    }

    #[test]
    fn every_block_follows_one_block_only_and_time_goes_forward() {
        for mix in Mix::ALL {
            let trace = generate(mix, 3, 2_000);
            let mut after = BTreeMap::new();
            for request in &trace.requests {
                assert!(!request.blocks.is_empty());
                let parents = std::iter::once(None).chain(request.blocks.iter().copied().map(Some));
                for (block, parent) in request.blocks.iter().zip(parents) {
                    assert_eq!(*after.entry(*block).or_insert(parent), parent);
                }
            }
            assert!(
                trace.requests.is_sorted_by_key(|request| request.at_ms),
                "{mix}"
            );
        }
    }
}
