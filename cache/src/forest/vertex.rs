//! Responsible for the bytes of one vertex of the forest. It must never know the rules by which they change.

use crate::key::BlockKey;

/// No vertex, no path.
pub(crate) const NONE: u32 = u32::MAX;

/// Bit of `children` that marks a ghost.
const GHOST: u32 = 1 << 31;

/// A block's place in the forest, 48 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Vertex {
    pub(crate) key: BlockKey,
    /// The vertex before it, or [`NONE`]; in a free vertex the next free one.
    pub(crate) parent: u32,
    children_and_ghost: u32,
    /// The path it lies on, or [`NONE`].
    pub(crate) path: u32,
    /// Its place on that path.
    pub(crate) offset: u16,
    /// Blocks before it in its chain, present or not.
    pub(crate) depth: u16,
}

impl Vertex {
    pub(crate) const fn new(key: BlockKey) -> Self {
        Self {
            key,
            parent: NONE,
            children_and_ghost: 0,
            path: NONE,
            offset: 0,
            depth: 0,
        }
    }

    /// Children linked to it. Ghosts have no parent, so every one of them is present.
    pub(crate) const fn children(&self) -> u32 {
        self.children_and_ghost & !GHOST
    }

    pub(crate) const fn gain_child(&mut self) {
        self.children_and_ghost += 1;
    }

    pub(crate) const fn lose_child(&mut self) {
        self.children_and_ghost -= 1;
    }

    /// Whether it only stands in for a removed block that still has children.
    pub(crate) const fn is_ghost(&self) -> bool {
        self.children_and_ghost & GHOST != 0
    }

    pub(crate) const fn set_ghost(&mut self, ghost: bool) {
        self.children_and_ghost = self.children() | if ghost { GHOST } else { 0 };
    }
}

impl Default for Vertex {
    fn default() -> Self {
        Self::new(BlockKey::from_bytes([0; 32]))
    }
}

/// Blocks that were stored one after another, each the first child of the one before: a chain without branches.
#[derive(Clone, Copy, Default)]
pub(crate) struct Path {
    /// The vertex at offset 0, as long as that is on the path, which it is while `floor` is 0; next free path in a free one.
    pub(crate) head: u32,
    /// Members at or above this offset have all members from it up to themselves present.
    pub(crate) floor: u16,
    /// Vertices on the path less one, so that 65 536 fit.
    pub(crate) others: u16,
}

const _: () = assert!(size_of::<Vertex>() == 48 && size_of::<Path>() == 8);
