//! Responsible for blocks in several lists, with what all list-keeping policies do alike: inner blocks and leased ones stay
//! where they are until a search meets them, soft pins have a list of their own, heirs take the places of their children.
//! It must never know what a list means to its policy.

use crate::forest::{BlockId, Forest};
use crate::policy::explain::LOOK_MAX;
use crate::policy::links::{END, Linked, Links, List, walk};
use crate::policy::{ClassFigures, Explanation, Newcomer, Rank, as_f64, count};
use crate::slab::Slab;

/// How far from the cold end the place of a block is searched that comes back into a list; beyond it the place is
/// approximate.
const PLACE_STEPS_MAX: u32 = 64;

const PRESENT: u8 = 1;
const LISTED: u8 = 2;
const SUSPENDED: u8 = 4;
const LAST: u8 = 8;

#[derive(Clone, Copy, Default)]
struct Node {
    links: Links,
    /// When it came to the hot end of its list.
    stamp: u64,
    queue: u8,
    mark: u8,
    state: u8,
}

impl Linked for Node {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// Blocks in queues, each coldest first.
#[derive(Debug)]
pub(crate) struct Queues {
    nodes: Slab<Node>,
    /// One a queue, then the one of soft pins.
    lists: Vec<List>,
    /// Members of each queue, listed or not, soft pins included.
    lens: Vec<usize>,
    clock: u64,
}

#[expect(
    clippy::indexing_slicing,
    reason = "ids are reached when they are admitted; queues are below the number given at the start"
)]
impl Queues {
    pub(crate) fn new(queues: usize) -> Self {
        Self {
            nodes: Slab::new(),
            lists: vec![List::default(); queues + 1],
            lens: vec![0; queues],
            clock: 0,
        }
    }

    /// Members of a queue.
    pub(crate) fn len(&self, queue: u8) -> usize {
        self.lens[usize::from(queue)]
    }

    /// Members of all queues.
    pub(crate) fn total(&self) -> usize {
        self.lens.iter().sum()
    }

    pub(crate) fn queue(&self, id: BlockId) -> u8 {
        self.nodes[id.0].queue
    }

    /// A number of the policy's own for each block.
    pub(crate) fn mark(&self, id: BlockId) -> u8 {
        self.nodes[id.0].mark
    }

    pub(crate) fn set_mark(&mut self, id: BlockId, mark: u8) {
        self.nodes[id.0].mark = mark;
    }

    /// A new block, at the hot end of a queue.
    pub(crate) fn admit(&mut self, id: BlockId, queue: u8, mark: u8) {
        self.nodes.reach(id.0);
        self.nodes[id.0] = Node {
            queue,
            mark,
            state: PRESENT,
            ..Node::default()
        };
        self.lens[usize::from(queue)] += 1;
        self.renew(id, queue);
    }

    /// Brings a block to the hot end of a queue.
    pub(crate) fn renew(&mut self, id: BlockId, queue: u8) {
        self.unlist(id.0);
        self.set_queue(id.0, queue);
        self.clock += 1;
        self.nodes[id.0].stamp = self.clock;
        if self.nodes[id.0].state & SUSPENDED == 0 {
            let hottest = self.lists[self.list_of(id.0)].hottest;
            self.list_after(id.0, hottest);
        }
    }

    pub(crate) fn suspend(&mut self, id: BlockId) {
        self.nodes[id.0].state |= SUSPENDED;
    }

    /// Back to the place that its stamp gives it, unless no search met it meanwhile and it never left.
    pub(crate) fn resume(&mut self, id: BlockId, rank: Rank) {
        let state = self.nodes[id.0].state & !SUSPENDED;
        let last = if rank == Rank::Last { LAST } else { 0 };
        if state & LAST != last {
            self.unlist(id.0);
        }
        self.nodes[id.0].state = self.nodes[id.0].state & !(SUSPENDED | LAST) | last;
        if self.nodes[id.0].state & LISTED == 0 {
            self.place(id.0);
        }
    }

    /// Takes a block out for good.
    pub(crate) fn remove(&mut self, id: BlockId) {
        self.unlist(id.0);
        self.lens[usize::from(self.nodes[id.0].queue)] -= 1;
        self.nodes[id.0] = Node::default();
    }

    /// Takes a block out for good; its heir takes its place.
    pub(crate) fn leave(&mut self, id: BlockId, heir: Option<BlockId>) {
        if let Some(heir) = heir {
            self.inherit(id, heir);
        }
        self.remove(id);
    }

    /// `id` is about to go. If its heir was passed over as an inner block, it is listed again: in the place of `id` when that
    /// is a hotter one in the same list, else where it was.
    pub(crate) fn inherit(&mut self, id: BlockId, heir: BlockId) {
        let (from, to) = (self.nodes[id.0], self.nodes[heir.0]);
        if to.state & (LISTED | SUSPENDED) != 0 {
            return;
        }
        let is_same_list = from.state & LISTED != 0 && self.list_of(id.0) == self.list_of(heir.0);
        if is_same_list && to.stamp <= from.stamp {
            self.nodes[heir.0].stamp = from.stamp;
            self.list_after(heir.0, id.0);
        } else {
            self.place(heir.0);
        }
    }

    /// The coldest leaf of a queue that may go. Takes out the inner and the suspended blocks that it meets.
    pub(crate) fn coldest(&mut self, forest: &Forest, queue: u8) -> Option<BlockId> {
        self.coldest_of(forest, usize::from(queue))
    }

    /// The coldest soft pin that may go.
    pub(crate) fn coldest_last(&mut self, forest: &Forest) -> Option<BlockId> {
        self.coldest_of(forest, self.lens.len())
    }

    /// The coldest block of a queue, leaf or not, that is listed.
    pub(crate) fn coldest_any(&self, queue: u8) -> Option<BlockId> {
        let id = self.lists[usize::from(queue)].coldest;
        (id != END).then_some(BlockId(id))
    }

    /// The next hotter block in the same list.
    pub(crate) fn hotter(&self, id: BlockId) -> Option<BlockId> {
        let hotter = self.nodes[id.0].links.hotter;
        (hotter != END).then_some(BlockId(hotter))
    }

    /// Takes a block out of its list until it inherits, is renewed or resumed.
    pub(crate) fn set_aside(&mut self, id: BlockId) {
        self.unlist(id.0);
    }

    pub(crate) fn can_go(&self, forest: &Forest, id: BlockId) -> bool {
        self.nodes[id.0].state & SUSPENDED == 0 && forest.is_leaf(id)
    }

    /// What all these policies say of a block.
    pub(crate) fn explain(&self, forest: &Forest, id: BlockId, queues: &[&str]) -> Explanation {
        let node = self.nodes[id.0];
        let name = queues
            .get(usize::from(node.queue))
            .copied()
            .unwrap_or("queue");
        Explanation {
            class: if node.state & LAST == 0 {
                name.to_owned()
            } else {
                format!("{name}, last")
            },
            score: as_f64(node.stamp),
            because: vec![
                ("moves of others since", as_f64(self.clock - node.stamp)),
                ("mark", f64::from(node.mark)),
            ],
            can_go: self.can_go(forest, id),
        }
    }

    /// The listed blocks of a queue, coldest first, whether they may go or not.
    pub(crate) fn walk(&self, queue: u8) -> impl Iterator<Item = BlockId> {
        self.walk_list(usize::from(queue))
    }

    /// The listed soft pins, coldest first.
    pub(crate) fn walk_last(&self) -> impl Iterator<Item = BlockId> {
        self.walk_list(self.lens.len())
    }

    fn walk_list(&self, list: usize) -> impl Iterator<Item = BlockId> {
        walk(self.lists[list].coldest, move |id| {
            self.nodes[id].links.hotter
        })
    }

    /// Those of an order that may go, then the soft pins that may, `many` at most.
    pub(crate) fn outlook(
        &self,
        forest: &Forest,
        order: impl Iterator<Item = BlockId>,
        many: usize,
    ) -> Vec<BlockId> {
        let looked = order.chain(self.walk_last()).take(LOOK_MAX);
        let able = looked.filter(|id| self.can_go(forest, *id));
        able.take(many).collect()
    }

    /// How many blocks each queue has.
    pub(crate) fn figures(&self, queues: &[&str]) -> Vec<ClassFigures> {
        let of = |(name, len): (&&str, &usize)| ClassFigures {
            name: (*name).to_owned(),
            numbers: vec![("blocks", as_f64(count(*len)))],
        };
        queues.iter().zip(&self.lens).map(of).collect()
    }

    fn coldest_of(&mut self, forest: &Forest, list: usize) -> Option<BlockId> {
        loop {
            let id = self.lists[list].coldest;
            if id == END {
                return None;
            }
            if self.can_go(forest, BlockId(id)) {
                return Some(BlockId(id));
            }
            self.unlist(id);
        }
    }

    fn list_of(&self, id: u32) -> usize {
        let node = &self.nodes[id];
        if node.state & LAST != 0 {
            self.lens.len()
        } else {
            usize::from(node.queue)
        }
    }

    fn set_queue(&mut self, id: u32, queue: u8) {
        let before = std::mem::replace(&mut self.nodes[id].queue, queue);
        self.lens[usize::from(before)] -= 1;
        self.lens[usize::from(queue)] += 1;
    }

    fn unlist(&mut self, id: u32) {
        if self.nodes[id].state & LISTED != 0 {
            self.nodes[id].state &= !LISTED;
            let list = self.list_of(id);
            self.lists[list].remove(&mut self.nodes, id);
        }
    }

    fn list_after(&mut self, id: u32, colder: u32) {
        self.nodes[id].state |= LISTED;
        let list = self.list_of(id);
        self.lists[list].insert_after(&mut self.nodes, id, colder);
    }

    /// Puts an unlisted block where its stamp belongs, near the cold end: what is not listed was passed there.
    fn place(&mut self, id: u32) {
        let stamp = self.nodes[id].stamp;
        let mut colder = END;
        let mut next = self.lists[self.list_of(id)].coldest;
        for _ in 0..PLACE_STEPS_MAX {
            if next == END || stamp < self.nodes[next].stamp {
                break;
            }
            (colder, next) = (next, self.nodes[next].links.hotter);
        }
        self.list_after(id, colder);
    }
}

/// The number that stands for a newcomer among ghosts, if there is one.
pub(crate) fn hash_of_newcomer(newcomer: Option<&Newcomer<'_>>) -> Option<u64> {
    newcomer.map(|newcomer| crate::policy::ghosts::hash_of(newcomer.key))
}

/// `part` of `whole`, rounded down.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count of blocks, both far below 2^53"
)]
pub(crate) fn share(whole: usize, part: f64) -> usize {
    (whole as f64 * part) as usize
}
