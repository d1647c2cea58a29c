//! Clients on every node, and everything that can happen to nodes and lanes meanwhile. It must never be calm for long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::history::{Act, Done, check};
use super::*;

const NAMES: [&[u8]; 6] = [b"one", b"two", b"three", b"four", b"{five}a", b"{five}b"];

/// What all clients share.
#[derive(Default)]
struct Load {
    time: AtomicU64,
    values: AtomicU64,
    is_over: AtomicBool,
    acts: Mutex<Vec<Act>>,
    failed: AtomicU64,
}

impl Load {
    fn tick(&self) -> u64 {
        self.time.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Waits until clients have done so much more.
    async fn goes_on(&self, acts: usize) {
        let goal = self.acts.lock().len() + acts;
        let goes_on = async {
            while self.acts.lock().len() < goal {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let went_on = tokio::time::timeout(Duration::from_secs(30), goes_on).await;
        went_on.expect("the load does not go on");
    }
}

/// One client's doings until the storm is over.
async fn client(rig: Arc<Rig>, load: Arc<Load>, at: usize) {
    let mut last = [0_u64; NAMES.len()];
    while !load.is_over.load(Ordering::SeqCst) {
        let key = usize::try_from(rig.net.draw(6)).unwrap();
        let began = load.tick();
        let done = act(&rig, &load, at, key, last[key]).await;
        let Some(done) = done else {
            load.failed.fetch_add(1, Ordering::SeqCst);
            continue;
        };
        if let Done::Wrote { version, .. } | Done::Saw { version, .. } = done {
            last[key] = version;
        }
        let ended = load.tick();
        load.acts.lock().push(Act {
            key,
            began,
            ended,
            done,
        });
    }
}

/// Does one thing; none when nothing was carried out.
async fn act(rig: &Rig, load: &Load, at: usize, key: usize, last: u64) -> Option<Done> {
    let router = &rig.members[at].router;
    let (name, deadline) = (NAMES[key], rig.deadline(2_000));
    let choice = rig.net.draw(10);
    if choice < 5 {
        let found = router.get(&rig.domain, name, deadline).await.ok()?;
        return Some(match found {
            None => Done::Saw {
                value: Some(0),
                version: 0,
            },
            Some(found) => Done::Saw {
                value: Some(u64::from_le_bytes((*found.value).try_into().unwrap())),
                version: found.version,
            },
        });
    }
    let value = load.values.fetch_add(1, Ordering::SeqCst) + 1;
    let over = (choice >= 8 && last > 0).then_some(last);
    let options = EntryOptions {
        only_if: over.map_or(OnlyIf::Always, OnlyIf::Version),
        ..EntryOptions::kept(None)
    };
    let bytes = Bytes::copy_from_slice(&value.to_le_bytes());
    match router
        .put(&rig.domain, name, bytes, options, deadline)
        .await
    {
        Ok(version) => Some(Done::Wrote {
            value,
            version,
            over,
        }),
        Err(EntryError::OutcomeUnknown(_)) => Some(Done::InDoubt { value, over }),
        Err(EntryError::Conflict { version }) => Some(Done::Saw {
            value: None,
            version: version.unwrap_or(0),
        }),
        Err(EntryError::Request(_) | EntryError::Unavailable) => None,
        Err(other) => panic!("{other}"),
    }
}

/// Lets a storm of one kind pass over a cluster under load, and looks at what was done and what is left.
async fn weather(faults: net::Faults, storm: impl AsyncFn(&Rig, &Load)) {
    let rig = Arc::new(Rig::start(3, &NAMES, node_plan).await);
    let load = Arc::new(Load::default());
    rig.net.change(|now| *now = faults);
    let clients =
        (0..6).map(|number| tokio::spawn(client(Arc::clone(&rig), Arc::clone(&load), number % 3)));
    let clients: Vec<_> = clients.collect();
    storm(&rig, &load).await;
    load.is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    rig.net.change(|now| *now = net::Faults::default());
    rig.until_settled().await;
    // What is left, read from every node, is part of the story.
    for at in 0..3 {
        for (key, name) in NAMES.iter().enumerate() {
            let began = load.tick();
            let found = rig.members[at]
                .router
                .get(&rig.domain, name, rig.deadline(5_000))
                .await;
            let found = found.unwrap();
            let done = found.map_or(
                Done::Saw {
                    value: Some(0),
                    version: 0,
                },
                |found| Done::Saw {
                    value: Some(u64::from_le_bytes((*found.value).try_into().unwrap())),
                    version: found.version,
                },
            );
            let ended = load.tick();
            load.acts.lock().push(Act {
                key,
                began,
                ended,
                done,
            });
        }
    }
    let acts = load.acts.lock().clone();
    let wrote = acts
        .iter()
        .filter(|act| matches!(act.done, Done::Wrote { .. }))
        .count();
    let failed = load.failed.load(Ordering::SeqCst);
    println!(
        "{} acts, {wrote} acknowledged writes, {failed} failed",
        acts.len()
    );
    assert!(wrote > 100, "only {wrote} writes");
    check(&acts).unwrap();
}

fn rain() -> net::Faults {
    net::Faults {
        lost: 5,
        repeated: 10,
        delay_ms_max: 4,
        ..net::Faults::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_shards_die_under_load() {
    weather(rain(), async |rig, load| {
        for round in 0..6_usize {
            load.goes_on(100).await;
            let member = &rig.members[round % 3];
            let shard = format!("node/cache/shard-{}", round % 2);
            let was = member.host.lives().borrow().clone();
            assert!(member.node.kill(&shard));
            let mut lives = member.host.lives();
            lives.wait_for(|now| *now != was).await.unwrap();
            // Not before the register has heard of it: only then is it a loss that is being repaired.
            tokio::time::sleep(Duration::from_millis(20)).await;
            rig.until_settled().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_member_is_removed_and_comes_back_and_a_silent_owner_is_replaced() {
    weather(rain(), async |rig, load| {
        for round in 0..3 {
            load.goes_on(100).await;
            // The first target owns everything: in the first round it is the one that falls silent.
            let member = &rig.members[round];
            rig.net.isolate(member.id);
            member.tenure.set(false); // Its tenure runs out before anybody says that it is down.
            rig.register.node_down(member.id);
            load.goes_on(100).await; // Without it.
            tokio::time::sleep(Duration::from_millis(250)).await;
            rig.net.change(|faults| faults.cut.clear());
            rig.register.node_up(member.id);
            member.tenure.set(true);
            rig.until_settled().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_falls_silent_alone_holds_writes_up_only_until_it_is_removed() {
    weather(net::Faults::default(), async |rig, load| {
        load.goes_on(100).await;
        let member = &rig.members[2];
        rig.net.isolate(member.id);
        let is_gone = |register: &Register| {
            let slots = register.slots().into_iter();
            let mut words = slots.map(|slot| register.word(slot));
            words.all(|word| {
                word.ownership
                    .in_sync
                    .iter()
                    .all(|life| life.node != member.id)
            })
        };
        let gone = rig.register.until(is_gone);
        tokio::time::timeout(Duration::from_secs(10), gone)
            .await
            .unwrap();
        load.goes_on(100).await;
        rig.net.change(|faults| faults.cut.clear());
        rig.until_settled().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_from_node_to_node_under_load_as_one_plan_follows_the_other() {
    weather(rain(), async |rig, load| {
        let plans: [&[usize]; 6] = [&[1, 2], &[2, 0, 1], &[0], &[1, 0], &[2, 1], &[0, 1, 2]];
        for plan in plans {
            rig.register
                .plan(|_| plan.iter().copied().map(id).collect());
            rig.until_settled().await;
            load.goes_on(100).await;
        }
    })
    .await;
}
