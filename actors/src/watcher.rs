//! Who is told which blocks come and go, so that other nodes may know. It must never know what is done with it.

use std::fmt;

use ultrakv_cache::{BlockKey, Codec};

use crate::BootId;

/// Told of every block that a shard holds, in order, from within the shard's turn: it must return at once and never wait.
///
/// What one life of a shard told ends with that life: the next one begins empty.
pub trait BlockWatcher: fmt::Debug + Send + Sync {
    /// A shard begins a life, with nothing in it.
    fn began(&self, shard: usize, life: BootId);

    /// A block of the present life can be read, encoded like this.
    fn appeared(&self, shard: usize, key: &BlockKey, run: &BlockKey, codec: Codec);

    /// A block that had appeared can be read no more; the slot is that of its run's head.
    fn vanished(&self, shard: usize, key: &BlockKey, slot: u16);

    /// A block of the present life is there, as somebody asked for with [`crate::CacheHandle::tell_blocks`].
    fn listed(&self, shard: usize, key: &BlockKey, slot: u16, codec: Codec);
}
