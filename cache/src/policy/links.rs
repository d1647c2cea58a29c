//! Responsible for doubly linked lists through records of a slab, coldest first. It must never know what the order means.

use crate::slab::Slab;

/// No neighbour.
pub(crate) const END: u32 = u32::MAX;

/// A record that can stand in a list.
pub(crate) trait Linked {
    /// The colder and the hotter neighbour.
    fn links(&mut self) -> &mut Links;
}

/// Neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) colder: u32,
    pub(crate) hotter: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            colder: END,
            hotter: END,
        }
    }
}

/// Ends of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    pub(crate) coldest: u32,
    pub(crate) hottest: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            coldest: END,
            hottest: END,
        }
    }
}

/// The blocks of a list from one on, towards its hot end.
pub(crate) fn walk(
    start: u32,
    hotter: impl Fn(u32) -> u32,
) -> impl Iterator<Item = crate::forest::BlockId> {
    let listed = |id: u32| (id != END).then_some(id);
    let ids = std::iter::successors(listed(start), move |id| listed(hotter(*id)));
    ids.map(crate::forest::BlockId)
}

impl List {
    pub(crate) const fn is_empty(&self) -> bool {
        self.coldest == END
    }

    /// Puts `id` right after (hotter than) `colder`, or at the cold end for [`END`].
    pub(crate) fn insert_after<T: Linked>(&mut self, slab: &mut Slab<T>, id: u32, colder: u32) {
        let hotter = if colder == END {
            self.coldest
        } else {
            slab[colder].links().hotter
        };
        *slab[id].links() = Links { colder, hotter };
        match colder {
            END => self.coldest = id,
            colder => slab[colder].links().hotter = id,
        }
        match hotter {
            END => self.hottest = id,
            hotter => slab[hotter].links().colder = id,
        }
    }

    /// Takes `id`, which stands in this list, out of it.
    pub(crate) fn remove<T: Linked>(&mut self, slab: &mut Slab<T>, id: u32) {
        let Links { colder, hotter } = std::mem::take(slab[id].links());
        match colder {
            END => self.coldest = hotter,
            colder => slab[colder].links().hotter = hotter,
        }
        match hotter {
            END => self.hottest = colder,
            hotter => slab[hotter].links().colder = colder,
        }
    }
}
