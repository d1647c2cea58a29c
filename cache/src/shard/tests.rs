//! Tests of the shard: walks through its contract for `blocks`, `entries` and `limits`, arbitrary events against a naive model in `random`, eviction order
//! against a model that touches every ancestor in `order`, and the checker of everything the tables must agree on.

use std::sync::Arc;

use super::*;
use crate::block::BlockHeader;
use crate::effect::{Lent, PinOutcome, PutRefusal};
use crate::event::{ArenaId, LeaseId, ReservationId, ReserveBlock, Retain, Ticket};
use crate::layout::BlockLayout;

mod blocks;
mod check;
mod entries;
mod limits;
mod order;
mod random;
mod standing;

pub(super) const PAGE_BYTES: u32 = 256;

pub(super) fn key(number: usize) -> BlockKey {
    BlockKey::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

pub(super) fn header(key: &BlockKey, tokens: u32, payload_bytes: usize) -> BlockHeader {
    BlockHeader::seal(BlockLayout::OPAQUE, tokens, key, &vec![0; payload_bytes])
}

pub(super) fn config(pages: u64) -> ShardConfig {
    let bytes_max = pages * u64::from(PAGE_BYTES);
    let budget = Budget {
        pin_bytes_max: bytes_max,
        ..Budget::of_bytes(bytes_max)
    };
    ShardConfig {
        page_bytes: PAGE_BYTES,
        ..ShardConfig::new(budget)
    }
}

/// A shard with a clock, for walks.
struct Walk {
    shard: Shard,
    now: Now,
    effects: Vec<Effect>,
}

const ARENA: ArenaId = ArenaId(0);
const TICKET: Ticket = Ticket(1);

impl Walk {
    fn new(config: ShardConfig) -> Self {
        Self {
            shard: Shard::new(config),
            now: Now(1_000),
            effects: Vec::new(),
        }
    }

    fn pages(pages: u64) -> Self {
        Self::new(config(pages))
    }

    /// Handles one event; answers its effects other than `Pressure`.
    fn event(&mut self, event: Event) -> Vec<Effect> {
        self.effects.clear();
        self.shard.handle(event, self.now, &mut self.effects);
        check::agrees(&self.shard);
        let is_answer = |effect: &&Effect| !matches!(effect, Effect::Pressure { .. });
        self.effects.iter().filter(is_answer).cloned().collect()
    }

    fn later(&mut self, ms: u64) {
        self.now = self.now.add_ms(ms);
    }

    fn block(number: usize, pages: usize) -> ReserveBlock {
        let key = key(number);
        let page_bytes = usize::try_from(PAGE_BYTES).unwrap();
        ReserveBlock {
            key,
            run: key,
            parent: None,
            depth: 0,
            arena: ARENA,
            header: header(&key, 16, pages * page_bytes - 1),
            retain: Retain::default(),
            term: Term::Held,
        }
    }

    fn reserve(&mut self, block: ReserveBlock) -> Vec<Effect> {
        self.event(Event::Reserve {
            ticket: TICKET,
            block: Box::new(block),
        })
    }

    /// Reserves and commits; answers the effect that decided.
    fn put(&mut self, block: ReserveBlock) -> Effect {
        match self.reserve(block).pop() {
            Some(Effect::Reserved { reservation, .. }) => self.commit(reservation),
            other => other.expect("an answer"),
        }
    }

    fn commit(&mut self, reservation: ReservationId) -> Effect {
        self.event(Event::Commit {
            ticket: TICKET,
            reservation,
        })
        .pop()
        .expect("an answer")
    }

    fn get(&mut self, number: usize, term: Term) -> Option<Lent> {
        let keys = vec![key(number)];
        match self
            .event(Event::Get {
                ticket: TICKET,
                keys,
                leading_only: false,
                term,
            })
            .pop()
        {
            Some(Effect::Lent { mut blocks, .. }) => blocks.pop().flatten(),
            other => panic!("{other:?} does not answer a Get"),
        }
    }

    fn holds(&mut self, number: usize) -> bool {
        let matched = self.event(Event::Match {
            ticket: TICKET,
            chain: vec![key(number)],
            lease: None,
        });
        matched
            == [Effect::Matched {
                ticket: TICKET,
                blocks: 1,
                lease: None,
            }]
    }

    fn release(&mut self, lease: LeaseId) -> Vec<Effect> {
        self.event(Event::Release { lease })
    }

    fn pin(&mut self, number: usize, pin: Pin) -> PinOutcome {
        let keys = vec![key(number)];
        match self
            .event(Event::Pin {
                ticket: TICKET,
                keys,
                pin,
            })
            .pop()
        {
            Some(Effect::Pinned { outcomes, .. }) => outcomes[0],
            other => panic!("{other:?} does not answer a Pin"),
        }
    }
}

const STORED: Effect = Effect::Stored { ticket: TICKET };

const fn refused(why: PutRefusal) -> Effect {
    Effect::Refused {
        ticket: TICKET,
        why,
    }
}
