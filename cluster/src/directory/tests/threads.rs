//! Readers on threads of their own while batches are applied and pictures taken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

/// What a reader may find of two chains, of which one is always listed and one comes and goes.
fn read_until(directory: &Directory, stop: &AtomicBool, asked: &AtomicU64) {
    let (always, sometimes) = (chain(0, 64), chain(1_000, 64));
    let mut found = Prefix::default();
    while !stop.load(Ordering::Relaxed) {
        directory.longest_prefix(&always, Accept::ALL, &mut found);
        assert_eq!((found.blocks(), found.lives()), (64, &[KEPT][..]));
        directory.longest_prefix(&sometimes, Accept::ALL, &mut found);
        let blocks = found.runs().iter().map(|run| run.blocks).sum::<usize>();
        assert_eq!(blocks, found.blocks());
        for run in found.runs() {
            let holders = found.holders(run);
            let held = holders.iter().fold(0, |held, holder| held | holder.held);
            assert_eq!(held.trailing_ones(), u32::try_from(run.blocks).unwrap());
            assert!(
                holders
                    .iter()
                    .all(|holder| found.lives()[holder.life] == MOVING)
            );
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads a picture on a thread of its own while batches are applied; the digests before and of what came out.
fn picture(directory: &Arc<Directory>, sequence: &mut u64, noise: &[BlockAddress]) -> (u128, u128) {
    let digest = directory.digest();
    let mut freeze = directory.freeze().unwrap();
    let reader = thread::spawn(move || {
        let mut rebuild = Rebuild::new(PLENTY_BYTES);
        while let Some(chunk) = freeze.next_chunk() {
            rebuild.push(&chunk).unwrap();
        }
        rebuild.finish().unwrap().digest()
    });
    for _ in 0..50 {
        for changes in [adds(noise), removes(noise)] {
            *sequence += 1;
            directory.apply(&[report(MOVING, *sequence, changes)]);
        }
    }
    (digest, reader.join().unwrap())
}

const KEPT: Life = Life {
    node: NodeId::from_u128(1),
    shard: 0,
    boot: BootId::from_u128(11),
};
const MOVING: Life = Life {
    node: NodeId::from_u128(2),
    shard: 0,
    boot: BootId::from_u128(22),
};

#[test]
fn readers_see_whole_answers_while_batches_are_applied() {
    let directory = Directory::new(PLENTY_BYTES);
    let (always, sometimes) = (chain(0, 64), chain(1_000, 64));
    directory.apply(&[
        Section::Open(KEPT),
        report(KEPT, 1, adds(&always)),
        Section::Open(MOVING),
    ]);
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| read_until(&directory, &stop, &asked));
        }
        let (mut sequence, mut turn) = (0, 0);
        while turn < 300 || asked.load(Ordering::Relaxed) < 300 {
            let noise = chain(10_000 + turn % 40 * 100, 100);
            for changes in [
                adds(&sometimes),
                adds(&noise),
                removes(&sometimes),
                removes(&noise),
            ] {
                sequence += 1;
                directory.apply(&[report(MOVING, sequence, changes)]);
            }
            if turn % 100 == 50 {
                let (frozen, rebuilt) = picture(&directory, &mut sequence, &noise);
                assert_eq!(frozen, rebuilt);
            }
            turn += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        directory.stats().records,
        64,
        "everything else came and went"
    );
}
