//! Records what live clients were told, and judges it: wrong bytes, and histories that no order explains.
//!
//! It must never know through which door an answer came.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use parking_lot::Mutex;
use ultrakv_actors::clock::{Clock, Stopwatch};

use crate::history::{CallId, History, Op, Outcome};
use crate::linear::{self, Checked};
use crate::network::Us;

/// Calls that one history holds; the judge's work grows with them.
pub const CALLS_MAX: usize = 200_000;

/// Bytes came back that no writer stored under that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("wrong bytes under {name}: {what}")]
pub struct WrongBytes {
    /// The name that was asked for.
    pub name: String,
    /// What is wrong with them.
    pub what: String,
}

/// What a run showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What the judge looked at.
    pub checked: Checked,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Reads that found a value.
    pub found: usize,
    /// Calls of which nobody knows what came of them.
    pub unknown: usize,
    /// Blocks whose bytes were compared and right.
    pub blocks_right: u64,
}

/// Shared by all clients of a run.
pub struct Recorder {
    history: Mutex<History>,
    stopwatch: Stopwatch,
    values: AtomicU64,
    blocks_right: AtomicU64,
    wrong: Mutex<Vec<WrongBytes>>,
}

impl Recorder {
    /// An empty record that begins now.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            history: Mutex::new(History::new()),
            stopwatch: clock.stopwatch(),
            values: AtomicU64::new(1),
            blocks_right: AtomicU64::new(0),
            wrong: Mutex::new(Vec::new()),
        }
    }

    /// A value that no other write of this run has.
    pub fn fresh_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    fn now(&self) -> Us {
        Us(u64::try_from(self.stopwatch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Notes a call, makes it, and notes its answer. Beyond [`CALLS_MAX`] nothing is called and false returned.
    pub fn call(
        &self,
        client: u32,
        key: u32,
        op: Op,
        make: impl FnOnce() -> Result<Outcome, WrongBytes>,
    ) -> bool {
        let at = self.now();
        let id: CallId = {
            let mut history = self.history.lock();
            if history.calls().len() >= CALLS_MAX {
                return false;
            }
            history.invoke(client, key, op, at)
        };
        match make() {
            // An unknown call stays open: it may still take effect.
            Ok(Outcome::Unknown) => {}
            Ok(outcome) => {
                let at = self.now();
                self.history.lock().complete(id, outcome, at);
            }
            Err(wrong) => self.wrong.lock().push(wrong),
        }
        true
    }

    /// Notes what reading a block gave: its bytes were right, or wrong.
    pub fn block(&self, read: Result<(), WrongBytes>) {
        match read {
            Ok(()) => {
                self.blocks_right.fetch_add(1, Ordering::Relaxed);
            }
            Err(wrong) => self.wrong.lock().push(wrong),
        }
    }

    /// How many writes were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let history = self.history.lock();
        history.count(|call| call.op != Op::Read && call.outcome == Outcome::Done)
    }

    /// Judges everything.
    ///
    /// # Errors
    /// Wrong bytes; a history that no order explains, which is also how a lost acknowledged write shows; and a run in which
    /// no write was acknowledged or no read found anything, for it has shown nothing.
    pub fn judge(&self) -> Result<Verdict> {
        if let Some(wrong) = self.wrong.lock().first() {
            bail!(wrong.clone());
        }
        let history = self.history.lock();
        let checked = linear::check(&history)?;
        let verdict = Verdict {
            checked,
            acknowledged: history
                .count(|call| call.op != Op::Read && call.outcome == Outcome::Done),
            found: history.count(|call| matches!(call.outcome, Outcome::Value(Some(_)))),
            unknown: history.count(|call| call.outcome == Outcome::Unknown),
            blocks_right: self.blocks_right.load(Ordering::Relaxed),
        };
        if verdict.acknowledged == 0 || verdict.found == 0 {
            bail!("the run has shown nothing: {verdict:?}");
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> Recorder {
        Recorder::new(&Clock::machine())
    }

    #[test]
    fn a_lost_acknowledged_write_is_found() {
        let record = recorder();
        record.call(1, 0, Op::Write(1), || Ok(Outcome::Done));
        record.call(1, 0, Op::Read, || Ok(Outcome::Value(Some(1))));
        assert_eq!(record.judge().unwrap().acknowledged, 1);
        record.call(2, 0, Op::Read, || Ok(Outcome::Value(None)));
        assert!(record.judge().is_err());
    }

    #[test]
    fn an_unknown_write_may_show_later_or_never() {
        for seen in [Some(1), Some(2)] {
            let record = recorder();
            record.call(1, 0, Op::Write(1), || Ok(Outcome::Done));
            record.call(1, 0, Op::Write(2), || Ok(Outcome::Unknown));
            record.call(2, 0, Op::Read, || Ok(Outcome::Value(seen)));
            assert_eq!(record.judge().unwrap().unknown, 1);
        }
    }

    #[test]
    fn wrong_bytes_and_empty_runs_fail() {
        let record = recorder();
        assert!(
            record
                .judge()
                .unwrap_err()
                .to_string()
                .contains("shown nothing")
        );
        record.call(1, 0, Op::Write(1), || Ok(Outcome::Done));
        record.call(1, 0, Op::Read, || Ok(Outcome::Value(Some(1))));
        record.block(Ok(()));
        assert_eq!(record.judge().unwrap().blocks_right, 1);
        record.block(Err(WrongBytes {
            name: "b".to_owned(),
            what: "torn".to_owned(),
        }));
        assert!(record.judge().is_err());
    }
}
