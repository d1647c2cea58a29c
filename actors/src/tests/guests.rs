//! Guests of shards: a shelf that keeps entries, and tells its tests what happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use ultrakv_cache::{Entry, EntryBox, EntryClass, SLOT_COUNT};

use super::*;
use crate::{
    BootId, GuestFactory, GuestMessage, GuestPermit, GuestPort, GuestWorld, RequestError,
    ShardGuest,
};

/// What a shelf is told.
enum Told {
    Put(Vec<u8>, Bytes, oneshot::Sender<bool>),
    Get(Vec<u8>, oneshot::Sender<Option<Bytes>>),
    Keep(GuestPermit),
    Fidget(bool),
}

/// What all shelves of a node tell.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    pub(super) begun: Mutex<Vec<(usize, BootId)>>,
    ticks: AtomicU64,
    window_max: AtomicUsize,
}

#[derive(Debug)]
struct Library(Arc<Shelves>);

impl GuestFactory for Library {
    fn begin(&self, shard: usize, life: BootId) -> Box<dyn ShardGuest> {
        self.0.begun.lock().push((shard, life));
        Box::new(Shelf {
            told: Arc::clone(&self.0),
            kept: Vec::new(),
            is_fidgety: false,
        })
    }
}

struct Shelf {
    told: Arc<Shelves>,
    kept: Vec<GuestPermit>,
    is_fidgety: bool,
}

const AT: EntryBox = EntryBox(5);

impl ShardGuest for Shelf {
    fn handle(&mut self, messages: Vec<GuestMessage>, world: &mut GuestWorld<'_>) {
        self.told
            .window_max
            .fetch_max(messages.len(), Ordering::SeqCst);
        for message in messages {
            match *message.body.downcast::<Told>().expect("ours") {
                Told::Put(key, value, reply) => {
                    let entry = Entry {
                        value: Arc::from(&*value),
                        version: 1,
                        class: EntryClass::Cached,
                        expires: None,
                    };
                    let _ = reply.send(world.entries.put(AT, &key, entry).is_ok());
                }
                Told::Get(key, reply) => {
                    let found = world.entries.get(AT, &key);
                    let _ = reply.send(found.map(|entry| Bytes::from_owner(entry.value)));
                }
                Told::Keep(permit) => self.kept.push(permit),
                Told::Fidget(is_fidgety) => self.is_fidgety = is_fidgety,
            }
        }
    }

    fn tick(&mut self, _: &mut GuestWorld<'_>) {
        self.told.ticks.fetch_add(1, Ordering::SeqCst);
    }

    fn is_restless(&self) -> bool {
        self.is_fidgety
    }
}

pub(super) fn admit(cache: &CacheHandle) -> Arc<Shelves> {
    let shelves = Arc::new(Shelves::default());
    assert!(cache.admit(Arc::new(Library(Arc::clone(&shelves)))));
    shelves
}

impl Rig {
    fn port(&self, key: &[u8]) -> GuestPort {
        let shard = usize::from(key[0]) % self.cache.shards();
        self.cache.guest(shard).expect("a shard")
    }

    /// Puts something on the shelf of its shard.
    pub(super) async fn shelve(&self, key: &[u8], value: Bytes) -> Result<bool, RequestError> {
        let (reply, answer) = oneshot::channel();
        let port = self.port(key);
        let permit = port.request(1)?;
        let told = Told::Put(key.to_vec(), value, reply);
        port.try_send(permit, Box::new(told))?;
        answer.await.map_err(|_| RequestError::Stopped)
    }

    pub(super) async fn shelved(&self, key: &[u8]) -> Result<Option<Bytes>, RequestError> {
        let (reply, answer) = oneshot::channel();
        let port = self.port(key);
        port.try_send(port.request(0)?, Box::new(Told::Get(key.to_vec(), reply)))?;
        answer.await.map_err(|_| RequestError::Stopped)
    }
}

#[tokio::test]
async fn every_life_of_a_shard_has_one_guest_and_begins_without_entries() {
    let rig = Rig::start(plan(1 << 20, 2)).await;
    let value = Bytes::from_static(b"value");
    for key in [[0], [1]] {
        assert_eq!(rig.shelve(&key, value.clone()).await, Ok(true));
        assert_eq!(rig.shelved(&key).await, Ok(Some(value.clone())));
    }
    let first = rig.shelves.begun.lock().clone();
    assert_eq!(first.len(), 2);
    assert!(rig.node.kill("node/cache/shard-1"));
    while rig.shelved(&[1]).await != Ok(None) {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.shelved(&[0]).await, Ok(Some(value)));
    let begun = rig.shelves.begun.lock().clone();
    assert_eq!(begun.len(), 3);
    assert!(
        begun[2].0 == 1
            && begun
                .iter()
                .all(|life| *life == begun[2] || life.1 != begun[2].1)
    );
    assert!(!rig.cache.admit(Arc::new(Library(Arc::default()))));
}

#[tokio::test]
async fn what_waits_is_handled_in_one_turn_and_in_order() {
    let rig = Rig::start(plan(1 << 20, 1)).await;
    let stall = rig.cache.stall_shard(0).await.unwrap();
    let port = rig.port(&[0]);
    let mut answers = Vec::new();
    for round in 0..50_u8 {
        let (put, _) = oneshot::channel();
        let (get, answer) = oneshot::channel();
        let value = Bytes::from(vec![round]);
        let put = Told::Put(vec![0], value, put);
        port.try_send(port.request(0).unwrap(), Box::new(put))
            .unwrap();
        let get = Told::Get(vec![0], get);
        port.try_send(port.request(0).unwrap(), Box::new(get))
            .unwrap();
        answers.push(answer);
    }
    drop(stall);
    for (round, answer) in (0..50_u8).zip(answers) {
        assert_eq!(answer.await.unwrap(), Some(Bytes::from(vec![round])));
    }
    assert_eq!(rig.shelves.window_max.load(Ordering::SeqCst), 100);
}

#[tokio::test]
async fn a_life_that_ends_lets_its_callers_go_whether_or_not_it_heard_them() {
    let rig = Rig::start(plan(1 << 20, 1)).await;
    let stall = rig.cache.stall_shard(0).await.unwrap();
    let waiting = rig.shelved(&[0]);
    tokio::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    assert!(rig.node.kill("node/cache/shard-0"));
    let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert_eq!(answer.unwrap(), Err(RequestError::Stopped));
    drop(stall);
    rig.until_at_rest().await;
}

#[tokio::test]
async fn a_guest_is_ticked_soon_while_it_is_restless_and_now_and_then_otherwise() {
    let mut plan = plan(1 << 20, 1);
    plan.eviction.tick_ms = 200;
    let rig = Rig::start(plan).await;
    let port = rig.port(&[0]);
    let tell = |told| {
        let sent = port.try_send(port.order().unwrap(), Box::new(told));
        sent.unwrap();
    };
    let ticks = || rig.shelves.ticks.load(Ordering::SeqCst);
    let watch = rig.node.clock().stopwatch();
    let until = async |more: u64| {
        let goal = ticks() + more;
        while ticks() < goal {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    until(2).await;
    assert!(watch.elapsed() >= Duration::from_millis(190));
    tell(Told::Fidget(true));
    let watch = rig.node.clock().stopwatch();
    until(30).await;
    assert!(
        watch.elapsed() < Duration::from_millis(3_000),
        "200 ms each"
    );
    assert!(watch.elapsed() > Duration::from_millis(150), "never faster");
    tell(Told::Fidget(false));
}

#[tokio::test]
async fn permits_bound_requests_and_notes_apart_and_last_as_long_as_the_guest_keeps_them() {
    let mut plan = plan(1 << 20, 1);
    plan.gate.requests_in_flight_max = 2;
    let rig = Rig::start(plan).await;
    let port = rig.port(&[0]);
    let kept = port.request(10).unwrap();
    let keep = Told::Keep(kept);
    port.try_send(port.request(0).unwrap(), Box::new(keep))
        .unwrap();
    while port.request(0).is_err() {
        tokio::task::yield_now().await; // The message's own permit comes back with its turn.
    }
    let _second = port.request(0).unwrap();
    assert_eq!(port.request(0).unwrap_err(), RequestError::Busy);
    let notes: Vec<_> = (0..4_096).map_while(|_| port.note(100).ok()).collect();
    assert_eq!(notes.len(), 4_096);
    assert_eq!(port.note(100).unwrap_err(), RequestError::Busy);
    assert!(port.order().is_ok());
    drop(notes);
    assert!(port.note(1 << 40).is_ok(), "alone, rather than never");
    assert!(rig.node.kill("node/cache/shard-0"));
    rig.node
        .wait_for_tree(|tree| tree.iter().any(|actor| actor.restarts > 0))
        .await;
    assert!(port.request(0).is_ok(), "the guest took its permit along");
}

#[tokio::test]
async fn entries_and_blocks_share_one_budget_and_its_memory() {
    let rig = Rig::start(plan(128 << 10, 1)).await;
    let chain = rig.chain(1, 14);
    rig.put_chain(&chain).await;
    for number in 0..30_u8 {
        let value = Bytes::from(vec![number; 1_000]);
        assert_eq!(rig.shelve(&[0, number], value).await, Ok(true));
    }
    let report = rig.stats().await.remove(0);
    assert!(report.entries > 20 && report.evicted > 0);
    assert!(report.memory_bytes + report.usage.entry_bytes <= 128 << 10);
}

#[tokio::test]
async fn boxes_are_spread_over_the_shards_by_weight_and_stay_there() {
    let mut plan = plan(4 << 20, 2);
    plan.devices[1].weight = 3;
    let rig = Rig::start(plan).await;
    let shard = |slot| rig.cache.box_shard(EntryBox(slot));
    let second = (0..SLOT_COUNT).filter(|slot| shard(*slot) == 1).count();
    assert!((11_900..12_700).contains(&second), "{second} of 16384");
    assert!(rig.cache.guest(2).is_none());
}
