//! Measures what a block costs in index, forest, policy and block table, counted by the allocator.
//!
//! The whole shard is counted, with everything it allocates for itself: no table can be forgotten. The promise is at most
//! 128 bytes a block, also right after the index has doubled, which is where a block costs most.
#![expect(
    unsafe_code,
    reason = "a global allocator that counts is an unsafe trait by nature"
)]
#![expect(
    clippy::as_conversions,
    reason = "counts of bytes and blocks, far below 2^52, become ratios"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use ultrakv_cache::{
    ArenaId, BlockHeader, BlockKey, BlockLayout, Budget, Effect, Event, Now, PolicyKind,
    ReserveBlock, Retain, Shard, ShardConfig, Term, Ticket,
};

const BYTES_A_BLOCK_MAX: f64 = 128.0;
const BLOCKS: usize = 1_000_000;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller got `pointer` from `alloc` above, and so from System, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How stored blocks follow each other.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Conversations of this many blocks after a prompt that all share.
    Conversations(usize),
    /// Runs of 16 whose parents are on other shards.
    Runs,
    /// Blocks that nothing follows.
    Single,
    /// Pairs: the most paths that can be.
    Pairs,
    /// Blocks of which each had a child that is gone, as eviction from the leaves leaves them.
    Bereft,
}

impl Shape {
    fn parent(self, number: usize) -> Option<usize> {
        let follows = |run: usize| (!number.is_multiple_of(run)).then(|| number - 1);
        match self {
            Self::Conversations(_) if number < 32 => number.checked_sub(1),
            Self::Conversations(run) => follows(run).or(Some(31)),
            Self::Runs => follows(16).or(Some(usize::MAX - number)),
            Self::Single | Self::Bereft => None,
            Self::Pairs => follows(2),
        }
    }
}

fn key(number: usize) -> BlockKey {
    // SplitMix64's finaliser spreads the number over all bytes; BLAKE3 would take most of the test's time.
    let mut bytes = [0; 32];
    let mut state = number as u64;
    for part in bytes.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        part.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
    }
    BlockKey::from_bytes(bytes)
}

/// Bytes a block: the most at any number of blocks from half of all on, and with all of them.
struct Measured {
    worst: f64,
    worst_at: usize,
    at_end: f64,
    peak: f64,
}

fn store(shard: &mut Shard, key: BlockKey, parent: Option<BlockKey>) {
    let mut header = BlockHeader::seal(BlockLayout::OPAQUE, 16, &key, &[]);
    header.payload_bytes = 100;
    let block = Box::new(ReserveBlock {
        key,
        run: key,
        parent,
        depth: 0,
        arena: ArenaId(0),
        header,
        retain: Retain::default(),
        term: Term::Held,
    });
    let ticket = Ticket(0);
    let mut effects = Vec::with_capacity(8);
    shard.handle(Event::Reserve { ticket, block }, Now(0), &mut effects);
    if let Some(Effect::Reserved { reservation, .. }) = effects.pop() {
        let commit = Event::Commit {
            ticket,
            reservation,
        };
        shard.handle(commit, Now(0), &mut effects);
    }
    assert_eq!(effects.pop(), Some(Effect::Stored { ticket }));
}

fn measure(policy: PolicyKind, shape: Shape, blocks: usize) -> Measured {
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    PEAK_BYTES.store(before, Ordering::Relaxed);
    let budget = Budget {
        blocks_max: u32::MAX,
        watermark_high: 1_000,
        ..Budget::of_bytes(1 << 44)
    };
    let mut shard = Shard::new(ShardConfig {
        policy,
        ..ShardConfig::new(budget)
    });
    let mut effects = Vec::with_capacity(8);
    let mut measured = Measured {
        worst: 0.0,
        worst_at: 0,
        at_end: 0.0,
        peak: 0.0,
    };
    for number in 0..blocks {
        store(&mut shard, key(number), shape.parent(number).map(key));
        if let Shape::Bereft = shape {
            let child = key(usize::MAX - number);
            store(&mut shard, child, Some(key(number)));
            effects.clear();
            let (ticket, keys) = (Ticket(0), vec![child]);
            shard.handle(Event::Remove { ticket, keys }, Now(0), &mut effects);
            assert_eq!(effects.pop(), Some(Effect::Removed { ticket, blocks: 1 }));
        }
        let stored = number + 1;
        if stored * 2 >= blocks && (stored % 512 == 0 || stored == blocks) {
            let live = LIVE_BYTES.load(Ordering::Relaxed) - before;
            measured.at_end = live as f64 / stored as f64;
            if measured.worst < measured.at_end {
                (measured.worst, measured.worst_at) = (measured.at_end, stored);
            }
        }
    }
    measured.peak = (PEAK_BYTES.load(Ordering::Relaxed) - before) as f64 / blocks as f64;
    assert_eq!(shard.stats().blocks_visible, blocks as u64);
    measured
}

#[test]
fn a_block_costs_at_most_128_bytes() {
    measure(PolicyKind::LRU, Shape::Single, 1);
    let cases = [
        (PolicyKind::LRU, Shape::Conversations(64)),
        (PolicyKind::LRU, Shape::Runs),
        (PolicyKind::LRU, Shape::Single),
        (PolicyKind::LRU, Shape::Pairs),
        (PolicyKind::LRU, Shape::Bereft),
        (PolicyKind::LFUDA, Shape::Conversations(8)),
        (PolicyKind::LFUDA, Shape::Pairs),
        (PolicyKind::LFUDA, Shape::Bereft),
    ];
    for (policy, shape) in cases {
        let measured = measure(policy, shape, BLOCKS);
        let Measured {
            worst,
            worst_at,
            at_end,
            peak,
        } = measured;
        println!(
            "{policy:?} {shape:?}: {at_end:.1} bytes a block at {BLOCKS} blocks, at worst {worst:.1} (at {worst_at}), \
             while growing {peak:.1}"
        );
        assert!(
            worst <= BYTES_A_BLOCK_MAX,
            "{policy:?} {shape:?}: {worst:.1} bytes a block"
        );
    }
}
