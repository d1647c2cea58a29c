//! Tests of what clients say of uses to come, through the policy as a shard drives it.

use super::*;
use crate::forest::Inserted;
use crate::key::BlockKey;

const FACTS: Facts = Facts {
    bytes: 1,
    depth: 0,
    cost: 1.0,
};

struct Scene {
    forest: Forest,
    policy: Adaptive,
    now: Now,
    ids: Vec<BlockId>,
}

impl Scene {
    /// Blocks that are all alike, after requests ten milliseconds apart.
    fn new(blocks: u8) -> Self {
        let mut scene = Self {
            forest: Forest::new(),
            policy: Adaptive::new(&Setup::default()),
            now: Now(0),
            ids: Vec::new(),
        };
        for number in 0..blocks {
            let Inserted::New(id) = scene
                .forest
                .insert(&BlockKey::from_bytes([number; 32]), None)
            else {
                panic!("keys are new")
            };
            scene.policy.admit(&scene.forest, id, &FACTS);
            scene.ids.push(id);
        }
        scene.pass(1_000);
        scene
    }

    fn pass(&mut self, requests: u64) {
        for _ in 0..requests {
            self.now = self.now.add_ms(10);
            self.policy.begin(self.now);
        }
    }

    fn is_expected(&self, id: BlockId) -> bool {
        self.policy.records[id.0].has(EXPECTED)
    }

    fn score(&self, id: BlockId) -> f64 {
        self.policy.explain(&self.forest, id).score
    }

    /// Evicts all but one, and answers which is left.
    fn last_to_go(&mut self) -> BlockId {
        for _ in 1..self.ids.len() {
            let victim = self.policy.victim(&self.forest, None).expect("all may go");
            self.policy.evict(&self.forest, victim, None);
            self.forest.remove(victim);
        }
        self.policy.victim(&self.forest, None).expect("one is left")
    }
}

#[test]
fn a_block_that_a_client_expects_outlives_its_like() {
    for hinted in 0..8 {
        let mut scene = Scene::new(8);
        let id = scene.ids[hinted];
        scene.policy.expect_use(id, scene.now, 500);
        assert_eq!(scene.last_to_go(), id);
    }
}

#[test]
fn a_hint_weighs_more_as_its_time_nears_then_lapses() {
    let mut scene = Scene::new(2);
    let [like, id] = [scene.ids[0], scene.ids[1]];
    scene.policy.expect_use(id, scene.now, 2_000);
    let early = scene.score(id);
    assert!(scene.score(like) < early);
    scene.pass(150);
    assert!(early * 2.0 < scene.score(id));
    // Due after 200 requests; a quarter of that and a second later nobody believes it any longer.
    scene.pass(199);
    assert!(scene.is_expected(id) && scene.score(like) < scene.score(id));
    scene.pass(1);
    assert!(!scene.is_expected(id));
    assert!((scene.score(id) - scene.score(like)).abs() <= f64::EPSILON);
}

#[test]
fn a_hint_ends_with_the_use_that_it_promised_or_with_its_block() {
    let mut scene = Scene::new(2);
    let [used, gone] = [scene.ids[0], scene.ids[1]];
    for id in [used, gone] {
        scene.policy.expect_use(id, scene.now, 2_000);
    }
    scene.pass(1);
    scene.policy.touch(&scene.forest, used);
    assert!(!scene.is_expected(used) && scene.is_expected(gone));
    scene.policy.forget(&scene.forest, gone, None);
    assert!(scene.policy.hints.index(gone.0, scene.now) <= 0.0);
    // Nothing of it comes back with the next block of its number, and nothing lapses twice.
    scene.policy.admit(&scene.forest, gone, &FACTS);
    scene.pass(1_000);
    assert!(!scene.is_expected(gone));
}

#[test]
fn a_hint_on_a_block_in_use_holds_once_it_is_released() {
    let mut scene = Scene::new(3);
    let id = scene.ids[1];
    scene.policy.suspend(id);
    scene.policy.expect_use(id, scene.now, 100);
    scene.policy.resume(id, Rank::Normal);
    assert_eq!(scene.last_to_go(), id);
}
