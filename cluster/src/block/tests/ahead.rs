//! Fetching ahead from other nodes' memories: the prefetch actor of one node, its router's sink, the directory.

use ultrakv_actors::PrefetchReport;

use super::*;

/// Lets a node fetch ahead, for a model so slow that every load is worth it.
fn connect(rig: &Rig, at: usize) {
    let member = &rig.members[at];
    member.parts.prefetch_through(&member.router);
    for _ in 0..50 {
        let told = member.cache.prefetch().computed(1, 0, 1_000_000);
        told.unwrap();
    }
}

fn arrive(rig: &Rig, at: usize, chain: &[BlockAddress]) {
    let prefetch = rig.members[at].cache.prefetch();
    let told = prefetch.arrived(&rig.domain(at, 1), chain.to_vec(), BLOCK_TOKENS, None);
    told.unwrap();
}

async fn report(rig: &Rig, at: usize, like: impl Fn(&PrefetchReport) -> bool) -> PrefetchReport {
    let mut reports = rig.members[at].cache.prefetch().reports();
    let told = tokio::time::timeout(PATIENCE, reports.wait_for(|it| like(it))).await;
    match told {
        Ok(report) => *report.unwrap(),
        Err(_) => panic!("never so: {:?}", rig.members[at].cache.prefetch().report()),
    }
}

async fn get_prefix(rig: &Rig, at: usize, chain: &[BlockAddress]) -> usize {
    let domain = rig.domain(at, 1);
    let blocks = rig.members[at]
        .router
        .get_prefix(&domain, chain, rig.deadline(at))
        .await
        .unwrap();
    chain
        .iter()
        .zip(&blocks)
        .for_each(|(address, block)| assert_right(address, block));
    blocks.len()
}

#[tokio::test]
async fn a_chain_comes_from_another_nodes_memory_before_its_request_asks_for_it() {
    let rig = Rig::start(options()).await;
    connect(&rig, A);
    let chain = chain_at(&rig, B, 0, 12);
    rig.put_chain(B, &chain).await;
    rig.until_listed(&chain, 1).await;
    assert_eq!(rig.held(A, &chain).await, 0);
    arrive(&rig, A, &chain);
    report(&rig, A, |report| report.arrival.stored_blocks == 12).await;
    assert_eq!(rig.held(A, &chain).await, 12);
    // The request itself needs nobody else any more.
    rig.net.cut.lock().insert(node(B));
    assert_eq!(get_prefix(&rig, A, &chain).await, 12);
    let report = report(&rig, A, |report| report.arrival.timely_blocks == 12).await;
    assert_eq!((report.missed_blocks, report.arrival.wasted_bytes), (0, 0));
}

#[tokio::test]
async fn a_request_and_what_was_fetched_ahead_of_it_share_one_flight() {
    let rig = Rig::start(options()).await;
    connect(&rig, A);
    let chain = chain_at(&rig, B, 0, 4);
    rig.put_chain(B, &chain).await;
    rig.until_listed(&chain, 1).await;
    rig.net.held.send_replace(true);
    arrive(&rig, A, &chain);
    report(&rig, A, |report| report.arrival.asked_blocks == 4).await;
    let asked = get_prefix(&rig, A, &chain);
    let let_go = async {
        tokio::task::yield_now().await;
        rig.net.held.send_replace(false);
    };
    let (blocks, ()) = futures::join!(asked, let_go);
    assert_eq!(blocks, 4);
    let report = report(&rig, A, |report| report.arrival.late_blocks == 4).await;
    assert_eq!(report.arrival.timely_blocks, 0);
    // Hedges aside, nobody was asked twice.
    assert!(rig.net.reads.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn a_chain_that_is_read_piece_by_piece_is_read_ahead() {
    let rig = Rig::start(options()).await;
    connect(&rig, A);
    let chain = chain_at(&rig, B, 0, 12);
    rig.put_chain(B, &chain).await;
    rig.until_listed(&chain, 1).await;
    // The first reader teaches what follows what; its second fetch of a block would copy it anyway.
    rig.reads_all(A, &chain).await;
    rig.reads_all(A, &chain[..2]).await;
    report(&rig, A, |report| report.read_ahead.stored_blocks >= 2).await;
    assert!(rig.held(A, &chain[2..4]).await == 2);
    rig.reads_all(A, &chain[2..4]).await;
    report(&rig, A, |report| report.read_ahead.timely_blocks >= 2).await;
}

#[tokio::test]
async fn a_holder_that_is_gone_fails_the_fetch_and_nothing_else() {
    let rig = Rig::start(options()).await;
    connect(&rig, A);
    let chain = chain_at(&rig, B, 0, 4);
    rig.put_chain(B, &chain).await;
    rig.until_listed(&chain, 1).await;
    rig.net.cut.lock().insert(node(B));
    arrive(&rig, A, &chain);
    let told = report(&rig, A, |report| report.arrival.failed_blocks == 4).await;
    assert_eq!(told.in_flight_bytes, 0);
    rig.net.cut.lock().clear();
    assert_eq!(get_prefix(&rig, A, &chain).await, 4);
    rig.map.set(B, Standing::Down);
    arrive(&rig, A, &chain);
    // The second report from now on was made after the arrival was heard.
    let mut reports = rig.members[A].cache.prefetch().reports();
    reports.borrow_and_update();
    for _ in 0..2 {
        reports.changed().await.unwrap();
    }
    let asked_blocks = reports.borrow().arrival.asked_blocks;
    assert_eq!(asked_blocks, told.arrival.asked_blocks, "nobody to ask");
}
