//! Snapshots: the same directory comes out, and nothing else does whatever the bytes are.

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;

fn filled() -> Arc<Directory> {
    let directory = Directory::new(PLENTY_BYTES);
    let lives: Vec<Life> = (0..7).map(|number| life(number, 0, 100 + number)).collect();
    for (at, of) in lives.iter().enumerate() {
        let first = u64::try_from(at).unwrap() * 8;
        directory.apply(&[Section::Open(*of), report(*of, 1, adds(&chain(first, 40)))]);
    }
    // Seven hold the block, so three of them lie beside it; then one life is void, and one in an inventory.
    let shared = adds(&chain(500, 1));
    lives.iter().for_each(|of| {
        directory.apply(&[report(*of, 2, shared.clone())]);
    });
    directory.apply(&[
        Section::Close(lives[1].node),
        Section::InventoryBegin {
            boot: lives[2].boot,
            sequence: 3,
        },
    ]);
    directory
}

fn chunks(directory: &Arc<Directory>) -> Vec<Vec<u8>> {
    let mut freeze = directory.freeze().unwrap();
    std::iter::from_fn(move || freeze.next_chunk()).collect()
}

fn rebuild(chunks: &[Vec<u8>]) -> Result<Arc<Directory>, SnapshotError> {
    let mut rebuild = Rebuild::new(PLENTY_BYTES);
    chunks.iter().try_for_each(|chunk| rebuild.push(chunk))?;
    rebuild.finish()
}

/// A chunk's checksum, made to fit again.
fn seal(chunk: &mut [u8]) {
    let signed = [&chunk[..16], &chunk[24..]].concat();
    chunk[16..24].copy_from_slice(&xxh3_64(&signed).to_le_bytes());
}

#[test]
fn a_replica_made_of_a_snapshot_is_the_same_one() {
    let directory = filled();
    let copy = rebuild(&chunks(&directory)).unwrap();
    assert_eq!(copy.digest(), directory.digest());
    assert_eq!(copy.stats(), directory.stats());
    for replica in [&directory, &copy] {
        settle(replica);
    }
    assert_eq!(copy.digest(), directory.digest());
}

#[test]
fn there_is_one_freeze_at_a_time_and_a_dropped_one_costs_nothing_more() {
    let directory = filled();
    let freeze = directory.freeze().unwrap();
    assert_eq!(
        directory.freeze().unwrap_err().code(),
        "directory_freeze_busy"
    );
    drop(freeze);
    assert!(directory.writer.lock().frozen.is_none());
    assert!(directory.freeze().is_ok());
}

#[test]
fn a_large_slot_is_cut_into_chunks() {
    let directory = Directory::new(PLENTY_BYTES);
    let (one, run) = (life(1, 0, 11), key(0));
    let blocks: Vec<BlockAddress> = (0..30_000)
        .map(|number| BlockAddress {
            key: key(number),
            run,
        })
        .collect();
    directory.apply(&[Section::Open(one), report(one, 1, adds(&blocks))]);
    let chunks = chunks(&directory);
    assert!(chunks.len() > 3);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk.len() <= SNAPSHOT_CHUNK_BYTES_MAX)
    );
    assert_eq!(rebuild(&chunks).unwrap().digest(), directory.digest());
}

#[test]
fn what_is_not_the_snapshot_is_refused_by_name() {
    let directory = filled();
    let chunks = chunks(&directory);
    assert_eq!(chunks.len(), 3, "head, rows, end");
    let code = |chunks: &[Vec<u8>]| rebuild(chunks).unwrap_err().code();
    let altered = |at: usize, alter: &dyn Fn(&mut Vec<u8>)| {
        let mut chunks = chunks.clone();
        alter(&mut chunks[at]);
        chunks
    };
    assert_eq!(code(&chunks[..2]), "directory_snapshot_incomplete");
    assert_eq!(
        code(&[chunks[0].clone(), chunks[2].clone()]),
        "directory_snapshot_order"
    );
    assert_eq!(code(&[]), "directory_snapshot_incomplete");
    assert_eq!(
        code(&altered(1, &|chunk| chunk[40] ^= 1)),
        "directory_snapshot_checksum"
    );
    assert_eq!(
        code(&altered(1, &|chunk| chunk.truncate(chunk.len() - 1))),
        "directory_snapshot_length"
    );
    assert_eq!(
        code(&altered(0, &|chunk| chunk[4] = 7)),
        "directory_snapshot_head"
    );
    assert_eq!(
        code(&altered(1, &|chunk| {
            chunk[25] = 0xff;
            seal(chunk);
        })),
        "directory_snapshot_content"
    );
    let mut small = Rebuild::new(1_000);
    assert_eq!(
        small.push(&chunks[0]).unwrap_err().code(),
        "directory_snapshot_limit"
    );
    let mut tight = altered(0, &|chunk| {
        chunk[24..32].copy_from_slice(&1_000_u64.to_le_bytes());
        seal(chunk);
    });
    let mut small = Rebuild::new(1_000);
    small.push(&tight.remove(0)).unwrap();
    assert_eq!(
        small.push(&tight.remove(0)).unwrap_err().code(),
        "directory_snapshot_too_large"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn forged_chunks_are_refused_or_make_a_whole_directory(
        at in 0..3_usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut chunks = FILLED.with(Clone::clone);
        for (index, value) in flips {
            let place = 24 + index.index(chunks[at].len() - 24);
            chunks[at][place] = value;
        }
        seal(&mut chunks[at]);
        if let Ok(directory) = rebuild(&chunks) {
            settle(&directory);
            prop_assert!(directory.stats().charged_bytes <= PLENTY_BYTES);
        }
    }

    #[test]
    fn noise_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Rebuild::new(PLENTY_BYTES).push(&bytes).is_err());
    }
}

thread_local! {
    static FILLED: Vec<Vec<u8>> = chunks(&filled());
}
