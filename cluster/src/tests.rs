//! Tests of a cluster of one over a real node.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ultrakv_actors::{Deadline, Node, NodePlan};
use ultrakv_cache::{
    BlockAddress, BlockHeader, BlockKind, BlockLayout, Budget, Dtype, KeyInputs, KeySpace, Pin,
};

use super::*;

const LAYOUT: BlockLayout = BlockLayout {
    kind: BlockKind::Kv,
    dtype: Dtype::F32,
    layers: 1,
    kv_heads: 1,
    head_size: 8,
};
const BLOCK_TOKENS: u32 = 4;

struct Rig {
    node: Node,
    cluster: ClusterHandle,
}

impl Rig {
    /// Two services on their own, two in a share group.
    async fn start() -> Self {
        let mut plan = NodePlan::host(Budget::of_bytes(4 << 20), 4096, 2);
        plan.restarts.restarts_max = 1000;
        plan.restarts.backoff_ms_max = 2;
        let node = Node::start(plan).await.unwrap();
        let group = Some("team".to_owned());
        let services = [("a", None), ("b", None), ("c", group.clone()), ("d", group)];
        let plan = ClusterPlan {
            node_name: "one".to_owned(),
            version: "1.2.3".to_owned(),
            services: services
                .map(|(name, group)| (name.to_owned(), group))
                .into(),
            encodings: BTreeMap::new(),
            member: None,
            reports: None,
        };
        let cluster = ClusterHandle::start(plan, &node).await.unwrap();
        Self { node, cluster }
    }

    fn deadline(&self) -> Deadline {
        self.cluster.clock().deadline(Duration::from_secs(10))
    }

    /// The same prompt as this service sees it.
    fn chain(&self, service: &str, salt: Option<&str>) -> Vec<BlockAddress> {
        let inputs = KeyInputs {
            weights: [1; 32],
            adapter: [0; 32],
            rope: [2; 32],
            layout: LAYOUT,
            block_tokens: BLOCK_TOKENS,
        };
        let domain = self.cluster.domain(service, salt).unwrap();
        KeySpace::new(&domain, &inputs).chain(&(0..80).collect::<Vec<u32>>())
    }

    async fn store(&self, service: &str, salt: Option<&str>) {
        let domain = self.cluster.domain(service, salt).unwrap();
        let mut parent = None;
        for address in self.chain(service, salt) {
            let payload = Bytes::from(vec![7; 256]);
            let put = BlockPut {
                address,
                parent,
                depth: 0,
                header: BlockHeader::seal(LAYOUT, BLOCK_TOKENS, &address.key, &payload),
                payload,
                pin: Pin::None,
                ttl_ms: None,
            };
            self.cluster
                .put(&domain, put, self.deadline())
                .await
                .unwrap();
            parent = Some(address.key);
        }
    }

    async fn held(&self, service: &str, salt: Option<&str>) -> usize {
        let domain = self.cluster.domain(service, salt).unwrap();
        let chain = self.chain(service, salt);
        let held = self.cluster.match_prefix(&domain, &chain, self.deadline());
        held.await.unwrap()
    }
}

#[tokio::test]
async fn equal_prompts_of_two_services_share_blocks_only_in_one_share_group() {
    let rig = Rig::start().await;
    assert_ne!(rig.chain("a", None), rig.chain("b", None));
    assert_eq!(rig.chain("c", None), rig.chain("d", None));
    assert_ne!(rig.chain("a", None), rig.chain("c", None));

    rig.store("a", None).await;
    rig.store("c", None).await;
    let expected = [("a", 20), ("b", 0), ("c", 20), ("d", 20)];
    for (service, blocks) in expected {
        assert_eq!(rig.held(service, None).await, blocks, "{service}");
        assert_eq!(
            rig.held(service, Some("salt")).await,
            0,
            "{service} with a salt"
        );
    }
}

#[tokio::test]
async fn a_service_cannot_read_another_ones_blocks_even_with_their_keys() {
    let rig = Rig::start().await;
    rig.store("a", None).await;
    let thief = rig.cluster.domain("b", None).unwrap();
    let stolen = rig.chain("a", None);
    let found = rig
        .cluster
        .get(&thief, &stolen, rig.deadline())
        .await
        .unwrap();
    assert!(found.iter().all(Option::is_none));
}

#[tokio::test]
async fn a_purge_empties_its_share_group_and_nobody_else() {
    let rig = Rig::start().await;
    for (service, salt) in [("a", None), ("c", None), ("d", Some("salt"))] {
        rig.store(service, salt).await;
    }
    let old = rig.cluster.domain("c", None).unwrap();
    let entry = |domain| {
        let value = Bytes::from_static(b"value");
        let options = EntryOptions::cached(None);
        rig.cluster
            .entry_put(domain, b"key", value, options, rig.deadline())
    };
    entry(&old).await.unwrap();

    let report = rig.cluster.purge("c", rig.deadline()).await.unwrap();
    assert_eq!(
        (report.generation, report.blocks, report.entries),
        (1, 40, 1)
    );
    assert_eq!(report.shares, "share group team");
    for (service, salt, blocks) in [
        ("a", None, 20),
        ("c", None, 0),
        ("d", None, 0),
        ("d", Some("salt"), 0),
    ] {
        assert_eq!(rig.held(service, salt).await, blocks, "{service}");
    }
    assert_eq!(entry(&old).await, Err(EntryError::DomainPurged));
    let new = rig.cluster.domain("d", None).unwrap();
    assert_ne!(new, old);
    assert_eq!(
        rig.cluster.entry_get(&new, b"key", rig.deadline()).await,
        Ok(None)
    );
    rig.store("d", None).await;
    assert_eq!(rig.held("c", None).await, 20);
    assert_eq!(
        rig.cluster
            .purge("d", rig.deadline())
            .await
            .unwrap()
            .generation,
        2
    );
}

#[tokio::test]
async fn what_is_not_a_service_is_told_so() {
    let rig = Rig::start().await;
    let error = rig.cluster.domain("nobody", None).unwrap_err();
    assert_eq!(error.code(), "unknown_service");
    let error = rig
        .cluster
        .purge("nobody", rig.deadline())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "unknown_service");
    assert_eq!(rig.cluster.services(), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_purge_that_is_not_confirmed_in_time_still_hides_the_blocks_and_can_be_repeated() {
    let rig = Rig::start().await;
    rig.store("a", None).await;
    let stall = rig.node.cache().stall_shard(0).await.unwrap();
    let soon = rig.cluster.clock().deadline(Duration::from_millis(20));
    let error = rig.cluster.purge("a", soon).await.unwrap_err();
    let waiting = vec![rig.cluster.node_id()];
    assert_eq!(error, PurgeError::Unconfirmed { waiting });
    drop(stall);
    assert_eq!(
        rig.cluster
            .purge("a", rig.deadline())
            .await
            .unwrap()
            .generation,
        2
    );
    assert_eq!(rig.held("a", None).await, 0);
    rig.cluster.purge("a", rig.deadline()).await.unwrap();
    let arenas: u32 = rig
        .cluster
        .stats(rig.deadline())
        .await
        .unwrap()
        .iter()
        .map(|shard| shard.arenas)
        .sum();
    assert_eq!(arenas, 0);
}

#[tokio::test]
async fn domains_and_generations_outlive_the_membership_actor() {
    let rig = Rig::start().await;
    rig.cluster.purge("a", rig.deadline()).await.unwrap();
    rig.store("a", None).await;
    let before = rig.cluster.domain("a", None).unwrap();
    for path in ["node/cluster/membership", "node/cluster"] {
        let restarts = |tree: &[ActorInfo]| {
            let actor = tree.iter().find(|actor| actor.path == path);
            actor.map_or(0, |actor| actor.restarts)
        };
        let then = restarts(&rig.node.tree());
        assert!(rig.node.kill(path));
        let back = rig.node.wait_for_tree(|tree| {
            restarts(tree) > then && tree.iter().all(|actor| actor.status == ActorState::Running)
        });
        tokio::time::timeout(Duration::from_secs(5), back)
            .await
            .unwrap();
        assert_eq!(rig.cluster.domain("a", None), Ok(before));
        assert_eq!(rig.held("a", None).await, 20);
    }
    assert_eq!(
        rig.cluster
            .purge("a", rig.deadline())
            .await
            .unwrap()
            .generation,
        2
    );
}

#[tokio::test]
async fn purges_race_with_the_membership_actors_deaths_and_never_hang() {
    let rig = Rig::start().await;
    for round in 0..20_u64 {
        rig.store("a", None).await;
        let purge = rig.cluster.purge("a", rig.deadline());
        let kill = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            rig.node.kill("node/cluster/membership")
        };
        let (purged, _) = tokio::join!(purge, kill);
        purged.unwrap();
        let back = rig.node.wait_for_tree(|tree| {
            let member = tree
                .iter()
                .find(|actor| actor.path == "node/cluster/membership");
            member.is_some_and(|actor| actor.restarts == round + 1)
        });
        tokio::time::timeout(Duration::from_secs(5), back)
            .await
            .unwrap();
        rig.cluster.purge("a", rig.deadline()).await.unwrap();
        assert_eq!(rig.held("a", None).await, 0);
    }
}

#[tokio::test]
async fn the_status_of_one_node_is_complete_and_holds_no_secret() {
    let rig = Rig::start().await;
    let status = rig.cluster.status();
    assert_eq!(status.slots_owned, 16_384);
    assert_eq!(status.members.len(), 1);
    assert_eq!(status.members[0].version, "1.2.3");
    assert_eq!(status.members[0].capacity.bytes_max, 4 << 20);
    assert!(status.quorum.held && !status.failover.promised && !status.persistence.durable);
    assert_eq!(status.boot_id, rig.node.boot_id());
    let names: BTreeMap<_, _> = status
        .services
        .iter()
        .map(|service| (service.name.as_str(), service.shares.as_str()))
        .collect();
    assert_eq!(names["a"], "service a");
    assert_eq!(names["d"], "share group team");

    assert!(rig.cluster.readiness().iter().all(|check| check.ok));
    let tree = rig.cluster.actors();
    let paths: Vec<_> = tree.iter().map(|actor| actor.path.as_str()).collect();
    assert!(paths.contains(&"node/cluster/membership") && paths.contains(&"node/cache/shard-1"));
}

#[tokio::test]
async fn a_stopped_node_is_not_ready() {
    let rig = Rig::start().await;
    assert!(rig.node.stop(rig.deadline()).await);
    assert!(rig.cluster.readiness().iter().any(|check| !check.ok));
}

impl Rig {
    async fn entry_put(&self, key: &[u8], value: &'static [u8]) -> Result<u64, EntryError> {
        let domain = self.cluster.domain("a", None).unwrap();
        let (value, options) = (Bytes::from_static(value), EntryOptions::kept(None));
        let put = self
            .cluster
            .entry_put(&domain, key, value, options, self.deadline());
        put.await
    }

    async fn entry_get(&self, key: &[u8]) -> Option<Bytes> {
        let domain = self.cluster.domain("a", None).unwrap();
        let found = self.cluster.entry_get(&domain, key, self.deadline()).await;
        found.unwrap().map(|found| found.value)
    }
}

#[tokio::test]
async fn a_shard_that_died_serves_entries_again_and_never_gives_a_version_twice() {
    let rig = Rig::start().await;
    let names: Vec<[u8; 1]> = (0..20).map(|number| [number]).collect();
    let mut before = Vec::new();
    for name in &names {
        before.push(rig.entry_put(name, b"before").await.unwrap());
    }
    assert!(rig.node.kill("node/cache/shard-0"));
    let back = rig.node.wait_for_tree(|tree| {
        tree.iter().any(|actor| actor.restarts > 0)
            && tree.iter().all(|actor| actor.status == ActorState::Running)
    });
    tokio::time::timeout(Duration::from_secs(5), back)
        .await
        .unwrap();
    let mut lost = 0;
    for (name, before) in names.iter().zip(before) {
        let found = rig.entry_get(name).await;
        lost += usize::from(found.is_none());
        assert!(found.is_none_or(|value| *value == *b"before"));
        assert!(rig.entry_put(name, b"after").await.unwrap() > before);
        assert_eq!(rig.entry_get(name).await.as_deref(), Some(&b"after"[..]));
    }
    assert!(
        (1..20).contains(&lost),
        "the other shard kept its entries: {lost} lost"
    );
}

#[tokio::test]
async fn a_deadline_leaves_a_write_in_doubt_only_if_it_was_sent() {
    let rig = Rig::start().await;
    let stalls = [
        rig.node.cache().stall_shard(0).await.unwrap(),
        rig.node.cache().stall_shard(1).await.unwrap(),
    ];
    let domain = rig.cluster.domain("a", None).unwrap();
    let soon = rig.cluster.clock().deadline(Duration::from_millis(20));
    let put = || {
        let options = EntryOptions::kept(None);
        rig.cluster
            .entry_put(&domain, b"key", Bytes::new(), options, soon)
    };
    let late = RequestError::Deadline;
    let (got, unknown) = tokio::join!(rig.cluster.entry_get(&domain, b"key", soon), put());
    assert_eq!(got, Err(EntryError::Request(late)));
    assert_eq!(unknown, Err(EntryError::OutcomeUnknown(late)));
    // One whose time was up before was not sent, and says so.
    assert_eq!(put().await, Err(EntryError::Request(late)));
    drop(stalls);
    let reports = rig.cluster.stats(rig.deadline()).await.unwrap();
    assert!(reports.iter().all(|report| report.permits_used == 0));
}

#[tokio::test]
async fn a_second_cluster_on_one_node_is_refused() {
    let rig = Rig::start().await;
    let plan = ClusterPlan {
        node_name: "two".to_owned(),
        version: String::new(),
        services: BTreeMap::new(),
        encodings: BTreeMap::new(),
        member: None,
        reports: None,
    };
    let error = ClusterHandle::start(plan, &rig.node).await.unwrap_err();
    assert!(matches!(error, ClusterStartError::Occupied));
}
