//! Budgets: in bytes, in tokens, and in the memory that the operating system counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// The resident memory of this process's memfds of ours, as the kernel lists them.
fn smaps_bytes() -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut sum = 0;
    for line in smaps.lines() {
        if let Some(rss) = line.strip_prefix("Rss:") {
            let kib: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
            sum += if ours { kib * 1024 } else { 0 };
        } else if line.contains('-') && !line.contains("kB") {
            ours = line.contains("memfd:ultrakv-");
        }
    }
    sum
}

/// Whether this process runs only the test `name`. If not, it runs it so, in a process of its own, and that one's verdict is
/// the test's: what the kernel says of a process is about every test in it.
fn alone(name: &str) -> bool {
    const ALONE: &str = "ULTRAKV_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let said = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::budgets::{name}"), "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&said.stdout);
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{out}{err}");
    assert!(out.contains("1 passed"), "no such test: {out}");
    false
}

/// Stores different chains of two domains from several tasks, and reads some back, until told.
async fn load(rig: &Arc<Rig>, tasks: u32, rounds: u32) -> u64 {
    let verified = Arc::new(AtomicU64::new(0));
    let workers = (0..tasks).map(|task| {
        let (rig, verified) = (Arc::clone(rig), Arc::clone(&verified));
        tokio::spawn(async move {
            for round in 0..rounds {
                let chain = rig.chain(task * 1_000_000 + round, 8);
                let mut parent = None;
                for address in &chain {
                    let put = block(address, parent);
                    let _ = rig.cache.put(&rig.domain, put, rig.deadline()).await;
                    parent = Some(address.key);
                }
                let found = rig
                    .cache
                    .get_prefix(&rig.domain, &chain, rig.deadline())
                    .await;
                for (address, block) in chain.iter().zip(found.unwrap_or_default()) {
                    assert!(is_right(address, &block));
                    verified.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    verified.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn used_and_resident_memory_stay_within_the_budget_under_load() {
    if !alone("used_and_resident_memory_stay_within_the_budget_under_load") {
        return;
    }
    const BUDGET: u64 = 2 << 20;
    let rig = Arc::new(Rig::start(plan(BUDGET, 3)).await);
    let done = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let (rig, done) = (Arc::clone(&rig), Arc::clone(&done));
        async move {
            let mut looks = 0_u32;
            while !done.load(Ordering::Relaxed) {
                let stats = rig.stats().await;
                for report in &stats {
                    assert!(report.usage.bytes <= report.budget.bytes_max, "{report:?}");
                    assert!(report.memory_bytes <= report.budget.bytes_max, "{report:?}");
                }
                let budget: u64 = stats.iter().map(|report| report.budget.bytes_max).sum();
                assert_eq!(budget, BUDGET);
                assert!(smaps_bytes() <= BUDGET);
                looks += 1;
            }
            looks
        }
    });
    let verified = load(&rig, 4, 60).await;
    done.store(true, Ordering::Relaxed);
    let looks = watcher.await.unwrap();
    assert!(
        verified > 100 && looks > 0,
        "{verified} verified, {looks} looks"
    );

    rig.until_at_rest().await;
    assert!(rig.node.tree().iter().all(|actor| actor.restarts == 0));
    let evicted: u64 = rig.stats().await.iter().map(|report| report.evicted).sum();
    assert!(evicted > 0);
    // The eviction actor makes headroom without being asked.
    rig.until("below the high watermark", |report| {
        report.usage.bytes * 1000
            <= report.budget.bytes_max * u64::from(report.budget.watermark_high)
    })
    .await;
}

#[tokio::test]
async fn tokens_bind_when_they_are_reached_first() {
    let mut plan = plan(4 << 20, 2);
    plan.budget.tokens_max = Some(41);
    let rig = Rig::start(plan).await;
    for seed in 0..64 {
        rig.put(&rig.chain(seed, 1)[0]).await.unwrap();
        let tokens: u64 = rig
            .stats()
            .await
            .iter()
            .map(|report| report.usage.tokens)
            .sum();
        assert!(tokens <= 41, "{tokens} tokens");
    }
    assert_eq!(rig.cache.tokens_max(), Some(41));
}

#[tokio::test]
async fn a_second_domain_takes_room_from_the_first_and_not_beside_it() {
    const BUDGET: u64 = 1 << 20;
    let rig = Rig::start(plan(BUDGET, 1)).await;
    let second = new_domain(&rig.cache, 2);
    for (domain, seeds) in [
        (rig.domain, 0..200),
        (second, 200..400),
        (rig.domain, 400..600),
    ] {
        for seed in seeds {
            let address = space(&domain).chain(&[seed, 0, 0, 0])[0];
            let _ = rig
                .cache
                .put(&domain, block(&address, None), rig.deadline())
                .await;
        }
        let report = rig.stats().await.remove(0);
        assert!(report.memory_bytes <= BUDGET, "{report:?}");
        assert!(report.memory_bytes > BUDGET / 2, "{report:?}");
    }
}

#[tokio::test]
async fn what_readers_hold_of_a_dead_life_comes_off_the_next_ones_budget_until_they_are_done() {
    if !alone("what_readers_hold_of_a_dead_life_comes_off_the_next_ones_budget_until_they_are_done")
    {
        return;
    }
    const BUDGET: u64 = 64 * BLOCK_BYTES;
    let rig = Rig::start(plan(BUDGET, 1)).await;
    let chain = rig.chain(1, 20);
    rig.put_chain(&chain).await;
    let readers = rig.get(&chain[..10]).await;
    let before = rig.stats().await[0].boot_id;
    assert!(rig.node.kill("node/cache/shard-0"));
    rig.node
        .wait_for_tree(|tree| tree.iter().any(|actor| actor.restarts == 1))
        .await;

    let report = rig.stats().await.remove(0);
    assert_ne!(report.boot_id, before);
    assert_eq!(report.budget.bytes_max, BUDGET - 10 * BLOCK_BYTES);
    // Only what is being read is left of the ten read and ten unread blocks.
    assert_eq!(smaps_bytes(), 10 * BLOCK_BYTES);
    for seed in 100..300 {
        let _ = rig.put(&rig.chain(seed, 1)[0]).await;
        assert!(smaps_bytes() <= BUDGET);
    }
    for (address, block) in chain.iter().zip(&readers) {
        assert!(is_right(address, block.as_ref().unwrap()));
    }
    drop(readers);
    rig.until("whole again", |report| report.budget.bytes_max == BUDGET)
        .await;
}

#[tokio::test]
async fn a_shard_that_can_evict_nothing_is_not_asked_over_and_over() {
    let mut plan = plan(4 * BLOCK_BYTES, 1);
    plan.eviction.tick_ms = 60_000;
    (plan.budget.watermark_high, plan.budget.watermark_low) = (400, 300);
    let rig = Rig::start(plan).await;
    for address in &rig.chain(1, 2) {
        let put = BlockPut {
            pin: Pin::Hard,
            ..block(address, None)
        };
        rig.cache
            .put(&rig.domain, put, rig.deadline())
            .await
            .unwrap();
    }
    // Each turn of this goes through the shard's mailbox, and so would each turn of eviction.
    for _ in 0..500 {
        assert_eq!(rig.stats().await[0].usage.bytes, 2 * BLOCK_BYTES);
        tokio::task::yield_now().await;
    }
    let turns = rig.cache.shard(0).unwrap().turns.load(Ordering::SeqCst);
    assert!(turns < 10, "{turns} turns for nothing");
}
