//! Blocks through the handle: stored, found, lent, dropped.

use std::sync::Arc;

use bytes::Bytes;
use ultrakv_cache::{Pin, PinOutcome, PutRefusal};

use super::*;
use crate::device::FakeDevice;
use crate::plan::DevicePlan;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn what_is_put_is_got_and_a_second_put_is_known() {
    let rig = Rig::start(plan(4 * MIB, 1)).await;
    let chain = rig.chain(1, 3);
    rig.put_chain(&chain).await;
    assert_eq!(rig.put(&chain[0]).await, Ok(Stored::Known));
    let blocks = rig.get(&chain).await;
    for (address, block) in chain.iter().zip(blocks) {
        assert!(is_right(address, &block.unwrap()));
    }
    rig.until_at_rest().await;
}

#[tokio::test]
async fn a_prefix_is_found_over_all_shards_up_to_its_first_gap() {
    let rig = Rig::start(plan(64 * MIB, 4)).await;
    let chain = rig.chain(1, 200);
    rig.put_chain(&chain).await;
    let shards = rig.stats().await;
    assert!(
        shards
            .iter()
            .filter(|shard| shard.blocks_visible > 0)
            .count()
            > 1
    );
    assert_eq!(rig.matched(&chain).await, 200);
    assert_eq!(rig.matched(&rig.chain(2, 10)).await, 0);
    assert_eq!(rig.matched(&[]).await, 0);

    let longer = rig.chain(1, 210);
    let prefix = rig
        .cache
        .get_prefix(&rig.domain, &longer, rig.deadline())
        .await
        .unwrap();
    assert_eq!(prefix.len(), 200);
    assert!(
        chain
            .iter()
            .zip(&prefix)
            .all(|(address, block)| is_right(address, block))
    );
    drop(prefix);

    for gap in [150, 33, 16, 0] {
        let gone = &chain[gap..=gap];
        assert_eq!(
            rig.cache.remove(&rig.domain, gone, rig.deadline()).await,
            Ok(1)
        );
        assert_eq!(rig.matched(&chain).await, gap);
        let prefix = rig
            .cache
            .get_prefix(&rig.domain, &chain, rig.deadline())
            .await
            .unwrap();
        assert_eq!(prefix.len(), gap);
    }
    rig.until_at_rest().await;
}

#[tokio::test]
async fn a_reader_keeps_its_bytes_when_the_block_is_dropped_under_it() {
    let rig = Rig::start(plan(MIB, 1)).await;
    let chain = rig.chain(1, 1);
    rig.put_chain(&chain).await;
    let block = rig.get(&chain).await.remove(0).unwrap();
    let part = block.payload.slice(100..200);
    assert_eq!(
        rig.cache.remove(&rig.domain, &chain, rig.deadline()).await,
        Ok(1)
    );
    // Fill the cache several times over.
    for seed in 2..400 {
        let _ = rig.put(&rig.chain(seed, 1)[0]).await;
    }
    assert!(is_right(&chain[0], &block));
    drop(block);
    assert_eq!(part, payload(&chain[0])[100..200]);
    assert_eq!(rig.stats().await[0].leases, 1);
    drop(part);
    rig.until_at_rest().await;
}

#[tokio::test]
async fn pins_hold_blocks_over_a_flood() {
    let rig = Rig::start(plan(MIB, 2)).await;
    let chain = rig.chain(1, 2);
    rig.put_chain(&chain).await;
    let asked = [chain[0], rig.chain(9, 1)[0], chain[1]];
    let outcomes = rig
        .cache
        .pin(&rig.domain, &asked, Pin::Hard, rig.deadline())
        .await;
    let expected = vec![PinOutcome::Done, PinOutcome::Absent, PinOutcome::Done];
    assert_eq!(outcomes, Ok(expected));
    for seed in 10..400 {
        let _ = rig.put(&rig.chain(seed, 1)[0]).await;
    }
    assert_eq!(rig.matched(&chain).await, 2);
}

#[tokio::test]
async fn a_payload_that_is_not_its_headers_is_refused_and_leaves_nothing() {
    let rig = Rig::start(plan(MIB, 1)).await;
    let address = rig.chain(1, 1)[0];
    let good = block(&address, None);
    let mut flipped = good.payload.to_vec();
    flipped[77] ^= 1;
    for payload in [good.payload.slice(1..), Bytes::from(flipped)] {
        let put = BlockPut {
            payload,
            ..good.clone()
        };
        let stored = rig.cache.put(&rig.domain, put, rig.deadline()).await;
        assert_eq!(stored, Err(PutRefusal::Malformed.into()));
    }
    assert_eq!(rig.matched(&[address]).await, 0);
    rig.until_at_rest().await;
    assert_eq!(rig.stats().await[0].usage.bytes, 0);
}

#[tokio::test]
async fn a_block_larger_than_its_shard_is_too_large() {
    let rig = Rig::start(plan(u64::from(PAGE), 1)).await;
    let stored = rig.put(&rig.chain(1, 1)[0]).await;
    assert_eq!(stored, Err(PutRefusal::TooLarge.into()));
}

#[tokio::test]
async fn a_purged_domain_is_empty_and_takes_nothing_more() {
    let rig = Rig::start(plan(4 * MIB, 2)).await;
    let other = new_domain(&rig.cache, 2);
    let chain = rig.chain(1, 20);
    rig.put_chain(&chain).await;
    let kept = space(&other).chain(&[1, 2, 3, 4])[0];
    rig.cache
        .put(&other, block(&kept, None), rig.deadline())
        .await
        .unwrap();

    let reader = rig.get(&chain[..1]).await.remove(0).unwrap();
    let purged = rig
        .cache
        .purge(rig.domain.arena, rig.deadline())
        .await
        .unwrap();
    assert_eq!(purged.blocks, 20);
    assert_eq!(rig.matched(&chain).await, 0);
    assert_eq!(rig.put(&chain[3]).await, Ok(Stored::NotAdmitted));
    assert!(is_right(&chain[0], &reader));
    drop(reader);
    rig.until_at_rest().await;

    let found = rig
        .cache
        .get(&other, &[kept], rig.deadline())
        .await
        .unwrap();
    assert!(is_right(&kept, found[0].as_ref().unwrap()));
    drop(found);
    let used: u64 = rig
        .stats()
        .await
        .iter()
        .map(|shard| shard.memory_bytes)
        .sum();
    assert_eq!(used, BLOCK_BYTES);
}

#[tokio::test]
async fn a_key_of_another_domains_block_is_a_miss() {
    let rig = Rig::start(plan(MIB, 1)).await;
    let thief = new_domain(&rig.cache, 2);
    let chain = rig.chain(1, 1);
    rig.put_chain(&chain).await;
    let found = rig.cache.get(&thief, &chain, rig.deadline()).await.unwrap();
    assert!(found[0].is_none());
    rig.until_at_rest().await;
}

#[tokio::test]
async fn a_device_that_fails_makes_misses_and_no_errors() {
    let device = FakeDevice::default();
    let mut plan = plan(MIB, 1);
    plan.devices = vec![DevicePlan {
        weight: 1,
        device: Arc::new(device.clone()),
    }];
    let rig = Rig::start(plan).await;
    let chain = rig.chain(1, 1);
    device.fail_open(true);
    assert_eq!(rig.put(&chain[0]).await, Ok(Stored::NotAdmitted));
    device.fail_open(false);
    device.fail_write(true);
    assert_eq!(rig.put(&chain[0]).await, Ok(Stored::NotAdmitted));
    assert_eq!(rig.matched(&chain).await, 0);
    device.fail_write(false);
    assert_eq!(rig.put(&chain[0]).await, Ok(Stored::Copies(1)));
    assert!(is_right(
        &chain[0],
        rig.get(&chain).await[0].as_ref().unwrap()
    ));
    rig.until_at_rest().await;
    assert_eq!(device.opened(), 1);
}
