//! What a run of a scenario showed: a line a round, medians and worst cases, and whether its promises were kept.
//!
//! It must never look at the cluster.

use std::fmt::Write as _;

use serde::Serialize;

use super::probe::Silence;
use super::record::Verdict;
use super::scenario::Promise;

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Its number, from 1.
    pub number: u32,
    /// The fault.
    pub blow: String,
    /// Whom it hit.
    pub victim: String,
    /// How long it lasted.
    pub held_ms: u64,
    /// What shows that it bit.
    pub evidence: String,
    /// Entries at doors that the fault left alone, while it lasted.
    pub entries: Silence,
    /// The longest wait for a block at such a door; none when a block was never read.
    pub blocks_ms: Option<u64>,
    /// Entries at all doors from the end of the fault on.
    pub after: Silence,
    /// From the end of the fault until the cluster was whole.
    pub whole_ms: u64,
    /// What the judge found.
    #[serde(flatten)]
    pub judged: Judged,
}

/// What the judge found, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Judged {
    /// Calls that were explained.
    pub calls: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Calls of which nobody knows what came of them.
    pub unknown: usize,
    /// Blocks whose every byte was compared and right.
    pub blocks_right: u64,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self {
            calls: verdict.checked.calls,
            acknowledged: verdict.acknowledged,
            unknown: verdict.unknown,
            blocks_right: verdict.blocks_right,
        }
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// Nodes.
    pub nodes: usize,
    /// What the dice began with.
    pub seed: u64,
    /// Its rounds.
    pub rounds: Vec<Round>,
    /// What broke a promise or ended the run; empty when all held.
    pub failures: Vec<String>,
}

/// The middle one; of an even number, the upper of both.
#[must_use]
pub fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

impl Report {
    /// The silences of entries, round by round.
    #[must_use]
    pub fn entries_ms(&self) -> Vec<u64> {
        self.rounds
            .iter()
            .map(|round| round.entries.longest_ms)
            .collect()
    }

    /// Notes every promise that was not kept.
    pub fn hold(&mut self, promise: Promise) {
        let entries = self.entries_ms();
        let mut failures = Vec::new();
        let mut over = |what: &str, found: Option<u64>, bound: Option<u64>| {
            if let (Some(found), Some(bound)) = (found, bound)
                && found > bound
            {
                failures.push(format!("{what}: {found} ms, promised {bound} ms"));
            }
        };
        over(
            "entries, median",
            median(&entries),
            promise.entries_median_ms,
        );
        over(
            "entries, worst",
            entries.iter().max().copied(),
            promise.entries_worst_ms,
        );
        let blocks = self.rounds.iter().filter_map(|round| round.blocks_ms).max();
        over("blocks, worst", blocks, promise.blocks_worst_ms);
        for round in &self.rounds {
            if promise.entries_worst_ms.is_some() && round.entries.never > 0 {
                let never = round.entries.never;
                failures.push(format!(
                    "round {}: {never} wishes for entries were never fulfilled",
                    round.number
                ));
            }
            if promise.blocks_worst_ms.is_some() && round.blocks_ms.is_none() {
                failures.push(format!("round {}: a block was never read", round.number));
            }
        }
        self.failures.append(&mut failures);
    }

    /// Figures for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for round in &self.rounds {
            let _infallible = writeln!(text, "{}", round.line());
        }
        let entries = self.entries_ms();
        let blocks: Vec<u64> = self
            .rounds
            .iter()
            .filter_map(|round| round.blocks_ms)
            .collect();
        let sum = |of: fn(&Judged) -> usize| {
            self.rounds
                .iter()
                .map(|round| of(&round.judged))
                .sum::<usize>()
        };
        let _infallible = writeln!(
            text,
            "{} on {} nodes, seed {}: {} rounds; entries median {} ms, worst {} ms; blocks median {} ms, worst {} ms; \
             {} calls explained, {} acknowledged, {} unknown",
            self.scenario,
            self.nodes,
            self.seed,
            self.rounds.len(),
            shown(median(&entries)),
            shown(entries.iter().max().copied()),
            shown(median(&blocks)),
            shown(blocks.iter().max().copied()),
            sum(|judged| judged.calls),
            sum(|judged| judged.acknowledged),
            sum(|judged| judged.unknown),
        );
        for failure in &self.failures {
            let _infallible = writeln!(text, "FAILED: {failure}");
        }
        text
    }
}

impl Round {
    /// The round in a line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{:>3}  {:<20} {:<4} {:>6} ms  entries {:>6} ms  blocks {:>6} ms  after {:>6} ms  whole {:>6} ms  {}",
            self.number,
            self.blow,
            self.victim,
            self.held_ms,
            self.entries.longest_ms,
            shown(self.blocks_ms),
            self.after.longest_ms,
            self.whole_ms,
            self.evidence,
        )
    }
}

fn shown(figure: Option<u64>) -> String {
    figure.map_or_else(|| "never".to_owned(), |figure| figure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(number: u32, entries: u64, blocks_ms: Option<u64>) -> Round {
        Round {
            number,
            blow: "kill leader".to_owned(),
            victim: "n1".to_owned(),
            held_ms: 1_500,
            evidence: "n1 led, now n2".to_owned(),
            entries: Silence {
                longest_ms: entries,
                all_again_ms: Some(entries),
                never: 0,
            },
            blocks_ms,
            after: Silence::default(),
            whole_ms: 900,
            judged: Judged {
                calls: 10,
                ..Judged::default()
            },
        }
    }

    fn report(rounds: Vec<Round>) -> Report {
        Report {
            scenario: "kill-leader".to_owned(),
            nodes: 3,
            seed: 7,
            rounds,
            failures: Vec::new(),
        }
    }

    const PROMISE: Promise = Promise {
        entries_median_ms: Some(1_500),
        entries_worst_ms: Some(3_000),
        blocks_worst_ms: Some(200),
    };

    #[test]
    fn promises_are_held_against_the_median_and_the_worst() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[5, 1, 3]), Some(3));
        let mut good = report(vec![
            round(1, 2_900, Some(20)),
            round(2, 900, Some(150)),
            round(3, 1_000, Some(1)),
        ]);
        good.hold(PROMISE);
        assert_eq!(good.failures, [""; 0]);
        assert!(
            good.text().contains(
                "entries median 1000 ms, worst 2900 ms; blocks median 20 ms, worst 150 ms"
            )
        );
        let mut bad = report(vec![round(1, 3_100, Some(201)), round(2, 1_600, None)]);
        bad.rounds[1].entries.never = 2;
        bad.hold(PROMISE);
        assert_eq!(bad.failures.len(), 5, "{:?}", bad.failures);
        let mut unpromised = bad.clone();
        unpromised.failures.clear();
        unpromised.hold(Promise::default());
        assert_eq!(unpromised.failures, [""; 0]);
    }

    #[test]
    fn a_report_is_one_flat_object_for_scripts() {
        let value = serde_json::to_value(report(vec![round(1, 900, None)])).unwrap();
        assert_eq!(value["rounds"][0]["entries"]["longest_ms"], 900);
        assert_eq!(value["rounds"][0]["calls"], 10);
        assert!(value["rounds"][0]["blocks_ms"].is_null());
        assert!(value["failures"].as_array().unwrap().is_empty());
    }
}
