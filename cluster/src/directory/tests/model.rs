//! Random histories: the directory answers as a map of maps would, its replicas agree, and so does one made of a
//! snapshot.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NODES: u128 = 3;
const SHARDS: u16 = 2;

/// A tree of runs, so that prefixes share and runs have children: run 0, then 1 and 2 after it, 3 and 4 after 1.
fn chains() -> Vec<Vec<BlockAddress>> {
    let run = |number: u64| chain(number * 16, 16);
    [&[0, 1, 3][..], &[0, 1, 4], &[0, 2]]
        .iter()
        .map(|runs| runs.iter().flat_map(|number| run(*number)).collect())
        .collect()
}

/// Every block with the parent that it names.
fn blocks() -> Vec<(BlockAddress, Option<Place>)> {
    let mut blocks = BTreeMap::new();
    for chain in chains() {
        for (at, address) in chain.iter().enumerate() {
            let parent = (address.key == address.run && at > 0).then(|| Place::of(&chain[at - 1]));
            blocks.insert(*address, parent);
        }
    }
    blocks.into_iter().collect()
}

#[derive(Default)]
struct Shard {
    boot: u128,
    sequence: u64,
    held: BTreeMap<Place, Form>,
    /// What was listed before an inventory that runs.
    before: BTreeMap<Place, Form>,
}

/// What the directory should answer.
#[derive(Default)]
struct Model {
    shards: BTreeMap<(u128, u16), Shard>,
    boots: u128,
}

impl Model {
    fn holders(&self, place: Place) -> BTreeSet<BlockHolder> {
        let shards = self.shards.iter().filter_map(|((node, shard), of)| {
            let form = *of.held.get(&place).or_else(|| of.before.get(&place))?;
            Some(BlockHolder {
                life: life(*node, *shard, of.boot),
                form,
            })
        });
        shards.collect()
    }

    fn prefix(&self, chain: &[BlockAddress], accept: Accept) -> usize {
        let held = |address: &&BlockAddress| {
            self.holders(Place::of(address))
                .iter()
                .any(|holder| accept.takes(holder.form))
        };
        chain.iter().take_while(held).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Report {
        shard: (u128, u16),
        changes: Vec<(usize, Option<u8>)>,
    },
    Open {
        shard: (u128, u16),
    },
    Close {
        node: u128,
    },
    InventoryBegin {
        shard: (u128, u16),
        lost: u64,
    },
    InventoryEnd {
        shard: (u128, u16),
    },
    Twice {
        shard: (u128, u16),
    },
    Gap {
        shard: (u128, u16),
    },
    Correction {
        shard: (u128, u16),
        block: usize,
        late: bool,
    },
    Nothing,
}

fn step() -> impl Strategy<Value = Step> {
    let shard = || (0..NODES, 0..SHARDS);
    let changes = proptest::collection::vec(
        (0..80_usize, proptest::option::weighted(0.7, 0..64_u8)),
        1..40,
    );
    prop_oneof![
        10 => (shard(), changes).prop_map(|(shard, changes)| Step::Report { shard, changes }),
        3 => shard().prop_map(|shard| Step::Open { shard }),
        1 => (0..NODES).prop_map(|node| Step::Close { node }),
        1 => (shard(), 0..3_u64).prop_map(|(shard, lost)| Step::InventoryBegin { shard, lost }),
        1 => shard().prop_map(|shard| Step::InventoryEnd { shard }),
        1 => shard().prop_map(|shard| Step::Twice { shard }),
        1 => shard().prop_map(|shard| Step::Gap { shard }),
        2 => (shard(), 0..80_usize, any::<bool>()).prop_map(|(shard, block, late)| Step::Correction { shard, block, late }),
        1 => Just(Step::Nothing),
    ]
}

impl Shard {
    /// Does a step to the model of a shard and says what the directory is told of it.
    fn told(&mut self, blocks: &[(BlockAddress, Option<Place>)], step: Step) -> Option<Section> {
        let boot = BootId::from_u128(self.boot);
        match step {
            Step::Report { changes, .. } => {
                self.sequence += 1;
                let changes = changes
                    .into_iter()
                    .map(|(block, form)| self.change(blocks[block], form))
                    .collect();
                return Some(Section::Report {
                    boot,
                    sequence: self.sequence,
                    changes,
                });
            }
            Step::InventoryBegin { lost, .. } => {
                self.sequence += 1 + lost;
                self.before = std::mem::take(&mut self.held);
                return Some(Section::InventoryBegin {
                    boot,
                    sequence: self.sequence,
                });
            }
            Step::InventoryEnd { .. } => {
                self.sequence += 1;
                self.before.clear();
                return Some(Section::InventoryEnd {
                    boot,
                    sequence: self.sequence,
                });
            }
            Step::Correction { block, late, .. } => {
                let place = Place::of(&blocks[block].0);
                let sequence = self.sequence.checked_sub(u64::from(late))?;
                if !late {
                    self.held.remove(&place);
                    self.before.remove(&place);
                }
                return Some(Section::Correction {
                    boot,
                    sequence,
                    place,
                });
            }
            _ => {}
        }
        let changes = vec![Change::Remove {
            place: Place::of(&blocks[0].0),
        }];
        let sequence = if matches!(step, Step::Twice { .. }) {
            self.sequence
        } else {
            self.sequence + 2
        };
        Some(Section::Report {
            boot,
            sequence,
            changes,
        })
    }

    fn change(
        &mut self,
        (address, parent): (BlockAddress, Option<Place>),
        form: Option<u8>,
    ) -> Change {
        let place = Place::of(&address);
        self.before.remove(&place);
        if let Some(form) = form.and_then(Form::from_byte) {
            self.held.insert(place, form);
            Change::Add {
                place,
                form,
                parent,
            }
        } else {
            self.held.remove(&place);
            Change::Remove { place }
        }
    }
}

/// Does a step to the model and says what the directory is told.
fn told(
    model: &mut Model,
    blocks: &[(BlockAddress, Option<Place>)],
    step: Step,
) -> Option<Section> {
    let shard = match step {
        Step::Open {
            shard: (node, number),
        } => {
            model.boots += 1;
            let boot = model.boots;
            model.shards.insert(
                (node, number),
                Shard {
                    boot,
                    ..Shard::default()
                },
            );
            return Some(Section::Open(life(node, number, boot)));
        }
        Step::Close { node } => {
            model.shards.retain(|(of, _), _| *of != node);
            return Some(Section::Close(NodeId::from_u128(node)));
        }
        Step::Nothing => return None,
        Step::Report { shard, .. }
        | Step::InventoryBegin { shard, .. }
        | Step::InventoryEnd { shard }
        | Step::Twice { shard }
        | Step::Gap { shard }
        | Step::Correction { shard, .. } => shard,
    };
    match model.shards.get_mut(&shard) {
        Some(of) => of.told(blocks, step),
        // A life that nobody opened.
        None => Shard {
            boot: 999,
            ..Shard::default()
        }
        .told(blocks, step),
    }
}

fn agrees(
    directory: &Directory,
    model: &Model,
    blocks: &[(BlockAddress, Option<Place>)],
) -> Result<(), TestCaseError> {
    for (address, _) in blocks {
        let place = Place::of(address);
        let holders: BTreeSet<BlockHolder> = directory.holders(place).into_iter().collect();
        prop_assert_eq!(holders, model.holders(place));
    }
    let mut found = Prefix::default();
    for chain in chains() {
        for accept in [Accept::ALL, Accept::codecs(&[0, 1, 2, 3, 4, 5, 6, 7])] {
            directory.longest_prefix(&chain, accept, &mut found);
            prop_assert_eq!(found.blocks(), model.prefix(&chain, accept));
            prop_assert_eq!(
                found.runs().iter().map(|run| run.blocks).sum::<usize>(),
                found.blocks()
            );
            for run in found.runs() {
                for (bit, address) in chain[run.first..run.first + run.blocks].iter().enumerate() {
                    let named: BTreeSet<Life> = found
                        .holders(run)
                        .iter()
                        .filter(|holder| holder.held >> bit & 1 == 1)
                        .map(|holder| found.lives()[holder.life])
                        .collect();
                    let of_model = model.holders(Place::of(address));
                    let taken: BTreeSet<Life> = of_model
                        .iter()
                        .filter(|holder| accept.takes(holder.form))
                        .map(|holder| holder.life)
                        .collect();
                    prop_assert_eq!(named, taken);
                }
            }
        }
    }
    Ok(())
}

/// With nothing void left, every count is that of the model.
fn counts_agree(
    directory: &Directory,
    model: &Model,
    blocks: &[(BlockAddress, Option<Place>)],
) -> Result<(), TestCaseError> {
    let listed = |place: Place| !model.holders(place).is_empty();
    let heads = blocks
        .iter()
        .filter(|(address, parent)| parent.is_some() && listed(Place::of(address)));
    let parents: Vec<Place> = heads.filter_map(|(_, parent)| *parent).collect();
    let stats = directory.stats();
    let records = blocks
        .iter()
        .filter(|(address, _)| listed(Place::of(address)))
        .count();
    let holders: usize = blocks
        .iter()
        .map(|(address, _)| model.holders(Place::of(address)).len())
        .sum();
    prop_assert_eq!(stats.records, u64::try_from(records).unwrap());
    prop_assert_eq!(stats.holders, u64::try_from(holders).unwrap());
    prop_assert_eq!(stats.edges, u64::try_from(parents.len()).unwrap());
    prop_assert_eq!(stats.void_holders, 0);
    for (address, _) in blocks {
        let place = Place::of(address);
        prop_assert_eq!(directory.has_child_run(place), parents.contains(&place));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn answers_as_a_map_would_and_replicas_agree(
        steps in proptest::collection::vec(step(), 1..60),
        frozen_at in any::<prop::sample::Index>(),
        chunks_a_step in 0..3_usize,
    ) {
        let blocks = blocks();
        let mut model = Model::default();
        let [left, right] = [(); 2].map(|()| Directory::new(PLENTY_BYTES));
        let frozen_at = frozen_at.index(steps.len());
        let (mut freeze, mut rebuild) = (None, Rebuild::new(PLENTY_BYTES));
        let mut since = Vec::new();
        for (at, step) in steps.into_iter().enumerate() {
            let sections: Vec<Section> = told(&mut model, &blocks, step).into_iter().collect();
            prop_assert_eq!(left.apply(&sections), right.apply(&sections));
            agrees(&left, &model, &blocks)?;
            if let Some(freeze) = &mut freeze {
                since.push(sections);
                for _ in 0..chunks_a_step {
                    if let Some(chunk) = Freeze::next_chunk(freeze) {
                        rebuild.push(&chunk).unwrap();
                    }
                }
            } else if at == frozen_at {
                freeze = Some(left.freeze().unwrap());
            }
        }
        prop_assert_eq!(left.digest(), right.digest());
        let mut freeze = freeze.unwrap();
        while let Some(chunk) = freeze.next_chunk() {
            rebuild.push(&chunk).unwrap();
        }
        let third = rebuild.finish().unwrap();
        since.iter().for_each(|sections| { third.apply(sections); });
        prop_assert_eq!(left.digest(), third.digest());
        agrees(&third, &model, &blocks)?;
        for directory in [&left, &third] {
            settle(directory);
            agrees(directory, &model, &blocks)?;
            counts_agree(directory, &model, &blocks)?;
        }
    }
}
