//! The door to the cluster for everything above it: where keys are routed, and whom they belong to.
//!
//! Today every slot is this node's, so routing ends at the local cache; callers already name slots
//! and domains as many nodes will need them. It must never know a protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{
    ActorInfo, ActorState, BlockPut, BootId, CacheHandle, ChildSpec, Domain, EntropyError,
    LeasedBlock, Node, PutError, RequestError, ShardReport, StartError, Stored,
};
use ultrakv_cache::{BlockAddress, Pin, PinOutcome};

use crate::NodeId;
use crate::domains::{Domains, UnknownService};
use crate::entry::{EntryError, EntryFound, EntryHost, EntryOptions, EntryRouter, OnlyIf};
use crate::membership::{Membership, MembershipPort, PurgeError};
use crate::slots::SlotMap;
use crate::status::{
    Capacity, Check, ClusterStatus, Failover, Member, MemberState, Persistence, PurgeReport,
    Quorum, Role, ServiceStatus,
};
use crate::view::{Published, View};

/// What a cluster of one is told when it starts.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// The name of this node in status and logs.
    pub node_name: String,
    /// The version of the binary.
    pub version: String,
    /// Every service, and its share group when it has one.
    pub services: BTreeMap<String, Option<String>>,
}

impl ClusterPlan {
    /// The plan that the settings ask for.
    #[must_use]
    pub fn from_settings(settings: &ultrakv_config::Settings, version: &str) -> Self {
        let services = settings.services.iter();
        Self {
            node_name: settings.node.name.clone(),
            version: version.to_owned(),
            services: services
                .map(|(name, service)| (name.clone(), service.share_group.clone()))
                .collect(),
        }
    }
}

/// The cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterStartError {
    /// No randomness for ids and secrets.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// An actor did not start.
    #[error(transparent)]
    Actor(#[from] StartError),
    /// Another cluster was started on this node already.
    #[error("the node's shards have another cluster's entries")]
    Occupied,
}

/// Everything the doors may use; cheap to clone.
#[derive(Clone)]
pub struct ClusterHandle {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: NodeId,
    plan: ClusterPlan,
    node: Node,
    cache: CacheHandle,
    entries: EntryRouter,
    clock: Clock,
    view: Published,
    membership: Arc<MembershipPort>,
}

impl ClusterHandle {
    /// Founds a cluster of one on this node, under its supervision.
    ///
    /// # Errors
    /// When the machine has no randomness, or an actor does not start.
    pub async fn start(plan: ClusterPlan, node: &Node) -> Result<Self, ClusterStartError> {
        let cache = node.cache();
        let node_id = NodeId::draw(node.entropy())?;
        let domains = Domains::draw(&plan.services, node.entropy(), || cache.open_arena())?;
        let member = Member {
            node_id,
            boot_id: node.boot_id(),
            name: plan.node_name.clone(),
            version: plan.version.clone(),
            role: Role::Voter,
            state: MemberState::Up,
            capacity: Capacity {
                shards: cache.shards(),
                bytes_max: cache.bytes_max(),
                tokens_max: cache.tokens_max(),
            },
            started_unix_ms: node.clock().unix(),
        };
        let view: Published = Arc::new(ArcSwap::from_pointee(View {
            revision: 1,
            members: vec![member],
            slots: SlotMap::of_one(node_id),
            domains,
            closing: Vec::new(),
        }));

        // Alone, all slots are this node's; with others the metadata says whose they are.
        let host = EntryHost::alone(node_id, cache.clone(), node.clock().clone());
        let entries = EntryRouter::new(&host);
        if !host.admit() {
            return Err(ClusterStartError::Occupied);
        }
        let membership = Membership {
            entries: host,
            view: Arc::clone(&view),
            port: Arc::new(MembershipPort::new()),
            cache: cache.clone(),
            clock: node.clock().clone(),
        };
        let port = Arc::clone(&membership.port);
        let actor = ChildSpec::actor("membership", "MembershipActor", move |_| {
            (membership.clone(), ())
        });
        node.attach(ChildSpec::supervisor(
            "cluster",
            "ClusterSupervisor",
            [actor],
        ))
        .await?;
        tracing::info!(%node_id, failover = Failover::OF_ONE.detail, "cluster of one");

        Ok(Self {
            inner: Arc::new(Inner {
                node_id,
                plan,
                node: node.clone(),
                cache,
                entries,
                clock: node.clock().clone(),
                view,
                membership: port,
            }),
        })
    }

    /// The domain of a service's caller. Two salts never share; no salt and an empty one do.
    ///
    /// # Errors
    /// When the settings list no such service.
    pub fn domain(&self, service: &str, salt: Option<&str>) -> Result<Domain, UnknownService> {
        self.inner.view.load().domains.domain(service, salt)
    }

    /// How many leading blocks of a chain are cached.
    ///
    /// # Errors
    /// When no answer came; the caller computes as if none were.
    pub async fn match_prefix(
        &self,
        domain: &Domain,
        chain: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<usize, RequestError> {
        self.inner.cache.match_prefix(domain, chain, deadline).await
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
        self.inner.cache.get(domain, addresses, deadline).await
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
        self.inner.cache.get_prefix(domain, chain, deadline).await
    }

    /// Stores a block; it is visible when this returns, and not before its last byte is written.
    ///
    /// # Errors
    /// When it cannot fit, when everything else is in use, or when no answer came.
    pub async fn put(
        &self,
        domain: &Domain,
        put: BlockPut,
        deadline: Deadline,
    ) -> Result<Stored, PutError> {
        self.inner.cache.put(domain, put, deadline).await
    }

    /// Pins blocks, or unpins them; answers what became of each, in order.
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
        self.inner.cache.pin(domain, addresses, pin, deadline).await
    }

    /// Drops blocks; answers how many there were.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn remove(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<usize, RequestError> {
        self.inner.cache.remove(domain, addresses, deadline).await
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

    /// Makes everything that a service's domain holds unreachable, and frees it. A share group is
    /// purged as a whole.
    ///
    /// # Errors
    /// When there is no such service, or when a part of the node did not confirm in time.
    pub async fn purge(
        &self,
        service: &str,
        deadline: Deadline,
    ) -> Result<PurgeReport, PurgeError> {
        let inner = &self.inner;
        inner
            .membership
            .purge(service, &inner.clock, deadline)
            .await
    }

    /// Every service's name, in order.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let view = self.inner.view.load();
        let services = view.domains.iter();
        services.map(|(service, _, _)| service.to_owned()).collect()
    }

    /// The figures of every shard of the cluster, in order.
    ///
    /// # Errors
    /// When a shard did not answer.
    pub async fn stats(&self, deadline: Deadline) -> Result<Vec<ShardReport>, RequestError> {
        self.inner.cache.stats(deadline).await
    }

    /// The cluster as this node sees it.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let inner = &self.inner;
        let view = inner.view.load();
        let voters = view
            .members
            .iter()
            .filter(|member| member.role == Role::Voter)
            .count();
        let needed = voters / 2 + 1;
        let reachable = voters; // One member: this node, which is answering.
        let services = view
            .domains
            .iter()
            .map(|(name, sharing, keyring)| ServiceStatus {
                name: name.to_owned(),
                shares: sharing.label(),
                generation: keyring.generation,
            });
        ClusterStatus {
            node_id: inner.node_id,
            boot_id: inner.node.boot_id(),
            node_name: inner.plan.node_name.clone(),
            version: inner.plan.version.clone(),
            revision: view.revision,
            members: view.members.clone(),
            quorum: Quorum {
                voters,
                needed,
                reachable,
                held: reachable >= needed,
            },
            slots_owned: view.slots.owned(inner.node_id),
            slots: view.slots.clone(),
            services: services.collect(),
            failover: Failover::OF_ONE,
            persistence: Persistence::NONE,
        }
    }

    /// Whether this node can serve, line by line.
    #[must_use]
    pub fn readiness(&self) -> Vec<Check> {
        let actors = self.actors();
        let down: Vec<_> = actors
            .iter()
            .filter(|actor| actor.status != ActorState::Running)
            .map(|actor| actor.path.as_str())
            .collect();
        let status = self.status();
        vec![
            Check {
                name: "actors",
                ok: down.is_empty(),
                detail: if down.is_empty() {
                    format!("{} actors run", actors.len())
                } else {
                    format!("not running: {}", down.join(", "))
                },
            },
            Check {
                name: "quorum",
                ok: status.quorum.held,
                detail: format!(
                    "{} of {} voters answer, {} needed",
                    status.quorum.reachable, status.quorum.voters, status.quorum.needed
                ),
            },
            Check {
                name: "slots",
                ok: status.slots_owned > 0,
                detail: format!("{} slots are owned here", status.slots_owned),
            },
        ]
    }

    /// The supervision tree, parents before their children.
    #[must_use]
    pub fn actors(&self) -> Vec<ActorInfo> {
        self.inner.node.tree()
    }

    /// The present life of this node.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        self.inner.node.boot_id()
    }

    /// The node's clock, for deadlines.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }
}

impl std::fmt::Debug for ClusterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterHandle")
            .field("node_id", &self.inner.node_id)
            .finish_non_exhaustive()
    }
}
