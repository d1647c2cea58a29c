//! The thread that writes: it takes what is queued, writes it in order, flushes once and then acknowledges all of it.
//!
//! A flush blocks for as long as the disk likes, which no thread of the runtime may do. This module must never know what
//! the items are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use ultrakv_actors::Clock;

use super::disk::Pair;
use super::{Disk, DiskError, LogError};

/// Jobs that wait for the thread; consensus waits for each of its own, so few are ever queued.
const QUEUE_MAX: usize = 256;
/// Jobs that share one flush.
const GROUP_MAX: usize = 64;
/// Leftovers that are removed in one step: a job that comes meanwhile waits for them.
const LEFTOVERS_STEP: usize = 16;
/// Buckets of the histogram: bucket n holds flushes of less than 2^n µs.
const BUCKETS: usize = 32;

/// What is put and what is removed, all or nothing.
type Step = (Vec<Pair>, Vec<Vec<u8>>);

/// What one job asks for; its parts are written one by one, and durable together.
struct Job {
    /// Each is written all or nothing, in this order.
    steps: Vec<Step>,
    /// Keys that are removed when there is time. A crash may leave them.
    leftovers: Vec<Vec<u8>>,
    /// Nobody waits for a hint: it becomes durable with whatever is flushed next.
    done: Option<oneshot::Sender<Result<(), LogError>>>,
}

/// How long flushes took, in buckets of powers of two.
#[derive(Clone, Debug, Default)]
pub struct FlushFigures {
    buckets: [u64; BUCKETS],
}

impl FlushFigures {
    fn record(&mut self, took_us: u64) {
        let bits = u64::BITS - took_us.leading_zeros();
        let bucket = usize::try_from(bits).unwrap_or(BUCKETS).min(BUCKETS - 1);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
    }

    /// How many flushes were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time that this many of a thousand flushes stayed under, in µs, rounded up to a power of two; 0 without any.
    #[must_use]
    pub fn under_us(&self, of_thousand: u64) -> u64 {
        let wanted = (self.count() * of_thousand).div_ceil(1000);
        let mut seen = 0;
        for (bits, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return 1 << bits;
            }
        }
        0
    }
}

/// The thread's other end.
pub(super) struct Writer {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    figures: Arc<Mutex<FlushFigures>>,
}

impl Writer {
    pub(super) fn start(disk: Arc<dyn Disk>, clock: Clock) -> Result<Self, LogError> {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let figures = Arc::new(Mutex::new(FlushFigures::default()));
        let thread_figures = Arc::clone(&figures);
        let thread = thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || write_all(&*disk, &clock, &jobs, &thread_figures))
            .map_err(|source| DiskError {
                doing: "start the writing thread",
                source,
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            figures,
        })
    }

    pub(super) fn figures(&self) -> FlushFigures {
        self.figures.lock().clone()
    }

    /// Queues a job; the answer comes when it is durable.
    pub(super) fn submit(
        &self,
        steps: Vec<Step>,
    ) -> Result<oneshot::Receiver<Result<(), LogError>>, LogError> {
        let (done, answer) = oneshot::channel();
        self.send(Job {
            steps,
            leftovers: Vec::new(),
            done: Some(done),
        })?;
        Ok(answer)
    }

    /// Queues what is written in its turn, and durable with whatever is flushed next.
    pub(super) fn hint(&self, step: Step) -> Result<(), LogError> {
        self.send(Job {
            steps: vec![step],
            leftovers: Vec::new(),
            done: None,
        })
    }

    /// Has keys removed little by little, between what is waited for: removing many at once would hold up everything.
    pub(super) fn remove_later(&self, leftovers: Vec<Vec<u8>>) -> Result<(), LogError> {
        self.send(Job {
            steps: Vec::new(),
            leftovers,
            done: None,
        })
    }

    fn send(&self, job: Job) -> Result<(), LogError> {
        let queue = self.queue.as_ref().ok_or(LogError::Closed)?;
        queue.try_send(job).map_err(|_| LogError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is to be removed when there is time.
#[derive(Default)]
struct Leftovers(VecDeque<Vec<u8>>);

impl Leftovers {
    fn remove_some(&mut self, disk: &dyn Disk) -> Result<(), DiskError> {
        let some: Vec<_> = self.0.drain(..LEFTOVERS_STEP.min(self.0.len())).collect();
        if some.is_empty() {
            return Ok(());
        }
        disk.write(Vec::new(), some)
    }

    /// The next job; removes while there is none.
    fn until_job(&mut self, disk: &dyn Disk, jobs: &Receiver<Job>) -> Option<Job> {
        while !self.0.is_empty() {
            match jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {
                    if let Err(error) = self.remove_some(disk) {
                        // The next write fails as well, and somebody waits for that.
                        tracing::warn!(%error, "purged items are left until the next start");
                        self.0.clear();
                    }
                }
            }
        }
        jobs.recv().ok()
    }
}

fn write_all(disk: &dyn Disk, clock: &Clock, jobs: &Receiver<Job>, figures: &Mutex<FlushFigures>) {
    let mut leftovers = Leftovers::default();
    while let Some(first) = leftovers.until_job(disk, jobs) {
        let mut waiting = Vec::new();
        let mut written = Ok(());
        let group = std::iter::once(first).chain(jobs.try_iter().take(GROUP_MAX - 1));
        for job in group {
            waiting.extend(job.done);
            leftovers.0.extend(job.leftovers);
            for (put, remove) in job.steps {
                written = written.and_then(|()| disk.write(put, remove));
            }
        }
        if waiting.is_empty() && written.is_ok() {
            continue;
        }
        let flushing = clock.stopwatch();
        let outcome = written.and_then(|()| disk.flush());
        let took = flushing.elapsed();
        figures
            .lock()
            .record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        metrics::histogram!("ultrakv_raft_flush_seconds").record(took.as_secs_f64());
        let outcome = outcome.and_then(|()| {
            for done in waiting.drain(..) {
                let _ = done.send(Ok(()));
            }
            leftovers.remove_some(disk)
        });
        if let Err(error) = outcome {
            tracing::error!(%error, "the store of logs and votes failed; this member stops");
            // What is durable is unknown now, so nothing more is written: later jobs find the queue closed.
            for done in waiting {
                let _ = done.send(Err(LogError::Disk(DiskError {
                    doing: error.doing,
                    source: error.source.kind().into(),
                })));
            }
            return;
        }
    }
}
