//! The actor: one message, one or two events, one answer.
//!
//! It must never wait for anything once it runs.

use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::Ordering;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use ultrakv_cache::{BlockKey, Effect, Event, ReservationId, ReserveBlock, Term};

use super::budget::{Excess, less_residue};
use super::lease::{LentBlock, Reservation};
use super::message::{ArenaPurge, Ask, Committed, Relief, Reserved, ShardMsg, Turn, Wanted};
use super::port::Life;
pub(crate) use super::state::ShardLink;
use super::state::{ShardState, pages};
use crate::device::Claim;
use crate::handle::Permit;
use crate::{BootId, RequestError};

/// The actor of one shard; a new one for each life.
pub(crate) struct ShardActor;

impl Actor for ShardActor {
    type Msg = ShardMsg;
    type State = ShardState;
    type Arguments = (ShardLink, BootId);

    async fn pre_start(
        &self,
        myself: ActorRef<ShardMsg>,
        (link, boot_id): (ShardLink, BootId),
    ) -> Result<ShardState, ActorProcessingErr> {
        // The life before this one may still be giving its memory back.
        let memory = Arc::clone(&link.port.memory).lock_owned().await;
        let (life, end) = Life::new(boot_id, myself);
        let mut state = ShardState::new(link, life, end, memory);
        // From here on messages are kept in the mailbox: whoever waits for this start may ask.
        state.link.port.begin(Arc::clone(&state.life));
        state.visit(|_, _| {});
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<ShardMsg>,
        message: ShardMsg,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMsg::Match(ask) => answer(state, ask, match_chain),
            ShardMsg::Get(ask) => answer(state, ask, get),
            ShardMsg::Lease(_) | ShardMsg::List(_) | ShardMsg::Tell(_) => {
                handle_list(state, message);
            }
            ShardMsg::Explain(ask) => {
                answer(state, ask, |state, key| state.shard.explain(&key));
            }
            ShardMsg::Policy(ask) => answer(state, ask, |state, next_max| state.policy(next_max)),
            ShardMsg::Reserve(ask) => answer(state, ask, reserve),
            ShardMsg::Commit {
                reservation,
                permit,
                reply,
            } => commit(state, reservation, permit, reply),
            ShardMsg::Abort { reservation } => {
                state.feed(Event::Abort { reservation });
            }
            ShardMsg::Released => {
                for lease in state.life.take_released() {
                    state.feed(Event::Release { lease });
                }
            }
            ShardMsg::Pin(ask) => answer(state, ask, |state, (keys, pin)| {
                match state.ask(|ticket| Event::Pin { ticket, keys, pin }) {
                    Effect::Pinned { outcomes, .. } => outcomes,
                    other => not_an_answer(&other),
                }
            }),
            ShardMsg::Remove(ask) => answer(state, ask, remove),
            ShardMsg::Purge(ask) => answer(state, ask, |state, arena| {
                match state.ask(|ticket| Event::Purge { ticket, arena }) {
                    Effect::Purged { blocks, .. } => ArenaPurge { blocks },
                    other => not_an_answer(&other),
                }
            }),
            ShardMsg::Guest => {
                let messages = state.life.take_inbox();
                state.visit(|guest, world| guest.handle(messages, world));
            }
            ShardMsg::GuestTick => {
                state.is_ticking = false;
                state.visit(|guest, world| guest.tick(world));
            }
            ShardMsg::Evict(ask) => answer(state, ask, |state, turn| {
                state.has_turn = true;
                let relief = evict(state, turn);
                state.has_turn = false;
                relief
            }),
            ShardMsg::Stats(ask) => answer(state, ask, |state, ()| state.report()),
            #[cfg(any(test, feature = "chaos"))]
            #[expect(clippy::panic, reason = "the message orders it")]
            ShardMsg::Panic => panic!("told to panic"),
            #[cfg(any(test, feature = "chaos"))]
            ShardMsg::Stall(begun, until) => {
                let _ = begun.send(());
                let _ = until.await;
            }
        }
        Ok(())
    }
}

/// Answers a question, unless its deadline has passed or nobody waits for it any more.
fn answer<Q, A>(
    state: &mut ShardState,
    ask: Ask<Q, A>,
    work: impl FnOnce(&mut ShardState, Q) -> A,
) {
    if ask.reply.is_closed() {
        return;
    }
    let answer = if ask.deadline.passed(state.link.port.clock.now()) {
        Err(RequestError::Deadline)
    } else {
        Ok(work(state, ask.question))
    };
    // Before the answer, so that a caller who asks again at once finds room.
    drop(ask.permit);
    // A caller that left drops what it was given, which gives pages back.
    let _ = ask.reply.send(answer);
}

/// The state machine answered another question than the one asked: a broken invariant.
fn not_an_answer(effect: &Effect) -> ! {
    unreachable!("{effect:?} does not answer what the shard was asked")
}

fn match_chain(state: &mut ShardState, chain: Vec<BlockKey>) -> usize {
    match state.ask(|ticket| Event::Match {
        ticket,
        chain,
        lease: None,
    }) {
        Effect::Matched { blocks, .. } => blocks,
        other => not_an_answer(&other),
    }
}

fn handle_list(state: &mut ShardState, message: ShardMsg) {
    match message {
        ShardMsg::Lease(ask) => answer(state, ask, |state, (arena, keys, ms)| {
            state.lease(arena, keys, ms)
        }),
        ShardMsg::List(ask) => answer(state, ask, |state, (from, blocks_max)| {
            state.list(from, blocks_max)
        }),
        ShardMsg::Tell(ask) => answer(state, ask, |state, (from, blocks_max)| {
            state.tell(from, blocks_max)
        }),
        _ => {}
    }
}

fn get(state: &mut ShardState, wanted: Wanted) -> Vec<Option<LentBlock>> {
    let effect = state.ask(|ticket| Event::Get {
        ticket,
        keys: wanted.keys,
        leading_only: wanted.leading_only,
        // Readers hold the pages themselves, so only their guard may end the lease.
        term: Term::Held,
    });
    let Effect::Lent { blocks, .. } = effect else {
        not_an_answer(&effect)
    };
    let lend = |lent: Option<_>| lent.and_then(|lent| state.lend(lent, wanted.arena));
    blocks.into_iter().map(lend).collect()
}

fn remove(state: &mut ShardState, keys: Vec<BlockKey>) -> u32 {
    match state.ask(|ticket| Event::Remove { ticket, keys }) {
        Effect::Removed { blocks, .. } => blocks,
        other => not_an_answer(&other),
    }
}

fn reserve(state: &mut ShardState, block: Box<ReserveBlock>) -> Reserved {
    if !state.link.arenas.is_open(block.arena) {
        return Reserved::NotAdmitted;
    }
    let (reservation, arena, extents) = match state.ask(|ticket| Event::Reserve { ticket, block }) {
        Effect::Reserved {
            reservation,
            arena,
            extents,
            ..
        } => (reservation, arena, extents),
        Effect::Known { .. } => return Reserved::Known,
        Effect::NotAdmitted { .. } => return Reserved::NotAdmitted,
        Effect::Refused { why, .. } => return Reserved::Refused(why),
        other => not_an_answer(&other),
    };
    match state.open(arena) {
        Ok(region) => {
            let claim = Claim::write(&region, pages(&extents));
            let life = Arc::clone(&state.life);
            Reserved::Pages(Reservation::new(reservation, claim, life))
        }
        Err(error) => {
            state
                .link
                .port
                .tier_failed("an arena was not opened", &error);
            state.feed(Event::Abort { reservation });
            Reserved::NotAdmitted
        }
    }
}

fn commit(
    state: &mut ShardState,
    reservation: ReservationId,
    permit: Permit,
    reply: oneshot::Sender<Committed>,
) {
    let committed = match state.ask(|ticket| Event::Commit {
        ticket,
        reservation,
    }) {
        Effect::Stored { .. } => Committed::Stored,
        Effect::Known { .. } => Committed::Known,
        Effect::Refused { why, .. } => Committed::Refused(why),
        other => not_an_answer(&other),
    };
    drop(permit);
    // A writer that left has its block stored all the same.
    let _ = reply.send(committed);
}

/// Lets time pass, gives back what an earlier life's readers have left, and frees one batch.
fn evict(state: &mut ShardState, turn: Turn) -> Relief {
    #[cfg(test)]
    state.link.port.turns.fetch_add(1, Ordering::SeqCst);
    state.feed(Event::Tick);
    if !turn.begun {
        state.visit(|guest, world| guest.tick(world));
    }

    let port = &state.link.port;
    let budget = less_residue(port.plan.config.budget, port.residue_bytes());
    if budget != state.budget {
        let effect = state.ask(|ticket| Event::Resize { ticket, budget });
        if matches!(effect, Effect::Resized { applied: true, .. }) {
            state.budget = budget;
        }
    }

    let (budget, usage) = (state.budget, state.shard.stats().usage);
    let begin = if turn.begun {
        budget.watermark_low
    } else {
        budget.watermark_high
    };
    let mut relief = Relief::default();
    if !Excess::above(&usage, &budget, begin).is_none() {
        let goal = Excess::above(&usage, &budget, budget.watermark_low);
        let effect = state.ask(|ticket| Event::Evict {
            ticket,
            bytes_goal: goal.bytes,
            tokens_goal: goal.tokens,
            batch_max: turn.batch_blocks_max,
        });
        let Effect::Evicted { blocks, more, .. } = effect else {
            not_an_answer(&effect)
        };
        let usage = state.shard.stats().usage;
        let kept = Excess::above(&usage, &budget, budget.watermark_low).is_none();
        relief = Relief {
            blocks,
            more: more && !kept,
        };
    }
    let report = state.report();
    state.meters.publish(report);
    relief
}
