//! Responsible for one forest and one policy under a capacity, driven as a shard drives them. It must never know what comes
//! next.

use clap::ValueEnum;
use ultrakv_cache::policy::{price, victim_sparing};
use ultrakv_cache::{
    BlockId, BlockKey, Facts, Forest, Inserted, Newcomer, Now, Policy, PolicyKind, Rank, Setup,
};

use crate::trace::{Request, Trace};

/// What a block is taken to cost and to weigh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Cost {
    /// Every block the same: what counts is how many are hit.
    #[default]
    Blocks,
    /// Operations of the prefill that it saves.
    Flops,
}

/// What requests found, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Saved {
    /// Requests served.
    pub requests: u64,
    /// Blocks asked for.
    pub blocks: u64,
    /// Blocks found, without a gap from the root.
    pub hits: u64,
    /// What computing all asked for would cost, in tokens at the start of a text.
    pub cost: f64,
    /// What the hits saved of it.
    pub saved_cost: f64,
    /// Blocks evicted.
    pub evictions: u64,
    /// Blocks not admitted.
    pub bypassed: u64,
}

impl Saved {
    /// Contiguous hits for each block asked for.
    pub fn hit_ratio(&self) -> f64 {
        crate::replay::ratio(self.hits, self.blocks)
    }

    /// Share of the cost that was saved.
    pub fn cost_ratio(&self) -> f64 {
        if self.cost > 0.0 {
            self.saved_cost / self.cost
        } else {
            0.0
        }
    }
}

/// A cache of blocks that has no bytes.
#[derive(Debug)]
pub struct Cache {
    forest: Forest,
    policy: Box<dyn Policy>,
    capacity: usize,
    cost: Cost,
    saved: Saved,
    /// What went, once somebody watches.
    evicted: Option<Vec<BlockKey>>,
}

impl Cache {
    /// An empty cache for at most `capacity` blocks.
    pub fn new(kind: PolicyKind, setup: &Setup, capacity: usize, cost: Cost) -> Self {
        Self {
            forest: Forest::new(),
            policy: kind.make(setup),
            capacity: capacity.max(1),
            cost,
            saved: Saved::default(),
            evicted: None,
        }
    }

    /// Which blocks went to make room since the last call; none at the first, which begins to watch.
    pub fn take_evicted(&mut self) -> Vec<BlockKey> {
        self.evicted.replace(Vec::new()).unwrap_or_default()
    }

    /// Stores one block that nobody has asked for yet. Answers whether it was admitted.
    pub fn bring(
        &mut self,
        trace: &Trace,
        key: &BlockKey,
        parent: Option<&BlockKey>,
        depth: usize,
    ) -> bool {
        let parent = parent.and_then(|parent| self.forest.find(parent));
        let newcomer = Newcomer {
            key,
            parent,
            is_orphan: depth > 0 && parent.is_none(),
            facts: self.facts(trace.block_tokens, depth),
        };
        self.make_room(&newcomer) && self.store(&newcomer).is_some()
    }

    /// What requests found so far.
    pub const fn saved(&self) -> &Saved {
        &self.saved
    }

    /// The policy, for questions.
    pub fn policy(&self) -> &dyn Policy {
        self.policy.as_ref()
    }

    /// The forest, for questions.
    pub const fn forest(&self) -> &Forest {
        &self.forest
    }

    /// Serves a request: finds the longest prefix, uses it, stores what is missing.
    pub fn serve(&mut self, trace: &Trace, request: &Request) {
        self.policy.begin(Now(request.at_ms));
        let keys: Vec<_> = request
            .blocks
            .iter()
            .filter_map(|block| trace.keys.get(usize::try_from(*block).ok()?))
            .collect();
        let (mut matched, mut deepest) = (0, None);
        for key in &keys {
            let Some(id) = self.forest.find(key) else {
                break;
            };
            (matched, deepest) = (matched + 1, Some(id));
        }
        self.count(trace.block_tokens, keys.len(), matched);
        if let Some(deepest) = deepest {
            self.policy.touch(&self.forest, deepest);
        }
        let mut parent = deepest;
        for (depth, key) in keys.iter().enumerate().skip(matched) {
            let is_orphan = depth > 0 && parent.is_none();
            let facts = self.facts(trace.block_tokens, depth);
            let newcomer = Newcomer {
                key,
                parent,
                is_orphan,
                facts,
            };
            parent = match self.make_room(&newcomer) {
                true => self.store(&newcomer),
                false => None,
            };
        }
    }

    fn store(&mut self, newcomer: &Newcomer<'_>) -> Option<BlockId> {
        let parent = newcomer.parent.map(|id| *self.forest.key(id));
        match self.forest.insert(newcomer.key, parent.as_ref()) {
            Inserted::New(id) => {
                self.policy.admit(&self.forest, id, &newcomer.facts);
                Some(id)
            }
            Inserted::Known(id) => {
                // Left over from when it had a parent here: nothing reached it, now something does.
                self.policy.touch(&self.forest, id);
                Some(id)
            }
        }
    }

    /// Whether there is room for the newcomer, made by evicting what is worth less.
    fn make_room(&mut self, newcomer: &Newcomer<'_>) -> bool {
        while self.forest.len() >= self.capacity {
            let spared = newcomer.parent;
            let victim = victim_sparing(
                self.policy.as_mut(),
                &self.forest,
                Some(newcomer),
                spared,
                || Rank::Normal,
            );
            let Some(victim) = victim else { return false };
            if !self.policy.admits(&self.forest, newcomer, victim) {
                self.saved.bypassed += 1;
                return false;
            }
            if let Some(evicted) = &mut self.evicted {
                evicted.push(*self.forest.key(victim));
            }
            let heir = self.forest.parent(victim);
            self.policy.evict(&self.forest, victim, heir);
            self.forest.remove(victim);
            self.saved.evictions += 1;
        }
        true
    }

    fn facts(&self, block_tokens: u32, depth: usize) -> Facts {
        let depth = u32::try_from(depth).unwrap_or(u32::MAX);
        Facts {
            bytes: u64::from(block_tokens),
            depth,
            cost: match self.cost {
                Cost::Blocks => 1.0,
                Cost::Flops => flops(block_tokens, depth),
            },
        }
    }

    fn count(&mut self, block_tokens: u32, blocks: usize, matched: usize) {
        let saved = &mut self.saved;
        saved.requests += 1;
        saved.blocks += crate::replay::count(blocks);
        saved.hits += crate::replay::count(matched);
        // A chain of n blocks costs as one block of n times the tokens.
        let cost = |blocks: usize| {
            let tokens = block_tokens.saturating_mul(u32::try_from(blocks).unwrap_or(u32::MAX));
            f64::from(price::recompute_cost(tokens, 0))
        };
        saved.cost += cost(blocks);
        saved.saved_cost += cost(matched);
    }
}

fn flops(block_tokens: u32, depth: u32) -> f32 {
    price::recompute_cost(block_tokens, u64::from(block_tokens) * u64::from(depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(chains: &[&[u32]]) -> Trace {
        let mut trace = Trace::new("test", 16);
        (0..20).for_each(|_| {
            trace.add_block();
        });
        for (at, blocks) in chains.iter().enumerate() {
            let at_ms = crate::replay::count(at);
            trace.requests.push(Request {
                at_ms,
                blocks: blocks.to_vec(),
            });
        }
        trace
    }

    fn serve(kind: PolicyKind, capacity: usize, chains: &[&[u32]]) -> Saved {
        let trace = trace(chains);
        let mut cache = Cache::new(kind, &Setup::default(), capacity, Cost::Blocks);
        trace
            .requests
            .iter()
            .for_each(|request| cache.serve(&trace, request));
        assert!(cache.forest.len() <= capacity);
        *cache.saved()
    }

    #[test]
    fn counts_hits_from_the_root_on_and_evicts_tails_first() {
        // Room for three: the second chain pushes out the first one's tail, so its two first blocks are hit.
        let saved = serve(PolicyKind::LRU, 3, &[&[0, 1, 2], &[3], &[0, 1, 2]]);
        assert_eq!((saved.hits, saved.blocks), (2, 7));
        assert_eq!(
            serve(PolicyKind::LRU, 4, &[&[0, 1, 2], &[3], &[0, 1, 2]]).hits,
            3
        );
    }

    #[test]
    fn a_chain_longer_than_the_cache_keeps_its_beginning() {
        for kind in PolicyKind::all() {
            let saved = serve(kind, 4, &[&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4, 5]]);
            assert!(saved.hits <= 4, "{kind}");
            assert!(saved.hits >= 3, "{kind}: {saved:?}");
        }
    }
}
