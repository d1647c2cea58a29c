//! What a replica needs of the world at one event: the time, the slot's committed entries, whether its node may serve, and
//! who is to hold the slot. It must never know who implements them.

use ultrakv_cache::Now;

use super::types::{Change, CopyEntry, Key, Stored, Version};
use super::wish::Wish;

/// The committed entries of one slot. They never expire by themselves here: an entry whose time is over stays,
/// readable, until the owner's numbered delete.
pub trait Store {
    /// What a key holds, also past its time.
    fn get(&mut self, key: &Key) -> Option<Stored>;

    /// Does what a committed write says. `Put` and `Expire` count their remaining time from `now`; `Expire` of a key
    /// that holds nothing and `Delete` of one do nothing.
    ///
    /// # Errors
    /// [`Full`] when a put finds no room. The replica then leaves the slot: a member in sync holds every write.
    fn apply(&mut self, key: &Key, change: &Change, version: Version, now: Now)
    -> Result<(), Full>;

    /// Whether a put of this much would find room besides `ahead_bytes` already promised to this slot. Asked of the owner before a
    /// write is numbered, so that a full quota refuses instead of losing a member.
    fn has_room(&mut self, key: &Key, value_bytes: usize, ahead_bytes: usize) -> bool;

    /// The next entries in the order of keys after `after` (from the first if none): at least one if there is one, then
    /// no more than fit `bytes_max`.
    fn page(&mut self, after: Option<&Key>, bytes_max: usize, now: Now) -> Page;

    /// Up to `keys_max` keys whose time is over, the longest over first.
    fn due(&mut self, now: Now, keys_max: usize) -> Vec<Key>;

    /// Forgets everything of the slot.
    fn clear(&mut self);
}

/// A part of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries in the order of keys.
    pub entries: Vec<CopyEntry>,
    /// Whether nothing lies behind them.
    pub is_last: bool,
}

/// There is no room for an entry, and nothing may give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for an entry")]
pub struct Full;

/// Whether this replica's node may serve as owner.
pub trait Tenure {
    /// Whether the node's tenure holds at the moment of the call, by a clock read inside the call. The machine calls it
    /// *after* it has read the value: then the value was current when it was read, however long the thread slept
    /// between.
    fn is_held(&mut self) -> bool;
}

/// What one event is handled with.
pub struct World<'a> {
    /// The time, in milliseconds on this replica's monotonic clock.
    pub now: Now,
    /// The slot's committed entries.
    pub store: &'a mut dyn Store,
    /// Whether the node may serve as owner.
    pub tenure: &'a mut dyn Tenure,
    /// Who is to hold the slot.
    pub wish: &'a Wish,
}
