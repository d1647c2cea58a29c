//! The door to the cluster for everything above it: where keys are routed, and whom they belong to.
//!
//! Callers name services and keys, never nodes: who holds what is found here. It must never know a protocol of the doors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{
    ActorInfo, BlockPut, BootId, Coder, Domain, Encoding, LeasedBlock, Node, PolicyReport,
    PrefetchHandle, PutError, RequestError, ShardReport, Stored,
};
use ultrakv_cache::{BlockAddress, BlockKey, Pin, PinOutcome, Standing};

use crate::NodeId;
use crate::block::{Ack, BlockRouter, Exists};
use crate::control::ControlRuntime;
use crate::director::{Directed, Phase};
use crate::domains::UnknownService;
use crate::entry::{EntryError, EntryFound, EntryOptions, EntryRouter, OnlyIf};
use crate::plan::ClusterPlan;
use crate::report::Reported;
use crate::start::{self, ClusterStartError};
use crate::tenure::Tenures;

/// Everything the doors may use; cheap to clone.
#[derive(Clone)]
pub struct ClusterHandle {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) plan: ClusterPlan,
    pub(crate) cluster_name: Option<String>,
    pub(crate) node: Node,
    pub(crate) directed: Arc<Directed>,
    pub(crate) reported: Reported,
    pub(crate) tenures: Arc<Tenures>,
    pub(crate) entries: EntryRouter,
    pub(crate) blocks: BlockRouter,
    pub(crate) coder: Coder,
    pub(crate) _control: ControlRuntime,
}

impl ClusterHandle {
    /// Starts the node's part in its cluster, under its supervision, and waits a while for its place in it.
    ///
    /// # Errors
    /// [`ClusterStartError`].
    pub async fn start(plan: ClusterPlan, node: &Node) -> Result<Self, ClusterStartError> {
        start::start(plan, node).await
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Waits until this node serves, or is told to wait itself, or the time is up.
    pub(crate) async fn settle_in(&self, within: Duration) {
        let directed = &self.inner.directed;
        let deadline = directed.clock.deadline(within);
        let mut phase = directed.phase.subscribe();
        let mut changes = directed.consensus.changes();
        loop {
            let waits = matches!(*phase.borrow_and_update(), Phase::Waiting | Phase::Left);
            if waits || self.is_settled() {
                return;
            }
            let left = directed.clock.remaining(deadline);
            if left.is_zero() {
                tracing::warn!("the node is not in its cluster yet; its doors open and say so");
                return;
            }
            tokio::select! {
                _ = phase.changed() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(left.min(Duration::from_millis(50))) => {}
            }
        }
    }

    /// Whether this life is up, knows its services, and every slot has an owner that serves.
    fn is_settled(&self) -> bool {
        let directed = &self.inner.directed;
        let view = directed.consensus.view();
        let domains = directed.domains.load();
        let knows = |service: &String| domains.domain(service, None).is_ok();
        self.is_up() && view.slots().ownerless() == 0 && directed.services.keys().all(knows)
    }

    /// The domain of a service's caller for entries, and for blocks of bytes that only the caller knows: nothing of it ever
    /// loses a bit. Two salts never share; no salt and an empty one do.
    ///
    /// # Errors
    /// When the cluster knows no such service.
    pub fn domain(&self, service: &str, salt: Option<&str>) -> Result<Domain, UnknownService> {
        let domain = self.inner.directed.domains.load().domain(service, salt)?;
        Ok(domain.for_bytes(self.encoding(service)))
    }

    /// The domain of a service's caller for keys and values, and for what is computed from them: under the contract that the
    /// service accepts.
    ///
    /// # Errors
    /// When the cluster knows no such service.
    pub fn numbers_domain(
        &self,
        service: &str,
        salt: Option<&str>,
    ) -> Result<Domain, UnknownService> {
        let domain = self.inner.directed.domains.load().domain(service, salt)?;
        Ok(domain.for_numbers(self.encoding(service)))
    }

    /// How blocks of a service are stored.
    fn encoding(&self, service: &str) -> Encoding {
        let encodings = &self.inner.plan.encodings;
        encodings.get(service).copied().unwrap_or_default()
    }

    /// How many leading blocks of a chain are cached, wherever that is.
    ///
    /// # Errors
    /// When no answer came; the caller computes as if none were.
    pub async fn match_prefix(
        &self,
        domain: &Domain,
        chain: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<usize, RequestError> {
        self.inner
            .blocks
            .match_prefix(domain, chain, deadline)
            .await
    }

    /// Each of these blocks, where it is cached.
    ///
    /// # Errors
    /// When no answer came; the caller treats all as missing.
    pub async fn get(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<Vec<Option<LeasedBlock>>, RequestError> {
        let blocks = self.inner.blocks.get(domain, addresses, deadline).await?;
        let coder = &self.inner.coder;
        Ok(coder.decode(domain, addresses, blocks, deadline).await)
    }

    /// The leading blocks of a chain that are cached.
    ///
    /// # Errors
    /// When no answer came; the caller computes as if none were.
    pub async fn get_prefix(
        &self,
        domain: &Domain,
        chain: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<Vec<LeasedBlock>, RequestError> {
        let blocks = self
            .inner
            .blocks
            .get_prefix(domain, chain, deadline)
            .await?;
        let blocks = blocks.into_iter().map(Some).collect();
        let blocks = self.inner.coder.decode(domain, chain, blocks, deadline);
        Ok(blocks.await.into_iter().map_while(|block| block).collect())
    }

    /// Which of these blocks are cached, without moving any; with a lease they stay for that long.
    ///
    /// # Errors
    /// When no answer came; the caller treats all as missing.
    pub async fn exists(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        lease_ms: Option<u32>,
        deadline: Deadline,
    ) -> Result<Exists, RequestError> {
        let blocks = &self.inner.blocks;
        blocks.exists(domain, addresses, lease_ms, deadline).await
    }

    /// Stores a block at the nodes that its slot is for; it can be read from here at least when this returns.
    ///
    /// # Errors
    /// When it cannot fit, when everything else is in use, or when no answer came.
    pub async fn put(
        &self,
        domain: &Domain,
        put: BlockPut,
        deadline: Deadline,
    ) -> Result<Stored, PutError> {
        self.put_with(domain, put, Ack::default(), deadline).await
    }

    /// As [`ClusterHandle::put`], answered when as much is done as is asked.
    ///
    /// # Errors
    /// As [`ClusterHandle::put`].
    pub async fn put_with(
        &self,
        domain: &Domain,
        put: BlockPut,
        ack: Ack,
        deadline: Deadline,
    ) -> Result<Stored, PutError> {
        // Alone, nobody else is told of it, and whoever can ask finds it as soon as it is stored.
        let is_alone = self.inner.directed.lanes.is_none();
        let ack = match ack {
            Ack::Committed if is_alone => Ack::One,
            ack => ack,
        };
        let put = self.inner.coder.encode(domain, put, deadline).await;
        self.inner.blocks.put_with(domain, put, ack, deadline).await
    }

    /// Pins blocks, or unpins them, wherever they are; answers what became of each, in order.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn pin(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        pin: Pin,
        deadline: Deadline,
    ) -> Result<Vec<PinOutcome>, RequestError> {
        self.inner
            .blocks
            .pin(domain, addresses, pin, deadline)
            .await
    }

    /// Drops blocks, wherever they are; answers how many there were.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn remove(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<usize, RequestError> {
        self.inner.blocks.remove(domain, addresses, deadline).await
    }

    /// An entry.
    ///
    /// # Errors
    /// When no answer came; never to be taken for "absent".
    pub async fn entry_get(
        &self,
        domain: &Domain,
        key: &[u8],
        deadline: Deadline,
    ) -> Result<Option<EntryFound>, EntryError> {
        self.inner.entries.get(domain, key, deadline).await
    }

    /// Writes an entry; answers its version.
    ///
    /// # Errors
    /// When it was refused, or when it is not known whether it was carried out.
    pub async fn entry_put(
        &self,
        domain: &Domain,
        key: &[u8],
        value: Bytes,
        options: EntryOptions,
        deadline: Deadline,
    ) -> Result<u64, EntryError> {
        let entries = &self.inner.entries;
        entries.put(domain, key, value, options, deadline).await
    }

    /// Deletes an entry; answers whether there was one.
    ///
    /// # Errors
    /// When its condition does not hold, or when it is not known whether it was carried out.
    pub async fn entry_delete(
        &self,
        domain: &Domain,
        key: &[u8],
        only_if: OnlyIf,
        deadline: Deadline,
    ) -> Result<bool, EntryError> {
        let entries = &self.inner.entries;
        entries.delete(domain, key, only_if, deadline).await
    }

    /// Gives an entry another time to live; answers its version, which stays.
    ///
    /// # Errors
    /// When there is none or its condition does not hold, or when it is not known whether it was carried out.
    pub async fn entry_touch(
        &self,
        domain: &Domain,
        key: &[u8],
        ttl_ms: Option<u64>,
        only_if: OnlyIf,
        deadline: Deadline,
    ) -> Result<u64, EntryError> {
        let entries = &self.inner.entries;
        entries.touch(domain, key, ttl_ms, only_if, deadline).await
    }

    /// Every service's name, in order.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let domains = self.inner.directed.domains.load();
        let services = domains.iter();
        services.map(|(service, _, _)| service.to_owned()).collect()
    }

    /// The figures of every shard of this node, in order.
    ///
    /// # Errors
    /// When a shard did not answer.
    pub async fn stats(&self, deadline: Deadline) -> Result<Vec<ShardReport>, RequestError> {
        self.inner.directed.cache.stats(deadline).await
    }

    /// How a block of this node stands in the order of eviction, and which of its shards holds it. No use of the block, and
    /// nobody else is asked: each node knows its own.
    ///
    /// # Errors
    /// When a shard did not answer.
    pub async fn explain(
        &self,
        key: BlockKey,
        deadline: Deadline,
    ) -> Result<Option<(usize, Standing)>, RequestError> {
        self.inner.directed.cache.explain(key, deadline).await
    }

    /// What the policy of every shard of this node does, and which blocks of each would go next.
    ///
    /// # Errors
    /// When a shard did not answer.
    pub async fn policies(
        &self,
        next_max: usize,
        deadline: Deadline,
    ) -> Result<Vec<PolicyReport>, RequestError> {
        self.inner.directed.cache.policies(next_max, deadline).await
    }

    /// What this node fetches from others before it is asked for.
    #[must_use]
    pub fn prefetch(&self) -> &PrefetchHandle {
        self.inner.directed.cache.prefetch()
    }

    /// The supervision tree, parents before their children.
    #[must_use]
    pub fn actors(&self) -> Vec<ActorInfo> {
        self.inner.node.tree()
    }

    /// This node, as it is known in its cluster.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.inner.directed.me
    }

    /// Where this node listens for others: control, and block bytes; none of a cluster of one.
    #[must_use]
    pub fn lanes(&self) -> Option<(SocketAddr, SocketAddr)> {
        let lanes = self.inner.directed.lanes.as_ref()?;
        Some((lanes.quic.local_addr().ok()?, lanes.bulk.local_addr()))
    }

    /// The present life of this node.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        self.inner.node.boot_id()
    }

    /// The node's clock, for deadlines.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.directed.clock
    }

    /// Ends consensus and the lanes on this node, after its doors are closed and before its actors stop.
    pub async fn shut_down(&self, deadline: Deadline) {
        let directed = &self.inner.directed;
        self.inner.tenures.shutdown().await;
        directed.consensus.shutdown().await;
        if let Some(lanes) = &directed.lanes {
            lanes.quic.close(deadline).await;
            lanes.bulk.close(deadline).await;
        }
    }
}

impl std::fmt::Debug for ClusterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterHandle")
            .field("node_id", &self.inner.directed.me)
            .finish_non_exhaustive()
    }
}
