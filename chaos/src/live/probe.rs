//! Probes: clients that ask the same few things through one door all the time, so that every silence is seen to the
//! millisecond.
//!
//! Responsible for asking and for what the silences mean as figures. It must never know which fault is on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use ultrakv_actors::clock::{Clock, Stopwatch};

use super::load::{Traffic, read_block};
use super::record::Recorder;
use crate::history::{Op, Outcome};

/// Between the answer to one question and the next question.
const PAUSE: Duration = Duration::from_millis(10);
/// Clients' numbers in histories begin here, away from the load's.
const FIRST_CLIENT: u32 = 1_000;

/// Microseconds since a run began.
pub type Us = u64;

/// The time of a run, the same for everybody who looks.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    stopwatch: Stopwatch,
}

impl Timeline {
    /// It begins now.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            stopwatch: clock.stopwatch(),
        }
    }

    /// How long ago it began.
    #[must_use]
    pub fn now(&self) -> Us {
        u64::try_from(self.stopwatch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What a probe asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// To write this entry.
    Write(u32),
    /// To read it.
    Read(u32),
    /// To read this block, by its place in the list of blocks.
    Block(usize),
}

/// One question and when it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Through which door.
    pub door: usize,
    /// What was wished for.
    pub wish: Wish,
    /// When it was asked.
    pub began: Us,
    /// When it was answered, or given up.
    pub ended: Us,
    /// Whether it was answered as wished.
    pub fulfilled: bool,
}

/// What several probes saw.
#[derive(Debug, Default)]
pub struct Sightings {
    seen: Mutex<Vec<Sighting>>,
}

/// What one door is asked for.
pub struct Probe<'run> {
    /// Its number.
    pub door: usize,
    /// The way in.
    pub traffic: &'run dyn Traffic,
    /// Entries, each written and read by a client of its own.
    pub keys: Vec<u32>,
    /// Blocks that all doors read in turn.
    pub blocks: &'run [String],
    /// Bytes of each.
    pub block_bytes: usize,
    /// What the blocks' bytes follow from.
    pub seed: u64,
}

/// Everything that probes share.
#[derive(Clone, Copy)]
pub struct Watch<'run> {
    /// The time.
    pub timeline: Timeline,
    /// What was seen.
    pub sightings: &'run Sightings,
    /// Every answer, for the judge.
    pub record: &'run Recorder,
    /// Set when it is over.
    pub stop: &'run AtomicBool,
}

impl Watch<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, door: usize, wish: Wish, began: Us, fulfilled: bool) {
        let ended = self.timeline.now();
        self.sightings.seen.lock().push(Sighting {
            door,
            wish,
            began,
            ended,
            fulfilled,
        });
    }
}

impl<'run> Probe<'run> {
    /// Asks until it is over, on threads of `scope`.
    pub fn spawn<'scope>(self, scope: &'scope thread::Scope<'scope, '_>, watch: Watch<'run>)
    where
        'run: 'scope,
    {
        let Self {
            door,
            traffic,
            keys,
            blocks,
            block_bytes,
            seed,
        } = self;
        for key in keys {
            scope.spawn(move || ask_for_entry(watch, door, traffic, key));
        }
        if !blocks.is_empty() {
            scope.spawn(move || {
                for (at, name) in blocks.iter().enumerate().cycle() {
                    if watch.is_over() {
                        return;
                    }
                    let began = watch.timeline.now();
                    let read = read_block(seed, name, block_bytes, traffic);
                    watch.note(door, Wish::Block(at), began, matches!(read, Ok(true)));
                    match read {
                        Ok(true) => watch.record.block(Ok(())),
                        Ok(false) => {}
                        Err(wrong) => watch.record.block(Err(wrong)),
                    }
                    thread::sleep(PAUSE);
                }
            });
        }
    }
}

fn ask_for_entry(watch: Watch<'_>, door: usize, traffic: &dyn Traffic, key: u32) {
    let client = FIRST_CLIENT.saturating_add(key);
    while !watch.is_over() {
        for (op, wish) in [
            (Op::Write(watch.record.fresh_value()), Wish::Write(key)),
            (Op::Read, Wish::Read(key)),
        ] {
            let began = watch.timeline.now();
            let mut served = false;
            watch.record.call(client, key, op, || {
                let outcome = traffic.entry(key, op)?;
                served = matches!(outcome, Outcome::Done | Outcome::Value(Some(_)));
                Ok(outcome)
            });
            watch.note(door, wish, began, served);
            thread::sleep(PAUSE);
        }
    }
}

/// What a fault did to those who asked, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Silence {
    /// The longest time for which some wish went unfulfilled at some door.
    pub longest_ms: u64,
    /// From the fault to the last of all wishes' first fulfilments; none when one was never fulfilled.
    pub all_again_ms: Option<u64>,
    /// Wishes at doors that were never fulfilled after the fault.
    pub never: usize,
}

impl Sightings {
    /// Whether every one of these wishes was fulfilled at its door by a question asked at `from` or later.
    #[must_use]
    pub fn all_since(&self, wishes: &[(usize, Wish)], from: Us) -> bool {
        let seen = self.seen.lock();
        wishes.iter().all(|(door, wish)| {
            let mut newest_first = seen.iter().rev();
            newest_first.any(|seen| seen.is(*door, *wish) && seen.fulfilled && seen.began >= from)
        })
    }

    /// How long these wishes went unfulfilled between `from`, when something happened, and `until`.
    ///
    /// Questions asked before `from` count for nothing afterwards. What is never fulfilled has been silent until the end.
    #[must_use]
    pub fn silence(&self, wishes: &[(usize, Wish)], from: Us, until: Us) -> Silence {
        let seen = self.seen.lock();
        let mut silence = Silence {
            all_again_ms: Some(0),
            ..Silence::default()
        };
        for (door, wish) in wishes {
            let ends = seen
                .iter()
                .filter(|seen| seen.is(*door, *wish) && seen.fulfilled)
                .filter(|seen| seen.began >= from && seen.ended <= until)
                .map(|seen| seen.ended);
            let (mut last, mut first, mut longest) = (from, None, 0);
            for end in ends {
                longest = longest.max(end.saturating_sub(last));
                last = last.max(end);
                first.get_or_insert(end.saturating_sub(from));
            }
            match first {
                Some(first) => {
                    let so_far = silence.all_again_ms;
                    silence.all_again_ms = so_far.map(|so_far| so_far.max(first / 1_000));
                }
                None => {
                    longest = until.saturating_sub(from);
                    silence.all_again_ms = None;
                    silence.never += 1;
                }
            }
            silence.longest_ms = silence.longest_ms.max(longest / 1_000);
        }
        silence
    }

    /// The longest that somebody who had asked, or asked, between `from` and `until` waited for one of these wishes: from the
    /// first question, or from `from` when it was under way then, to the fulfilment. Probes that ask for many things in turn are
    /// judged so. None when a wish was asked for and never fulfilled, or never asked for.
    #[must_use]
    pub fn longest_wait_ms(&self, wishes: &[(usize, Wish)], from: Us, until: Us) -> Option<u64> {
        let seen = self.seen.lock();
        let mut longest = 0;
        for (door, wish) in wishes {
            let asked = seen.iter().filter(|seen| seen.is(*door, *wish));
            let mut asked = asked
                .filter(|seen| seen.ended >= from && seen.ended <= until)
                .peekable();
            let began = asked.peek()?.began.max(from);
            let fulfilled = asked.find(|seen| seen.fulfilled)?;
            longest = longest.max(fulfilled.ended.saturating_sub(began) / 1_000);
        }
        Some(longest)
    }
}

impl Sighting {
    fn is(&self, door: usize, wish: Wish) -> bool {
        self.door == door && self.wish == wish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Us = 1_000;

    fn sightings(rows: &[(usize, Wish, Us, Us)]) -> Sightings {
        let sightings = Sightings::default();
        for (door, wish, began, ended) in rows {
            sightings.seen.lock().push(Sighting {
                door: *door,
                wish: *wish,
                began: *began * MS,
                ended: *ended * MS,
                fulfilled: true,
            });
        }
        sightings
    }

    #[test]
    fn a_silence_lasts_from_the_fault_to_the_first_answer_to_a_later_question() {
        let seen = sightings(&[
            (0, Wish::Write(1), 80, 90),
            // Asked before the fault at 100: says nothing about the time after it.
            (0, Wish::Write(1), 95, 130),
            (0, Wish::Write(1), 140, 700),
            (0, Wish::Write(1), 710, 720),
            (1, Wish::Write(1), 110, 120),
            (1, Wish::Write(1), 300, 310),
        ]);
        let one = [(0, Wish::Write(1))];
        let both = [(0, Wish::Write(1)), (1, Wish::Write(1))];
        assert_eq!(
            seen.silence(&one, 100 * MS, 1_000 * MS),
            Silence {
                longest_ms: 600,
                all_again_ms: Some(600),
                never: 0
            }
        );
        assert_eq!(
            seen.silence(&both[1..], 100 * MS, 1_000 * MS).longest_ms,
            190
        );
        assert_eq!(
            seen.silence(&both, 100 * MS, 1_000 * MS).all_again_ms,
            Some(600)
        );
        assert!(seen.all_since(&both, 100 * MS));
        assert!(!seen.all_since(&both, 301 * MS));
        let absent = [(0, Wish::Read(1)), (1, Wish::Write(1))];
        assert_eq!(
            seen.silence(&absent, 100 * MS, 1_000 * MS),
            Silence {
                longest_ms: 900,
                all_again_ms: None,
                never: 1
            }
        );
    }

    #[test]
    fn an_outage_that_begins_late_is_as_long_as_one_that_begins_at_once() {
        // Served until 400 under a tenure that ran on, then not until 1 200.
        let mut rows: Vec<_> = (0..40)
            .map(|at| (0, Wish::Read(1), at * 10, at * 10 + 5))
            .collect();
        rows.push((0, Wish::Read(1), 1_190, 1_200));
        let seen = sightings(&rows);
        let silence = seen.silence(&[(0, Wish::Read(1))], 100 * MS, 2_000 * MS);
        assert_eq!((silence.longest_ms, silence.all_again_ms), (805, Some(5)));
    }

    #[test]
    fn what_is_read_in_turn_is_judged_by_how_long_each_reader_waits() {
        let seen = sightings(&[
            (0, Wish::Block(0), 90, 95),
            (0, Wish::Block(0), 200, 350),
            (0, Wish::Block(1), 360, 365),
            (0, Wish::Block(0), 370, 900),
            // Under way when it happened.
            (1, Wish::Block(0), 50, 280),
            (1, Wish::Block(1), 290, 300),
            (1, Wish::Block(1), 400, 410),
        ]);
        // A miss first: the reader waits until it is there.
        seen.seen.lock()[5].fulfilled = false;
        let wait = |rows: &[(usize, Wish)]| seen.longest_wait_ms(rows, 100 * MS, 1_000 * MS);
        assert_eq!(wait(&[(0, Wish::Block(0)), (0, Wish::Block(1))]), Some(150));
        assert_eq!(wait(&[(1, Wish::Block(0))]), Some(180));
        assert_eq!(wait(&[(1, Wish::Block(1))]), Some(120));
        assert_eq!(wait(&[(0, Wish::Block(0)), (0, Wish::Block(2))]), None);
    }
}
