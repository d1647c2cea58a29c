//! Responsible for the longest-prefix match: how far proofs and numbers carry, so that few keys are looked up. It must never
//! change the forest.
#![expect(
    clippy::indexing_slicing,
    reason = "positions are below keys.len() by the bounds that each loop keeps"
)]

use crate::forest::vertex::{NONE, Vertex};
use crate::forest::{BlockId, Forest};
use crate::key::BlockKey;

/// Paths that a match enters one after another before it halves instead: a prompt, a document, some turns of a conversation.
const PATHS_FOLLOWED_MAX: usize = 12;

impl Forest {
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
}

fn some(id: u32) -> Option<BlockId> {
    (id != NONE).then_some(BlockId(id))
}
