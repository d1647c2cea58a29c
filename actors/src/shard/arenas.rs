//! The numbers of arenas, and which of them are open: shared by all shards of a node.
//!
//! A purge closes an arena for good before the shards are told, so that a writer who still holds the
//! old domain can store nothing after the shards forgot it. It must never know whose arena it is.

use std::collections::BTreeSet;

use parking_lot::RwLock;
use ultrakv_cache::ArenaId;

/// Open arenas. As many as there are sharings, since each purge opens one and closes one.
#[derive(Debug, Default)]
pub(crate) struct Arenas {
    numbers: RwLock<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    open: BTreeSet<u32>,
    last: u32,
}

impl Arenas {
    /// Opens an arena under a number that was never used.
    ///
    /// # Panics
    /// After four thousand million purges, which is a reason to start again.
    pub(crate) fn open(&self) -> ArenaId {
        let mut numbers = self.numbers.write();
        let next = numbers.last.checked_add(1);
        assert!(next.is_some(), "arena numbers are used up");
        numbers.last = next.unwrap_or(u32::MAX);
        let number = numbers.last;
        numbers.open.insert(number);
        ArenaId(number)
    }

    /// Closes an arena for good.
    pub(crate) fn close(&self, arena: ArenaId) {
        self.numbers.write().open.remove(&arena.0);
    }

    /// Whether objects may be stored in it.
    pub(crate) fn is_open(&self, arena: ArenaId) -> bool {
        self.numbers.read().open.contains(&arena.0)
    }
}
