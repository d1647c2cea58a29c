//! Responsible for reading blocks: matches, leases and their ends. It must never know how blocks come or go.

use super::Shard;
use crate::effect::{Effect, Lent};
use crate::event::Pin;
use crate::event::{LeaseId, Term, Ticket};
use crate::forest::BlockId;
use crate::key::BlockKey;
use crate::lease::{Claim, Claims, Holding};
use crate::record::LEASES_A_BLOCK_MAX;
use crate::shard::{count, rank_of};

impl Shard {
    pub(super) fn match_chain(
        &mut self,
        ticket: Ticket,
        chain: &[BlockKey],
        term: Option<Term>,
    ) -> Effect {
        let (blocks, deepest) = self.forest.match_where(chain, |id| self.is_live(id));
        self.counted.lookups += count(chain.len());
        self.counted.hits += count(blocks);
        if let Some(deepest) = deepest {
            self.policy.touch(&self.forest, deepest);
        }
        let matched = chain.get(..blocks).unwrap_or_default();
        let lease = term
            .filter(|_| blocks > 0)
            .and_then(|term| self.lease_all(matched, term));
        Effect::Matched {
            ticket,
            blocks,
            lease,
        }
    }

    /// One lease on all of `keys`, or none when one of them cannot be leased.
    fn lease_all(&mut self, keys: &[BlockKey], term: Term) -> Option<LeaseId> {
        let mut claims = Vec::with_capacity(keys.len());
        for key in keys {
            match self
                .find_live(key)
                .and_then(|id| self.claim(id, claims.len()))
            {
                Some(claim) => claims.push(claim),
                None => {
                    claims.into_iter().for_each(|claim| self.unclaim(claim));
                    self.counted.refused += 1;
                    return None;
                }
            }
        }
        let until = self.until(term);
        Some(self.leases.open(Claims::Many(claims.into()), until))
    }

    pub(super) fn lend(
        &mut self,
        keys: &[BlockKey],
        leading_only: bool,
        term: Term,
    ) -> Vec<Option<Lent>> {
        let until = self.until(term);
        let mut uses = Uses::default();
        let mut lent = Vec::with_capacity(keys.len());
        self.counted.lookups += count(keys.len());
        for key in keys {
            let block = self.find_live(key).and_then(|id| {
                let claim = self.claim(id, 0)?;
                uses.add(self, id);
                let record = &self.table.records[id.0];
                Some(Lent {
                    header: record.header(),
                    arena: self.regions[record.arena].id,
                    ttl_ms: self.ttl_ms(record.expires()),
                    extents: self.table.extents(id, self.config.page_bytes),
                    lease: self.leases.open(Claims::One(claim), until),
                })
            });
            self.counted.hits += u64::from(block.is_some());
            let is_miss = block.is_none();
            lent.push(block);
            if is_miss && leading_only {
                break;
            }
        }
        uses.end(self);
        lent.resize(keys.len(), None);
        lent
    }

    pub(super) fn touch(&mut self, keys: &[BlockKey]) {
        let mut uses = Uses::default();
        for key in keys {
            if let Some(id) = self.find_live(key) {
                uses.add(self, id);
            }
        }
        uses.end(self);
    }

    /// Passes a hint on for the last of these blocks that is here; what is above it then stays anyway.
    pub(super) fn expect_use(&mut self, keys: &[BlockKey], ms: u64) {
        if let Some(id) = keys.iter().rev().find_map(|key| self.find_live(key)) {
            self.policy.expect_use(id, self.now, ms);
        }
    }

    pub(super) fn release(&mut self, lease: LeaseId) {
        if let Some(claims) = self.leases.close(lease) {
            claims
                .as_slice()
                .iter()
                .for_each(|claim| self.unclaim(*claim));
        }
    }

    /// Holds a block, unless there are too many holds already; `pending` of them are not in the table of leases yet.
    fn claim(&mut self, id: BlockId, pending: usize) -> Option<Claim> {
        let claims_max = usize::try_from(self.config.leases_max).unwrap_or(usize::MAX);
        let record = &mut self.table.records[id.0];
        if claims_max <= self.leases.claims() + pending || record.leases == LEASES_A_BLOCK_MAX {
            return None;
        }
        record.leases += 1;
        if record.leases == 1 && record.pin() != Pin::Hard {
            self.policy.suspend(id);
        }
        let holding = Holding {
            arena: record.arena,
            first: record.first(),
        };
        Some(Claim { block: id, holding })
    }

    /// Ends a hold: on a block that is still there, or on what remains of one that is not.
    fn unclaim(&mut self, claim: Claim) {
        let Claim { block, holding } = claim;
        let record = &mut self.table.records[block.0];
        if record.is_stored()
            && (holding
                == Holding {
                    arena: record.arena,
                    first: record.first(),
                })
        {
            record.leases -= 1;
            if record.leases == 0 && record.pin() != Pin::Hard {
                self.policy.resume(block, rank_of(record.pin()));
            }
            return;
        }
        if let Some(remains) = self.remains.get_mut(&holding) {
            remains.leases -= 1;
            if remains.leases == 0
                && let Some(remains) = self.remains.remove(&holding)
            {
                self.free(holding.arena, &remains.extents, remains.tokens);
            }
        }
    }
}

/// Touches the last block of each piece of a chain: its ancestors are touched with it, so touching them too would count a
/// request once a block.
#[derive(Default)]
struct Uses {
    latest: Option<BlockId>,
}

impl Uses {
    fn add(&mut self, shard: &mut Shard, id: BlockId) {
        if let Some(latest) = self.latest.replace(id)
            && shard.forest.parent(id) != Some(latest)
        {
            shard.policy.touch(&shard.forest, latest);
        }
    }

    fn end(self, shard: &mut Shard) {
        if let Some(latest) = self.latest {
            shard.policy.touch(&shard.forest, latest);
        }
    }
}
