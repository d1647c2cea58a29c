//! What a watcher is told is what the shards hold, over evictions, removals and a shard's death.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ultrakv_cache::Codec;

use super::*;
use crate::{ActorState, BlockWatcher, BootId};

#[derive(Debug, Default)]
struct Told {
    lives: Vec<BootId>,
    /// Shard and run of every block that is there.
    blocks: BTreeMap<ultrakv_cache::BlockKey, (usize, ultrakv_cache::BlockKey)>,
    vanished: u64,
    listed: std::collections::BTreeSet<ultrakv_cache::BlockKey>,
}

#[derive(Debug, Default)]
struct Watcher(Mutex<Told>);

impl BlockWatcher for Watcher {
    fn began(&self, shard: usize, life: BootId) {
        let mut told = self.0.lock().unwrap();
        told.blocks.retain(|_, (at, _)| *at != shard);
        told.lives.push(life);
    }

    fn appeared(
        &self,
        shard: usize,
        key: &ultrakv_cache::BlockKey,
        run: &ultrakv_cache::BlockKey,
        codec: Codec,
    ) {
        assert_eq!(codec, Codec::Raw);
        let before = self.0.lock().unwrap().blocks.insert(*key, (shard, *run));
        assert_eq!(before, None);
    }

    fn vanished(&self, shard: usize, key: &ultrakv_cache::BlockKey, slot: u16) {
        let mut told = self.0.lock().unwrap();
        let (at, of) = told.blocks.remove(key).unwrap();
        assert_eq!(at, shard);
        assert_eq!(slot, of.slot());
        told.vanished += 1;
    }

    fn listed(&self, shard: usize, key: &ultrakv_cache::BlockKey, slot: u16, codec: Codec) {
        assert_eq!(codec, Codec::Raw);
        let mut told = self.0.lock().unwrap();
        let (at, of) = told.blocks[key];
        assert_eq!((at, slot), (shard, of.slot()));
        assert!(told.listed.insert(*key), "listed twice");
    }
}

async fn agrees(rig: &Rig, watcher: &Watcher, chains: &[Vec<BlockAddress>]) {
    rig.stats().await; // Behind whatever was sent before.
    for address in chains.iter().flatten() {
        let is_held = rig.get(std::slice::from_ref(address)).await[0].is_some();
        let told = watcher.0.lock().unwrap().blocks.get(&address.key).copied();
        assert_eq!(told.is_some(), is_held);
        assert!(told.is_none_or(|(_, run)| run == address.run));
    }
}

#[tokio::test]
async fn a_watcher_knows_what_the_shards_hold() {
    let watcher = Arc::new(Watcher::default());
    let mut plan = plan(64 * BLOCK_BYTES, 2);
    plan.watcher = Some(Arc::<Watcher>::clone(&watcher));
    let rig = Rig::start(plan).await;
    assert_eq!(watcher.0.lock().unwrap().lives.len(), 2);

    let chains: Vec<_> = (0..8).map(|seed| rig.chain(seed, 20)).collect();
    for chain in &chains {
        rig.put_chain(chain).await;
    }
    agrees(&rig, &watcher, &chains).await;
    assert!(
        watcher.0.lock().unwrap().vanished > 0,
        "nothing was evicted"
    );

    for shard in 0..2 {
        let mut from = Some(0);
        while let Some(at) = from {
            let page = rig.cache.tell_blocks(shard, at, 3, rig.deadline()).await;
            let page = page.unwrap();
            let again = rig.cache.list_blocks(shard, at, 3, rig.deadline()).await;
            assert_eq!(again, Ok(page.clone()));
            assert!(page.blocks.len() <= 3);
            from = page.next;
        }
    }
    {
        let told = watcher.0.lock().unwrap();
        assert!(told.listed.iter().eq(told.blocks.keys()));
    }

    let removed = [chains[7][3], chains[7][19]];
    let removed = rig
        .cache
        .remove(&rig.domain, &removed, rig.deadline())
        .await;
    assert_eq!(removed, Ok(2));
    agrees(&rig, &watcher, &chains).await;

    let before = watcher.0.lock().unwrap().lives.clone();
    assert!(rig.node.kill("node/cache/shard-0"));
    let life = |actor: &crate::ActorInfo| actor.path.ends_with("shard-0") && actor.restarts > 0;
    rig.node
        .wait_for_tree(|tree| {
            tree.iter().any(life) && tree.iter().all(|actor| actor.status == ActorState::Running)
        })
        .await;
    let lives = watcher.0.lock().unwrap().lives.clone();
    assert_eq!((lives.len(), before.contains(&lives[2])), (3, false));
    agrees(&rig, &watcher, &chains).await;
}
