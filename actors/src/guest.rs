//! A guest of a shard: a state machine of the room above that lives inside the shard's turns and owns the shard's entries.
//!
//! Responsible for the contract between the two. It must never know what a guest does, nor what a box of entries stands for.
//!
//! ```text
//!   GuestPort ── permit ──► inbox of the present life ──one wake a window──► ShardActor ──► ShardGuest::handle
//!                                                                                │  tick      │
//!                                                                                └────────────┴──► EntryTable
//! ```

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ultrakv_cache::{EntryTable, Now};

use crate::handle::Permit;
use crate::shard::ShardPort;
use crate::{BootId, RequestError};

/// What a guest has of its shard during one turn.
#[derive(Debug)]
pub struct GuestWorld<'a> {
    /// The time.
    pub now: Now,
    /// Which shard.
    pub shard: usize,
    /// This life of it: another guest for another life.
    pub life: BootId,
    /// The shard's entries, which nobody else touches.
    pub entries: EntryTable<'a>,
}

/// Lives in one life of a shard. It must never wait, whatever it is told: the shard's other requests wait meanwhile.
pub trait ShardGuest: Send {
    /// Takes what has come since the last turn, in order; nothing when it was only woken.
    fn handle(&mut self, messages: Vec<GuestMessage>, world: &mut GuestWorld<'_>);

    /// Time has passed: about ten milliseconds while it is restless, else as often as room is looked after.
    fn tick(&mut self, world: &mut GuestWorld<'_>);

    /// Whether it needs ticks soon.
    fn is_restless(&self) -> bool;
}

/// Makes guests.
pub trait GuestFactory: fmt::Debug + Send + Sync {
    /// A guest for a life of a shard that begins, and has no entries. Called within the shard's turn: it must not wait.
    fn begin(&self, shard: usize, life: BootId) -> Box<dyn ShardGuest>;
}

/// Something for a guest.
pub struct GuestMessage {
    /// What, as the guest knows it.
    pub body: Box<dyn Any + Send>,
    /// The right to be there; whoever answers later keeps it until then.
    pub permit: GuestPermit,
}

impl fmt::Debug for GuestMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestMessage")
    }
}

/// The right to have one message, or the question in it, under way; given back when it is dropped.
#[derive(Debug)]
pub struct GuestPermit {
    _held: Permit,
}

/// The way to a shard's guest, whichever life it is in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GuestPort {
    port: Arc<ShardPort>,
}

impl GuestPort {
    pub(crate) const fn new(port: Arc<ShardPort>) -> Self {
        Self { port }
    }

    /// A permit for a client's request with this much payload, from the shard's gate.
    ///
    /// # Errors
    /// When as much is in flight as may be.
    pub fn request(&self, payload_bytes: u64) -> Result<GuestPermit, RequestError> {
        let permit = match payload_bytes {
            0 => self.port.gate.enter(),
            bytes => self.port.gate.enter_with(bytes),
        };
        permit.map(|held| GuestPermit { _held: held })
    }

    /// A permit for what another node's guest says, which does not compete with clients.
    ///
    /// # Errors
    /// When as much is in flight as may be; the message is lost then.
    pub fn note(&self, bytes: u64) -> Result<GuestPermit, RequestError> {
        let permit = self.port.notes.enter_with(bytes);
        permit.map(|held| GuestPermit { _held: held })
    }

    /// A permit for an order of the node itself.
    ///
    /// # Errors
    /// When as many orders wait as may.
    pub fn order(&self) -> Result<GuestPermit, RequestError> {
        let permit = self.port.gate.order();
        permit.map(|held| GuestPermit { _held: held })
    }

    /// Puts a message into the inbox of the present life; never waits. A life that ends drops what is in its inbox, and so the
    /// ways to answer in it.
    ///
    /// # Errors
    /// When no life runs.
    pub fn try_send(
        &self,
        permit: GuestPermit,
        body: Box<dyn Any + Send>,
    ) -> Result<(), RequestError> {
        let life = self.port.life()?;
        life.put_in(GuestMessage { body, permit })
    }

    /// Has the guest take a turn soon, if a life runs; there is at most one wake under way.
    pub fn wake(&self) {
        if let Ok(life) = self.port.life() {
            life.wake_guest();
        }
    }
}
