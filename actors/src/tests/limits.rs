//! Permits, deadlines, callers that leave, and requests to what is not running.

use std::task::Poll;

use futures::future::join_all;
use ultrakv_cache::PutRefusal;

use super::*;
use crate::RequestError;

#[tokio::test]
async fn the_request_over_the_limit_is_busy_at_once_and_nobody_waits_for_good() {
    let mut plan = plan(1 << 20, 1);
    plan.gate.requests_in_flight_max = 4;
    let rig = Rig::start(plan).await;
    let chain = rig.chain(1, 1);
    let stall = rig.cache.stall_shard(0).await.unwrap();

    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let (cache, domain, chain) = (rig.cache.clone(), rig.domain, chain.clone());
            let deadline = rig.deadline();
            tokio::spawn(async move { cache.match_prefix(&domain, &chain, deadline).await })
        })
        .collect();
    let gate = &rig.cache.shard(0).unwrap().gate;
    while gate.used() < 4 {
        tokio::task::yield_now().await;
    }
    let busy = rig
        .cache
        .match_prefix(&rig.domain, &chain, rig.deadline())
        .await;
    assert_eq!(busy, Err(RequestError::Busy));
    let put = rig.put(&chain[0]).await;
    assert_eq!(put, Err(PutError::Request(RequestError::Busy)));

    // A caller that gives up makes no room, since its message still waits: the mailbox never holds
    // more messages than there are permits.
    waiting[0].abort();
    while !waiting[0].is_finished() {
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.used(), 4);

    drop(stall);
    for answer in join_all(waiting).await.into_iter().skip(1) {
        assert_eq!(answer.unwrap(), Ok(0));
    }
    rig.until_at_rest().await;
}

#[tokio::test]
async fn a_deadline_ends_every_kind_of_request_and_leaves_nothing_behind() {
    let rig = Rig::start(plan(1 << 20, 1)).await;
    let (cache, domain) = (&rig.cache, &rig.domain);
    let chain = rig.chain(1, 2);
    rig.put_chain(&chain[..1]).await;
    let stall = cache.stall_shard(0).await.unwrap();
    let soon = rig.node.clock().deadline(Duration::from_millis(20));
    let late = RequestError::Deadline;

    let (matched, got, put) = tokio::join!(
        cache.match_prefix(domain, &chain, soon),
        cache.get(domain, &chain, soon),
        cache.put(domain, block(&chain[1], None), soon),
    );
    assert_eq!(matched, Err(late));
    assert_eq!(got.unwrap_err(), late);
    assert_eq!(put, Err(PutError::Request(late)));

    drop(stall);
    rig.until_at_rest().await;
    assert_eq!(rig.matched(&chain).await, 1);
}

#[tokio::test]
async fn callers_that_leave_give_back_what_they_were_lent_or_had_reserved() {
    let rig = Rig::start(plan(1 << 20, 1)).await;
    let chain = rig.chain(1, 2);
    rig.put_chain(&chain[..1]).await;
    let stall = rig.cache.stall_shard(0).await.unwrap();
    let (got, put) = {
        let (cache, domain, deadline) = (rig.cache.clone(), rig.domain, rig.deadline());
        let (lent, new) = (chain.clone(), block(&chain[1], None));
        let get = tokio::spawn({
            let cache = cache.clone();
            async move { cache.get(&domain, &lent, deadline).await.map(|_| ()) }
        });
        let put = tokio::spawn(async move { cache.put(&domain, new, deadline).await });
        (get, put)
    };
    tokio::task::yield_now().await;
    got.abort();
    put.abort();
    assert!(got.await.unwrap_err().is_cancelled());
    assert!(put.await.unwrap_err().is_cancelled());
    drop(stall);
    rig.until_at_rest().await;
    assert_eq!(rig.stats().await[0].usage.bytes, BLOCK_BYTES);
}

#[tokio::test]
async fn everything_leased_is_no_room_and_room_again_when_the_readers_are_done() {
    let mut plan = plan(4 * BLOCK_BYTES, 1);
    // Else the eviction actor may make room before the readers come.
    plan.budget.watermark_high = 1000;
    let rig = Rig::start(plan).await;
    let chain = rig.chain(1, 4);
    rig.put_chain(&chain).await;
    let readers = rig.get(&chain).await;
    assert_eq!(readers.iter().flatten().count(), 4);
    let refused = rig.put(&rig.chain(2, 1)[0]).await;
    assert_eq!(refused, Err(PutError::Refused(PutRefusal::NoRoom)));
    drop(readers);
    rig.until_at_rest().await;
    assert_eq!(rig.put(&rig.chain(3, 1)[0]).await, Ok(Stored::Copies(1)));
}

#[tokio::test]
async fn after_the_stop_every_request_is_told_so_at_once() {
    let rig = Rig::start(plan(1 << 20, 2)).await;
    let chain = rig.chain(1, 1);
    rig.put_chain(&chain).await;
    let reader = rig.get(&chain).await.remove(0).unwrap();
    assert!(rig.node.stop(rig.deadline()).await);
    assert_eq!(rig.node.stopped().await, crate::StopReason::Asked);

    let stopped = RequestError::Stopped;
    let matched = rig
        .cache
        .match_prefix(&rig.domain, &chain, rig.deadline())
        .await;
    assert_eq!(matched, Err(stopped));
    assert_eq!(rig.put(&chain[0]).await, Err(PutError::Request(stopped)));
    assert_eq!(rig.cache.stats(rig.deadline()).await.unwrap_err(), stopped);
    assert!(is_right(&chain[0], &reader));
    let tree = rig.node.tree();
    assert!(
        tree.iter()
            .all(|actor| actor.status == crate::ActorState::Stopped)
    );
    assert!(
        rig.node
            .attach(crate::ChildSpec::supervisor("x", "X", []))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_shard_that_is_stuck_is_killed_at_the_stops_deadline() {
    let rig = Rig::start(plan(1 << 20, 2)).await;
    let _stall = rig.cache.stall_shard(1).await.unwrap();
    let soon = rig.node.clock().deadline(Duration::from_millis(50));
    assert!(!rig.node.stop(soon).await);
    let chain = rig.chain(1, 40);
    let matched = rig.cache.match_prefix(&rig.domain, &chain, rig.deadline());
    assert_eq!(matched.await, Err(RequestError::Stopped));
    // Asked again, it is stopped already.
    assert!(rig.node.stop(rig.deadline()).await);
}

/// Polls a future at most so often, then drops it; whether it ended before.
async fn drop_after(polls: u32, future: impl Future<Output = bool>) -> bool {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if left <= 1 => Poll::Ready(false),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_dropped_at_any_await_leave_nothing_behind() {
    let rig = Rig::start(plan(1 << 20, 2)).await;
    let chain = rig.chain(1, 40);
    rig.put_chain(&chain[..20]).await;
    let mut ended = [0; 7];
    for round in 0..200_u32 {
        for polls in 1..6 {
            let (cache, domain, deadline) = (&rig.cache, &rig.domain, rig.deadline());
            let name = round.to_le_bytes();
            let new = rig.chain(1000 + round * 10 + polls, 1);
            let value = Bytes::from_static(b"value");
            // The answers do not matter here, nor does that they are answers.
            let ask: [futures::future::BoxFuture<'_, bool>; 7] = [
                Box::pin(async { cache.match_prefix(domain, &chain, deadline).await.is_ok() }),
                Box::pin(async { cache.get(domain, &chain, deadline).await.is_ok() }),
                Box::pin(async {
                    cache
                        .put(domain, block(&new[0], None), deadline)
                        .await
                        .is_ok()
                }),
                Box::pin(async { cache.pin(domain, &chain, Pin::Soft, deadline).await.is_ok() }),
                Box::pin(async { cache.remove(domain, &new, deadline).await.is_ok() }),
                Box::pin(async { rig.shelve(&name, value).await.is_ok() }),
                Box::pin(async { rig.shelved(&name).await.is_ok() }),
            ];
            for (request, ended) in ask.into_iter().zip(&mut ended) {
                *ended += u32::from(drop_after(polls, request).await);
            }
        }
    }
    rig.until_at_rest().await;
    assert!(
        ended.iter().all(|ended| (1..1000).contains(ended)),
        "some end and some are dropped: {ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_gets_at_once_are_answered_or_told_to_come_back() {
    let rig = std::sync::Arc::new(Rig::start(plan(1 << 20, 2)).await);
    let chain = rig.chain(1, 8);
    rig.put_chain(&chain).await;
    let gets = (0..10_000).map(|_| {
        let (rig, chain) = (std::sync::Arc::clone(&rig), chain.clone());
        tokio::spawn(async move {
            let got = rig.cache.get(&rig.domain, &chain, rig.deadline()).await;
            match got {
                Ok(blocks) => {
                    let mut pairs = chain.iter().zip(blocks);
                    assert!(pairs.all(|(at, block)| is_right(at, &block.unwrap())));
                    true
                }
                Err(error) => {
                    assert_eq!(error, RequestError::Busy);
                    false
                }
            }
        })
    });
    let gets: Vec<_> = gets.collect();
    let mut answered = 0;
    for get in gets {
        answered += u32::from(get.await.unwrap());
    }
    assert!(answered > 0);
    rig.until_at_rest().await;
}
