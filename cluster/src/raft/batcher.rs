//! Group commit on the leader: what was proposed meanwhile shares one log item.
//!
//! Responsible for a bounded queue, for control commands before directory records, and for never saying "not done" of
//! what may still be done. It must never know what a command does.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use openraft::Raft;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::control::ControlError;
use super::registry;
use super::types::{Batch, RaftTypes, Traced};
use crate::metadata::{Command, EntryBuilder, Outcome};

/// Commands that wait for a log item.
const WAITING_MAX: usize = 16_384;
/// And their bytes.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Log items that were proposed and are not committed: each holds 64 KiB at most.
const FLIGHT_MAX: usize = 64;
/// While this many are under way an item waits until it is full: the later ones cost a flush each and gain nothing.
const EAGER_MAX: usize = 2;
/// What is counted for a command beside its records.
const COMMAND_BYTES: usize = 512;

pub(super) type Answer = Result<Vec<Outcome>, ControlError>;

/// What became of one command.
enum Fate {
    Done(Outcome),
    /// It never reached the log.
    Not(ControlError),
    /// It may have.
    Unknown,
}

struct JobState {
    fates: Vec<Option<Fate>>,
    left: usize,
    is_taken: bool,
    is_gone: bool,
    answer: Option<oneshot::Sender<Answer>>,
}

/// The commands of one call. They may be spread over several log items.
struct Job(Mutex<JobState>);

impl Job {
    /// Takes it for a log item, unless its caller left before.
    fn take(&self) -> bool {
        let mut state = self.0.lock();
        state.is_taken = !state.is_gone;
        state.is_taken
    }

    /// The caller leaves; whether nothing of it was or will be proposed.
    fn leave(&self) -> bool {
        let mut state = self.0.lock();
        state.is_gone = !state.is_taken;
        state.is_gone
    }

    fn settle(&self, place: usize, fate: Fate) {
        let mut state = self.0.lock();
        let Some(slot) = state.fates.get_mut(place).filter(|slot| slot.is_none()) else {
            return;
        };
        *slot = Some(fate);
        state.left -= 1;
        if state.left == 0
            && let Some(answer) = state.answer.take()
        {
            let fates = std::mem::take(&mut state.fates);
            // A caller that left is told nothing.
            let _ = answer.send(sum(fates));
        }
    }
}

/// All done, or certainly none done, or not known.
fn sum(fates: Vec<Option<Fate>>) -> Answer {
    let mut outcomes = Vec::with_capacity(fates.len());
    let (mut refused, count) = (None, fates.len());
    let mut refusals = 0;
    for fate in fates {
        match fate {
            Some(Fate::Done(outcome)) => outcomes.push(outcome),
            Some(Fate::Not(error)) => {
                refusals += 1;
                refused = Some(error);
            }
            Some(Fate::Unknown) | None => return Err(ControlError::Unknown),
        }
    }
    match refused {
        None => Ok(outcomes),
        Some(error) if refusals == count => Err(error),
        Some(_) => Err(ControlError::Unknown),
    }
}

/// One command's claim to a fate. Whatever drops it unsettled leaves its fate unknown, so nobody waits for ever.
struct Claim {
    job: Arc<Job>,
    place: usize,
}

impl Claim {
    fn settle(self, fate: Fate) {
        self.job.settle(self.place, fate);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.job.settle(self.place, Fate::Unknown);
    }
}

struct Item {
    command: Command,
    bytes: usize,
    claim: Claim,
}

#[derive(Default)]
struct Waiting {
    control: VecDeque<Item>,
    records: VecDeque<Item>,
    bytes: usize,
    is_closed: bool,
}

impl Waiting {
    fn pop(&mut self) -> Option<Item> {
        let item = self
            .control
            .pop_front()
            .or_else(|| self.records.pop_front())?;
        self.bytes = self.bytes.saturating_sub(item.bytes);
        Some(item)
    }

    fn unpop(&mut self, item: Item) {
        self.bytes = self.bytes.saturating_add(item.bytes);
        if item.command.is_control() {
            self.control.push_front(item);
        } else {
            self.records.push_front(item);
        }
    }
}

/// Commands that wait to be proposed.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    news: Notify,
}

/// A caller's place in the queue.
pub(super) struct Ticket {
    job: Arc<Job>,
    answer: oneshot::Receiver<Answer>,
}

impl Ticket {
    /// The answer, once all its log items are applied.
    pub(super) async fn answer(&mut self) -> Answer {
        let answer = (&mut self.answer).await;
        answer.unwrap_or(Err(ControlError::Unknown))
    }

    /// The caller waits no longer.
    pub(super) fn leave(&self) -> ControlError {
        if self.job.leave() {
            ControlError::Deadline
        } else {
            ControlError::Unknown
        }
    }
}

impl Queue {
    /// Takes commands, all or none.
    pub(super) fn push(&self, commands: Vec<Command>) -> Result<Ticket, ControlError> {
        let (sender, answer) = oneshot::channel();
        let count = commands.len();
        let job = Arc::new(Job(Mutex::new(JobState {
            fates: (0..count).map(|_| None).collect(),
            left: count,
            is_taken: false,
            is_gone: false,
            answer: Some(sender),
        })));
        let size = |command: &Command| match command {
            Command::Directory(batch) => batch.0.len().saturating_add(COMMAND_BYTES),
            _ => COMMAND_BYTES,
        };
        let bytes: usize = commands.iter().map(size).sum();
        let mut waiting = self.waiting.lock();
        if waiting.is_closed {
            return Err(ControlError::Unavailable);
        }
        let items = waiting.control.len() + waiting.records.len();
        if items + count > WAITING_MAX || waiting.bytes + bytes > WAITING_BYTES_MAX {
            metrics::counter!("ultrakv_raft_proposals_busy_total").increment(1);
            return Err(ControlError::Busy);
        }
        for (place, command) in commands.into_iter().enumerate() {
            let item = Item {
                bytes: size(&command),
                command,
                claim: Claim {
                    job: Arc::clone(&job),
                    place,
                },
            };
            waiting.bytes += item.bytes;
            if item.command.is_control() {
                waiting.control.push_back(item);
            } else {
                waiting.records.push_back(item);
            }
        }
        drop(waiting);
        self.news.notify_one();
        Ok(Ticket { job, answer })
    }

    /// Fails everything that waits, and whatever comes later.
    pub(super) fn close(&self) {
        let closed = Waiting {
            is_closed: true,
            ..Waiting::default()
        };
        let waiting = std::mem::replace(&mut *self.waiting.lock(), closed);
        for item in waiting.control.into_iter().chain(waiting.records) {
            item.claim.settle(Fate::Not(ControlError::Unavailable));
        }
    }
}

/// A log item that is being filled.
#[derive(Default)]
struct Filling {
    builder: EntryBuilder,
    /// Whose commands are in it, in the order in which they were pushed.
    claims: Vec<Claim>,
    is_full: bool,
}

impl Filling {
    /// Fills it from what waits.
    fn fill(&mut self, queue: &Queue) {
        let mut waiting = queue.waiting.lock();
        while let Some(item) = waiting.pop() {
            if !item.claim.job.take() {
                continue;
            }
            if self.builder.push(&item.command) {
                self.claims.push(item.claim);
            } else if self.builder.is_empty() {
                item.claim.settle(Fate::Not(ControlError::TooLarge));
            } else {
                self.is_full = true;
                waiting.unpop(item);
                return;
            }
        }
    }
}

/// Proposes what waits, for as long as the node lives.
pub(super) async fn run(raft: Raft<RaftTypes>, queue: Arc<Queue>) {
    let mut flight = FuturesUnordered::new();
    let mut filling = Filling::default();
    loop {
        filling.fill(&queue);
        let is_eager = flight.len() < EAGER_MAX || filling.is_full;
        if !filling.builder.is_empty() && is_eager && flight.len() < FLIGHT_MAX {
            let full = std::mem::take(&mut filling);
            // Here and not in the flight, so that items reach the log in the order in which they were filled.
            flight.push(propose(&raft, full).await);
            continue;
        }
        tokio::select! {
            biased;
            Some(()) = flight.next() => {}
            () = queue.news.notified() => {}
        }
    }
}

/// Gives one log item to consensus; what remains is to wait for what becomes of it.
async fn propose(raft: &Raft<RaftTypes>, filling: Filling) -> impl Future<Output = ()> + use<> {
    let (bytes, order) = filling.builder.finish();
    metrics::counter!("ultrakv_raft_entries_proposed_total").increment(1);
    metrics::counter!("ultrakv_raft_commands_proposed_total")
        .increment(u64::try_from(order.len()).unwrap_or(u64::MAX));
    let given = match Batch::new(Bytes::from(bytes)) {
        Ok(batch) => {
            let (batch, trace) = batch.traced();
            let given = raft.client_write_ff(batch).await;
            given.map(|answer| (answer, trace)).map_err(|fatal| {
                let reason = fatal.to_string();
                ControlError::Fatal { reason }
            })
        }
        Err(_) => Err(ControlError::TooLarge),
    };
    let mut claims: Vec<_> = filling.claims.into_iter().map(Some).collect();
    async move {
        let fates = match given {
            Ok((answer, trace)) => fates(answer.await.ok(), &trace, order.len()),
            Err(error) => all(order.len(), || Fate::Not(error.clone())),
        };
        for (pushed, fate) in order.into_iter().zip(fates) {
            if let Some(claim) = claims.get_mut(pushed).and_then(Option::take) {
                claim.settle(fate);
            }
        }
    }
}

fn all(count: usize, fate: impl Fn() -> Fate) -> Vec<Fate> {
    (0..count).map(|_| fate()).collect()
}

/// The fates of an item's commands, in their order in it.
fn fates(written: Option<ClientWriteResult<RaftTypes>>, trace: &Traced, count: usize) -> Vec<Fate> {
    match written {
        Some(Ok(response)) => match registry::outcomes(&response.data.0) {
            Some(outcomes) if outcomes.len() == count => {
                outcomes.into_iter().map(Fate::Done).collect()
            }
            _ => all(count, || Fate::Unknown),
        },
        Some(Err(_)) if !trace.is_logged() => all(count, || {
            Fate::Not(ControlError::NotLeader { leader: None })
        }),
        _ => all(count, || Fate::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{DirectoryBatch, Done};

    fn fate(done: bool) -> Option<Fate> {
        Some(if done {
            Fate::Done(Outcome::Applied(Done::Set))
        } else {
            Fate::Not(ControlError::Busy)
        })
    }

    #[test]
    fn a_call_is_not_done_only_when_no_part_of_it_may_be() {
        assert_eq!(sum(vec![fate(true), fate(true)]).unwrap().len(), 2);
        assert_eq!(sum(vec![fate(false)]), Err(ControlError::Busy));
        assert_eq!(
            sum(vec![fate(false), fate(true)]),
            Err(ControlError::Unknown)
        );
        for other in [Some(Fate::Unknown), None] {
            assert_eq!(sum(vec![fate(false), other]), Err(ControlError::Unknown));
        }
    }

    #[test]
    fn control_goes_first_and_who_left_in_time_is_never_proposed() {
        let queue = Queue::default();
        let records = || Command::Directory(DirectoryBatch(vec![1; 60 << 10]));
        let raise = Command::VersionRaise { from: 1, to: 2 };
        let first = queue.push(vec![records(), records()]).unwrap();
        let left = queue.push(vec![raise.clone()]).unwrap();
        assert_eq!(left.leave(), ControlError::Deadline);
        let late = queue.push(vec![raise]).unwrap();
        let mut filling = Filling::default();
        filling.fill(&queue);
        assert_eq!(filling.claims.len(), 2, "one control command, one batch");
        assert!(filling.is_full && Arc::ptr_eq(&filling.claims[0].job, &late.job));
        assert_eq!(first.leave(), ControlError::Unknown);
        assert_eq!(late.leave(), ControlError::Unknown);
    }

    #[test]
    fn the_queue_is_bounded_by_bytes() {
        let queue = Queue::default();
        let records = || Command::Directory(DirectoryBatch(vec![1; 60 << 10]));
        let taken = (0..10_000).take_while(|_| queue.push(vec![records()]).is_ok());
        let taken = taken.count();
        assert!((500..600).contains(&taken), "{taken}");
        let mut filling = Filling::default();
        filling.fill(&queue);
        assert!(queue.push(vec![records()]).is_ok(), "there is room again");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_batcher_that_is_gone() {
        let queue = Queue::default();
        let raise = || Command::VersionRaise { from: 1, to: 2 };
        let mut taken = queue.push(vec![raise()]).unwrap();
        let mut filling = Filling::default();
        filling.fill(&queue);
        let mut waiting = queue.push(vec![raise()]).unwrap();
        drop(filling);
        assert_eq!(taken.answer().await, Err(ControlError::Unknown));
        queue.close();
        assert_eq!(waiting.answer().await, Err(ControlError::Unavailable));
        let late = queue.push(vec![raise()]).map(drop);
        assert_eq!(late, Err(ControlError::Unavailable));
    }
}
