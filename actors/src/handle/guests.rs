//! Guests: who lives in the shards, how they are reached, and which of them has which box of entries.
//!
//! It must never know what a box stands for.

use std::sync::Arc;

use ultrakv_cache::EntryBox;

use super::CacheHandle;
use crate::guest::{GuestFactory, GuestPort};

impl CacheHandle {
    /// Lets guests into all shards, now and in every later life. Once for a node; gives whether it was the first time.
    pub fn admit(&self, factory: Arc<dyn GuestFactory>) -> bool {
        let is_first = self.inner.guests.set(factory).is_ok();
        for port in self.inner.shards.iter() {
            GuestPort::new(Arc::clone(port)).wake();
        }
        is_first
    }

    /// The way to a shard's guest; none for a number that is no shard.
    #[must_use]
    pub fn guest(&self, shard: usize) -> Option<GuestPort> {
        let port = self.inner.shards.get(shard)?;
        Some(GuestPort::new(Arc::clone(port)))
    }

    /// The shard that a box of entries lives in: by weight, and the same for as long as the node's devices are.
    #[must_use]
    pub fn box_shard(&self, at: EntryBox) -> usize {
        self.inner.placement.entry_box(at)
    }
}
