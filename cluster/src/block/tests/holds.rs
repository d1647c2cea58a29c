//! Pins, removal and leases across holders, and that domains stay apart.

use ultrakv_actors::RequestError;
use ultrakv_cache::PinOutcome;

use super::*;

async fn rig_of_two_copies() -> (Rig, Vec<BlockAddress>) {
    let rig = Rig::start(BlockOptions {
        copies: 2,
        ..options()
    })
    .await;
    let blocks = chain_at(&rig, B, 0, 4);
    rig.put_chain(A, &blocks).await;
    rig.until_listed(&blocks, 2).await;
    (rig, blocks)
}

async fn pinned(rig: &Rig, at: usize) -> usize {
    let cache = &rig.members[at].cache;
    let mut pinned = 0;
    for shard in 0..cache.shards() {
        let page = cache.list_blocks(shard, 0, 1_000, rig.deadline(at)).await;
        let blocks = page.unwrap().blocks;
        pinned += blocks
            .iter()
            .filter(|listed| listed.pin == Pin::Hard)
            .count();
    }
    pinned
}

#[tokio::test]
async fn a_pin_reaches_every_holder_and_so_does_its_end() {
    let (rig, mut blocks) = rig_of_two_copies().await;
    blocks.push(chain(500, 1)[0]);
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    for (pin, count) in [(Pin::Hard, 4), (Pin::None, 0)] {
        let outcomes = router.pin(&domain, &blocks, pin, rig.deadline(A)).await;
        let mut expected = vec![PinOutcome::Done; 4];
        expected.push(PinOutcome::Absent);
        assert_eq!(outcomes, Ok(expected));
        for at in [B, C] {
            assert_eq!(pinned(&rig, at).await, count);
        }
    }
}

#[tokio::test]
async fn removal_reaches_every_holder_or_says_that_it_may_not_have() {
    let (rig, blocks) = rig_of_two_copies().await;
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    rig.net.cut.lock().insert(node(C));
    let removed = router.remove(&domain, &blocks, rig.deadline(A)).await;
    assert_eq!(removed, Err(RequestError::Stopped));
    rig.net.cut.lock().clear();
    let removed = router.remove(&domain, &blocks, rig.deadline(A)).await;
    assert_eq!(removed, Ok(4));
    for at in [A, B, C] {
        assert!(rig.get(at, &blocks).await.iter().all(Option::is_none));
    }
    rig.until_right().await;
}

#[tokio::test]
async fn what_was_stored_a_moment_ago_is_removed_before_it_is_listed() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 2);
    rig.members[B].pen.held.send_replace(true);
    rig.put_chain(A, &blocks).await;
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    assert_eq!(
        router.remove(&domain, &blocks, rig.deadline(A)).await,
        Ok(2)
    );
    assert_eq!(rig.held(B, &blocks).await, 0);
    rig.members[B].pen.held.send_replace(false);
    rig.until_right().await;
}

#[tokio::test]
async fn nobody_touches_another_domains_blocks_even_with_their_keys() {
    let (rig, blocks) = rig_of_two_copies().await;
    let (router, thief) = (&rig.members[A].router, rig.domain(A, 2));
    let deadline = rig.deadline(A);
    let found = router.get(&thief, &blocks, deadline).await.unwrap();
    assert!(found.iter().all(Option::is_none));
    assert_eq!(router.remove(&thief, &blocks, deadline).await, Ok(0));
    let outcomes = router.pin(&thief, &blocks, Pin::Hard, deadline).await;
    assert_eq!(outcomes, Ok(vec![PinOutcome::Absent; 4]));
    let exists = router.exists(&thief, &blocks, Some(1_000), deadline).await;
    assert_eq!(exists.unwrap().present, [false; 4]);
    assert_eq!(pinned(&rig, B).await + pinned(&rig, C).await, 0);
    for at in [A, B, C] {
        rig.reads_all(at, &blocks).await;
    }
}

#[tokio::test]
async fn a_lease_keeps_blocks_where_they_lie_until_its_time_is_over() {
    let rig = Rig::start(options()).await;
    let (here, there) = (chain_at(&rig, A, 0, 3), chain_at(&rig, B, 0, 3));
    rig.put_chain(A, &here).await;
    rig.put_chain(A, &there).await;
    rig.until_listed(&there, 1).await;
    let missing = chain(700, 1)[0];
    let asked = [&here[..], &there[..], &[missing], &there[..1]].concat();
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));

    let hint = router
        .exists(&domain, &asked, None, rig.deadline(A))
        .await
        .unwrap();
    let expected = [true, true, true, true, true, true, false, true];
    assert_eq!(
        (hint.present.as_slice(), hint.prefix_blocks()),
        (&expected[..], 6)
    );
    assert_eq!(hint.held.len(), 3);
    let leases = || async {
        let stats = rig.members[B].cache.stats(rig.deadline(B)).await.unwrap();
        stats.iter().map(|shard| shard.leases).sum::<u64>()
    };
    assert_eq!(leases().await, 0, "a hint costs no hop");

    let leased = router
        .exists(&domain, &asked, Some(300), rig.deadline(A))
        .await
        .unwrap();
    assert_eq!(
        (leased.present.as_slice(), leased.held.len()),
        (&expected[..], 3)
    );
    assert_eq!(leases().await, 3);
    let deadline = rig.members[B].parts.clock.deadline(PATIENCE);
    while leases().await > 0 {
        assert!(
            !deadline.passed(rig.members[B].parts.clock.now()),
            "never over"
        );
        tokio::task::yield_now().await;
    }
    // What a holder does not promise is not there.
    rig.net.cut.lock().insert(node(B));
    let leased = router
        .exists(&domain, &asked, Some(300), rig.deadline(A))
        .await
        .unwrap();
    assert_eq!(leased.prefix_blocks(), 3);
}
