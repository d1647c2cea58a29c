//! Responsible for least recently used first, among leaves, in O(1). It must never know what else a policy could count.
//!
//! # Source
//! The list is as old as paging (Belady, "A study of replacement algorithms for a virtual-storage computer", 1966); leaf
//! first, with the parent following its child, is SGLang's radix cache (Zheng et al., "SGLang: Efficient Execution of
//! Structured Language Model Programs", 2024, section 3), here without its touch of every ancestor.
//!
//! # Why O(1)
//! The list is ordered by last use. A touch moves to the hot end. An heir with an older last use takes its child's place in
//! the list, which is where its new last use belongs. Only when the child stood in no list, or in the other rank's, is
//! there no such place, and then a bounded search finds one; see [`PLACE_STEPS_MAX`].

use crate::forest::{BlockId, Forest};
use crate::policy::explain::leaves;
use crate::policy::links::{END, Linked, Links, List, walk};
use crate::policy::{Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe, as_f64};
use crate::slab::Slab;

pub(super) static RECIPE: Recipe = Recipe {
    name: "lru",
    summary: "Least recently used leaf first.",
    source: "Belady 1966; leaves first as in SGLang's radix cache, 2024",
    make: |_| Box::new(Lru::new()),
};

/// How far from the end of the list the place of a last use is searched when the usual shortcut is missing: a child that went
/// while leased, or that had a soft pin and its parent none. Beyond it the place is approximate.
const PLACE_STEPS_MAX: u32 = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// In no list: forgotten, or an inner block that a search took out.
    #[default]
    Nowhere,
    Listed,
    Suspended,
}

/// Place and rank share the upper word of the last use, so that four bytes align it: 16 bytes.
#[derive(Clone, Copy, Default)]
struct Record {
    links: Links,
    used_low: u32,
    used_high_and_state: u32,
}

const STATE_SHIFT: u32 = 29;
const USED_HIGH_MASK: u32 = (1 << STATE_SHIFT) - 1;
const RANK_BIT: u32 = 1 << 31;

impl Linked for Record {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl Record {
    fn used(&self) -> u64 {
        u64::from(self.used_high_and_state & USED_HIGH_MASK) << 32 | u64::from(self.used_low)
    }

    fn set_used(&mut self, used: u64) {
        let [a, b, c, d, e, f, g, h] = used.to_le_bytes();
        self.used_low = u32::from_le_bytes([a, b, c, d]);
        let state = self.used_high_and_state & !USED_HIGH_MASK;
        self.used_high_and_state = state | u32::from_le_bytes([e, f, g, h]) & USED_HIGH_MASK;
    }

    const fn place(&self) -> Place {
        match self.used_high_and_state >> STATE_SHIFT & 3 {
            1 => Place::Listed,
            2 => Place::Suspended,
            _ => Place::Nowhere,
        }
    }

    const fn set_place(&mut self, place: Place) {
        let bits = match place {
            Place::Nowhere => 0,
            Place::Listed => 1,
            Place::Suspended => 2,
        };
        self.used_high_and_state =
            self.used_high_and_state & !(3 << STATE_SHIFT) | bits << STATE_SHIFT;
    }

    const fn rank(&self) -> Rank {
        if self.used_high_and_state & RANK_BIT == 0 {
            Rank::Normal
        } else {
            Rank::Last
        }
    }

    const fn set_rank(&mut self, rank: Rank) {
        self.used_high_and_state = self.used_high_and_state & !RANK_BIT
            | match rank {
                Rank::Normal => 0,
                Rank::Last => RANK_BIT,
            };
    }
}

const _: () = assert!(size_of::<Record>() == 16);

/// Least recently used first.
#[derive(Debug)]
pub struct Lru {
    records: Slab<Record>,
    normal: List,
    last: List,
    /// Number of the next use. 61 bits: a thousand million uses a second for seventy years.
    clock: u64,
}

impl Default for Lru {
    fn default() -> Self {
        Self::new()
    }
}

impl Lru {
    /// A policy that knows no block yet.
    pub const fn new() -> Self {
        Self {
            records: Slab::new(),
            normal: List {
                coldest: END,
                hottest: END,
            },
            last: List {
                coldest: END,
                hottest: END,
            },
            clock: 1,
        }
    }

    const fn list(&mut self, rank: Rank) -> &mut List {
        match rank {
            Rank::Normal => &mut self.normal,
            Rank::Last => &mut self.last,
        }
    }

    fn unlist(&mut self, id: u32) {
        if self.records[id].place() == Place::Listed {
            self.records[id].set_place(Place::Nowhere);
            match self.records[id].rank() {
                Rank::Normal => self.normal.remove(&mut self.records, id),
                Rank::Last => self.last.remove(&mut self.records, id),
            }
        }
    }

    fn list_after(&mut self, id: u32, colder: u32) {
        self.records[id].set_place(Place::Listed);
        match self.records[id].rank() {
            Rank::Normal => self.normal.insert_after(&mut self.records, id, colder),
            Rank::Last => self.last.insert_after(&mut self.records, id, colder),
        }
    }

    /// Last use is now, place is the hot end.
    fn renew(&mut self, id: u32) {
        self.unlist(id);
        self.records[id].set_used(self.clock);
        self.clock += 1;
        let rank = self.records[id].rank();
        let hottest = self.list(rank).hottest;
        self.list_after(id, hottest);
    }

    /// Puts an unlisted heir where its last use belongs, searching from the end that is likely nearer.
    fn place(&mut self, id: u32, from_cold_end: bool) {
        let used = self.records[id].used();
        let rank = self.records[id].rank();
        let List { coldest, hottest } = *self.list(rank);
        let mut colder = if from_cold_end { END } else { hottest };
        for _ in 0..PLACE_STEPS_MAX {
            if from_cold_end {
                let next = if colder == END {
                    coldest
                } else {
                    self.records[colder].links.hotter
                };
                if next == END || used < self.records[next].used() {
                    break;
                }
                colder = next;
            } else {
                if colder == END || self.records[colder].used() < used {
                    break;
                }
                colder = self.records[colder].links.colder;
            }
        }
        self.list_after(id, colder);
    }

    fn inherit(&mut self, id: u32, heir: u32) {
        let (from, to) = (self.records[id], self.records[heir]);
        if to.used() < from.used() {
            self.records[heir].set_used(from.used());
            if to.place() == Place::Suspended {
                return;
            }
            self.unlist(heir);
            if from.place() == Place::Listed && from.rank() == to.rank() {
                self.list_after(heir, id);
            } else {
                self.place(heir, false);
            }
        } else if to.place() == Place::Nowhere {
            // A search took the heir out at the cold end, so its last use is older than any listed one: near that end.
            self.place(heir, true);
        }
    }
}

impl Policy for Lru {
    fn admit(&mut self, _forest: &Forest, id: BlockId, _facts: &Facts) {
        self.records.reach(id.0);
        self.records[id.0] = Record::default();
        self.renew(id.0);
    }

    fn touch(&mut self, _forest: &Forest, id: BlockId) {
        if self.records[id.0].place() == Place::Suspended {
            self.records[id.0].set_used(self.clock);
            self.clock += 1;
        } else {
            self.renew(id.0);
        }
    }

    fn suspend(&mut self, id: BlockId) {
        self.unlist(id.0);
        self.records[id.0].set_place(Place::Suspended);
    }

    /// The end of a lease or of a hard pin counts as a use: until then it was in use.
    fn resume(&mut self, id: BlockId, rank: Rank) {
        self.unlist(id.0);
        self.records[id.0].set_rank(rank);
        self.renew(id.0);
    }

    fn forget(&mut self, _forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        if let Some(heir) = heir {
            self.inherit(id.0, heir.0);
        }
        self.unlist(id.0);
        self.records[id.0] = Record::default();
    }

    fn evict(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        for rank in [Rank::Normal, Rank::Last] {
            loop {
                let coldest = self.list(rank).coldest;
                if coldest == END {
                    break;
                }
                if forest.is_leaf(BlockId(coldest)) {
                    return Some(BlockId(coldest));
                }
                self.unlist(coldest);
            }
        }
        None
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        let record = self.records[id.0];
        Explanation {
            class: format!("{:?}", record.rank()).to_lowercase(),
            score: as_f64(record.used()),
            because: vec![(
                "uses of others since",
                as_f64(self.clock - 1 - record.used()),
            )],
            can_go: forest.is_leaf(id) && record.place() != Place::Suspended,
        }
    }

    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let of = |list: &List| walk(list.coldest, move |id| self.records[id].links.hotter);
        leaves(forest, of(&self.normal).chain(of(&self.last)), many)
    }

    fn figures(&self) -> Figures {
        Figures {
            numbers: vec![("uses so far", as_f64(self.clock - 1))],
            ..Figures::default()
        }
    }
}
