//! Questions: how long a prefix is cached and where, who holds a block, what a slot lists. It must never change a
//! record.

use std::hint::black_box;
use std::iter::Peekable;

use parking_lot::RwLockReadGuard;
use ultrakv_cache::BlockAddress;

use super::key::{Accept, DirectoryKey, Form, Place, Tier};
use super::life::{Life, LifeNumber, Lives};
use super::partition::{Holder, Partition, Row};
use super::table::Entry;
use super::{Cell, Directory};
use crate::NodeId;

/// Blocks looked up under one lock, and the bits of [`RunHolder::held`]: a run has as many.
const PIECE_BLOCKS: usize = ultrakv_cache::PLACEMENT_RUN_BLOCKS;

/// Runs that are read together. A lock waits for every load before it, so only what is read between two locks overlaps.
///
/// Measured at 10 M records: one run at a time 70 us for a thousand blocks, four 64 us. Prefetching the next four meanwhile, by the
/// processor's own instruction, was no better.
const TOGETHER_RUNS: usize = 4;

/// A stretch of the prefix within one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixRun {
    /// Where in the chain it begins.
    pub first: usize,
    /// Its blocks, 1 to 16.
    pub blocks: usize,
    holders: (usize, usize),
}

/// One that holds blocks of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHolder {
    /// Index of its life in [`Prefix::lives`].
    pub life: usize,
    /// Which blocks of the stretch it holds in an accepted form: bit 0 is the first.
    pub held: u16,
    /// The slowest tier among them.
    pub tier: Tier,
    number: LifeNumber,
}

/// The longest prefix of a chain; one is kept by a caller, so that asking allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    blocks: usize,
    runs: Vec<PrefixRun>,
    holders: Vec<RunHolder>,
    lives: Vec<Life>,
    numbers: Vec<LifeNumber>,
}

impl Prefix {
    /// Blocks from the root without a gap.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.blocks
    }

    /// Stretches of the prefix, in order, each within one run.
    #[must_use]
    pub fn runs(&self) -> &[PrefixRun] {
        &self.runs
    }

    /// Who holds blocks of a stretch. Every block of it has a holder; one holder may lack some of them.
    #[must_use]
    pub fn holders(&self, run: &PrefixRun) -> &[RunHolder] {
        let (first, end) = run.holders;
        self.holders.get(first..end).unwrap_or_default()
    }

    /// The lives that hold blocks of the prefix.
    #[must_use]
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    fn clear(&mut self) {
        self.blocks = 0;
        self.runs.clear();
        self.holders.clear();
        self.lives.clear();
        self.numbers.clear();
    }

    /// Puts names to numbers, while nobody can give a number to another life.
    fn name(&mut self, lives: &Lives) {
        for holder in &mut self.holders {
            let known = self
                .numbers
                .iter()
                .position(|number| *number == holder.number);
            holder.life = known.unwrap_or_else(|| {
                if let Some(life) = lives.life(holder.number) {
                    self.numbers.push(holder.number);
                    self.lives.push(life);
                }
                self.lives.len().saturating_sub(1)
            });
        }
    }
}

/// One that holds a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockHolder {
    /// The holder.
    pub life: Life,
    /// In which form it has the block.
    pub form: Form,
}

/// One block that a slot lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The block.
    pub key: DirectoryKey,
    /// Who holds it: never nobody.
    pub holders: Vec<BlockHolder>,
    /// Listed runs that follow it.
    pub children: u32,
}

impl Directory {
    /// The longest prefix of `chain` of which every block is held by somebody in a form that the reader accepts.
    ///
    /// Blocks are taken one after another from the root: with gaps, which eviction and lost nodes leave, no binary
    /// search would be right. Consecutive addresses of one run cost one lock.
    pub fn longest_prefix(&self, chain: &[BlockAddress], accept: Accept, found: &mut Prefix) {
        found.clear();
        let lives = self.lives.read();
        let mut pieces = pieces(chain).peekable();
        while let Some(first) = pieces.next() {
            // Only here a lock is waited for, and none is held: nobody waits in a circle, whoever writes.
            let Some(cell) = self.cell_of(first) else {
                break;
            };
            let mut group = Group::default();
            group.push(Piece::new(first, cell.partition.read()));
            self.fill(&mut group, &mut pieces);
            // The sum is of no use, but the loads must happen: all rows are then on their way at once.
            let touched = group.pieces().map(Piece::touch);
            black_box(touched.fold(0, |sum, word| sum ^ word));
            for piece in group.pieces() {
                let matched = piece.find(&lives, accept, found);
                found.blocks += matched;
                if matched < piece.blocks.len() {
                    found.name(&lives);
                    return;
                }
            }
        }
        found.name(&lives);
    }

    /// Takes more pieces into a group, as long as their partitions are free. The same partition twice has two readers.
    fn fill<'a>(
        &'a self,
        group: &mut Group<'a>,
        pieces: &mut Peekable<impl Iterator<Item = &'a [BlockAddress]>>,
    ) {
        while !group.is_full() {
            let next = pieces.peek().and_then(|piece| self.cell_of(piece));
            let Some(partition) = next.and_then(|cell| cell.partition.try_read()) else {
                return;
            };
            if let Some(blocks) = pieces.next() {
                group.push(Piece::new(blocks, partition));
            }
        }
    }

    fn cell_of(&self, piece: &[BlockAddress]) -> Option<&Cell> {
        self.cells.get(usize::from(piece.first()?.slot()))
    }

    /// The nodes of which lives are known, in order.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        let lives = self.lives.read();
        let currents = lives.currents();
        let mut nodes: Vec<NodeId> = currents
            .filter_map(|(_, current)| lives.life(current.number))
            .map(|life| life.node)
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Who holds a block, in the order in which they reported it.
    #[must_use]
    pub fn holders(&self, place: Place) -> Vec<BlockHolder> {
        let lives = self.lives.read();
        let Some(partition) = self.cell(place.slot) else {
            return Vec::new();
        };
        let partition = partition.read();
        let row = partition.row(place.key);
        row.map_or_else(Vec::new, |row| named(&partition, row, &lives))
    }

    /// Whether a listed run follows this block. While one does, its run's tail is no leaf, and evicting it would leave
    /// the run behind it unreachable.
    #[must_use]
    pub fn has_child_run(&self, place: Place) -> bool {
        let cell = self.cell(place.slot);
        cell.is_some_and(|cell| {
            cell.read()
                .row(place.key)
                .is_some_and(|row| row.children() > 0)
        })
    }

    /// What a slot lists from a key on, in order of keys; repair and moves go through a slot with it. At most
    /// `blocks_max` are looked at, and the second answer is where to go on, `None` at the end.
    #[must_use]
    pub fn list(&self, from: Place, blocks_max: usize) -> (Vec<Listing>, Option<Place>) {
        let lives = self.lives.read();
        let Some(partition) = self.cell(from.slot) else {
            return (Vec::new(), None);
        };
        let partition = partition.read();
        let mut rows = partition.rows_from(from.key);
        let mut listings = Vec::new();
        for row in rows.by_ref().take(blocks_max) {
            let holders = named(&partition, row, &lives);
            if !holders.is_empty() {
                listings.push(Listing {
                    key: row.key(),
                    holders,
                    children: row.children(),
                });
            }
        }
        let next = rows.next().map(|row| Place {
            key: row.key(),
            ..from
        });
        (listings, next)
    }
}

/// Stretches of one run, of at most sixteen blocks.
fn pieces(chain: &[BlockAddress]) -> impl Iterator<Item = &[BlockAddress]> {
    let runs = chain.chunk_by(|left, right| left.run == right.run);
    runs.flat_map(|run| run.chunks(PIECE_BLOCKS))
}

/// Pieces that are read together; each holds its partition's lock.
#[derive(Default)]
struct Group<'a> {
    pieces: [Option<Piece<'a>>; TOGETHER_RUNS],
    count: usize,
}

impl<'a> Group<'a> {
    const fn is_full(&self) -> bool {
        self.count == TOGETHER_RUNS
    }

    fn push(&mut self, piece: Piece<'a>) {
        if let Some(place) = self.pieces.get_mut(self.count) {
            *place = Some(piece);
            self.count += 1;
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece<'a>> {
        self.pieces.iter().flatten()
    }
}

/// A stretch of one run, and the partition that lists it.
struct Piece<'a> {
    blocks: &'a [BlockAddress],
    keys: [DirectoryKey; PIECE_BLOCKS],
    partition: RwLockReadGuard<'a, Partition>,
}

impl<'a> Piece<'a> {
    fn new(blocks: &'a [BlockAddress], partition: RwLockReadGuard<'a, Partition>) -> Self {
        let mut keys = [DirectoryKey::default(); PIECE_BLOCKS];
        for (key, address) in keys.iter_mut().zip(blocks) {
            *key = DirectoryKey::of(&address.key);
        }
        Self {
            blocks,
            keys,
            partition,
        }
    }

    /// Asks the memory for every row.
    fn touch(&self) -> u64 {
        let keys = self.keys.iter().take(self.blocks.len());
        keys.fold(0, |sum, key| sum ^ self.partition.touch(*key))
    }

    /// Blocks that are held, from the first; they and their holders are added to what was found.
    fn find(&self, lives: &Lives, accept: Accept, found: &mut Prefix) -> usize {
        let first = found.holders.len();
        let mut blocks = 0;
        for (key, bit) in self.keys.iter().zip(0..self.blocks.len()) {
            let Some(row) = self.partition.row(*key) else {
                break;
            };
            let mut any = false;
            for holder in self.partition.holders(row) {
                if lives.live.is_live(holder.life) && accept.takes(holder.form) {
                    any = true;
                    note(&mut found.holders, first, holder, 1 << bit);
                }
            }
            if !any {
                break;
            }
            blocks += 1;
        }
        if blocks > 0 {
            let holders = (first, found.holders.len());
            found.runs.push(PrefixRun {
                first: found.blocks,
                blocks,
                holders,
            });
        }
        blocks
    }
}

/// Adds a block to a holder of the stretch whose holders begin at `first`.
fn note(holders: &mut Vec<RunHolder>, first: usize, holder: Holder, bit: u16) {
    let of_run = holders.get_mut(first..).unwrap_or_default();
    if let Some(known) = of_run.iter_mut().find(|known| known.number == holder.life) {
        known.held |= bit;
        known.tier = known.tier.max(holder.form.tier());
    } else {
        let (tier, number) = (holder.form.tier(), holder.life);
        holders.push(RunHolder {
            life: 0,
            held: bit,
            tier,
            number,
        });
    }
}

fn named(partition: &Partition, row: &Row, lives: &Lives) -> Vec<BlockHolder> {
    let holders = partition.holders(row);
    let living = holders.filter_map(|holder| {
        Some(BlockHolder {
            life: lives.life(holder.life)?,
            form: holder.form,
        })
    });
    living.collect()
}

#[cfg(test)]
mod tests {
    use ultrakv_cache::BlockKey;

    use super::*;

    /// A chain of runs, each in a slot of its own where the digests say so.
    fn chain(runs: u8) -> Vec<BlockAddress> {
        let key =
            |run: u8, block: u8| BlockKey::from_bytes(*blake3::hash(&[run, block]).as_bytes());
        let blocks = (0..runs).flat_map(|run| (0..16).map(move |block| (run, block)));
        blocks
            .map(|(run, block)| BlockAddress {
                key: key(run, block),
                run: key(run, 0),
            })
            .collect()
    }

    #[test]
    fn a_partition_that_is_written_ends_the_group_before_it_and_nothing_is_skipped() {
        let directory = Directory::new(u64::MAX);
        let chain = chain(20);
        let all: Vec<&[BlockAddress]> = pieces(&chain).collect();
        assert_eq!(all.len(), 20);
        let written = directory.cell_of(all[2]).unwrap().partition.write();
        let mut left = pieces(&chain).peekable();
        let first = left.next().unwrap();
        let mut group = Group::default();
        let cell = directory.cell_of(first).unwrap();
        group.push(Piece::new(first, cell.partition.read()));
        directory.fill(&mut group, &mut left);
        let taken: Vec<&[BlockAddress]> = group.pieces().map(|piece| piece.blocks).collect();
        assert_eq!(taken, all[..2]);
        assert_eq!(left.peek(), Some(&all[2]));
        drop((written, group));

        let mut group = Group::default();
        directory.fill(&mut group, &mut left);
        let taken: Vec<&[BlockAddress]> = group.pieces().map(|piece| piece.blocks).collect();
        assert_eq!(taken, all[2..2 + TOGETHER_RUNS]);
        assert!(group.is_full());
        assert_eq!(left.count(), 20 - 2 - TOGETHER_RUNS);
    }
}
