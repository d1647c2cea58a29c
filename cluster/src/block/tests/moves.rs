//! Repair after a loss, moves to new targets, drains; throttled, and going on after every interruption.

use super::*;

async fn until_drained(rig: &Rig, at: usize) {
    let mut changes = rig.members[at].mover.changes();
    let drained = changes.wait_for(|progress| progress.is_drained);
    let drained = tokio::time::timeout(PATIENCE, drained).await;
    assert!(drained.is_ok(), "{:?}", rig.members[at].mover.progress());
}

/// Chains of which every node holds some.
async fn stored(rig: &Rig, seeds: std::ops::Range<u32>, copies: usize) -> Vec<BlockAddress> {
    let chains: Vec<_> = seeds.map(|seed| chain(seed, 40)).collect();
    for chain in &chains {
        rig.put_chain(A, chain).await;
    }
    let blocks = chains.concat();
    rig.until_listed(&blocks, copies).await;
    blocks
}

#[tokio::test]
async fn what_a_lost_node_held_is_copied_again_and_not_before_its_time() {
    let rig = Rig::start(BlockOptions {
        copies: 2,
        repair_after_ms: 300,
        ..options()
    })
    .await;
    let blocks = stored(&rig, 0..5, 2).await;
    let watch = rig.members[A].parts.clock.stopwatch();
    rig.net.cut.lock().insert(node(B));
    rig.map.set(B, Standing::Down);
    let living = |address: &BlockAddress| {
        let mut holders = rig.holders(address);
        holders.remove(&node(B));
        holders.len()
    };
    assert!(
        blocks.iter().any(|address| living(address) == 1),
        "B held something"
    );
    rig.until("repaired", || {
        blocks.iter().all(|address| living(address) == 2)
    })
    .await;
    assert!(
        watch.elapsed() >= Duration::from_millis(300),
        "{:?}",
        watch.elapsed()
    );
    assert_eq!(rig.held(A, &blocks).await, blocks.len());
    assert_eq!(rig.held(C, &blocks).await, blocks.len());
    rig.reads_all(A, &blocks).await;
}

#[tokio::test]
async fn a_node_that_comes_back_in_time_costs_no_copy() {
    let rig = Rig::start(BlockOptions {
        copies: 2,
        repair_after_ms: 60_000,
        ..options()
    })
    .await;
    let blocks = stored(&rig, 0..3, 2).await;
    rig.map.set(B, Standing::Down);
    let mut changes = rig.members[A].mover.changes();
    let rounds = changes.borrow().rounds;
    rig.map.set(C, Standing::Up); // Reason for a round, and then for another one.
    changes
        .wait_for(|progress| progress.rounds > rounds)
        .await
        .unwrap();
    rig.map.set(B, Standing::Up);
    changes
        .wait_for(|progress| progress.rounds > rounds + 1)
        .await
        .unwrap();
    for member in &rig.members {
        assert_eq!(member.mover.progress().moved_blocks, 0);
    }
    assert!(blocks.iter().all(|address| rig.holders(address).len() == 2));
}

#[tokio::test]
async fn a_drained_node_can_go_and_every_block_is_elsewhere_though_the_mover_died_on_the_way() {
    let rig = Rig::start(BlockOptions {
        frame_blocks_max: 8,
        ..options()
    })
    .await;
    let blocks = stored(&rig, 0..20, 1).await;
    let held = rig.held(A, &blocks).await;
    assert!(held > 50, "{held}");
    rig.map.set(A, Standing::Draining);
    let watch = rig.members[A].parts.clock.stopwatch();
    // A job's rate takes the place of the node's own, over the mover's lives too.
    rig.members[A].mover.limit(Some(400 << 10));
    rig.members[A].mover.drain(true);
    for _ in 0..3 {
        rig.kill(A, "node/cluster/mover").await;
    }
    until_drained(&rig, A).await;
    let progress = rig.members[A].mover.progress();
    assert_eq!((progress.left_blocks, progress.stranded_blocks), (0, 0));
    assert_eq!(usize::try_from(progress.moved_blocks).unwrap(), held);
    let least =
        Duration::from_millis(u64::try_from(held * PAYLOAD_BYTES).unwrap() * 1_000 / (400 << 10));
    assert!(
        watch.elapsed() >= least / 2,
        "{:?} of {least:?}",
        watch.elapsed()
    );
    rig.net.cut.lock().insert(node(A));
    assert_eq!(
        rig.held(B, &blocks).await + rig.held(C, &blocks).await,
        blocks.len()
    );
    rig.reads_all(C, &blocks).await;
}

#[tokio::test]
async fn a_drain_waits_for_a_target_and_ends_when_it_is_called_off() {
    let rig = Rig::start(options()).await;
    stored(&rig, 0..5, 1).await;
    rig.map.set(A, Standing::Draining);
    for at in [B, C] {
        rig.net.cut.lock().insert(node(at));
    }
    rig.members[A].mover.drain(true);
    let mut changes = rig.members[A].mover.changes();
    let tried = changes.wait_for(|progress| progress.rounds > 0 && progress.left_blocks > 0);
    tokio::time::timeout(PATIENCE, tried)
        .await
        .unwrap()
        .unwrap();
    assert!(!rig.members[A].mover.progress().is_drained);
    rig.net.cut.lock().clear();
    until_drained(&rig, A).await;
    rig.members[A].mover.drain(false);
    let progress = rig.members[A].mover.progress();
    assert!(!progress.is_draining && !progress.is_drained);
}

#[tokio::test]
async fn new_targets_get_their_blocks_and_chains_can_move_on_from_there() {
    let rig = Rig::start(options()).await;
    let blocks = stored(&rig, 0..8, 1).await;
    // A is a target no more; B and C share its slots. Then everything goes to A.
    for nodes in [&[B, C][..], &[A], &[C]] {
        rig.map.retarget(nodes);
        let is_there = |address: &BlockAddress| {
            let owner = rig.map.targets(address.slot())[0];
            rig.holders(address).contains(&owner)
        };
        rig.until("moved", || blocks.iter().all(is_there)).await;
    }
    for at in [A, C] {
        assert_eq!(rig.held(at, &blocks).await, blocks.len());
    }
    rig.net.cut.lock().extend([node(A), node(B)]);
    rig.reads_all(C, &blocks).await;
}

#[tokio::test]
async fn pins_and_times_to_live_move_along() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, A, 0, 2);
    let mut put = block(&blocks[0], None);
    (put.pin, put.ttl_ms) = (Pin::Hard, Some(600_000));
    rig.put(A, put).await;
    rig.put(A, block(&blocks[1], Some(blocks[0].key))).await;
    rig.until_listed(&blocks, 1).await;
    rig.map.retarget(&[B]);
    rig.until_listed(&blocks, 2).await;
    let mut listed = Vec::new();
    for shard in 0..2 {
        let page = rig.members[B]
            .cache
            .list_blocks(shard, 0, 10, rig.deadline(B))
            .await;
        listed.extend(page.unwrap().blocks);
    }
    listed.sort_by_key(|listed| listed.parent.is_some());
    let [head, next] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!((head.pin, next.pin), (Pin::Hard, Pin::None));
    assert!(head.ttl_ms.is_some_and(|ms| (1..=600_000).contains(&ms)));
    assert_eq!((next.parent, next.run), (Some(head.key), Some(head.key)));
}
