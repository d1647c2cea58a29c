//! Eviction order of a whole shard against a list of blocks in which every touch walks to the root.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ROOM: usize = 8;

/// One-page blocks under leaf-first LRU, naively.
#[derive(Default)]
struct Model {
    blocks: BTreeMap<usize, Known>,
    clock: u64,
}

struct Known {
    parent: Option<usize>,
    used: u64,
}

impl Model {
    fn touch(&mut self, number: usize) {
        self.clock += 1;
        let mut next = Some(number);
        while let Some(block) = next.and_then(|number| self.blocks.get_mut(&number)) {
            block.used = self.clock;
            next = block.parent;
        }
    }

    /// Stores a block; `false` when only its parent could make room.
    fn put(&mut self, number: usize, parent: Option<usize>) -> bool {
        let parent = parent.filter(|parent| self.blocks.contains_key(parent));
        if self.blocks.len() == ROOM {
            let is_leaf = |number: usize| {
                self.blocks
                    .values()
                    .all(|other| other.parent != Some(number))
            };
            let others = self.blocks.iter();
            let others = others.filter(|(number, _)| Some(**number) != parent);
            let coldest = others.filter(|(number, _)| is_leaf(**number));
            let victim = coldest
                .min_by_key(|(_, block)| block.used)
                .map(|(number, _)| *number);
            match victim {
                Some(victim) => self.blocks.remove(&victim),
                None => return false,
            };
        }
        self.blocks.insert(number, Known { parent, used: 0 });
        self.touch(number);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn holds_exactly_the_blocks_that_a_walking_lru_holds(
        // Block 2·n continues block n, and so does 2·n + 1: a tree of prefixes.
        steps in proptest::collection::vec((1..40_usize, any::<bool>()), 1..120),
    ) {
        let mut walk = Walk::pages(u64::try_from(ROOM).unwrap());
        let mut model = Model::default();
        for (number, is_put) in steps {
            if is_put && !model.blocks.contains_key(&number) {
                let parent = Some(number / 2).filter(|parent| *parent > 0);
                let block = ReserveBlock { parent: parent.map(key), ..Walk::block(number, 1) };
                let expected = if model.put(number, parent) { STORED } else { refused(PutRefusal::NoRoom) };
                prop_assert_eq!(walk.put(block), expected);
            } else {
                let chain: Vec<usize> = (0..6).map(|up| number >> up).take_while(|at| *at > 0).collect();
                let chain: Vec<usize> = chain.into_iter().rev().collect();
                let expected = chain.iter().take_while(|at| model.blocks.contains_key(*at)).count();
                if let Some(deepest) = expected.checked_sub(1) {
                    // In the model's terms the whole prefix is used; a block without its parent linked is walked to singly.
                    model.touch(chain[deepest]);
                }
                let chain = chain.into_iter().map(key).collect();
                let matched = walk.event(Event::Match { ticket: TICKET, chain, lease: None });
                let answer = Effect::Matched { ticket: TICKET, blocks: expected, lease: None };
                prop_assert_eq!(matched, [answer]);
            }
            for number in 1..40 {
                let is_held = walk.shard.forest.find(&key(number)).is_some();
                prop_assert_eq!(is_held, model.blocks.contains_key(&number), "block {}", number);
            }
        }
    }
}
