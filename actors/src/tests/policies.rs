//! What operators are told of eviction through the handle: where a block is and how it stands, who goes next.

use ultrakv_cache::PolicyKind;

use super::*;
use crate::RequestError;

#[tokio::test]
async fn a_block_is_explained_by_the_shard_that_holds_it() {
    let rig = Rig::start(plan(64 << 20, 4)).await;
    let chain = rig.chain(1, 64);
    rig.put_chain(&chain).await;
    let mut shards = std::collections::BTreeSet::new();
    for address in &chain {
        let found = rig.cache.explain(address.key, rig.deadline()).await;
        let (shard, standing) = found.unwrap().expect("it is here");
        assert_eq!(standing.key, address.key);
        assert_eq!(standing.arena, rig.domain.arena);
        shards.insert(shard);
    }
    assert!(shards.len() > 1, "{shards:?}");
    let absent = rig.chain(2, 1)[0].key;
    assert_eq!(rig.cache.explain(absent, rig.deadline()).await, Ok(None));
    rig.until_at_rest().await;
}

#[tokio::test]
async fn every_policy_tells_who_goes_next_on_each_shard() {
    for policy in PolicyKind::all() {
        let mut plan = plan(64 << 20, 2);
        plan.policy = policy;
        let rig = Rig::start(plan).await;
        let chains: Vec<_> = (0..20).map(|seed| rig.chain(seed, 2)).collect();
        for chain in &chains {
            rig.put_chain(chain).await;
        }
        let told = rig
            .cache
            .policies(usize::MAX, rig.deadline())
            .await
            .unwrap();
        assert_eq!(told.len(), 2);
        let leaves: Vec<_> = told.iter().flat_map(|shard| &shard.next).collect();
        assert_eq!(leaves.len(), chains.len(), "{policy}");
        for leaf in leaves {
            assert!(leaf.explanation.can_go, "{policy}: {leaf:?}");
            assert!(chains.iter().any(|chain| chain[1].key == leaf.key));
        }
        for shard in &told {
            assert_eq!(shard.policy, policy);
            assert_eq!(
                shard.report.blocks_visible,
                2 * u64::try_from(shard.next.len()).unwrap()
            );
        }
        let few = rig.cache.policies(1, rig.deadline()).await.unwrap();
        assert!(few.iter().all(|shard| shard.next.len() == 1), "{policy}");
    }
}

/// A shard that cannot answer is not waited for beyond the deadline, and orders get in where requests do not.
#[tokio::test]
async fn a_stuck_shard_is_told_by_the_deadline() {
    let rig = Rig::start(plan(1 << 20, 1)).await;
    let guard = rig.cache.stall_shard(0).await.unwrap();
    let soon = rig.node.clock().deadline(Duration::from_millis(20));
    let key = rig.chain(1, 1)[0].key;
    assert_eq!(
        rig.cache.explain(key, soon).await,
        Err(RequestError::Deadline)
    );
    drop(guard);
    assert_eq!(rig.cache.explain(key, rig.deadline()).await, Ok(None));
}

/// The first block of a run lacks its parent on its own shard, so what its writer says is all there is.
#[tokio::test]
async fn a_writer_can_say_how_deep_a_block_lies() {
    let rig = Rig::start(plan(64 << 20, 1)).await;
    let chain = rig.chain(1, 20);
    let put = |place: usize, depth| BlockPut {
        depth,
        ..block(
            &chain[place],
            place.checked_sub(1).map(|before| chain[before].key),
        )
    };
    for (place, told, expected) in [(16, 16, 16), (17, 0, 17), (3, 3, 3), (5, 0, 0)] {
        let stored = rig
            .cache
            .put(&rig.domain, put(place, told), rig.deadline())
            .await;
        assert_eq!(stored, Ok(Stored::Copies(1)));
        let found = rig.cache.explain(chain[place].key, rig.deadline()).await;
        let (_, standing) = found.unwrap().expect("it is here");
        assert_eq!(standing.depth, expected, "block {place}");
    }
}
