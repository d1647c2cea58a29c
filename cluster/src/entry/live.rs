//! Whole nodes in one process: real shards, hosts and routers, over a network of channels that loses, repeats and reorders, and a
//! register that stands in for Raft. It must never know how a replica decides.

mod history;
mod net;
mod quiet;
mod register;
mod storm;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{Domain, DomainTag, Node, NodePlan};
use ultrakv_cache::{ArenaId, Budget, DomainSecret, entry_slot};

use super::*;
use crate::NodeId;
use net::{Line, Net};
use register::{Cell, Register, Voice};

const TIMING: Timing = Timing {
    resend_ms: 10,
    silence_ms_max: 150,
    propose_ms: 30,
};

/// One node of the rig.
struct Member {
    id: NodeId,
    node: Node,
    host: EntryHost,
    router: EntryRouter,
    tenure: Arc<Cell>,
}

/// A small cluster.
struct Rig {
    clock: Clock,
    net: Arc<Net>,
    register: Arc<Register>,
    members: Vec<Member>,
    domain: Domain,
}

fn id(number: usize) -> NodeId {
    NodeId::from_u128(u128::try_from(number).unwrap() + 1)
}

fn node_plan(clock: &Clock) -> NodePlan {
    let mut plan = NodePlan::host(Budget::of_bytes(64 << 20), 4096, 2);
    plan.restarts.restarts_max = 10_000;
    plan.restarts.backoff_ms_max = 2;
    plan.eviction.tick_ms = 50;
    plan.clock = clock.clone();
    plan
}

impl Rig {
    /// Nodes that host the slots of these names, all of them targets, the first the owner of all.
    async fn start(nodes: usize, names: &[&[u8]], plan: impl Fn(&Clock) -> NodePlan) -> Self {
        let clock = Clock::machine();
        let net = Arc::new(Net::new(clock.clone()));
        let slots: BTreeSet<u16> = names.iter().map(|name| entry_slot(name)).collect();
        let targets: Vec<NodeId> = (0..nodes).map(id).collect();
        let register = Arc::new(Register::new(&slots, &targets));
        let mut members = Vec::new();
        for number in 0..nodes {
            let node = Node::start(plan(&clock)).await.unwrap();
            let tenure = Arc::new(Cell::held());
            let links = HostLinks {
                cache: node.cache(),
                clock: clock.clone(),
                callers: Arc::new(Line::new(Arc::clone(&net), id(number))),
                proposer: Arc::new(Voice(Arc::clone(&register))),
                tenure: Arc::<Cell>::clone(&tenure),
            };
            let plan = HostPlan {
                timing: TIMING,
                ..HostPlan::of(id(number))
            };
            let host = EntryHost::new(plan, links);
            let router = EntryRouter::new(&host);
            net.join(id(number), host.clone(), router.clone());
            register.follow(id(number), host.clone());
            assert!(host.admit());
            members.push(Member {
                id: id(number),
                node,
                host,
                router,
                tenure,
            });
        }
        let rig = Self {
            clock,
            net,
            register,
            members,
            domain: Domain::new(
                DomainSecret::from_bytes([9; 32]).effective(0, b""),
                ArenaId(1),
                DomainTag([7; 16]),
            ),
        };
        rig.until_settled().await;
        rig
    }

    fn deadline(&self, ms: u64) -> Deadline {
        self.clock.deadline(Duration::from_millis(ms))
    }

    /// Waits until every slot is held as the plan says.
    async fn until_settled(&self) {
        let settled = self.register.until(Register::is_settled);
        let settled = tokio::time::timeout(Duration::from_secs(30), settled).await;
        settled.unwrap_or_else(|_| panic!("never settled: {:?}", self.register));
    }

    /// Waits until every node has heard the register's last word about the slots of these names.
    async fn until_heard(&self, names: &[&[u8]]) {
        for slot in names.iter().map(|name| entry_slot(name)) {
            for member in &self.members {
                let shared = member.host.shared();
                let mut changes = shared.words.changes();
                let heard = async {
                    let last = self.register.word(slot);
                    while shared.words.get(slot).as_deref() != Some(&last) {
                        changes.changed().await.unwrap();
                    }
                };
                let heard = tokio::time::timeout(Duration::from_secs(10), heard).await;
                heard.expect("everybody hears");
            }
        }
    }

    async fn put(&self, at: usize, name: &[u8], value: &[u8]) -> Result<u64, EntryError> {
        self.put_with(at, name, value, EntryOptions::kept(None))
            .await
    }

    async fn put_with(
        &self,
        at: usize,
        name: &[u8],
        value: &[u8],
        options: EntryOptions,
    ) -> Result<u64, EntryError> {
        let value = Bytes::copy_from_slice(value);
        let router = &self.members[at].router;
        let deadline = self.deadline(5_000);
        router
            .put(&self.domain, name, value, options, deadline)
            .await
    }

    async fn get(&self, at: usize, name: &[u8]) -> Result<Option<Vec<u8>>, EntryError> {
        let router = &self.members[at].router;
        let found = router.get(&self.domain, name, self.deadline(5_000)).await?;
        Ok(found.map(|found| found.value.to_vec()))
    }

    /// Entries that a node stores, whoever owns them.
    async fn stored(&self, at: usize) -> u64 {
        let reports = self.members[at]
            .node
            .cache()
            .stats(self.deadline(5_000))
            .await;
        reports.unwrap().iter().map(|report| report.entries).sum()
    }

    async fn until_stored(&self, at: usize, entries: u64) {
        let deadline = self.deadline(20_000);
        while self.stored(at).await != entries {
            assert!(
                !deadline.passed(self.clock.now()),
                "node {at} never stored {entries}, but {}",
                self.stored(at).await
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
