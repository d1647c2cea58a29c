//! One shard that tells of blocks: new ones at one end, the oldest dropped at the other.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use ultrakv_actors::{BootId, Clock};
use ultrakv_cache::{BlockAddress, BlockKey, PLACEMENT_RUN_BLOCKS};
use ultrakv_cluster::directory::{
    BATCH_RECORDS_MAX, BatchBuilder, Change, Form, Place, ReportOutcome, Section, Tier,
};
use ultrakv_cluster::metadata::{Command, DirectoryBatch, Done, Outcome};
use ultrakv_cluster::raft::Consensus;

/// Latencies are kept in microseconds, up to this many.
const LATENCY_US_MAX: u64 = 120_000_000;
/// A batch is sent when it is full, or when this long has passed: what a node's shards do.
const GATHER: Duration = Duration::from_millis(5);
/// Within this a batch is agreed on, or the measurement failed.
const WITHIN: Duration = Duration::from_secs(10);
/// Changes of one report, with the record before them.
const CHANGES_MAX: u64 = 1_300;

/// Latencies of records, in microseconds.
pub(crate) struct Figures {
    pub(crate) records: u64,
    pub(crate) failures: u64,
    /// How long the slowest batch took in µs, and when it was proposed in ms after the beginning.
    pub(crate) slowest: (u64, u64),
    /// From when a record's batch was proposed.
    pub(crate) proposed: Histogram<u64>,
    /// From when the oldest record of the batch came up: what gathering and waiting for the batch before add.
    pub(crate) due: Histogram<u64>,
}

impl Figures {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            records: 0,
            failures: 0,
            slowest: (0, 0),
            proposed: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
            due: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
        })
    }

    pub(crate) fn add(&mut self, other: &Self) -> Result<()> {
        self.records += other.records;
        self.failures += other.failures;
        self.slowest = self.slowest.max(other.slowest);
        self.proposed.add(&other.proposed)?;
        self.due.add(&other.due)?;
        Ok(())
    }
}

/// A shard's blocks are numbered; it holds those from `oldest` until before `next`.
pub(crate) struct Shard {
    pub(crate) boot: BootId,
    number: u64,
    sequence: u64,
    oldest: u64,
    next: u64,
}

/// Bytes that are spread like a digest's.
fn digest(shard: u64, block: u64) -> BlockKey {
    let mut bytes = [0; 32];
    let mut state = (shard << 48) ^ block.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for part in bytes.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        part.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    BlockKey::from_bytes(bytes)
}

impl Shard {
    pub(crate) fn new(boot: BootId, number: u64) -> Self {
        Self {
            boot,
            number,
            sequence: 0,
            oldest: 0,
            next: 0,
        }
    }

    pub(crate) const fn live(&self) -> u64 {
        self.next - self.oldest
    }

    fn place(&self, block: u64) -> Place {
        let run_blocks = u64::try_from(PLACEMENT_RUN_BLOCKS).unwrap_or(16);
        Place::of(&BlockAddress {
            key: digest(self.number, block),
            run: digest(self.number, block - block % run_blocks),
        })
    }

    fn add(&mut self) -> Result<Change> {
        let block = self.next;
        self.next += 1;
        let run_blocks = u64::try_from(PLACEMENT_RUN_BLOCKS).unwrap_or(16);
        let is_head = block > 0 && block.is_multiple_of(run_blocks);
        Ok(Change::Add {
            place: self.place(block),
            form: Form::new(Tier::Host, 0).context("no form")?,
            parent: is_head.then(|| self.place(block - 1)),
        })
    }

    fn remove(&mut self) -> Change {
        let place = self.place(self.oldest);
        self.oldest += 1;
        Change::Remove { place }
    }

    /// Tells one report, again and again until its fate is known; counts the failures.
    async fn tell(&mut self, consensus: &Consensus, changes: Vec<Change>) -> Result<u64> {
        self.sequence += 1;
        let mut batch = BatchBuilder::new();
        let report = Section::Report {
            boot: self.boot,
            sequence: self.sequence,
            changes,
        };
        ensure!(batch.push(&report), "a report did not fit a batch");
        let batch = batch.finish();
        let mut failures = 0;
        let deadline = consensus.clock().deadline(WITHIN);
        loop {
            let command = Command::Directory(DirectoryBatch(batch.clone()));
            match consensus.propose(vec![command], deadline).await {
                Ok(outcomes) => {
                    let Some(Outcome::Applied(Done::Directory(applied))) = outcomes.first() else {
                        anyhow::bail!("{outcomes:?}");
                    };
                    let told = applied.outcomes.iter().all(|(_, outcome)| {
                        matches!(outcome, ReportOutcome::Applied | ReportOutcome::Old)
                    });
                    ensure!(told && applied.refused == 0, "{applied:?}");
                    return Ok(failures);
                }
                Err(error) if consensus.clock().remaining(deadline).is_zero() => {
                    return Err(error.into());
                }
                Err(_) => failures += 1,
            }
        }
    }

    /// Adds so many blocks, in full batches.
    pub(crate) async fn fill(&mut self, consensus: &Consensus, blocks: u64) -> Result<()> {
        while self.live() < blocks {
            let count = CHANGES_MAX.min(blocks - self.live());
            let changes = (0..count).map(|_| self.add()).collect::<Result<_>>()?;
            self.tell(consensus, changes).await?;
        }
        Ok(())
    }

    /// Adds and removes at a pace, records a second, or as fast as it can without one.
    pub(crate) async fn churn(
        &mut self,
        consensus: &Consensus,
        pace: Option<u64>,
        lasting: Duration,
    ) -> Result<Figures> {
        ensure!(CHANGES_MAX < u64::try_from(BATCH_RECORDS_MAX)?, "too many");
        let mut figures = Figures::new()?;
        let clock = Clock::machine();
        let began = clock.stopwatch();
        while began.elapsed() < lasting {
            let elapsed_us = u64::try_from(began.elapsed().as_micros())?;
            // Where the next record comes up, and how many have by now.
            let (due_us, due) = match pace {
                None => (elapsed_us, CHANGES_MAX),
                Some(pace) => (
                    figures.records * 1_000_000 / pace,
                    elapsed_us * pace / 1_000_000 - figures.records,
                ),
            };
            let waited_us = elapsed_us.saturating_sub(due_us);
            let gather_us = u64::try_from(GATHER.as_micros())?;
            if pace.is_some() && due < CHANGES_MAX && waited_us < gather_us {
                tokio::time::sleep(Duration::from_micros(gather_us - waited_us)).await;
                continue;
            }
            let pairs = (due.min(CHANGES_MAX) / 2).max(1);
            let mut changes = Vec::with_capacity(usize::try_from(pairs * 2)?);
            for _ in 0..pairs {
                changes.push(self.add()?);
                changes.push(self.remove());
            }
            let asked = clock.stopwatch();
            figures.failures += self.tell(consensus, changes).await?;
            let took_us = u64::try_from(asked.elapsed().as_micros())?;
            let since_due_us = u64::try_from(began.elapsed().as_micros())?.saturating_sub(due_us);
            figures.slowest = figures.slowest.max((took_us, elapsed_us / 1000));
            figures.records += pairs * 2;
            figures.proposed.record_n(took_us, pairs * 2)?;
            figures.due.record_n(since_due_us, pairs * 2)?;
        }
        Ok(figures)
    }
}
