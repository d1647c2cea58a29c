//! A node: the root of the supervision tree, and the way in for `cluster` and doors.
//!
//! It starts the cache's branch itself and takes further branches as they come; it stops them in
//! the reverse order. It must never know what a branch does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::{oneshot, watch};

use crate::clock::{Clock, Deadline};
#[cfg(any(test, feature = "chaos"))]
use crate::eviction::EvictionMsg;
use crate::eviction::{EvictionActor, EvictionPort};
use crate::placement::Placement;
use crate::plan::NodePlan;
#[cfg(any(test, feature = "chaos"))]
use crate::prefetch::PrefetchMsg;
use crate::prefetch::{PrefetchActor, PrefetchHandle, PrefetchPort};
#[cfg(any(test, feature = "chaos"))]
use crate::shard::ShardMsg;
use crate::shard::{Arenas, ShardActor, ShardLink, ShardPort};
use crate::supervise::{
    ActorInfo, ActorState, ChildSpec, Family, Supervisor, SupervisorMsg, Tree, Upbringing,
};
use crate::{BootId, CacheHandle, Entropy, EntropyError, telemetry};

/// The root's path in the tree.
const ROOT: &str = "node";

/// A node, or a branch of it, did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No randomness for boot ids.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The plan names no device.
    #[error("a node needs at least one device")]
    NoDevice,
    /// An actor did not start.
    #[error("an actor did not start: {reason}")]
    Actor {
        /// Which, and why.
        reason: String,
    },
    /// The node is stopping, or has stopped.
    #[error("the node is not running")]
    Stopped,
}

/// Why a node is no longer running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked to.
    Asked,
    /// Its root gave up or was killed, and this is why.
    Failed(String),
}

/// A running node; clones are the same one.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    cache: CacheHandle,
    clock: Clock,
    entropy: Entropy,
    boot_id: BootId,
    tree: Tree,
    root: ActorRef<SupervisorMsg>,
    asked: Arc<AtomicBool>,
    ended: watch::Receiver<Option<StopReason>>,
}

impl Node {
    /// Starts a node with its cache: a shard on every device, the eviction actor and the prefetch actor.
    ///
    /// # Errors
    /// When the plan is empty, the machine has no randomness, or an actor does not start.
    pub async fn start(plan: NodePlan) -> Result<Self, StartError> {
        if plan.devices.is_empty() {
            return Err(StartError::NoDevice);
        }
        telemetry::describe();
        let boot_id = BootId::draw(&plan.entropy)?;
        let tree = Tree::new(plan.clock.clone());
        let family = Family {
            tree: tree.clone(),
            clock: plan.clock.clone(),
            entropy: plan.entropy.clone(),
            limit: plan.restarts,
        };
        let (cache, branch) = cache_branch(&plan);

        let upbringing = Upbringing {
            path: ROOT.to_owned(),
            children: vec![branch],
            family,
        };
        let started = Supervisor::spawn(None, Supervisor, upbringing).await;
        let (root, task) = started.map_err(|error| StartError::Actor {
            reason: error.to_string(),
        })?;
        tree.started(ROOT, "NodeSupervisor", boot_id, root.get_cell());
        tracing::info!(%boot_id, shards = cache.shards(), "node started");

        let (end, ended) = watch::channel(None);
        let watched = tree.clone();
        let asked = Arc::new(AtomicBool::new(false));
        let was_asked = Arc::clone(&asked);
        // The one task outside the tree: it sees the tree's own end. Bounded by the root's life.
        tokio::spawn(async move {
            // The task of an actor does not panic, and cancelled or not, it is over.
            let _ = task.await;
            let reason = match watched.fatal() {
                Some(reason) => StopReason::Failed(reason),
                None if was_asked.load(Ordering::SeqCst) => StopReason::Asked,
                None => StopReason::Failed("the root of the tree was killed".to_owned()),
            };
            watched.stopped(ROOT);
            end.send_replace(Some(reason));
        });
        Ok(Self {
            inner: Arc::new(Inner {
                cache,
                clock: plan.clock,
                entropy: plan.entropy,
                boot_id,
                tree,
                root,
                asked,
                ended,
            }),
        })
    }

    /// Adds a branch under the root and starts it; it is restarted and stopped with the others.
    ///
    /// # Errors
    /// When an actor of it does not start, or the node is stopping.
    pub async fn attach(&self, branch: ChildSpec) -> Result<(), StartError> {
        let (reply, answer) = oneshot::channel();
        let message = SupervisorMsg::Attach {
            spec: branch,
            reply,
        };
        let sent = self.inner.root.send_message(message);
        sent.map_err(|_| StartError::Stopped)?;
        let mut ended = self.inner.ended.clone();
        let attached = tokio::select! {
            biased;
            attached = answer => attached.map_err(|_| StartError::Stopped)?,
            _ = ended.wait_for(Option::is_some) => return Err(StartError::Stopped),
        };
        attached.map_err(|reason| StartError::Actor { reason })
    }

    /// The node's cache.
    #[must_use]
    pub fn cache(&self) -> CacheHandle {
        self.inner.cache.clone()
    }

    /// The node's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Where the node draws ids and secrets.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    /// This life of the node.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        self.inner.boot_id
    }

    /// Every actor, parents before their children.
    #[must_use]
    pub fn tree(&self) -> Vec<ActorInfo> {
        self.inner.tree.list()
    }

    /// Whether every actor runs.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let tree = self.tree();
        tree.iter().all(|actor| actor.status == ActorState::Running)
    }

    /// Waits until the tree looks like this.
    pub async fn wait_for_tree(&self, looks: impl Fn(&[ActorInfo]) -> bool) {
        let mut changes = self.inner.tree.changes();
        while !looks(&self.tree()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the node is no longer running, and says why.
    pub async fn stopped(&self) -> StopReason {
        let mut ended = self.inner.ended.clone();
        let reason = ended.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| StopReason::Failed("the node's task is gone".to_owned()))
    }

    /// Stops every branch in the reverse order of their start, and kills what has not stopped at
    /// the deadline. Gives whether all stopped by themselves.
    pub async fn stop(&self, deadline: Deadline) -> bool {
        let inner = &self.inner;
        let left = inner
            .clock
            .remaining(deadline)
            .max(Duration::from_millis(1));
        inner.asked.store(true, Ordering::SeqCst);
        inner.root.stop(Some("node stops".to_owned()));
        let in_time = tokio::time::timeout(left, self.stopped()).await.is_ok();
        if !in_time {
            tracing::warn!("the node did not stop in time and is killed");
            inner.root.kill();
            self.stopped().await;
        }
        in_time
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("boot_id", &self.inner.boot_id)
            .finish_non_exhaustive()
    }
}

/// The cache's handle, and the branch that keeps it alive.
fn cache_branch(plan: &NodePlan) -> (CacheHandle, ChildSpec) {
    let arenas = Arc::new(Arenas::default());
    let guests = Arc::new(OnceLock::new());
    let eviction = Arc::new(EvictionPort::default());
    let prefetch = Arc::new(PrefetchPort::default());
    let parts = plan.shards().into_iter().zip(&plan.devices).enumerate();
    let ports = parts.map(|(index, (shard, device))| {
        let device = Arc::clone(&device.device);
        Arc::new(ShardPort::new(index, shard, device, plan.clock.clone()))
    });
    let ports: Arc<[Arc<ShardPort>]> = ports.collect();

    let mut children: Vec<ChildSpec> = ports
        .iter()
        .map(|port| {
            let link = ShardLink {
                port: Arc::clone(port),
                arenas: Arc::clone(&arenas),
                eviction: Arc::clone(&eviction),
                prefetch: Arc::clone(&prefetch),
                watcher: plan.watcher.clone(),
                guests: Arc::clone(&guests),
            };
            let name = format!("shard-{}", port.index);
            ChildSpec::actor(name, "ShardActor", move |boot_id| {
                (ShardActor, (link.clone(), boot_id))
            })
        })
        .collect();
    let actor = EvictionActor {
        shards: Arc::clone(&ports),
        port: eviction,
        plan: plan.eviction,
    };
    children.push(ChildSpec::actor("eviction", "EvictionActor", move |_| {
        (actor.clone(), ())
    }));

    let actor = PrefetchActor {
        port: Arc::clone(&prefetch),
        clock: plan.clock.clone(),
        plan: plan.prefetch,
    };
    children.push(ChildSpec::actor("prefetch", "PrefetchActor", move |_| {
        (actor.clone(), ())
    }));

    let placement = Placement::new(&plan.weights());
    let prefetch = PrefetchHandle::new(prefetch);
    let handle = CacheHandle::new(ports, placement, (arenas, guests), prefetch);
    let branch = ChildSpec::supervisor("cache", "CacheSupervisor", children);
    (handle, branch)
}

#[cfg(any(test, feature = "chaos"))]
impl Node {
    /// Kills an actor by its path, where it stands. Gives whether there is one.
    #[must_use]
    pub fn kill(&self, path: &str) -> bool {
        let cell = self.inner.tree.cell(path);
        cell.is_some_and(|cell| {
            cell.kill();
            true
        })
    }

    /// Makes an actor of this crate panic in the middle of a message. Gives whether there is one.
    #[must_use]
    pub fn panic(&self, path: &str) -> bool {
        let cell = self.inner.tree.cell(path);
        // An actor takes the one message that is of its own type and refuses the others.
        cell.is_some_and(|cell| {
            cell.send_message(ShardMsg::Panic).is_ok()
                || cell.send_message(EvictionMsg::Panic).is_ok()
                || cell.send_message(PrefetchMsg::Panic).is_ok()
                || cell.send_message(SupervisorMsg::Panic).is_ok()
        })
    }
}
