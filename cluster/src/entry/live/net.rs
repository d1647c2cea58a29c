//! A network of channels: loses, repeats, delays and so reorders, as it is told. It must never read what it carries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use ultrakv_actors::clock::{Clock, Deadline};
use xxhash_rust::xxh3::xxh3_64;

use super::super::{EntryHost, EntryRouter};
use crate::NodeId;
use crate::peer::{Caller, Parcel, ParcelStream, PeerError};

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Of a hundred messages, how many are lost.
    pub(super) lost: u64,
    /// and how many arrive twice.
    pub(super) repeated: u64,
    pub(super) delay_ms_max: u64,
    /// From whom to whom nothing passes.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    /// Answers that are lost: the next so many.
    pub(super) answers_lost: u64,
}

#[derive(Clone)]
struct Place {
    host: EntryHost,
    router: EntryRouter,
}

pub(super) struct Net {
    clock: Clock,
    places: Mutex<BTreeMap<NodeId, Place>>,
    faults: Mutex<Faults>,
    chance: AtomicU64,
    /// Questions that reached somebody.
    pub(super) asked: AtomicU64,
}

/// What becomes of one message.
enum Fate {
    Arrives(u64),
    Lost,
}

impl Net {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            places: Mutex::default(),
            faults: Mutex::default(),
            chance: AtomicU64::new(1),
            asked: AtomicU64::new(0),
        }
    }

    pub(super) fn join(&self, id: NodeId, host: EntryHost, router: EntryRouter) {
        self.places.lock().insert(id, Place { host, router });
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock());
    }

    /// Cuts a node off, both ways.
    pub(super) fn isolate(&self, id: NodeId) {
        let others: Vec<NodeId> = self.places.lock().keys().copied().collect();
        self.change(|faults| {
            for other in others {
                faults.cut.extend([(id, other), (other, id)]);
            }
        });
    }

    pub(super) fn draw(&self, below: u64) -> u64 {
        let turn = self.chance.fetch_add(1, Ordering::Relaxed);
        xxh3_64(&turn.to_le_bytes()) % below
    }

    fn fate(&self, from: NodeId, to: NodeId) -> Fate {
        let faults = self.faults.lock().clone();
        if faults.cut.contains(&(from, to)) || self.draw(100) < faults.lost {
            return Fate::Lost;
        }
        Fate::Arrives(self.draw(faults.delay_ms_max + 1))
    }
}

/// One node's way to the others.
pub(super) struct Line {
    net: Arc<Net>,
    me: NodeId,
}

impl Line {
    pub(super) const fn new(net: Arc<Net>, me: NodeId) -> Self {
        Self { net, me }
    }
}

async fn pass(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

impl Caller for Line {
    fn call(
        &self,
        peer: NodeId,
        ask: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>> {
        let (net, me) = (Arc::clone(&self.net), self.me);
        async move {
            let lost = || PeerError::Lost {
                peer,
                reason: "told to".to_owned(),
            };
            let unreachable = || PeerError::Unreachable {
                peer,
                reason: "told to".to_owned(),
            };
            let Fate::Arrives(ms) = net.fate(me, peer) else {
                // A lane notices, before it sends or after.
                return Err(if net.draw(2) == 0 {
                    unreachable()
                } else {
                    lost()
                });
            };
            pass(ms).await;
            let place = net
                .places
                .lock()
                .get(&peer)
                .cloned()
                .ok_or_else(unreachable)?;
            net.asked.fetch_add(1, Ordering::SeqCst);
            let left = net.clock.remaining(deadline);
            // Whoever left, the question is worked on.
            let served = tokio::spawn(async move { place.router.serve_entry(me, ask).await });
            let answer = tokio::time::timeout(left, served).await;
            let answer = answer
                .map_err(|_| PeerError::Deadline { peer })?
                .map_err(|_| lost())?;
            let mut is_lost = false;
            net.change(|faults| {
                is_lost = faults.answers_lost > 0;
                faults.answers_lost = faults.answers_lost.saturating_sub(1);
            });
            match net.fate(peer, me) {
                Fate::Arrives(ms) if !is_lost => pass(ms).await,
                _ => return Err(lost()),
            }
            answer.map_err(|refused| PeerError::Refused { peer, refused })
        }
        .boxed()
    }

    fn post(&self, peer: NodeId, parcel: Parcel) -> bool {
        let repeated = self.net.faults.lock().repeated;
        let copies = 1 + u64::from(self.net.draw(100) < repeated);
        for _ in 0..copies {
            let Fate::Arrives(ms) = self.net.fate(self.me, peer) else {
                continue;
            };
            let (net, me, parcel) = (Arc::clone(&self.net), self.me, parcel.clone());
            tokio::spawn(async move {
                pass(ms).await;
                let place = net.places.lock().get(&peer).cloned();
                if let Some(place) = place {
                    place.host.take_note(me, &parcel);
                }
            });
        }
        true
    }

    fn open(
        &self,
        peer: NodeId,
        _: Parcel,
        _: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>> {
        async move { Err(PeerError::Busy { peer }) }.boxed()
    }
}
