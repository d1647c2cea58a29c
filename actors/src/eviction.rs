//! The eviction actor: keeps headroom in every shard, so that a write seldom has to make its own.
//!
//! Woken by pressure and by a tick, it gives shards short turns, round after round, until all are
//! below their low watermarks. Which blocks go is the cache's choice. It must never hold a shard up
//! for longer than a batch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::plan::EvictionPlan;
use crate::shard::{Relief, ShardMsg, ShardPort, Turn};

/// How long the actor waits for a shard's turn before it looks at the next one; a shard that is so
/// busy or dead is looked at again at the next tick.
const TURN_MS_MAX: u64 = 2_000;

/// Turns of one shard on end before other work is looked at: 64 batches of 64 blocks.
const TURNS_MAX: u32 = 64;

/// What the eviction actor is told.
pub(crate) enum EvictionMsg {
    /// A shard crossed its high watermark. At most one a shard until it was looked at.
    Pressure { shard: usize },
    /// Time has passed.
    Tick,
    /// Panic, in the middle of handling a message.
    #[cfg(any(test, feature = "chaos"))]
    Panic,
}

impl ractor::Message for EvictionMsg {}

/// The way from shards to the actor's present life.
#[derive(Debug, Default)]
pub(crate) struct EvictionPort {
    actor: ArcSwapOption<ActorRef<EvictionMsg>>,
}

impl EvictionPort {
    /// Tells of pressure; when the actor is being restarted, its first tick will see it.
    pub(crate) fn pressure(&self, shard: usize) {
        self.send(EvictionMsg::Pressure { shard });
    }

    pub(crate) fn send(&self, message: EvictionMsg) {
        if let Some(actor) = &*self.actor.load() {
            let _ = actor.send_message(message);
        }
    }
}

/// The actor, with what all its lives are given.
#[derive(Clone)]
pub(crate) struct EvictionActor {
    pub(crate) shards: Arc<[Arc<ShardPort>]>,
    pub(crate) port: Arc<EvictionPort>,
    pub(crate) plan: EvictionPlan,
}

impl EvictionActor {
    /// Asks for the next tick: one at a time, so that slow shards do not pile them up.
    fn tick_later(&self, myself: &ActorRef<EvictionMsg>) {
        let period = Duration::from_millis(self.plan.tick_ms.max(1));
        myself.send_after(period, || EvictionMsg::Tick);
    }

    /// One turn of a shard.
    async fn turn(&self, shard: &ShardPort, begun: bool) -> Relief {
        let deadline = shard.clock.deadline(Duration::from_millis(TURN_MS_MAX));
        let turn = Turn {
            batch_blocks_max: self.plan.batch_blocks_max,
            begun,
        };
        let Ok(permit) = shard.gate.order() else {
            return Relief::default();
        };
        let relief = shard.ask(&permit, turn, deadline, ShardMsg::Evict).await;
        // A shard that does not answer is busy, or dead and empty: either way not now.
        relief.unwrap_or_default()
    }

    /// Gives these shards turns, one after the other, until none needs another.
    async fn relieve(&self, mut pressed: BTreeSet<usize>) {
        for round in 0..TURNS_MAX {
            let mut again = BTreeSet::new();
            for index in pressed {
                let Some(shard) = self.shards.get(index) else {
                    continue;
                };
                shard.pressed.store(false, Ordering::SeqCst);
                if self.turn(shard, round > 0).await.more {
                    again.insert(index);
                }
            }
            if again.is_empty() {
                return;
            }
            pressed = again;
        }
    }
}

impl Actor for EvictionActor {
    type Msg = EvictionMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<EvictionMsg>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        self.port.actor.store(Some(Arc::new(myself.clone())));
        self.tick_later(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<EvictionMsg>,
        message: EvictionMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EvictionMsg::Pressure { shard } => self.relieve(BTreeSet::from([shard])).await,
            EvictionMsg::Tick => {
                self.relieve((0..self.shards.len()).collect()).await;
                self.tick_later(&myself);
            }
            #[cfg(any(test, feature = "chaos"))]
            #[expect(clippy::panic, reason = "the message orders it")]
            EvictionMsg::Panic => panic!("told to panic"),
        }
        Ok(())
    }
}
