//! The running consensus of one node: one handle that everything else uses.
//!
//! Responsible for starting, for the loops around the library and for the end of all of it. It must never know what
//! commands do.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::error::{InitializeError, RaftError};
use openraft::{Raft, ServerState};
use tokio::sync::{Notify, Semaphore, watch};
use ultrakv_actors::{Clock, Deadline, Entropy};

use super::batcher::{self, Queue};
use super::control::ControlError;
use super::keeper::Loops;
use super::log::{Disk, LogError, LogStore, MemoryDisk};
use super::machine::Feeder;
use super::network::{Heard, Network, Ways};
use super::registry::{Published, Registry};
use super::rpc::refuse;
use super::status::RaftStatus;
use super::timing::{RaftTiming, SnapshotRules, VoterRules, micros};
use super::types::{Addresses, Batch, RaftId, RaftTypes};
use super::votes::VoteBook;
use crate::metadata::{
    Command, EntryBuilder, Found, MemberJoin, MemberState, Outcome, Refusal, View,
};
use crate::peer::{Callers, Parcel, ParcelStream, Refused};
use crate::wire::Kind;
use crate::{Incarnation, NodeId};

/// Where logs, votes and snapshots are.
#[derive(Clone)]
pub enum Storage {
    /// Nowhere but in memory: a cluster of one that ends with its process.
    Memory,
    /// In a folder that is this node's alone: `log` and `snapshots` in it.
    Folder(PathBuf),
    /// Logs on any disk, snapshots in a folder.
    Parts(Arc<dyn Disk>, PathBuf),
}

/// Everything that consensus is started with.
#[derive(Clone)]
pub struct ConsensusPlan {
    /// This node, as its certificate names it.
    pub node: NodeId,
    /// Where it keeps what it must not forget.
    pub storage: Storage,
    /// The clockwork.
    pub timing: RaftTiming,
    /// When the log is cut.
    pub snapshots: SnapshotRules,
    /// Who votes.
    pub voters: VoterRules,
    /// The way to other nodes.
    pub callers: Callers,
    /// The time.
    pub clock: Clock,
    /// Where the disk's id is drawn.
    pub entropy: Entropy,
}

/// Why consensus could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// The store of logs and votes.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The snapshot, or the folder of snapshots.
    #[error("the snapshot of the metadata cannot be used")]
    Snapshot(#[source] io::Error),
    /// The clockwork is not one that elects anybody.
    #[error("the times of elections do not fit together: {reason}")]
    Timing {
        /// What does not fit.
        reason: String,
    },
    /// What is stored cannot be brought back.
    #[error("what is stored cannot be applied again: {reason}")]
    Restore {
        /// Why.
        reason: String,
    },
}

impl ConsensusError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Log(error) => error.code(),
            Self::Snapshot(_) => "raft_snapshot",
            Self::Timing { .. } => "raft_timing",
            Self::Restore { .. } => "raft_restore",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Log(error) => error.hint(),
            Self::Snapshot(_) => {
                "wipe the data folder's store and rejoin as a new learner, or run the build that wrote it"
            }
            Self::Timing { .. } => "heartbeat < shortest election timeout < longest",
            Self::Restore { .. } => {
                "run the build that wrote it, or wipe the store and rejoin as a new learner"
            }
        }
    }
}

/// What the handle's clones and loops share.
pub(super) struct Inner {
    pub(super) id: RaftId,
    pub(super) raft: Raft<RaftTypes>,
    pub(super) ways: Arc<Ways>,
    pub(super) published: Arc<Published>,
    pub(super) queue: Arc<Queue>,
    pub(super) timing: RaftTiming,
    pub(super) snapshots: SnapshotRules,
    pub(super) rules: VoterRules,
    /// To whom this member gives no vote; held while a vote is cast.
    pub(super) votes: tokio::sync::Mutex<VoteBook>,
    /// One snapshot is received at a time.
    pub(super) receiving: Semaphore,
    pub(super) look_at_voters: Notify,
    pub(super) fatal: watch::Sender<Option<String>>,
    /// The term in which this process, as leader, had an item of its own applied; 0 for none.
    settled_term: AtomicU64,
    is_pristine: bool,
    /// It was shut down on purpose.
    is_over: AtomicBool,
}

/// The running consensus of this node; clones are the same.
#[derive(Clone)]
pub struct Consensus {
    pub(super) inner: Arc<Inner>,
    loops: Arc<Loops>,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus")
            .field("id", &self.inner.id)
            .finish_non_exhaustive()
    }
}

/// A store, and the machine that its snapshot made.
type Opened = (LogStore, Feeder<Registry>);

/// Opens what is stored. Blocks.
fn open(plan: &ConsensusPlan, published: &Arc<Published>) -> Result<Opened, ConsensusError> {
    let registry = Registry::new(Arc::clone(published));
    let on = |disk| LogStore::open_on(disk, &plan.entropy, plan.clock.clone());
    let (log, snapshots) = match &plan.storage {
        Storage::Memory => {
            return Ok((
                on(Arc::new(MemoryDisk::new()))?,
                Feeder::forgetful(registry),
            ));
        }
        Storage::Folder(folder) => {
            std::fs::create_dir_all(folder).map_err(ConsensusError::Snapshot)?;
            let log = LogStore::open(&folder.join("log"), &plan.entropy, plan.clock.clone())?;
            log.probe(&plan.clock, plan.timing.election_min)?;
            (log, folder.join("snapshots"))
        }
        Storage::Parts(disk, snapshots) => (on(Arc::clone(disk))?, snapshots.clone()),
    };
    let feeder = Feeder::open(&snapshots, registry).map_err(ConsensusError::Snapshot)?;
    Ok((log, feeder))
}

/// Why the library did not do what only a leader does.
fn failed<E: std::error::Error>(error: &RaftError<RaftId, E>) -> ControlError {
    match error {
        RaftError::APIError(_) => ControlError::NotLeader { leader: None },
        RaftError::Fatal(fatal) => ControlError::Fatal {
            reason: fatal.to_string(),
        },
    }
}

impl Consensus {
    /// Opens what is stored and begins to take part. A node whose store is new waits until it founds a cluster
    /// ([`Consensus::found`]) or joins one ([`Consensus::join`]).
    ///
    /// # Errors
    /// [`ConsensusError`].
    pub async fn start(plan: ConsensusPlan) -> Result<Self, ConsensusError> {
        let published = Published::new();
        let (opening, into) = (plan.clone(), Arc::clone(&published));
        let opened = tokio::task::spawn_blocking(move || open(&opening, &into)).await;
        let (mut log, feeder) = opened.map_err(|error| ConsensusError::Restore {
            reason: error.to_string(),
        })??;
        let id = RaftId {
            node: plan.node,
            disk: log.disk_id(),
        };
        let restore = |error: &dyn std::fmt::Display| ConsensusError::Restore {
            reason: error.to_string(),
        };
        let voted = openraft::storage::RaftLogStorage::read_vote(&mut log).await;
        let is_pristine = voted.map_err(|error| restore(&error))?.is_none();
        let config = plan.timing.config(plan.snapshots, is_pristine).validate();
        let config = config.map_err(|error| ConsensusError::Timing {
            reason: error.to_string(),
        })?;
        let ways = Arc::new(Ways {
            me: id,
            callers: plan.callers,
            clock: plan.clock,
            heartbeat: plan.timing.heartbeat,
            is_muted: AtomicBool::new(false),
            heard: Heard::default(),
        });
        // Read before the library begins: what a former life promised may rest on this member until then.
        let bound_us = if is_pristine {
            0
        } else {
            let now_us = ways.clock.boot_us();
            now_us.saturating_add(micros(plan.timing.election_max))
        };
        let network = Network(Arc::clone(&ways));
        let raft = Raft::new(id, Arc::new(config), network, log, feeder).await;
        let inner = Arc::new(Inner {
            id,
            raft: raft.map_err(|error| restore(&error))?,
            ways,
            published,
            queue: Arc::default(),
            timing: plan.timing,
            snapshots: plan.snapshots,
            rules: plan.voters,
            votes: tokio::sync::Mutex::new(VoteBook::new(
                bound_us,
                micros(plan.timing.election_max),
            )),
            receiving: Semaphore::new(1),
            look_at_voters: Notify::new(),
            fatal: watch::Sender::new(None),
            settled_term: AtomicU64::new(0),
            is_pristine,
            is_over: AtomicBool::new(false),
        });
        let handle = Self {
            inner,
            loops: Arc::default(),
        };
        handle.begin();
        Ok(handle)
    }

    /// Begins the loops.
    fn begin(&self) {
        let (raft, queue) = (self.inner.raft.clone(), Arc::clone(&self.inner.queue));
        self.loops.keep("raft-batcher", move || {
            batcher::run(raft.clone(), Arc::clone(&queue))
        });
        self.keep("raft-watch", |this| async move { this.inner.watch().await });
        self.keep("raft-voters", |this| async move { this.reconcile().await });
        self.keep("raft-log-cutter", |this| async move {
            this.inner.cut_logs().await;
        });
        if !self.inner.is_pristine {
            self.keep("raft-stand", |this| async move {
                // The longest election timeout after the start, a former life's promise is over.
                tokio::time::sleep(this.inner.timing.election_max).await;
                this.inner.raft.runtime_config().elect(true);
            });
        }
    }

    /// Runs a loop of this handle. It gets what the handle shares, but not the loops, which would keep themselves alive.
    fn keep<L>(&self, name: &'static str, run: fn(Self) -> L)
    where
        L: Future<Output = ()> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        self.loops.keep(name, move || {
            run(Self {
                inner: Arc::clone(&inner),
                loops: Arc::default(),
            })
        });
    }

    /// Founds a cluster of this node alone, which is up then. What a crash left half done is done again.
    ///
    /// # Errors
    /// [`ControlError`]; and [`Refusal`] in the outcome of the first command that was refused.
    pub async fn found(
        &self,
        found: Found,
        about: MemberJoin,
        deadline: Deadline,
    ) -> Result<Result<(), Refusal>, ControlError> {
        let life = Incarnation {
            node: about.node,
            boot: about.boot,
        };
        let members = std::collections::BTreeMap::from([(self.inner.id, Addresses::default())]);
        match self.inner.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => {
                return Err(ControlError::Fatal {
                    reason: error.to_string(),
                });
            }
        }
        self.read_point(deadline).await?;
        let up = Command::MemberState {
            life,
            from: MemberState::Joining,
            to: MemberState::Up,
        };
        let commands = vec![Command::Found(found), Command::MemberJoin(about), up];
        for outcome in self.propose(commands, deadline).await? {
            match outcome {
                Outcome::Refused(Refusal::FoundedAlready) | Outcome::Applied(_) => {}
                Outcome::Refused(refusal) => return Ok(Err(refusal)),
                Outcome::Stale(_) => return Ok(Err(Refusal::OtherLife)),
            }
        }
        Ok(Ok(()))
    }

    /// This member.
    #[must_use]
    pub fn id(&self) -> RaftId {
        self.inner.id
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.id.node
    }

    /// Whether the store was new at the start: the node founds a cluster or joins one.
    #[must_use]
    pub fn is_pristine(&self) -> bool {
        self.inner.is_pristine
    }

    /// The newest metadata that this node applied.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.published.view()
    }

    /// Learns when more was applied; the value is the last log item that is in the view.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.published.changes()
    }

    /// The last log item that is in the view.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.inner.published.applied_index()
    }

    /// Waits until the view has everything up to a log item.
    ///
    /// # Errors
    /// [`ControlError::Deadline`] when that takes too long.
    pub async fn wait_applied(&self, index: u64, deadline: Deadline) -> Result<(), ControlError> {
        let mut changes = self.changes();
        let left = self.clock().remaining(deadline);
        let reached = tokio::time::timeout(left, changes.wait_for(|applied| *applied >= index));
        match reached.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ControlError::Deadline),
        }
    }

    /// Who leads, as far as is known here; nobody when this node leads without a majority.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let known = self.inner.raft.server_metrics().borrow().current_leader;
        let is_silent = self.inner.ways.is_muted.load(Ordering::SeqCst);
        known
            .filter(|leader| *leader != self.inner.id || !is_silent)
            .map(|leader| leader.node)
    }

    /// The term in which this node leads with a majority, as far as it knows.
    #[must_use]
    pub fn leading(&self) -> Option<u64> {
        let is_silent = self.inner.ways.is_muted.load(Ordering::SeqCst);
        self.leads().filter(|_| !is_silent)
    }

    /// The term in which this node leads, be it without a majority.
    pub(crate) fn leads(&self) -> Option<u64> {
        let server = self.inner.raft.server_metrics();
        let server = server.borrow();
        let leads = server.state == ServerState::Leader;
        leads.then_some(server.vote.leader_id().term)
    }

    /// Learns when who leads may have changed.
    pub(crate) async fn leadership_changed(&self) {
        let mut server = self.inner.raft.server_metrics();
        server.mark_unchanged();
        // Silence, and the end of it, is not told by the library.
        let _ = tokio::time::timeout(self.inner.timing.heartbeat, server.changed()).await;
    }

    /// Confirms that this node leads, by messages sent after this call, and waits until everything up to then is
    /// applied here. The log item up to which that is.
    ///
    /// A leader that restarts leads on in its term, and the library then knows neither what it had committed nor waits
    /// for what it had logged. An item of its own, applied before the first confirmation in a term, makes up for both.
    pub(crate) async fn confirm_leadership(&self) -> Result<u64, ControlError> {
        let term = self.leads();
        let term = term.ok_or(ControlError::NotLeader { leader: None })?;
        tokio::select! {
            biased;
            confirmed = self.confirm(term) => confirmed,
            // The library leaves a leader that is one no more without an answer until another has written over its items.
            () = self.deposed(term) => Err(ControlError::NotLeader { leader: self.leader() }),
        }
    }

    async fn confirm(&self, term: u64) -> Result<u64, ControlError> {
        if self.inner.settled_term.load(Ordering::SeqCst) != term {
            let (bytes, _) = EntryBuilder::new().finish();
            let nothing = Batch::new(bytes.into()).map_err(|_| ControlError::TooLarge)?;
            let written = self.inner.raft.client_write(nothing).await;
            written.map_err(|error| failed(&error))?;
            self.inner.settled_term.store(term, Ordering::SeqCst);
        }
        let confirmed = self.inner.raft.ensure_linearizable().await;
        let index = confirmed.map_err(|error| failed(&error))?;
        Ok(index.map_or(0, |index| index.index))
    }

    /// Waits until this node leads in this term no more.
    async fn deposed(&self, term: u64) {
        let mut news = self.inner.raft.server_metrics();
        let leads = |state, of: u64| state == ServerState::Leader && of == term;
        let over = news.wait_for(|server| !leads(server.state, server.vote.leader_id().term));
        if over.await.is_err() {
            std::future::pending::<()>().await; // It stops, and whoever asked has a deadline.
        }
    }

    /// Gives no vote before this instant. Every vote that was asked for before is cast when this returns, so whoever
    /// confirms its leadership next would learn of a new leader.
    pub(crate) async fn give_no_vote_before(&self, until_us: u64) {
        self.inner.votes.lock().await.bind(until_us);
    }

    /// Consensus as this node sees it.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        let metrics = self.inner.raft.metrics().borrow().clone();
        let index = |id: Option<super::types::LogId>| id.map_or(0, |id| id.index);
        let membership = metrics.membership_config.membership();
        RaftStatus {
            id: self.inner.id,
            role: metrics.state.into(),
            term: metrics.current_term,
            leader: self.leader(),
            is_without_quorum: self.inner.ways.is_muted.load(Ordering::SeqCst),
            last_index: metrics.last_log_index.unwrap_or(0),
            applied_index: self.applied_index(),
            snapshot_index: index(metrics.snapshot),
            purged_index: index(metrics.purged),
            voters: membership
                .voter_ids()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            learners: membership.learner_ids().collect(),
            is_joint: membership.get_joint_config().len() > 1,
            millis_since_quorum_ack: metrics.millis_since_quorum_ack,
            fatal: self.inner.fatal.borrow().clone(),
        }
    }

    /// Learns that consensus stopped for good, and why: the node must then stop.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.inner.fatal.subscribe()
    }

    pub(super) fn stopped(&self) -> Option<ControlError> {
        if self.inner.is_over.load(Ordering::SeqCst) {
            return Some(ControlError::Unavailable);
        }
        let reason = self.inner.fatal.borrow().clone();
        reason.map(|reason| ControlError::Fatal { reason })
    }

    /// The clock that this node counts by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.ways.clock
    }

    /// The clockwork of elections.
    #[must_use]
    pub fn timing(&self) -> RaftTiming {
        self.inner.timing
    }

    pub(crate) fn callers(&self) -> &Callers {
        &self.inner.ways.callers
    }

    /// Answers another node's question of the kinds [`Kind::RaftAppend`], [`Kind::RaftVote`] and [`Kind::Forward`].
    ///
    /// # Errors
    /// [`Refused`], also for any other kind.
    pub async fn serve(&self, peer: NodeId, ask: Parcel) -> Result<Parcel, Refused> {
        match ask.kind {
            Kind::RaftAppend => self.inner.append(peer, ask).await,
            Kind::RaftVote => self.inner.vote(peer, &ask).await,
            Kind::Forward => self.answer_forward(peer, ask).await,
            _ => Err(refuse(
                "raft_other_kind",
                "this is no question for consensus",
                "compare the versions of both nodes",
            )),
        }
    }

    /// Takes a snapshot that a peer sends over a stream of kind [`Kind::RaftSnapshot`].
    pub async fn serve_stream(&self, peer: NodeId, first: Parcel, stream: Box<dyn ParcelStream>) {
        self.inner.take_snapshot(peer, first, stream).await;
    }

    /// Ends consensus on this node, waits until nothing of it runs, and fails what still waits.
    pub async fn shutdown(&self) {
        self.inner.is_over.store(true, Ordering::SeqCst);
        self.loops.stop().await;
        self.inner.queue.close();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not end by itself");
        }
    }
}
