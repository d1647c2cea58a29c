//! What a node's own parts ask of Raft, each without waiting: changes of slots, and batches of the directory.
//!
//! Responsible for gathering many small questions into few, and for the bound on those that wait. What is lost is asked
//! again by who asked. It must never know why anything is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::block::{RecordSink, SinkError};
use crate::directory::Applied;
use crate::duty::Failed;
use crate::entry::{Proposal, Proposer};
use crate::metadata::{Command, DirectoryBatch, Done, Outcome, SlotChange, SlotClaim};
use crate::raft::Consensus;
use crate::{Epoch, Incarnation};

/// Slots whose questions wait: as many as there are, since each has one at most.
const CHUNK: usize = 512;
/// The time for having one chunk agreed on. Whoever asked asks again long before.
const PROPOSE_WITHIN: Duration = Duration::from_secs(2);
/// The time for having a batch of the directory agreed on.
const RECORD_WITHIN: Duration = Duration::from_secs(5);
/// How long questions that can wait are gathered: each agreement costs every node about a millisecond, however many slots
/// it is about.
const GATHER: Duration = Duration::from_millis(250);
/// Between two tries while nobody leads.
const REST: Duration = Duration::from_millis(20);

/// The questions about slots that wait, the latest of each.
#[derive(Default)]
pub(crate) struct SlotProposals {
    waiting: Mutex<BTreeMap<u16, Command>>,
    /// Something waits.
    news: Notify,
    /// Something that cannot wait does.
    due: Notify,
}

impl fmt::Debug for SlotProposals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotProposals")
            .field("waiting", &self.waiting.lock().len())
            .finish_non_exhaustive()
    }
}

impl SlotProposals {
    fn put(&self, slot: u16, command: Command, can_wait: bool) -> bool {
        self.waiting.lock().insert(slot, command);
        self.news.notify_one();
        if !can_wait {
            self.due.notify_one();
        }
        true
    }

    fn take(&self) -> Vec<Command> {
        let mut waiting = self.waiting.lock();
        let mut taken = Vec::new();
        while taken.len() < CHUNK
            && let Some((_, command)) = waiting.pop_first()
        {
            taken.push(command);
        }
        if !waiting.is_empty() {
            self.news.notify_one();
            self.due.notify_one();
        }
        taken
    }

    /// Brings what waits to the leader, one chunk after the other.
    pub(crate) async fn run(&self, consensus: &Consensus) -> Failed {
        loop {
            self.news.notified().await;
            // Either way it is time.
            let _ = tokio::time::timeout(GATHER, self.due.notified()).await;
            let commands = self.take();
            if commands.is_empty() {
                continue;
            }
            let deadline = consensus.clock().deadline(PROPOSE_WITHIN);
            if let Err(error) = consensus.propose(commands, deadline).await {
                tracing::debug!(%error, "changes of slots were not agreed on; they are asked for again");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

impl Proposer for SlotProposals {
    fn propose_slot(&self, slot: u16, proposal: Proposal, can_wait: bool) -> bool {
        let change = SlotChange::of(slot, &proposal);
        self.put(slot, Command::SlotChange(change), can_wait)
    }

    fn claim_slot(&self, slot: u16, epoch: Epoch, member: Incarnation) -> bool {
        let claim = SlotClaim {
            slot,
            epoch,
            member,
        };
        self.put(slot, Command::SlotClaim(claim), false)
    }
}

/// Has batches of the directory agreed on.
#[derive(Clone)]
pub(crate) struct Records(pub(crate) Consensus);

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Records")
    }
}

impl RecordSink for Records {
    fn propose(&self, batch: Vec<u8>) -> BoxFuture<'static, Result<Applied, SinkError>> {
        let consensus = self.0.clone();
        async move {
            let failed = |reason: String| SinkError { reason };
            let deadline = consensus.clock().deadline(RECORD_WITHIN);
            let command = Command::Directory(DirectoryBatch(batch));
            let outcomes = consensus.propose(vec![command], deadline).await;
            match outcomes.map_err(|error| failed(error.to_string()))?.pop() {
                Some(Outcome::Applied(Done::Directory(applied))) => Ok(applied),
                other => Err(failed(format!("{other:?}"))),
            }
        }
        .boxed()
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.0.changes()
    }
}
