//! Reading from other nodes: hedges, damage, corrections, copies at the second hit, one flight a block.

use super::*;
use crate::block::fetch::{Fetcher, FetcherParts, Want};

#[tokio::test]
async fn what_one_node_stores_lands_at_its_target_and_is_read_from_a_third() {
    let rig = Rig::start(options()).await;
    let chains: Vec<_> = (0..12).map(|seed| chain(seed, 40)).collect();
    for chain in &chains {
        rig.put_chain(A, chain).await;
    }
    for address in chains.iter().flatten() {
        let at = rig.map.targets(address.slot())[0];
        let index = (0..3).find(|index| node(*index) == at).unwrap();
        assert_eq!(rig.held(index, std::slice::from_ref(address)).await, 1);
    }
    for chain in &chains {
        rig.until_listed(chain, 1).await;
        for at in [A, B, C] {
            let (member, domain) = (&rig.members[at], rig.domain(at, 1));
            let matched = member.router.match_prefix(&domain, chain, rig.deadline(at));
            assert_eq!(matched.await, Ok(40));
            let blocks = member.router.get_prefix(&domain, chain, rig.deadline(at));
            let blocks = blocks.await.unwrap();
            assert_eq!(blocks.len(), 40);
            chain
                .iter()
                .zip(&blocks)
                .for_each(|(address, block)| assert_right(address, block));
        }
    }
    let unknown = chain(999, 5);
    assert!(rig.get(C, &unknown).await.iter().all(Option::is_none));
}

#[tokio::test]
async fn a_stalled_holder_is_hedged_by_another_one() {
    let rig = Rig::start(BlockOptions {
        copies: 2,
        ..options()
    })
    .await;
    // At B and C, read from A; C is asked last.
    let blocks = chain_at(&rig, B, 0, 4);
    rig.put_chain(A, &blocks).await;
    rig.until_listed(&blocks, 2).await;
    rig.map.set(C, Standing::Doubted);
    let stalls = [
        rig.members[B].cache.stall_shard(0).await.unwrap(),
        rig.members[B].cache.stall_shard(1).await.unwrap(),
    ];
    let watch = rig.members[A].parts.clock.stopwatch();
    rig.reads_all(A, &blocks).await;
    let took = watch.elapsed();
    assert!(took >= Duration::from_millis(20), "B was not asked first");
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(stalls);
}

#[tokio::test]
async fn a_holder_that_is_not_reached_costs_nothing_but_the_next_ones_time() {
    let rig = Rig::start(BlockOptions {
        copies: 2,
        ..options()
    })
    .await;
    let blocks = chain_at(&rig, B, 0, 4);
    rig.put_chain(A, &blocks).await;
    rig.until_listed(&blocks, 2).await;
    rig.net.cut.lock().insert(node(B));
    rig.reads_all(A, &blocks).await;
    rig.net.cut.lock().insert(node(C));
    assert!(rig.get(A, &blocks).await.iter().all(Option::is_none));
    rig.net.cut.lock().clear();
    rig.reads_all(A, &blocks).await;
}

#[tokio::test]
async fn damaged_answers_are_misses_and_never_wrong_bytes() {
    const CASES: u64 = 6_000;
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 3);
    rig.put_chain(B, &blocks).await;
    rig.until_listed(&blocks, 1).await;
    let parts = &rig.members[A].parts;
    let fetcher = Arc::new(Fetcher::new(FetcherParts {
        me: parts.me,
        callers: Arc::clone(&parts.callers),
        clock: parts.clock.clone(),
        layout: Arc::clone(&parts.layout),
        reports: Arc::clone(&parts.reports),
        options: parts.options,
        gates: Arc::new(gates::PeerGates::new(4)),
    }));
    let wants: Vec<Want> = blocks
        .iter()
        .map(|address| Want {
            address: *address,
            holders: rig.members[B].directory.holders(Place::of(address)),
            brought: None,
        })
        .collect();
    let mut draws = 7_u64;
    *rig.net.flaw.lock() = Some(Box::new(move |parcel| {
        let mut draw = |below: usize| {
            draws = draws
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(draws >> 33).unwrap() % below.max(1)
        };
        // One to three bits anywhere, or a piece cut off or put on.
        let (mut header, mut bytes) = (parcel.header.to_vec(), parcel.payload.to_vec());
        let of = if draw(2) == 0 {
            &mut header
        } else {
            &mut bytes
        };
        match draw(6) {
            0 => of.truncate(draw(of.len())),
            1 => of.extend_from_slice(&[9; 5][..=draw(5)]),
            _ => {
                for _ in 0..=draw(3) {
                    let at = draw(of.len());
                    of[at] ^= 1 << draw(8);
                }
            }
        }
        (parcel.header, parcel.payload) = (header.into(), bytes.into());
    }));
    let domain = rig.domain(A, 1);
    let (mut right, mut missed) = (0, 0);
    for case in 0..CASES {
        let wants = &wants[..=usize::try_from(case % 3).unwrap()];
        let found = fetcher.fetch(&domain, wants, rig.deadline(A)).await;
        for (want, block) in wants.iter().zip(found) {
            match block {
                Some(block) => {
                    assert_right(&want.address, &block);
                    right += 1;
                }
                None => missed += 1,
            }
        }
    }
    // Damage of one block of several, or of what nobody reads, leaves the others right.
    assert!(missed > CASES / 2 && right > 100, "{missed} {right}");
}

#[tokio::test]
async fn a_record_of_a_holders_former_life_is_corrected_by_the_reader() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 5);
    rig.put_chain(B, &blocks).await;
    rig.until_listed(&blocks, 1).await;
    // B cannot say that its shards began again, so only a reader can.
    rig.members[B].pen.held.send_replace(true);
    rig.kill_shard(B, 0).await;
    rig.kill_shard(B, 1).await;
    assert!(rig.get(C, &blocks).await.iter().all(Option::is_none));
    rig.until("corrected", || {
        blocks.iter().all(|address| rig.holders(address).is_empty())
    })
    .await;
    rig.members[B].pen.held.send_replace(false);
    rig.until_right().await;
}

#[tokio::test]
async fn a_record_of_a_block_that_its_holder_lost_is_corrected_and_its_return_is_not() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 5);
    rig.put_chain(B, &blocks).await;
    rig.until_listed(&blocks, 1).await;
    rig.members[B].pen.held.send_replace(true);
    let (cache, domain) = (&rig.members[B].cache, rig.domain(B, 1));
    let removed = cache.remove(&domain, &blocks, rig.deadline(B)).await;
    assert_eq!(removed, Ok(5));
    assert!(rig.get(C, &blocks).await.iter().all(Option::is_none));
    rig.until("corrected", || {
        blocks.iter().all(|address| rig.holders(address).is_empty())
    })
    .await;
    rig.put_chain(B, &blocks).await;
    rig.members[B].pen.held.send_replace(false);
    rig.until_right().await;
    rig.reads_all(C, &blocks).await;
}

#[tokio::test]
async fn the_second_fetch_of_a_block_makes_a_copy_that_counts_as_a_holder_and_keeps_its_time() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 16);
    let mut parent = None;
    for address in &blocks {
        let mut put = block(address, parent);
        put.ttl_ms = Some(6_000);
        rig.put(A, put).await;
        parent = Some(address.key);
    }
    rig.until_listed(&blocks, 1).await;
    let domain = rig.domain(C, 1);
    let router = &rig.members[C].router;
    for hit in 0..2 {
        assert_eq!(rig.held(C, &blocks).await, 0, "after {hit}");
        let found = router.get_prefix(&domain, &blocks, rig.deadline(C)).await;
        assert_eq!(found.unwrap().len(), 16);
    }
    rig.until_listed(&blocks, 2).await;
    rig.net.cut.lock().insert(node(B));
    rig.reads_all(C, &blocks).await;
    rig.net.cut.lock().clear();
    // Nobody outlives what the writer said, copies neither.
    rig.until("expired", || {
        blocks.iter().all(|address| rig.holders(address).is_empty())
    })
    .await;
    assert_eq!(rig.held(C, &blocks).await, 0);
}

#[tokio::test]
async fn many_callers_of_one_block_are_one_request_also_when_the_first_leaves() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 3);
    rig.put_chain(A, &blocks).await;
    rig.until_listed(&blocks, 1).await;
    rig.net.held.send_replace(true);
    let first = tokio::time::timeout(Duration::from_millis(50), rig.get(C, &blocks)).await;
    assert!(first.is_err(), "the answer is held back");
    let many = futures::future::join_all((0..30).map(|_| rig.get(C, &blocks)));
    let release = async {
        tokio::task::yield_now().await;
        rig.net.held.send_replace(false);
    };
    let (many, ()) = futures::join!(many, release);
    for found in many {
        for (address, block) in blocks.iter().zip(found) {
            assert_right(address, &block.unwrap());
        }
    }
    assert_eq!(rig.net.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_caller_with_more_time_does_not_miss_with_the_first_ones_deadline() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 3);
    rig.put_chain(A, &blocks).await;
    rig.until_listed(&blocks, 1).await;
    rig.net.held.send_replace(true);
    let (router, domain) = (&rig.members[C].router, rig.domain(C, 1));
    let soon = rig.members[C]
        .parts
        .clock
        .deadline(Duration::from_millis(60));
    let hasty = async {
        let found = router.get(&domain, &blocks, soon).await;
        rig.net.held.send_replace(false);
        found.unwrap()
    };
    let (hasty, patient) = futures::join!(hasty, rig.get(C, &blocks));
    assert!(hasty.iter().all(Option::is_none));
    assert!(patient.iter().all(Option::is_some));
}

#[tokio::test]
async fn answers_that_are_full_are_asked_for_again() {
    let rig = Rig::start(BlockOptions {
        frame_bytes_max: 3 * 512,
        frame_blocks_max: 10,
        copy_on_second_hit: false,
        ..options()
    })
    .await;
    let blocks = chain_at(&rig, B, 0, 16);
    rig.put_chain(A, &blocks).await;
    rig.until_listed(&blocks, 1).await;
    rig.reads_all(C, &blocks).await;
    // Two frames of 10 and 6 names, three blocks an answer.
    assert_eq!(rig.net.reads.load(Ordering::SeqCst), 4 + 2);
}

#[tokio::test]
async fn another_domain_and_a_purged_one_read_nothing_and_correct_nothing() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 4);
    rig.put_chain(A, &blocks).await;
    rig.until_listed(&blocks, 1).await;
    // C has forgotten nothing, B purged the domain but has not told yet.
    let kept = rig.members[B].tags.0.lock().remove(&DomainTag([1; 16]));
    assert!(rig.get(C, &blocks).await.iter().all(Option::is_none));
    rig.members[B]
        .tags
        .0
        .lock()
        .insert(DomainTag([1; 16]), kept.unwrap());
    rig.reads_all(C, &blocks).await;

    let purge = rig.members[B].cache.purge(kept.unwrap(), rig.deadline(B));
    assert_eq!(purge.await.unwrap().blocks, 4);
    rig.until_right().await;
    assert!(rig.get(C, &blocks).await.iter().all(Option::is_none));
}

/// Random stores, reads and removals from every node while shards die and wires are cut: whatever is answered is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_random_faults_whatever_is_read_is_right() {
    for seed in 0..4_u64 {
        let rig = Rig::with_bytes(
            BlockOptions {
                copies: 2,
                repair_after_ms: 10,
                ..options()
            },
            96 << 10,
        )
        .await;
        let chains: Vec<_> = (0..8).map(|number| chain(number, 20)).collect();
        let mut state = seed.wrapping_mul(977).wrapping_add(3);
        let mut draw = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut found = 0;
        for _ in 0..400 {
            let (at, chain) = (draw(3), &chains[draw(8)]);
            let (member, domain) = (&rig.members[at], rig.domain(at, 1));
            let soon = member.parts.clock.deadline(Duration::from_millis(300));
            match draw(40) {
                0 => rig.kill_shard(at, draw(2)).await,
                1 => {
                    let mut cut = rig.net.cut.lock();
                    if !cut.remove(&node(at)) && cut.is_empty() {
                        cut.insert(node(at));
                    }
                }
                2 => {
                    let _ = member
                        .router
                        .remove(&domain, &chain[draw(20)..], soon)
                        .await;
                }
                3..=15 => {
                    let from = draw(20);
                    let parent = from.checked_sub(1).map(|before| chain[before].key);
                    let _ = member
                        .router
                        .put(&domain, block(&chain[from], parent), soon)
                        .await;
                }
                _ => {
                    let from = draw(20);
                    if let Ok(blocks) = member.router.get(&domain, &chain[from..], soon).await {
                        for (address, block) in chain[from..].iter().zip(blocks) {
                            if let Some(block) = block {
                                assert_right(address, &block);
                                found += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(found > 50, "seed {seed}: {found} blocks were found");
        rig.net.cut.lock().clear();
        rig.until_right().await;
    }
}
