//! What this module is told by the rest of the cluster: where blocks belong, whose they are, and how records are agreed
//! on. It must never know how any of it came about.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;
use ultrakv_actors::DomainTag;
use ultrakv_cache::ArenaId;

use crate::NodeId;
use crate::directory::{Applied, Directory};

/// How another node stands with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Up,
    /// It is about to leave: read from, not written to.
    Draining,
    /// It seems not to be reached just now: asked last.
    Doubted,
    /// It is declared down, or is no member: what it held is lost until it says otherwise.
    Down,
}

/// Where blocks belong, and how nodes stand.
pub trait BlockLayout: fmt::Debug + Send + Sync + 'static {
    /// The nodes that a slot is for, the wanted owner first.
    fn targets(&self, slot: u16) -> Vec<NodeId>;

    /// How a node stands; also this one.
    fn standing(&self, node: NodeId) -> Standing;

    /// Told whenever targets or standings change.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Whose blocks lie in which arena of this node.
pub trait BlockArenas: fmt::Debug + Send + Sync + 'static {
    /// The arena of a domain's generation; none when this node knows no such generation (any more, or yet).
    fn arena(&self, tag: DomainTag) -> Option<ArenaId>;

    /// The domain's generation of an arena; none when it was purged.
    fn tag(&self, arena: ArenaId) -> Option<DomainTag>;
}

/// A batch was not agreed on, or nobody knows whether it was; sending it again is harmless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of the directory is not known to be agreed on: {reason}")]
pub struct SinkError {
    /// Why.
    pub reason: String,
}

/// Where batches of the directory are agreed on.
pub trait RecordSink: fmt::Debug + Send + Sync + 'static {
    /// Has a batch agreed on; answers what it did.
    fn propose(&self, batch: Vec<u8>) -> BoxFuture<'static, Result<Applied, SinkError>>;

    /// Told after batches were applied to this node's directory.
    fn applied(&self) -> watch::Receiver<u64>;
}

/// This node's directory of the moment; another one after a snapshot was installed.
pub type DirectorySource = Arc<dyn Fn() -> Arc<Directory> + Send + Sync>;
