//! The supervision tree as operators see it: a table that supervisors write and anyone reads.
//!
//! It must never be used to reach an actor; the chaos hooks below are the one exception, and they
//! are compiled for tests only.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use ractor::ActorCell;
use tokio::sync::watch;

use crate::BootId;
use crate::clock::{Clock, UnixMs};

/// What an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// Answering.
    Running,
    /// Dead; its supervisor starts it again in a moment.
    Restarting,
    /// Stopped for good, together with its supervisor or on purpose.
    Stopped,
}

/// One actor of the tree.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ActorInfo {
    /// Where it hangs, from the root: `node/cache/shard-0`.
    pub path: String,
    /// What it is: `ShardActor`.
    pub kind: &'static str,
    /// What it is doing.
    pub status: ActorState,
    /// How often it was started again since its supervisor's place in the tree exists.
    pub restarts: u64,
    /// The id of its present life, or of the last one.
    pub boot_id: BootId,
    /// When that life began.
    pub started_unix_ms: UnixMs,
    /// Why the life before ended.
    pub last_failure: Option<String>,
}

struct Record {
    info: ActorInfo,
    #[cfg_attr(
        not(any(test, feature = "chaos")),
        expect(dead_code, reason = "for chaos")
    )]
    cell: ActorCell,
}

/// The table; clones share it.
#[derive(Clone)]
pub(crate) struct Tree {
    records: Arc<Mutex<BTreeMap<String, Record>>>,
    fatal: Arc<Mutex<Option<String>>>,
    /// Counts changes, so that they can be awaited.
    revision: Arc<watch::Sender<u64>>,
    clock: Clock,
}

impl Tree {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            records: Arc::default(),
            fatal: Arc::default(),
            revision: Arc::new(watch::Sender::new(0)),
            clock,
        }
    }

    /// Every actor, parents before their children.
    pub(crate) fn list(&self) -> Vec<ActorInfo> {
        let records = self.records.lock();
        records.values().map(|record| record.info.clone()).collect()
    }

    /// Learns of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn changed(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Notes that a supervisor gives up, and why. The root's reason is the node's.
    pub(crate) fn gave_up(&self, path: &str, reason: &str) {
        tracing::error!(supervisor = path, reason, "supervisor gives up");
        let is_root = !path.contains('/');
        if is_root {
            *self.fatal.lock() = Some(reason.to_owned());
        }
    }

    /// Why the root gave up.
    pub(crate) fn fatal(&self) -> Option<String> {
        self.fatal.lock().clone()
    }

    /// Notes a life that has begun.
    pub(crate) fn started(&self, path: &str, kind: &'static str, boot_id: BootId, cell: ActorCell) {
        let started_unix_ms = self.clock.unix();
        let mut records = self.records.lock();
        let (restarts, last_failure) = match records.get(path) {
            Some(before) => (before.info.restarts + 1, before.info.last_failure.clone()),
            None => (0, None),
        };
        let info = ActorInfo {
            path: path.to_owned(),
            kind,
            status: ActorState::Running,
            restarts,
            boot_id,
            started_unix_ms,
            last_failure,
        };
        records.insert(path.to_owned(), Record { info, cell });
        drop(records);
        self.changed();
    }

    /// Notes a life that has ended, and what comes next.
    pub(crate) fn ended(&self, path: &str, status: ActorState, reason: &str) {
        if let Some(record) = self.records.lock().get_mut(path) {
            record.info.status = status;
            record.info.last_failure = Some(reason.to_owned());
        }
        self.changed();
    }

    /// Notes that an actor and everything below it stopped on purpose.
    pub(crate) fn stopped(&self, path: &str) {
        let below = format!("{path}/");
        for (at, record) in self.records.lock().iter_mut() {
            if at == path || at.starts_with(&below) {
                record.info.status = ActorState::Stopped;
            }
        }
        self.changed();
    }
}

#[cfg(any(test, feature = "chaos"))]
impl Tree {
    /// The actor at a path, to be hurt.
    pub(crate) fn cell(&self, path: &str) -> Option<ActorCell> {
        let records = self.records.lock();
        records.get(path).map(|record| record.cell.clone())
    }
}
