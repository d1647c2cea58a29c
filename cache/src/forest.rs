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
    reason = "ids come from the index or from links, both of which hold only ids of existing vertices; positions are \
              below keys.len() by the loop's own bounds"
)]

use crate::forest::index::Index;
use crate::forest::vertex::{NONE, Path, Vertex};
use crate::key::BlockKey;
use crate::slab::Slab;

mod index;
mod vertex;

/// How far a block that arrives after its children looks upwards to make sure that it is not its own ancestor. Keys made by
/// [`crate::KeySpace`] cannot form a ring, opaque ones with invented parents could; beyond this depth (a million tokens
/// at 16 a block) the parent is left unlinked, which costs eviction order and nothing else.
const ANCESTRY_STEPS_MAX: u32 = 65_536;

/// Paths that a match enters one after another before it halves instead: a prompt, a document, some turns of a conversation.
const PATHS_FOLLOWED_MAX: usize = 12;

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
        }
    }

    /// Blocks present.
    pub const fn len(&self) -> usize {
        self.len
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

    /// How many leading blocks of `keys` are present.
    ///
    /// Exact when `keys` are blocks of one chain in their order, all of them or some (a shard may hold only some runs of a
    /// chain), and for blocks without parents. Only a list that replaces inner blocks of a chain by as many foreign ones
    /// can be counted too long; reading the blocks then finds out.
    #[inline]
    pub fn match_prefix(&self, keys: &[BlockKey]) -> usize {
        self.match_where(keys, |_| true).0
    }

    /// As [`Forest::match_prefix`], counting only blocks for which `live` holds, and naming the last of them.
    ///
    /// If `live` holds for a block then it must hold for the ancestors that were present when it was stored.
    ///
    /// Goes along paths from the front: one lookup where a path is entered, then its members by their numbers, which are
    /// consecutive when they were stored in one go. Where they are not, or paths are many, halves what is open.
    pub fn match_where(
        &self,
        keys: &[BlockKey],
        live: impl Fn(BlockId) -> bool,
    ) -> (usize, Option<BlockId>) {
        let mut present = 0; // keys[..present] are present,
        let mut deepest = NONE; // of which this is the last.
        for _ in 0..PATHS_FOLLOWED_MAX {
            let Some(key) = keys.get(present) else { break };
            let Some(id) = self.find_live(key, &live) else {
                return (present, some(deepest));
            };
            let is_same_path = deepest != NONE && self.are_path_mates(deepest, id);
            let (ahead, last) = self.follow(id, &keys[present + 1..], &live);
            (present, deepest) = (present + 1 + ahead, last);
            if is_same_path && ahead == 0 {
                break; // The path goes on, but its numbers do not.
            }
        }
        self.match_by_halves(keys, (present, deepest), &live)
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
                self.release(vertex.parent);
            }
        }
        if vertex.children() == 0 {
            self.release(id);
            return;
        }
        self.vertices[id].set_ghost(true);
        if vertex.path != NONE {
            // Descendants on the path prove only what lies after the hole. An offset of u16::MAX is its path's last.
            let floor = &mut self.paths[vertex.path].floor;
            *floor = (*floor).max(vertex.offset.saturating_add(1));
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

    /// Whether nothing is proven through `id`, so that removing it while it has children shortens no proof.
    pub fn is_severed(&self, id: BlockId) -> bool {
        let vertex = &self.vertices[id.0];
        vertex.path == NONE || vertex.offset < self.paths[vertex.path].floor
    }

    /// One more than the largest number any block has had.
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// How many of `rest` follow `id` on its path, and the last of them, as far as consecutive numbers show it. Whatever
    /// it answers is proven; it may be less than there is.
    #[inline]
    fn follow(&self, id: u32, rest: &[BlockKey], live: &impl Fn(BlockId) -> bool) -> (usize, u32) {
        let Vertex { path, offset, .. } = self.vertices[id];
        if path == NONE || self.paths[path].floor > offset {
            return (0, id);
        }
        let member = |ahead: usize| -> Option<u32> {
            let steps = u16::try_from(ahead).ok()?;
            let guess = id
                .checked_add(u32::from(steps))
                .filter(|guess| *guess < self.slots)?;
            let vertex = &self.vertices[guess];
            // Both ends agree with the keys, and the path proves what is between them.
            let is_member = vertex.path == path
                && vertex.offset.checked_sub(steps) == Some(offset)
                && vertex.key == *rest.get(ahead.checked_sub(1)?)?
                && !vertex.is_ghost();
            (is_member && live(BlockId(guess))).then_some(guess)
        };
        let Some(mut last) = member(1) else {
            return (0, id);
        };
        let members = usize::from(self.paths[path].others.saturating_sub(offset));
        let end = members.min(rest.len());
        if let Some(last) = member(end) {
            return (end, last);
        }
        // Doubling steps, since what requests share is mostly a short prompt, near and in the cache; then halves.
        let (mut found, mut open) = (1, end);
        while found + 1 < open {
            let next = (found * 2).min(found.midpoint(open));
            match member(next) {
                Some(id) => (found, last) = (next, id),
                None => open = next,
            }
        }
        (found, last)
    }

    #[inline]
    fn are_path_mates(&self, a: u32, b: u32) -> bool {
        let path = self.vertices[a].path;
        path != NONE && path == self.vertices[b].path
    }

    /// Finishes a match of which `matched` blocks and the last of them are known: looks at the last key, then halves.
    fn match_by_halves(
        &self,
        keys: &[BlockKey],
        matched: (usize, u32),
        live: &impl Fn(BlockId) -> bool,
    ) -> (usize, Option<BlockId>) {
        let (mut present, mut deepest) = matched;
        let mut absent = keys.len(); // keys[absent] is not present, or is past the end.
        let mut probe = absent.saturating_sub(1);
        while present < absent {
            match self.find_live(&keys[probe], live) {
                None => absent = probe,
                Some(id) => match self.gap_before(id, probe, present, keys, live) {
                    None => (present, deepest) = (probe + 1, id),
                    Some(gap) => absent = gap,
                },
            }
            probe = present.midpoint(absent);
        }
        (present, some(deepest))
    }

    /// Where among `keys[present..at]` the proof that starts at `id`, found at `at`, meets a block that is absent.
    fn gap_before(
        &self,
        id: u32,
        at: usize,
        present: usize,
        keys: &[BlockKey],
        live: &impl Fn(BlockId) -> bool,
    ) -> Option<usize> {
        let (mut id, mut at) = (id, at);
        loop {
            let (reach, up) = self.proof(id, at, keys);
            // The block at `at - reach` is present; what about the one before?
            let top = at.saturating_sub(reach);
            if top <= present {
                return None;
            }
            at = top - 1;
            let linked = up != NONE && {
                let vertex = &self.vertices[up];
                vertex.key == keys[at] && !vertex.is_ghost() && live(BlockId(up))
            };
            id = if linked {
                up
            } else {
                match self.find_live(&keys[at], live) {
                    Some(id) => id,
                    None => return Some(at),
                }
            };
        }
    }

    /// How many direct ancestors of the present vertex `id`, found at `at`, are proven present and lie right before it in
    /// `keys`; and the vertex before those.
    #[inline]
    fn proof(&self, id: u32, at: usize, keys: &[BlockKey]) -> (usize, u32) {
        let vertex = &self.vertices[id];
        let alone = (0, vertex.parent);
        if vertex.path == NONE {
            return alone;
        }
        let path = &self.paths[vertex.path];
        let reach = usize::from(vertex.offset.saturating_sub(path.floor));
        if reach == 0 || at < reach {
            return alone;
        }
        // The two ends agree with `keys`, so what is between them does: else the keys are not of one chain.
        let top = if path.floor == 0 {
            path.head
        } else {
            self.index
                .find(&self.vertices, &keys[at - reach])
                .unwrap_or(id)
        };
        let end = &self.vertices[top];
        let agrees =
            end.key == keys[at - reach] && (end.path, end.offset) == (vertex.path, path.floor);
        if agrees { (reach, end.parent) } else { alone }
    }

    #[inline]
    fn find_live(&self, key: &BlockKey, live: &impl Fn(BlockId) -> bool) -> Option<u32> {
        self.find(key).filter(|id| live(*id)).map(|BlockId(id)| id)
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
            match self.paths[path].others.checked_sub(1) {
                Some(others) => self.paths[path].others = others,
                None => {
                    self.paths[path].head = self.path_free;
                    self.path_free = path;
                }
            }
        }
        self.vertices[id] = Vertex::default();
        self.vertices[id].parent = self.free;
        self.free = id;
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

fn some(id: u32) -> Option<BlockId> {
    (id != NONE).then_some(BlockId(id))
}

#[cfg(test)]
mod tests;
