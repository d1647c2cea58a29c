//! What came of the demo: counts, times, and everything that was not as it must be. It must never ask anybody.

use std::time::Duration;

use serde::Serialize;

use super::ask::{Caching, Said};

/// Accounts of what was not as it must be; more are only counted.
const TOLD_MAX: usize = 5;

/// Everything that was counted.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Prompts that were sent.
    pub(super) requests: u64,
    /// Those answered with a stored answer.
    pub(super) response_hits: u64,
    /// Those that reused a prefix.
    pub(super) prefix_hits: u64,
    /// Tokens that were not computed.
    pub(super) tokens_reused: u64,
    /// Tokens that were.
    pub(super) tokens_computed: u64,
    /// Times to the first token with the cache off.
    pub(super) cold: Vec<Duration>,
    /// Times to the first token over a prefix that another node had.
    pub(super) warm: Vec<Duration>,
    /// Times to the first token of stored answers.
    pub(super) stored: Vec<Duration>,
    /// Answers that equalled the one computed with the cache off.
    pub(super) answers_equal: u64,
    /// Answers of entries that were what was written last.
    pub(super) entries_right: u64,
    /// What each node's door answered.
    pub(super) doors: Vec<DoorTally>,
    /// How it went on while a node was killed.
    pub(super) kill: Kill,
    /// Answers that differed, and entries that were gone or not what was written.
    pub(super) wrong: Complaints,
    /// Requests that a node which runs did not answer, or refused.
    pub(super) failed: Complaints,
}

/// What one node's door answered.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct DoorTally {
    /// Prompts that could reuse something.
    pub(super) asked: u64,
    /// Those that did.
    pub(super) hits: u64,
}

/// The loss of a node in the middle of requests.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Kill {
    /// The node.
    pub(super) node: String,
    /// Slots that it owned.
    pub(super) slots_owned: u32,
    /// Entries of the demo that it owned.
    pub(super) entries_owned: u64,
    /// Requests for entries that were asked again because nobody could serve them for the moment.
    pub(super) tried_again: u64,
    /// Until it was killed.
    pub(super) before: Window,
    /// From then on.
    pub(super) after: Window,
}

/// A stream of requests for a while.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Window {
    /// Prompts that were sent.
    pub(super) questions: u64,
    /// Those that reused a prefix.
    pub(super) hits: u64,
    /// Entries that were written and read back at another node.
    pub(super) entries: u64,
    /// Writes whose owner was gone before it could say whether they were done; they were read, and done again.
    pub(super) in_doubt: u64,
    /// Requests that failed.
    pub(super) failed: u64,
    /// The longest that an entry was waited for, in milliseconds.
    pub(super) longest_entry_ms: f64,
}

/// Accounts of the same kind: all are counted, the first are told.
#[derive(Debug, Clone, Default)]
pub(super) struct Complaints {
    /// How many.
    pub(super) count: u64,
    /// The first of them.
    pub(super) told: Vec<String>,
}

impl Complaints {
    /// One more.
    pub(super) fn add(&mut self, told: String) {
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(told);
        }
    }
}

impl std::ops::AddAssign for Complaints {
    fn add_assign(&mut self, more: Self) {
        self.count += more.count;
        let room = TOLD_MAX.saturating_sub(self.told.len());
        self.told.extend(more.told.into_iter().take(room));
    }
}

impl Outcome {
    /// Counts an answer of a node's door.
    pub(super) fn count(&mut self, at: usize, said: &Said, caching: Caching<'_>) {
        self.requests += 1;
        self.response_hits += u64::from(said.cache == "response");
        self.prefix_hits += u64::from(said.cache == "prefix");
        self.tokens_reused += said.reused_tokens;
        self.tokens_computed += said.computed_tokens;
        if !matches!(caching, Caching::Off { .. }) {
            self.count_door(at, said.reused_tokens > 0);
        }
    }

    /// Counts what a door answered to a request that could reuse something.
    pub(super) fn count_door(&mut self, at: usize, hit: bool) {
        if self.doors.len() <= at {
            self.doors.resize(at + 1, DoorTally::default());
        }
        if let Some(door) = self.doors.get_mut(at) {
            door.asked += 1;
            door.hits += u64::from(hit);
        }
    }

    /// Holds an answer against the one computed with the cache off.
    pub(super) fn compare(&mut self, what: &str, cold: &str, warm: &str) {
        if cold == warm {
            self.answers_equal += 1;
        } else {
            self.wrong.add(format!(
                "{what}: the answer differs with and without the cache: {cold:?}, {warm:?}"
            ));
        }
    }

    /// Everything that was not as it must be, in sentences; nothing when all was well.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut all = self.wrong.told.clone();
        all.extend(self.failed.told.iter().cloned());
        let questions = self.warm.len();
        if self.warm.is_empty() || self.stored.len() < questions {
            all.push("hardly anything was asked".to_owned());
        }
        for (at, door) in self.doors.iter().enumerate().skip(1) {
            if door.hits == 0 {
                let number = at + 1;
                all.push(format!("node-{number} reused nothing"));
            }
        }
        for (when, window) in [("before", &self.kill.before), ("after", &self.kill.after)] {
            if window.hits < window.questions {
                let Window {
                    questions, hits, ..
                } = window;
                all.push(format!(
                    "{when} the kill only {hits} of {questions} questions reused the beginning"
                ));
            }
        }
        all
    }
}

/// The middle of the times; the mean of the two middles of an even number.
pub(super) fn median_ms(times: &[Duration]) -> f64 {
    let mut sorted: Vec<f64> = times
        .iter()
        .map(|time| time.as_secs_f64() * 1_000.0)
        .collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let ms = |list: &[u64]| -> Vec<Duration> {
            list.iter().copied().map(Duration::from_millis).collect()
        };
        assert!((median_ms(&ms(&[9, 1, 5])) - 5.0).abs() < 1e-9);
        assert!((median_ms(&ms(&[4, 2])) - 3.0).abs() < 1e-9);
        assert!(median_ms(&[]).abs() < 1e-9);
    }

    fn well() -> Outcome {
        let window = Window {
            questions: 4,
            hits: 4,
            ..Window::default()
        };
        Outcome {
            warm: vec![Duration::ZERO; 2],
            stored: vec![Duration::ZERO; 2],
            doors: vec![DoorTally { asked: 4, hits: 2 }; 4],
            kill: Kill {
                before: window,
                after: window,
                ..Kill::default()
            },
            ..Outcome::default()
        }
    }

    #[test]
    fn another_answer_a_failed_request_and_less_reuse_are_complaints() {
        let complaints = |change: &dyn Fn(&mut Outcome)| {
            let mut outcome = well();
            change(&mut outcome);
            outcome.complaints().len()
        };
        assert_eq!(complaints(&|_| {}), 0, "{:?}", well().complaints());
        assert_eq!(complaints(&|outcome| outcome.compare("x", "a", "a")), 0);
        assert_eq!(complaints(&|outcome| outcome.compare("x", "a", "b")), 1);
        assert_eq!(complaints(&|it| it.failed.add("no answer".to_owned())), 1);
        assert_eq!(complaints(&|outcome| outcome.stored.clear()), 1);
        assert_eq!(complaints(&|outcome| outcome.doors[3].hits = 0), 1);
        assert_eq!(complaints(&|outcome| outcome.doors[0].hits = 0), 0);
        assert_eq!(complaints(&|outcome| outcome.kill.after.hits = 3), 1);
        let many = |outcome: &mut Outcome| (0..9).for_each(|n| outcome.wrong.add(n.to_string()));
        assert_eq!(complaints(&many), TOLD_MAX);
        let mut sum = Complaints::default();
        sum.add("first".to_owned());
        let mut more = Complaints::default();
        (0..9).for_each(|n| more.add(n.to_string()));
        sum += more;
        assert_eq!((sum.count, sum.told.len()), (10, TOLD_MAX));
        assert_eq!(sum.told[..2], ["first", "0"]);
    }
}
