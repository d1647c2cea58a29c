//! Encoded blocks in real shards: budgets count what is stored, and a shard's death in the middle costs misses only.

use ultrakv_cache::Codec;

use super::*;
use crate::{ActorState, Coder, Encoding, RequestError};

const ROUNDS: u32 = 40;

/// 32 tokens, so that a raw block takes 16 pages.
const MANY_TOKENS: u32 = 32;
const EXACT: Encoding = Encoding::Exact {
    coarsest: Codec::Planes,
};

/// Smooth numbers that only this block has: they shrink to about two thirds.
fn smooth(address: &BlockAddress) -> Bytes {
    let seed = address.key.as_bytes();
    let count = u64::from(MANY_TOKENS) * BLOCK_BYTES / u64::from(BLOCK_TOKENS) / 4;
    let number = |at: u64| {
        let byte = seed[usize::try_from(at % 32).unwrap()];
        // Three leading bytes that repeat, one that does not.
        let noise = (at + u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        0x3f80_0000 | u32::from(byte) << 8 | u32::try_from(noise).unwrap()
    };
    (0..count).flat_map(|at| number(at).to_le_bytes()).collect()
}

fn smooth_block(address: &BlockAddress, parent: Option<ultrakv_cache::BlockKey>) -> BlockPut {
    let payload = smooth(address);
    BlockPut {
        address: *address,
        parent,
        depth: 0,
        header: BlockHeader::seal(LAYOUT, MANY_TOKENS, &address.key, &payload),
        payload,
        pin: Pin::None,
        ttl_ms: None,
    }
}

/// Stores a chain and reads it back; gives how many blocks came back right. A wrong one ends the test.
async fn turn(rig: &Rig, coder: &Coder, seed: u32) -> Result<usize, RequestError> {
    let domain = rig.domain.for_numbers(EXACT);
    let chain = rig.chain(seed, 6);
    let mut parent = None;
    for address in &chain {
        let put = smooth_block(address, parent);
        let put = coder.encode(&domain, put, rig.deadline()).await;
        assert_ne!(put.header.codec, Codec::Raw);
        match rig.cache.put(&domain, put, rig.deadline()).await {
            Ok(_) | Err(PutError::Refused(_)) => {}
            Err(PutError::Request(error)) => return Err(error),
        }
        parent = Some(address.key);
    }
    let found = rig.cache.get(&domain, &chain, rig.deadline()).await?;
    let found = coder.decode(&domain, &chain, found, rig.deadline()).await;
    let mut right = 0;
    for (address, block) in chain.iter().zip(found) {
        if let Some(block) = block {
            assert_eq!(block.payload, smooth(address), "wrong bytes");
            right += 1;
        }
    }
    Ok(right)
}

#[tokio::test]
async fn budgets_count_stored_bytes_and_are_never_exceeded() {
    let rig = Rig::start(plan(1 << 20, 2)).await;
    let coder = Coder::new(PAGE, rig.node.clock().clone());
    let domain = rig.domain.for_numbers(EXACT);
    let address = rig.chain(0, 1)[0];
    let put = coder.encode(&domain, smooth_block(&address, None), rig.deadline());
    let put = put.await;
    let pages = put.header.payload_bytes.div_ceil(u64::from(PAGE));
    assert!(pages < 16, "{pages} pages are no fewer than raw ones");
    rig.cache.put(&domain, put, rig.deadline()).await.unwrap();
    let used: u64 = rig.stats().await.iter().map(|it| it.usage.bytes).sum();
    assert_eq!(used, pages * u64::from(PAGE));
    // Several times what fits.
    for seed in 1..60 {
        turn(&rig, &coder, seed).await.unwrap();
        for report in rig.stats().await {
            assert!(report.usage.bytes <= report.budget.bytes_max);
        }
    }
    rig.until_at_rest().await;
    let blocks: u64 = rig.stats().await.iter().map(|it| it.blocks_visible).sum();
    let raw_blocks = (1 << 20) / (16 * u64::from(PAGE));
    assert!(
        blocks > raw_blocks,
        "{blocks} blocks, {raw_blocks} raw ones"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_dies_in_the_middle_costs_misses_and_never_wrong_bytes() {
    let rig = Rig::start(plan(2 << 20, 2)).await;
    let coder = Coder::new(PAGE, rig.node.clock().clone());
    let (mut right, mut failed) = (0, 0);
    for round in 0..ROUNDS {
        let dies = async {
            if round % 4 == 1 {
                assert!(rig.node.kill("node/cache/shard-0"));
            }
        };
        let (turned, ()) = tokio::join!(turn(&rig, &coder, round), dies);
        match turned {
            Ok(blocks) => right += blocks,
            Err(RequestError::Stopped | RequestError::Busy) => failed += 1,
            Err(RequestError::Deadline) => panic!("waited for its deadline"),
        }
        let tree = || rig.node.tree();
        let is_back = || {
            tree()
                .iter()
                .all(|actor| actor.status == ActorState::Running)
        };
        let back = async {
            while !is_back() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), back)
            .await
            .expect("the shard comes back");
    }
    assert!(
        right > 0 && failed < ROUNDS,
        "{right} right, {failed} failed"
    );
    rig.until_at_rest().await;
}
