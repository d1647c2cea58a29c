//! Responsible for accounting for blocks: how each stands, who would go next, and why. It must never change anything.

use super::Shard;
use crate::event::{ArenaId, Pin};
use crate::forest::BlockId;
use crate::key::BlockKey;
use crate::policy::{Explanation, Figures};

/// How a block stands among those that may give way.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The block.
    pub key: BlockKey,
    /// The block before it, when that is here and linked.
    pub parent: Option<BlockKey>,
    /// The arena that it lies in.
    pub arena: ArenaId,
    /// Blocks before it in its chain, as far as it was told.
    pub depth: u16,
    /// Blocks here that follow it.
    pub children: u32,
    /// Claims on it that are open.
    pub leases: u32,
    /// Its pin.
    pub pin: Pin,
    /// Milliseconds it has left, `None` for no limit.
    pub ttl_ms: Option<u64>,
    /// Bytes of its pages.
    pub bytes: u64,
    /// Tokens it covers.
    pub tokens: u32,
    /// What the policy says of it.
    pub explanation: Explanation,
}

impl Standing {
    /// Why it stays or may go, as a sentence without its full stop: what keeps it most firmly comes first.
    pub fn reason(&self) -> String {
        let plural = |count: u32, one: &str, many: &str| match count {
            1 => one.to_owned(),
            count => format!("{count} {many}"),
        };
        if self.pin == Pin::Hard {
            return "it is pinned hard, so it never goes to make room".to_owned();
        }
        if self.leases > 0 {
            let holders = plural(self.leases, "a reader holds it", "readers hold it");
            return format!("{holders}, so it cannot go now");
        }
        if self.children > 0 {
            let after = plural(
                self.children,
                "a block that follows it is",
                "blocks that follow it are",
            );
            return format!("{after} here and worth nothing without it, so they go first");
        }
        if self.pin == Pin::Soft {
            return "it is pinned softly, so it goes only when no other block can".to_owned();
        }
        "nothing holds it: it goes when its score is the lowest of those that can".to_owned()
    }
}

impl Shard {
    /// How a block stands in the order of eviction, if it is here.
    pub fn explain(&self, key: &BlockKey) -> Option<Standing> {
        self.find_live(key).map(|id| self.standing(id))
    }

    /// The blocks that would go next if nothing changed, the first to go first, `many` at most; see
    /// [`crate::Policy::outlook`].
    pub fn outlook(&self, many: usize) -> Vec<Standing> {
        let ids = self.policy.outlook(&self.forest, many);
        ids.into_iter().map(|id| self.standing(id)).collect()
    }

    /// How the policy is doing.
    pub fn policy_figures(&self) -> Figures {
        self.policy.figures()
    }

    fn standing(&self, id: BlockId) -> Standing {
        let record = &self.table.records[id.0];
        let parent = self.forest.parent(id);
        Standing {
            key: *self.forest.key(id),
            parent: parent.map(|parent| *self.forest.key(parent)),
            arena: self.regions[record.arena].id,
            depth: self.forest.depth(id),
            children: self.forest.children(id),
            leases: u32::from(record.leases),
            pin: record.pin(),
            ttl_ms: self.ttl_ms(record.expires()),
            bytes: self.bytes_of(&self.table.extents(id, self.config.page_bytes)),
            tokens: record.tokens(),
            explanation: self.policy.explain(&self.forest, id),
        }
    }
}
