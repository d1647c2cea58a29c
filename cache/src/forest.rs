//! Responsible for which blocks are present and which block follows which: the prefix forest, and the longest-prefix match
//! in O(log n) lookups. It must never know pages, policies or time.
//!
//! Chained keys carry their whole prefix, so a match needs no walk from a root: it needs the largest `i` such that keys
//! `0..=i` are all present. Only leaves are evicted, so a block that is present usually proves its ancestors present too,
//! and the forest remembers how far that proof reaches:
//!
//! ```text
//! path 7, floor 0:   a ── b ── c ── d ── e        e is at offset 4: finding e proves a, b, c, d
//!                         └─ x ── y               x branches off, so it starts a path of its own
//! after remove(c):   a ── b    ○ ── d ── e        c is a ghost, floor = 3: finding e proves d, no more
//! ```
//!
//! # Invariants
//! - A member of a path at offset `o ≥ floor` has all members at `floor..=o` as direct ancestors, present.
//! - A vertex is present, or a ghost (removed, but children name it as parent), or free. Ghosts have no parent and at least
//!   one child; children are always present. So there are never more ghosts than blocks.
//! - Every operation is O(1) in the size of the forest. Removing an inner block shortens proofs; it never walks a subtree,
//!   and proofs are never wrong, at worst short, and then the match takes more steps.
#![expect(
    clippy::indexing_slicing,
    reason = "the range starts at a match's length, which is at most the number of keys"
)]

use crate::forest::index::Index;
use crate::forest::vertex::{NONE, Path, Vertex};
use crate::key::BlockKey;
use crate::slab::Slab;

mod index;
mod matching;
mod vertex;

/// How far a block that arrives after its children looks upwards to make sure that it is not its own ancestor. Keys made by
/// [`crate::KeySpace`] cannot form a ring, opaque ones with invented parents could; beyond this depth (a million tokens
/// at 16 a block) the parent is left unlinked, which costs eviction order and nothing else.
const ANCESTRY_STEPS_MAX: u32 = 65_536;

/// Lookups of a stored chain made at a time.
const STORE_BATCH: usize = 16;

/// Number of a block's records. Valid from the block's insertion to its removal, then used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub(crate) u32);

/// What [`Forest::insert`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The block is new.
    New(BlockId),
    /// The block was there.
    Known(BlockId),
}

/// The prefix forest. Usable alone: keys in, lengths of prefixes out.
#[derive(Debug)]
pub struct Forest {
    index: Index,
    vertices: Slab<Vertex>,
    /// Vertices ever used; those below are in use or in the free list.
    slots: u32,
    free: u32,
    paths: Slab<Path>,
    path_slots: u32,
    path_free: u32,
    len: usize,
    ghosts: u32,
}

impl Default for Forest {
    fn default() -> Self {
        Self::new()
    }
}

impl Forest {
    /// An empty forest.
    pub fn new() -> Self {
        Self {
            index: Index::new(),
            vertices: Slab::new(),
            slots: 0,
            free: NONE,
            paths: Slab::new(),
            path_slots: 0,
            path_free: NONE,
            len: 0,
            ghosts: 0,
        }
    }

    /// Blocks present.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Removed blocks whose records stay for the sake of their children. They take the memory of blocks.
    pub const fn ghosts(&self) -> u32 {
        self.ghosts
    }

    /// Whether no block is present.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The block with this key, if it is present.
    #[inline]
    pub fn find(&self, key: &BlockKey) -> Option<BlockId> {
        let id = self.index.find(&self.vertices, key)?;
        (!self.vertices[id].is_ghost()).then_some(BlockId(id))
    }

    /// Adds the block `key`, stored after `parent`. A parent that is not present is not linked: the block is then the head
    /// of what follows it. Storing a known block again links it to a parent that arrived late.
    pub fn insert(&mut self, key: &BlockKey, parent: Option<&BlockKey>) -> Inserted {
        let parent = parent
            .and_then(|parent| self.find(parent))
            .map(|BlockId(id)| id);
        match self.append_or_revive(NONE, key, parent) {
            (id, true) => Inserted::New(BlockId(id)),
            (id, false) => Inserted::Known(BlockId(id)),
        }
    }

    /// Adds a whole chain; answers how many of its blocks are new. `matched` is what [`Forest::match_prefix`] just answered
    /// for it, so that the match is not made twice, or 0.
    pub fn insert_chain(&mut self, keys: &[BlockKey], matched: usize) -> usize {
        let last = keys
            .get(..matched)
            .and_then(<[_]>::last)
            .and_then(|key| self.find(key));
        let (present, deepest) = match last {
            Some(deepest) => (matched, Some(deepest)),
            None => self.match_where(keys, |_| true),
        };
        let mut new = 0;
        let mut parent = deepest.map(|BlockId(id)| id);
        for batch in keys[present..].chunks(STORE_BATCH) {
            // Lookups that depend on nothing overlap in memory; what follows then finds their lines in the cache.
            let mut found = [NONE; STORE_BATCH];
            for (found, key) in found.iter_mut().zip(batch) {
                *found = self.index.find(&self.vertices, key).unwrap_or(NONE);
            }
            for (found, key) in found.into_iter().zip(batch) {
                let (id, is_new) = self.append_or_revive(found, key, parent);
                new += usize::from(is_new);
                parent = Some(id);
            }
        }
        new
    }

    /// Removes a block that is present. Its children stay and become heads.
    pub fn remove(&mut self, id: BlockId) {
        let BlockId(id) = id;
        let vertex = self.vertices[id];
        debug_assert!(!vertex.is_ghost(), "only present blocks are removed");
        self.len -= 1;
        if vertex.parent != NONE {
            self.vertices[id].parent = NONE;
            self.vertices[vertex.parent].lose_child();
            let parent = &self.vertices[vertex.parent];
            if parent.is_ghost() && parent.children() == 0 {
                self.ghosts -= 1;
                self.release(vertex.parent);
            }
        }
        if vertex.children() == 0 {
            self.release(id);
            return;
        }
        self.vertices[id].set_ghost(true);
        self.ghosts += 1;
        let Vertex { path, offset, .. } = self.vertices[id];
        if path != NONE {
            // Descendants on the path prove only what lies after the hole. An offset of u16::MAX is its path's last.
            let floor = &mut self.paths[path].floor;
            *floor = (*floor).max(offset.saturating_add(1));
        }
    }

    /// The key of a block.
    pub fn key(&self, id: BlockId) -> &BlockKey {
        &self.vertices[id.0].key
    }

    /// The block that `id` is linked to as its parent, if it is present.
    pub fn parent(&self, id: BlockId) -> Option<BlockId> {
        let parent = self.vertices[id.0].parent;
        (parent != NONE && !self.vertices[parent].is_ghost()).then_some(BlockId(parent))
    }

    /// Whether no present block is linked to `id` as its parent.
    pub fn is_leaf(&self, id: BlockId) -> bool {
        self.vertices[id.0].children() == 0
    }

    /// Blocks before `id` in its chain, also those that were removed or never were here, as far as it was told: one more than
    /// its parent's, or what [`Forest::set_depth`] said. Counted up to 65 535.
    pub fn depth(&self, id: BlockId) -> u16 {
        self.vertices[id.0].depth
    }

    /// Says how deep a block lies whose parent is not here.
    pub fn set_depth(&mut self, id: BlockId, depth: u16) {
        self.vertices[id.0].depth = depth;
    }

    /// Present blocks that are linked to `id` as their parent.
    pub fn children(&self, id: BlockId) -> u32 {
        self.vertices[id.0].children()
    }

    /// Whether nothing is proven through `id`, so that removing it while it has children shortens no proof.
    pub fn is_severed(&self, id: BlockId) -> bool {
        let vertex = &self.vertices[id.0];
        vertex.path == NONE || vertex.offset < self.paths[vertex.path].floor
    }

    /// One more than the largest number any block has had.
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Stores `key`, which a lookup found as `found`, after `parent`; whether it is new.
    fn append_or_revive(&mut self, found: u32, key: &BlockKey, parent: Option<u32>) -> (u32, bool) {
        // A list that names a key twice has stored it since the lookup.
        let id = match found {
            NONE => self.index.find(&self.vertices, key),
            id => Some(id),
        };
        let Some(id) = id else {
            return (self.append(key, parent), true);
        };
        let was_ghost = self.vertices[id].is_ghost();
        if was_ghost {
            self.vertices[id].set_ghost(false);
            self.ghosts -= 1;
            self.len += 1;
        }
        self.adopt(id, parent);
        (id, was_ghost)
    }

    /// Links a present vertex without a parent to one that is present.
    fn adopt(&mut self, id: u32, parent: Option<u32>) {
        let Some(parent) = parent else { return };
        if self.vertices[id].parent != NONE || self.descends(parent, id) {
            return;
        }
        self.vertices[id].parent = parent;
        self.vertices[id].depth = self.vertices[parent].depth.saturating_add(1);
        self.vertices[parent].gain_child();
    }

    /// Whether `ancestor` is `id` or above it, or so far up that it might be.
    fn descends(&self, id: u32, ancestor: u32) -> bool {
        if self.vertices[ancestor].children() == 0 {
            return id == ancestor;
        }
        let mut vertex = id;
        for _ in 0..ANCESTRY_STEPS_MAX {
            if vertex == ancestor {
                return true;
            }
            vertex = self.vertices[vertex].parent;
            if vertex == NONE {
                return false;
            }
        }
        true
    }

    /// Makes a new vertex, on its parent's path when it is the first child there.
    fn append(&mut self, key: &BlockKey, parent: Option<u32>) -> u32 {
        let id = self.allocate();
        let mut vertex = Vertex::new(*key);
        if let Some(parent) = parent {
            vertex.parent = parent;
            vertex.depth = self.vertices[parent].depth.saturating_add(1);
            if self.vertices[parent].children() == 0 {
                (vertex.path, vertex.offset) = self.extend(parent);
            }
            self.vertices[parent].gain_child();
        }
        self.vertices[id] = vertex;
        self.index.insert(&self.vertices, key, id);
        self.len += 1;
        id
    }

    /// The next place on the path that ends with `parent`; none when the path is full, or has a hole at that place.
    fn extend(&mut self, parent: u32) -> (u32, u16) {
        let Vertex { path, offset, .. } = self.vertices[parent];
        if path == NONE {
            let path = self.allocate_path();
            self.paths[path] = Path {
                head: parent,
                floor: 0,
                others: 1,
            };
            self.vertices[parent].path = path;
            self.vertices[parent].offset = 0;
            return (path, 1);
        }
        let members = &mut self.paths[path];
        match offset.checked_add(1) {
            Some(offset) if members.floor <= offset && members.others < u16::MAX => {
                members.others += 1;
                (path, offset)
            }
            _ => (NONE, 0),
        }
    }

    fn allocate(&mut self) -> u32 {
        if self.free != NONE {
            let id = self.free;
            self.free = self.vertices[id].parent;
            return id;
        }
        let id = self.slots;
        assert!(
            id < NONE >> 1,
            "two thousand million blocks: a budget of blocks keeps far from here"
        );
        self.vertices.reach(id);
        self.slots += 1;
        id
    }

    fn release(&mut self, id: u32) {
        let Vertex { key, path, .. } = self.vertices[id];
        self.index.remove(&key, id);
        if path != NONE {
            self.leave(path, id);
        }
        self.vertices[id] = Vertex::default();
        self.vertices[id].parent = self.free;
        self.free = id;
    }

    /// Takes `id` off its path. A path of one proves nothing, so its last member leaves too: else every block whose child
    /// went would keep the memory of a path. Only the head is known by number; another last one keeps its path until it goes.
    fn leave(&mut self, path: u32, id: u32) {
        let Path { head, others, .. } = self.paths[path];
        let is_last_known = others == 1 && head != id && self.vertices[head].path == path;
        if is_last_known {
            self.vertices[head].path = NONE;
        }
        if is_last_known || others == 0 {
            self.paths[path].head = self.path_free;
            self.path_free = path;
        } else {
            self.paths[path].others = others - 1;
        }
    }

    fn allocate_path(&mut self) -> u32 {
        if self.path_free != NONE {
            let path = self.path_free;
            self.path_free = self.paths[path].head;
            return path;
        }
        let path = self.path_slots;
        self.paths.reach(path);
        self.path_slots += 1;
        path
    }
}

#[cfg(test)]
mod tests;
