//! Tests of a whole node over the real state machine: what a rig of them shares.

mod blocks;
mod budgets;
mod chaos;
mod encoded;
mod guests;
mod limits;
mod policies;
mod prefetch;
mod watcher;

use std::time::Duration;

use bytes::Bytes;
use ultrakv_cache::{
    BlockAddress, BlockHeader, BlockKind, BlockLayout, Budget, DomainSecret, Dtype, KeyInputs,
    KeySpace, Pin,
};

use crate::{
    BlockPut, CacheHandle, Deadline, Domain, LeasedBlock, Node, NodePlan, PutError, ShardReport,
    Stored,
};

const PAGE: u32 = 4096;
const BLOCK_TOKENS: u32 = 4;
/// 2 layers, K and V, 2 heads, 4 tokens, 64 numbers of 4 bytes: two pages.
const LAYOUT: BlockLayout = BlockLayout {
    kind: BlockKind::Kv,
    dtype: Dtype::F32,
    layers: 2,
    kv_heads: 2,
    head_size: 64,
};
const BLOCK_BYTES: u64 = 8192;

/// A node with one domain, and what is needed to make its blocks.
struct Rig {
    node: Node,
    cache: CacheHandle,
    shelves: std::sync::Arc<guests::Shelves>,
    domain: Domain,
    space: KeySpace,
}

/// A node of these many shards over so many bytes; restarts without end unless a test asks.
fn plan(bytes_max: u64, shards: u32) -> NodePlan {
    let mut plan = NodePlan::host(Budget::of_bytes(bytes_max), PAGE, shards);
    plan.restarts.restarts_max = 10_000;
    plan.restarts.backoff_ms_max = 2;
    plan.eviction.tick_ms = 20;
    plan
}

impl Rig {
    async fn start(plan: NodePlan) -> Self {
        let node = Node::start(plan).await.unwrap();
        let cache = node.cache();
        let domain = new_domain(&cache, 1);
        Self {
            space: space(&domain),
            shelves: guests::admit(&cache),
            cache,
            domain,
            node,
        }
    }

    fn deadline(&self) -> Deadline {
        self.node.clock().deadline(Duration::from_secs(10))
    }

    /// The chain of a prompt that differs from other seeds' in its first token.
    fn chain(&self, seed: u32, blocks: u32) -> Vec<BlockAddress> {
        let tokens = (0..blocks * BLOCK_TOKENS).map(|i| if i == 0 { seed } else { i });
        self.space.chain(&tokens.collect::<Vec<_>>())
    }

    async fn put(&self, address: &BlockAddress) -> Result<Stored, PutError> {
        let put = block(address, None);
        self.cache.put(&self.domain, put, self.deadline()).await
    }

    async fn put_chain(&self, chain: &[BlockAddress]) {
        let mut parent = None;
        for address in chain {
            let put = block(address, parent);
            let stored = self.cache.put(&self.domain, put, self.deadline()).await;
            assert_eq!(stored, Ok(Stored::Copies(1)));
            parent = Some(address.key);
        }
    }

    async fn get(&self, addresses: &[BlockAddress]) -> Vec<Option<LeasedBlock>> {
        let blocks = self
            .cache
            .get(&self.domain, addresses, self.deadline())
            .await;
        blocks.unwrap()
    }

    async fn matched(&self, chain: &[BlockAddress]) -> usize {
        let held = self
            .cache
            .match_prefix(&self.domain, chain, self.deadline())
            .await;
        held.unwrap()
    }

    async fn stats(&self) -> Vec<ShardReport> {
        self.cache.stats(self.deadline()).await.unwrap()
    }

    /// Asks for the figures until they are like this; each turn is a round trip through every
    /// shard, behind whatever was sent before.
    async fn until(&self, what: &str, like: impl Fn(&ShardReport) -> bool) {
        let deadline = self.deadline();
        loop {
            let stats = self.stats().await;
            if stats.iter().all(&like) {
                return;
            }
            assert!(
                !deadline.passed(self.node.clock().now()),
                "never {what}: {stats:?}"
            );
        }
    }

    /// Nothing is on loan, reserved or in flight any more.
    async fn until_at_rest(&self) {
        self.until("at rest", |report| {
            let loans = report.leases + report.reservations + report.claimed_bytes;
            loans == 0 && report.permits_used == 0
        })
        .await;
    }
}

fn new_domain(cache: &CacheHandle, secret: u8) -> Domain {
    let effective = DomainSecret::from_bytes([secret; 32]).effective(0, b"");
    Domain::new(
        effective,
        cache.open_arena(),
        crate::DomainTag([secret; 16]),
    )
}

fn space(domain: &Domain) -> KeySpace {
    let inputs = KeyInputs {
        weights: [1; 32],
        adapter: [0; 32],
        rope: [2; 32],
        layout: LAYOUT,
        block_tokens: BLOCK_TOKENS,
    };
    KeySpace::new(domain, &inputs)
}

/// Bytes that only this block has.
fn payload(address: &BlockAddress) -> Bytes {
    let seed = address.key.as_bytes();
    let len = usize::try_from(BLOCK_BYTES).unwrap();
    seed.iter().cycle().take(len).copied().collect()
}

fn block(address: &BlockAddress, parent: Option<ultrakv_cache::BlockKey>) -> BlockPut {
    let payload = payload(address);
    BlockPut {
        address: *address,
        parent,
        depth: 0,
        header: BlockHeader::seal(LAYOUT, BLOCK_TOKENS, &address.key, &payload),
        payload,
        pin: Pin::None,
        ttl_ms: None,
    }
}

/// Whether a block is exactly what was stored under this address.
fn is_right(address: &BlockAddress, block: &LeasedBlock) -> bool {
    block.payload == payload(address) && block.header.verify(&address.key, &block.payload)
}
