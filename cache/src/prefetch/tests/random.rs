//! Random worlds: whatever happens in whatever order, budgets hold, figures add up, and the same seed does the same.

use proptest::prelude::*;

use super::*;
use crate::prefetch::send::FETCH_BLOCKS_MAX;

/// One step of a world.
#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive {
        chain: u32,
        blocks: u32,
        named: bool,
    },
    Answer {
        kind: u32,
    },
    Land {
        kind: u32,
    },
    Demand {
        chain: u32,
        from: u32,
        blocks: u32,
        kind: u32,
        whole: bool,
    },
    Evict {
        chain: u32,
        place: u32,
    },
    Compute {
        us: u32,
    },
    Hint {
        session: u32,
        kind: u32,
    },
    Purge,
    Pass {
        ms: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let chain = 0_u32..12;
    prop_oneof![
        4 => (chain.clone(), 1_u32..40, any::<bool>())
            .prop_map(|(chain, blocks, named)| Step::Arrive { chain, blocks, named }),
        6 => (0_u32..4).prop_map(|kind| Step::Answer { kind }),
        6 => (0_u32..5).prop_map(|kind| Step::Land { kind }),
        4 => (chain.clone(), 0_u32..20, 1_u32..20, 0_u32..3, any::<bool>())
            .prop_map(|(chain, from, blocks, kind, whole)| Step::Demand { chain, from, blocks, kind, whole }),
        3 => (chain, 0_u32..40).prop_map(|(chain, place)| Step::Evict { chain, place }),
        1 => (1_u32..1_000_000).prop_map(|us| Step::Compute { us }),
        1 => (0_u32..12, 0_u32..3).prop_map(|(session, kind)| Step::Hint { session, kind }),
        1 => Just(Step::Purge),
        3 => (0_u32..40_000).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// A world around a prefetcher: what it asked for and has no answer yet.
struct World {
    rig: Rig,
    asked: VecDeque<(Ticket, usize)>,
    fetching: VecDeque<(Ticket, usize)>,
    all: Vec<PrefetchEffect>,
}

fn arrived(chain: u32, blocks: u32, named: bool) -> PrefetchEvent {
    PrefetchEvent::Arrived(Arrival {
        arena: ARENA,
        chain: addresses(chain, 0..blocks),
        block_tokens: 512 * (chain % 3),
        session: named.then_some(SessionName(u64::from(chain))),
    })
}

fn demanded(kind: u32, blocks: u32) -> Vec<Held> {
    let held = match kind {
        0 => Held::Here,
        1 => THERE,
        _ => Held::Nowhere,
    };
    (0..blocks).map(|_| held).collect()
}

fn hinted(session: u32, kind: u32) -> PrefetchEvent {
    PrefetchEvent::Hinted {
        arena: ARENA,
        session: SessionName(u64::from(session)),
        hint: match kind {
            0 => SessionHint::Over,
            _ => SessionHint::Due {
                ms: 5_000 * u64::from(kind),
            },
        },
    }
}

impl World {
    fn new(config: PrefetchConfig) -> Self {
        Self {
            rig: Rig::new(config),
            asked: VecDeque::new(),
            fetching: VecDeque::new(),
            all: Vec::new(),
        }
    }

    fn event(&mut self, step: Step) -> PrefetchEvent {
        match step {
            Step::Arrive {
                chain,
                blocks,
                named,
            } => arrived(chain, blocks, named),
            Step::Answer { kind } => {
                let (ticket, blocks) = self.asked.pop_front().unwrap_or((Ticket(0), 3));
                let held = |place: usize| match (kind, place % 5) {
                    (0, _) | (2, 3) => THERE,
                    (1, 0) | (3, 4) => Held::Nowhere,
                    (3, 1) => Held::There {
                        link: LinkId(2),
                        bytes: BLOCK_BYTES,
                    },
                    _ => Held::Here,
                };
                PrefetchEvent::Located {
                    ticket,
                    held: (0..blocks).map(held).collect(),
                }
            }
            Step::Land { kind } => {
                let (ticket, blocks) = self.fetching.pop_front().unwrap_or((Ticket(0), 3));
                let landing = |place: usize| match (kind, place % 3) {
                    (0 | 1, _) | (2, 0) => STORED,
                    (2, 1) => Landing::Known,
                    _ => Landing::Failed,
                };
                let told = if kind == 4 { blocks / 2 } else { blocks };
                let landings = (0..told).map(landing).collect();
                PrefetchEvent::Landed {
                    ticket,
                    landings,
                    elapsed_us: 777,
                }
            }
            Step::Demand {
                chain,
                from,
                blocks,
                kind,
                whole,
            } => PrefetchEvent::Demanded(Demand {
                arena: ARENA,
                blocks: addresses(chain, from..from + blocks),
                found: demanded(kind, blocks),
                is_whole: whole,
            }),
            Step::Evict { chain, place } => PrefetchEvent::Evicted {
                key: address(chain, place).key,
                bytes: BLOCK_BYTES,
            },
            Step::Compute { us } => PrefetchEvent::Computed {
                tokens: 512,
                before: 0,
                elapsed_us: u64::from(us),
            },
            Step::Hint { session, kind } => hinted(session, kind),
            Step::Purge => PrefetchEvent::Purged { arena: ARENA },
            Step::Pass { ms } => {
                self.rig.pass(u64::from(ms));
                PrefetchEvent::Tick
            }
        }
    }

    fn step(&mut self, step: Step) {
        let event = self.event(step);
        let effects = self.rig.tell(event).to_vec();
        for effect in &effects {
            match effect {
                PrefetchEffect::Locate { ticket, blocks, .. } => {
                    self.asked.push_back((*ticket, blocks.len()));
                }
                PrefetchEffect::Fetch { ticket, blocks, .. } => {
                    assert!(!blocks.is_empty() && blocks.len() <= FETCH_BLOCKS_MAX);
                    self.fetching.push_back((*ticket, blocks.len()));
                }
            }
        }
        self.all.extend(effects);
        let prefetcher = &self.rig.prefetcher;
        for source in Source::ALL {
            let at_risk = prefetcher.at_risk_bytes(source);
            assert!(at_risk <= prefetcher.config.at_risk_bytes_max, "{source:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn budgets_hold_and_figures_add_up_after_every_event(
        steps in prop::collection::vec(step(), 1..300),
        cache_blocks in 0_u64..600,
        seed in any::<u64>(),
    ) {
        let config = PrefetchConfig {
            hold_ms: 20_000,
            seed,
            ..PrefetchConfig::of_bytes(cache_blocks * BLOCK_BYTES)
        };
        // The rig checks the ledger, the sessions and the bytes on their way after every event.
        let (mut world, mut again) = (World::new(config), World::new(config));
        for step in &steps {
            world.step(*step);
            again.step(*step);
        }
        prop_assert_eq!(&world.all, &again.all);
        prop_assert_eq!(world.rig.prefetcher.figures(), again.rig.prefetcher.figures());
        // When everything has landed and its time is over, nothing is at risk any more.
        for _ in 0..40 {
            world.step(Step::Pass { ms: 40_000 });
        }
        for source in Source::ALL {
            prop_assert_eq!(world.rig.prefetcher.at_risk_bytes(source), 0);
        }
    }
}
