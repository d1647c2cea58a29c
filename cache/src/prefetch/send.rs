//! Responsible for sending what waits as far as the budgets allow. It must never decide what is worth it.

use std::collections::{BTreeMap, VecDeque};

use super::event::{LinkId, PrefetchEffect};
use super::plan::Planned;
use super::source::Source;
use super::{Flight, Prefetcher};
use crate::event::ArenaId;
use crate::time::Now;

/// Blocks of one fetch, so that budgets are given back piece by piece, and a late block is not later for its company.
pub(super) const FETCH_BLOCKS_MAX: usize = 16;

impl Prefetcher {
    /// Sends what the budgets allow, the surer sources first.
    pub(super) fn pump(&mut self, now: Now, effects: &mut Vec<PrefetchEffect>) {
        for source in Source::ALL {
            let mut ready: BTreeMap<(ArenaId, LinkId), VecDeque<Planned>> = BTreeMap::new();
            let mut order = Vec::new();
            loop {
                let (planned, dropped) = self.queues.next(source, now);
                let tally = self.ledger.figures.by_source.of_mut(source);
                tally.held_back_blocks += dropped;
                let Some((planned, is_probe)) = planned else {
                    break;
                };
                let key = planned.wanted.address.key;
                if self.ledger.watches(&key) {
                    self.queues.pop(source);
                    continue;
                }
                if !self.may_send(source, planned.bytes, is_probe) {
                    break;
                }
                self.queues.pop(source);
                self.ledger.ask(planned.arena, key, source, planned.bytes);
                let name = (planned.arena, planned.link);
                let batch = ready.entry(name).or_insert_with(|| {
                    order.push(name);
                    VecDeque::new()
                });
                batch.push_back(planned);
            }
            for name in order {
                let mut batch = ready.remove(&name).unwrap_or_default();
                while !batch.is_empty() {
                    let fetch = batch.drain(..batch.len().min(FETCH_BLOCKS_MAX)).collect();
                    self.send(source, name, fetch, now, effects);
                }
            }
        }
    }

    fn may_send(&self, source: Source, bytes: u64, is_probe: bool) -> bool {
        let in_flight = self.ledger.in_flight_bytes().saturating_add(bytes);
        let at_risk = self.ledger.at_risk_bytes(source).saturating_add(bytes);
        // A probe is small by its number of blocks; it too stays below what the source may ever have.
        let allowed = if is_probe {
            self.config.at_risk_bytes_max
        } else {
            self.throttles.of(source).allowance_bytes()
        };
        in_flight <= self.config.in_flight_bytes_max_of(source)
            && at_risk <= allowed
            && self.ledger.has_room()
    }

    fn send(
        &mut self,
        source: Source,
        (arena, link): (ArenaId, LinkId),
        fetch: Vec<Planned>,
        now: Now,
        effects: &mut Vec<PrefetchEffect>,
    ) {
        let ticket = self.ticket();
        let blocks = fetch.iter();
        let blocks: Vec<_> = blocks
            .map(|planned| (planned.wanted.address.key, planned.bytes))
            .collect();
        let bytes = blocks.iter().map(|(_, bytes)| bytes).sum();
        self.links.send(link, bytes);
        let until = fetch.iter().map(|planned| planned.until).max();
        let flight = Flight {
            link,
            blocks,
            queued_bytes: self.links.queued_bytes(link),
            until: until.unwrap_or(now),
            begun: now,
        };
        self.flights.insert(ticket, flight);
        effects.push(PrefetchEffect::Fetch {
            ticket,
            source,
            arena,
            link,
            blocks: fetch.iter().map(|planned| planned.wanted).collect(),
        });
    }
}
