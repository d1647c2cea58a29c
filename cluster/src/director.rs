//! The node as a member: it makes the metadata's word true in its own parts, and tells the metadata what they are.
//!
//! Responsible for a life's way into the cluster (start, shards, services, up) and, from then on, for what this node knows:
//! addresses, domains and their purges, slots, who lives. Each turn compares what is with what should be, so that a lost
//! turn is made up by the next. It must never be on the path of a request.

mod enter;
mod purge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use ultrakv_actors::{BootId, CacheHandle, Clock, Entropy};

use crate::block::BlockMover;
use crate::book::Book;
use crate::domains::{Domains, Ended};
use crate::duty::Failed;
use crate::entry::{EntryHost, Roll, SlotWord};
use crate::lane::mesh::Mesh;
use crate::links::Lanes;
use crate::metadata::{
    Command, JobKind, JobState, JobUpdate, MemberJoin, MemberState, SlotRecord, Slots, View,
};
use crate::raft::Consensus;
use crate::surroundings::{Surroundings, wish};
use crate::{Incarnation, NodeId};

pub(crate) use enter::{Origin, Phase};
pub(crate) use purge::Purged;

/// A turn is taken at least this often.
const TURN_EVERY: Duration = Duration::from_millis(500);
/// Turns are at least this far apart, so that a burst of changes is taken in together.
const TURN_REST: Duration = Duration::from_millis(2);
/// The time for having something agreed on in one turn.
const PROPOSE_WITHIN: Duration = Duration::from_secs(1);
/// Names are resolved again this often, for members that moved without a word.
const RESOLVE_EVERY_MS: u64 = 5_000;

/// What outlives the director's lives.
pub(crate) struct Directed {
    pub(crate) me: NodeId,
    pub(crate) boot: BootId,
    /// What this node tells of itself.
    pub(crate) about: MemberJoin,
    pub(crate) origin: Mutex<Origin>,
    /// Every service of the settings, and its share group when it has one.
    pub(crate) services: BTreeMap<String, Option<String>>,
    pub(crate) directory_bytes_max: u64,
    pub(crate) consensus: Consensus,
    pub(crate) cache: CacheHandle,
    pub(crate) host: EntryHost,
    pub(crate) lanes: Option<Arc<Lanes>>,
    pub(crate) control: Book,
    pub(crate) bulk: Book,
    pub(crate) domains: Arc<ArcSwap<Domains>>,
    pub(crate) surroundings: Surroundings,
    pub(crate) mover: Option<BlockMover>,
    /// The actors of all nodes; none of a cluster of one.
    pub(crate) mesh: Option<Mesh>,
    pub(crate) phase: watch::Sender<Phase>,
    /// This node is about to stop, and is not to be up again in this life.
    pub(crate) stepping_aside: watch::Sender<bool>,
    /// What purges dropped here, by domain and the generation that followed.
    pub(crate) purged: Mutex<BTreeMap<(String, u64), Purged>>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
}

impl Directed {
    pub(crate) const fn life(&self) -> Incarnation {
        Incarnation {
            node: self.me,
            boot: self.boot,
        }
    }
}

/// One life of the director.
struct Director {
    directed: Arc<Directed>,
    /// The slots and members that the host has heard, and who lives.
    told: Option<(Slots, u64)>,
    roll: Option<Roll>,
    ended: Vec<Ended>,
    resolved_ms: Option<u64>,
    /// Looks names up; at most one at a time.
    resolving: Option<JoinHandle<()>>,
    members_revision: Option<Vec<(NodeId, u64)>>,
    /// The revision of the metadata that a whole turn was taken for and left nothing to be done.
    settled: Option<u64>,
}

/// Takes turns until consensus has stopped for good.
pub(crate) async fn run(directed: Arc<Directed>) -> Failed {
    let mut changes = directed.consensus.changes();
    let mut lives = directed.host.lives();
    let mut fatal = directed.consensus.fatal();
    let mut aside = directed.stepping_aside.subscribe();
    let mut director = Director {
        directed,
        told: None,
        roll: None,
        ended: Vec::new(),
        resolved_ms: None,
        resolving: None,
        members_revision: None,
        settled: None,
    };
    let mut due = tokio::time::interval(TURN_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopped = fatal.borrow_and_update().clone();
        if let Some(why) = stopped {
            return format!("consensus stopped: {why}");
        }
        director.turn().await;
        tokio::time::sleep(TURN_REST).await;
        let is_log_alone = tokio::select! {
            // What is due comes first: the log may grow without a pause.
            biased;
            _ = due.tick() => false,
            _ = lives.changed() => false,
            _ = fatal.changed() => false,
            _ = aside.changed() => false,
            _ = changes.changed() => true,
        };
        if !is_log_alone {
            director.settled = None;
        }
    }
}

impl Director {
    /// One turn. While nothing but the directory's records changes, hundreds of times a second, only what the replicas have
    /// heard of the log goes on.
    async fn turn(&mut self) {
        let view = self.directed.consensus.view();
        if self.settled == Some(view.revision()) {
            let told = &self.directed.surroundings.told;
            told.send_replace(view.applied_index());
            return;
        }
        let is_in_one = view.cluster().is_some();
        if is_in_one {
            // First: a node that starts again finds the others by what its store says of them.
            self.follow_members(&view);
        }
        self.directed.enter(&view).await;
        if !is_in_one {
            return;
        }
        self.follow_domains(&view).await;
        self.follow_slots(&view);
        // Only now: a tenure that rests on this counts for what the replicas know.
        let told = &self.directed.surroundings.told;
        told.send_replace(view.applied_index());
        let is_told = self.tell_of_me(&view).await;
        self.see_to_drain(&view).await;
        let is_settled = is_told && self.ended.is_empty();
        self.settled = is_settled.then_some(view.revision());
    }

    /// Addresses, when somebody moved or a while has passed.
    fn follow_members(&mut self, view: &View) {
        let directed = &self.directed;
        let members: Vec<(NodeId, u64)> = view
            .members()
            .present()
            .map(|(node, record)| (node, record.changed_index))
            .collect();
        let now_ms = directed.clock.now().0;
        let is_due = self
            .resolved_ms
            .is_none_or(|at| now_ms.saturating_sub(at) >= RESOLVE_EVERY_MS);
        if self.members_revision.as_ref() == Some(&members) && !is_due {
            return;
        }
        if let Some(mesh) = &directed.mesh {
            let others = members.iter().map(|(node, _)| *node);
            let others: Vec<NodeId> = others.filter(|node| *node != directed.me).collect();
            mesh.set_peers(others);
        }
        if let Some(lanes) = &directed.lanes {
            let others = view
                .members()
                .present()
                .filter(|(node, _)| *node != directed.me);
            let (mut control, mut bulk) = (BTreeMap::new(), BTreeMap::new());
            for (node, record) in others {
                control.insert(node, record.addresses.control.clone());
                bulk.insert(node, record.addresses.bulk.clone());
            }
            // Who left is not spoken with any more, on connections that stand neither.
            for peer in lanes.quic.peers() {
                let record = view.members().get(peer.node);
                if record.is_some_and(|record| record.state == MemberState::Left) {
                    lanes.quic.forget(peer.node);
                    lanes.bulk.forget(peer.node);
                }
            }
            if self
                .resolving
                .as_ref()
                .is_some_and(|task| !task.is_finished())
            {
                // A slow name service must not keep slots waiting; the next turn looks again.
                return;
            }
            let books = (directed.control.clone(), directed.bulk.clone());
            self.resolving = Some(tokio::spawn(async move {
                books.0.list(control).await;
                books.1.list(bulk).await;
            }));
        }
        self.resolved_ms = Some(now_ms);
        self.members_revision = Some(members);
    }

    /// What the host is told: everything once and after a change of the members, else what changed.
    fn follow_slots(&mut self, view: &View) {
        let directed = &self.directed;
        let members = view.members();
        let mine = members
            .get(directed.me)
            .filter(|record| record.boot == directed.boot);
        let lives = mine.map_or_else(BTreeMap::new, |record| {
            let shards = record.shards.iter();
            shards
                .map(|(shard, boot)| (usize::from(*shard), *boot))
                .collect()
        });
        let alive: BTreeSet<NodeId> = members
            .present()
            .map(|(node, _)| node)
            .filter(|node| members.is_alive(*node))
            .collect();
        let states = members.present().map(|(_, record)| record.changed_index);
        let state = states.fold(0, u64::wrapping_add);
        let roll = Roll {
            lives,
            alive,
            retired: directed.domains.load().retired().into_iter().collect(),
        };
        if self.roll.as_ref() != Some(&roll) {
            directed.host.set_roll(roll.clone());
            self.roll = Some(roll);
        }
        let word = |(slot, record): (u16, &SlotRecord)| SlotWord {
            slot,
            ownership: record.ownership.clone(),
            wish: wish(record, members),
        };
        match &self.told {
            Some((told, told_state)) if *told_state == state => {
                let changed = Slots::changed(told, view.slots());
                directed.host.learn(changed.map(word));
            }
            _ => directed.host.learn(view.slots().iter().map(word)),
        }
        let is_news = self.told.as_ref().is_none_or(|(told, told_state)| {
            *told_state != state || told.revision() != view.slots().revision()
        });
        if is_news {
            directed
                .surroundings
                .revision
                .send_modify(|revision| *revision += 1);
            self.told = Some((view.slots().clone(), state));
        }
    }

    /// What the metadata should know of this life and does not: its shards, its services, that it is up. Whether there was
    /// nothing to tell.
    async fn tell_of_me(&self, view: &View) -> bool {
        let directed = &self.directed;
        let me = view.members().get(directed.me);
        let Some(me) = me.filter(|record| record.boot == directed.boot) else {
            return false;
        };
        if matches!(me.state, MemberState::Left) {
            return true;
        }
        let mut commands = Vec::new();
        let lives = directed.host.lives().borrow().clone();
        for (shard, life) in (0_u16..).zip(&lives) {
            if let Some(boot) = life
                && me.shards.get(&shard) != Some(boot)
            {
                commands.push(Command::ShardStart {
                    life: directed.life(),
                    shard,
                    boot: *boot,
                });
            }
        }
        commands.extend(directed.missing_services(view));
        let is_told = lives.iter().all(Option::is_some) && commands.is_empty();
        if is_told && self.may_be_up(view, me.state) {
            commands.push(Command::MemberState {
                life: directed.life(),
                from: me.state,
                to: MemberState::Up,
            });
        }
        if commands.is_empty() {
            return true;
        }
        directed.propose(commands).await;
        false
    }

    /// Whether this life is to be up and is not. One that is down asks for that together with its tenure.
    fn may_be_up(&self, view: &View, state: MemberState) -> bool {
        let directed = &self.directed;
        if *directed.stepping_aside.borrow() {
            return false;
        }
        let is_drained = view.jobs().iter().any(|job| {
            let drains = matches!(job.kind, JobKind::Drain { node, .. } if node == directed.me);
            drains && (job.state == JobState::Running || job.state == JobState::Cancelling)
        });
        let was_drained = view.jobs().iter().any(|job| {
            let drains = matches!(job.kind, JobKind::Drain { node, .. } if node == directed.me);
            drains
                && job.state == JobState::Done
                && job.created_unix_ms >= directed.about.at_unix_ms
        });
        match state {
            MemberState::Joining => true,
            MemberState::Draining => !is_drained && !was_drained,
            MemberState::Up | MemberState::Down | MemberState::Left => false,
        }
    }

    /// The part of a drain that only this node can do: its blocks.
    async fn see_to_drain(&self, view: &View) {
        let directed = &self.directed;
        let Some(mover) = &directed.mover else {
            return;
        };
        let job = view.jobs().running().find(|job| {
            job.state == JobState::Running
                && matches!(job.kind, JobKind::Drain { node, .. } if node == directed.me)
        });
        mover.drain(job.is_some());
        mover.limit(view.jobs().throttle_bytes_s());
        let Some(job) = job else {
            return;
        };
        let holds_slots = view.slots().iter().any(|(_, record)| {
            let mut members = record.ownership.in_sync.iter();
            members.any(|member| member.node == directed.me)
        });
        if holds_slots || !mover.progress().is_drained {
            return;
        }
        let update = JobUpdate {
            id: job.id,
            changed_index: job.changed_index,
            state: JobState::Done,
            reason: String::new(),
            done: job.total,
            total: job.total,
        };
        directed.propose(vec![Command::JobUpdate(update)]).await;
    }
}

impl Directed {
    /// Has something agreed on that is proposed again by a later turn if it is not.
    async fn propose(&self, commands: Vec<Command>) {
        let deadline = self.clock.deadline(PROPOSE_WITHIN);
        match self.consensus.propose(commands, deadline).await {
            Ok(outcomes) => {
                for outcome in outcomes.iter().filter(|outcome| !outcome.is_applied()) {
                    tracing::debug!(?outcome, "what this node told the cluster had no effect");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "what this node tells the cluster was not agreed on; it tells it again");
            }
        }
    }
}
