//! Writing to other nodes: where blocks land, what is answered when, and what happens when a target does not take them.

use ultrakv_actors::{PutError, RequestError};
use ultrakv_cache::PutRefusal;

use super::*;

#[tokio::test]
async fn answers_say_in_how_many_places_a_block_is_and_a_known_one_is_known() {
    let rig = Rig::start(BlockOptions {
        copies: 2,
        ..options()
    })
    .await;
    let blocks = chain_at(&rig, B, 0, 2);
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    let all = router.put_with(&domain, block(&blocks[0], None), Ack::All, rig.deadline(A));
    assert_eq!(all.await, Ok(Stored::Copies(2)));
    assert_eq!(
        rig.held(B, &blocks[..1]).await + rig.held(C, &blocks[..1]).await,
        2
    );
    let again = router.put_with(&domain, block(&blocks[0], None), Ack::All, rig.deadline(A));
    assert_eq!(again.await, Ok(Stored::Known));
    let one = router.put(&domain, block(&blocks[1], None), rig.deadline(A));
    assert_eq!(one.await, Ok(Stored::Copies(1)));
    rig.until_listed(&blocks, 2).await;
    assert_eq!(rig.held(A, &blocks).await, 0);
}

#[tokio::test]
async fn one_is_answered_while_the_other_copy_is_on_its_way() {
    let rig = Rig::start(BlockOptions {
        copies: 2,
        ..options()
    })
    .await;
    let blocks = chain_at(&rig, A, 0, 1);
    let stalls = [
        rig.members[B].cache.stall_shard(0).await.unwrap(),
        rig.members[B].cache.stall_shard(1).await.unwrap(),
    ];
    assert_eq!(rig.put(A, block(&blocks[0], None)).await, Stored::Copies(1));
    assert_eq!(rig.held(A, &blocks).await, 1);
    drop(stalls);
    rig.until_listed(&blocks, 2).await;
}

#[tokio::test]
async fn committed_is_answered_when_every_node_finds_the_block() {
    let rig = Rig::start(options()).await;
    for at in [A, B] {
        // Stored here, and stored elsewhere.
        let blocks = chain_at(&rig, at, 0, 1);
        let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
        let put = || block(&blocks[0], None);
        rig.members[at].pen.held.send_replace(true);
        let soon = rig.members[A]
            .parts
            .clock
            .deadline(Duration::from_millis(200));
        let late = router.put_with(&domain, put(), Ack::Committed, soon).await;
        assert!(
            matches!(late, Err(PutError::Request(_))) || late == Ok(Stored::Copies(1)) && at == B,
            "{late:?}"
        );
        assert!(!rig.holders(&blocks[0]).contains(&node(at)));
        rig.members[at].pen.held.send_replace(false);
        let again = router.put_with(&domain, put(), Ack::Committed, rig.deadline(A));
        assert_eq!(again.await, Ok(Stored::Known));
        assert!(rig.holders(&blocks[0]).contains(&node(at)));
    }
}

#[tokio::test]
async fn a_writer_finds_its_blocks_before_anybody_lists_them() {
    let rig = Rig::start(BlockOptions {
        copy_on_second_hit: false,
        ..options()
    })
    .await;
    let blocks = chain_at(&rig, B, 0, 20);
    rig.members[B].pen.held.send_replace(true);
    rig.put_chain(A, &blocks).await;
    assert_eq!(rig.members[A].directory.stats().records, 0);
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    let matched = router.match_prefix(&domain, &blocks, rig.deadline(A)).await;
    assert_eq!(matched, Ok(20));
    let found = router.get_prefix(&domain, &blocks, rig.deadline(A)).await;
    assert_eq!(found.unwrap().len(), 20);
    rig.reads_all(A, &blocks).await;
    let exists = router
        .exists(&domain, &blocks, Some(100), rig.deadline(A))
        .await;
    assert_eq!(exists.unwrap().prefix_blocks(), 20);
    // Nobody else knows of them yet.
    assert!(rig.get(C, &blocks).await.iter().all(Option::is_none));
}

#[tokio::test]
async fn what_no_target_takes_is_kept_here_and_found_from_there() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 3);
    rig.net.cut.lock().insert(node(B));
    rig.put_chain(A, &blocks).await;
    assert_eq!(rig.held(A, &blocks).await, 3);
    rig.until_listed(&blocks, 1).await;
    rig.reads_all(C, &blocks).await;
}

#[tokio::test]
async fn a_target_that_is_full_sends_its_writer_home_and_a_bad_block_stays_nowhere() {
    let rig = Rig::with_bytes(options(), 128 << 10).await;
    // Everything that B could use is on loan.
    let mut loans = Vec::new();
    for seed in 0.. {
        let full = chain_at(&rig, B, seed * 1_000, 16);
        let (cache, domain) = (&rig.members[B].cache, rig.domain(B, 1));
        let mut refused = 0;
        for address in &full {
            let put = cache
                .put(&domain, block(address, None), rig.deadline(B))
                .await;
            refused += usize::from(put == Err(PutError::Refused(PutRefusal::NoRoom)));
        }
        let lent = cache.get(&domain, &full, rig.deadline(B)).await.unwrap();
        loans.extend(lent.into_iter().flatten());
        if refused == full.len() {
            break;
        }
    }
    let blocks = chain_at(&rig, B, 77_000, 2);
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    let put = router
        .put(&domain, block(&blocks[0], None), rig.deadline(A))
        .await;
    assert!(matches!(put, Ok(Stored::Copies(1))), "{put:?}");
    assert_eq!(rig.held(A, &blocks[..1]).await, 1);
    drop(loans);

    let mut bad = block(&blocks[1], None);
    bad.header.checksum ^= 1;
    let put = router.put(&domain, bad, rig.deadline(A)).await;
    assert_eq!(put, Err(PutError::Refused(PutRefusal::Malformed)));
    assert_eq!(
        rig.held(A, &blocks[1..]).await + rig.held(B, &blocks[1..]).await,
        0
    );
}

#[tokio::test]
async fn a_write_without_an_answer_says_so() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, A, 0, 1);
    let stalls = [
        rig.members[A].cache.stall_shard(0).await.unwrap(),
        rig.members[A].cache.stall_shard(1).await.unwrap(),
    ];
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    let soon = rig.members[A]
        .parts
        .clock
        .deadline(Duration::from_millis(50));
    let put = router.put(&domain, block(&blocks[0], None), soon).await;
    assert_eq!(put, Err(PutError::Request(RequestError::Deadline)));
    drop(stalls);
}
