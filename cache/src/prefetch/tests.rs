//! What the tests of the prefetcher share: a machine, what it was told, what it asked for. It must never decide what happens next.

use std::collections::VecDeque;

use super::*;

mod random;
mod sources;

/// The domain of most tests.
const ARENA: ArenaId = ArenaId(1);

/// The link of most tests.
const LINK: LinkId = LinkId(9);

/// Bytes of every block in tests.
const BLOCK_BYTES: u64 = 1 << 20;

/// Block `place` of chain `chain`.
fn address(chain: u32, place: u32) -> BlockAddress {
    let key = |place: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&chain.to_le_bytes());
        bytes[4..8].copy_from_slice(&place.to_le_bytes());
        BlockKey::from_bytes(bytes)
    };
    BlockAddress {
        key: key(place),
        run: key(place / 16 * 16),
    }
}

fn addresses(chain: u32, places: std::ops::Range<u32>) -> Vec<BlockAddress> {
    places.map(|place| address(chain, place)).collect()
}

/// A prefetcher and what it last asked for.
struct Rig {
    prefetcher: Prefetcher,
    now: Now,
    effects: Vec<PrefetchEffect>,
}

/// A cache of 512 blocks: 64 at risk for each source, of which 16 at first; 8 on their way.
fn config() -> PrefetchConfig {
    PrefetchConfig::of_bytes(512 * BLOCK_BYTES)
}

impl Rig {
    fn new(config: PrefetchConfig) -> Self {
        Self {
            prefetcher: Prefetcher::new(config),
            now: Now(1_000),
            effects: Vec::new(),
        }
    }

    fn tell(&mut self, event: PrefetchEvent) -> &[PrefetchEffect] {
        self.effects.clear();
        self.prefetcher.handle(event, self.now, &mut self.effects);
        self.prefetcher.ledger.check();
        self.prefetcher.sessions.check();
        assert!(self.prefetcher.in_flight_bytes() <= self.prefetcher.config.in_flight_bytes_max);
        &self.effects
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.add_ms(ms);
    }

    fn arrive(&mut self, chain: Vec<BlockAddress>, session: Option<u64>) {
        let arrival = Arrival {
            arena: ARENA,
            chain,
            block_tokens: 512,
            session: session.map(SessionName),
        };
        self.tell(PrefetchEvent::Arrived(arrival));
    }

    /// The question that is open, and its blocks.
    fn question(&self) -> Option<(Ticket, Vec<BlockAddress>)> {
        self.effects.iter().find_map(|effect| match effect {
            PrefetchEffect::Locate { ticket, blocks, .. } => Some((*ticket, blocks.clone())),
            PrefetchEffect::Fetch { .. } => None,
        })
    }

    /// Answers the question of the last event.
    fn locate(&mut self, held: impl Fn(&BlockAddress) -> Held) -> &[PrefetchEffect] {
        let (ticket, blocks) = self.question().expect("a question was asked");
        let held = blocks.iter().map(held).collect();
        self.tell(PrefetchEvent::Located { ticket, held })
    }

    /// The blocks that the last event has fetched, with their tickets.
    fn fetched(&self) -> Vec<(Ticket, Vec<Wanted>)> {
        let fetch = |effect: &PrefetchEffect| match effect {
            PrefetchEffect::Fetch { ticket, blocks, .. } => Some((*ticket, blocks.clone())),
            PrefetchEffect::Locate { .. } => None,
        };
        self.effects.iter().filter_map(fetch).collect()
    }

    /// Lands what the last event has fetched, and what is fetched because of that, all of it alike; gives all of it.
    fn land(&mut self, landing: Landing) -> Vec<BlockAddress> {
        let mut fetched: VecDeque<_> = self.fetched().into();
        let mut landed = Vec::new();
        while let Some((ticket, blocks)) = fetched.pop_front() {
            let landings = vec![landing; blocks.len()];
            landed.extend(blocks.iter().map(|wanted| wanted.address));
            self.tell(PrefetchEvent::Landed {
                ticket,
                landings,
                elapsed_us: 1_000,
            });
            fetched.extend(self.fetched());
        }
        landed
    }

    fn demand(&mut self, blocks: Vec<BlockAddress>, found: Held, is_whole: bool) {
        let found = vec![found; blocks.len()];
        self.tell(PrefetchEvent::Demanded(Demand {
            arena: ARENA,
            blocks,
            found,
            is_whole,
        }));
    }

    fn tally(&self, source: Source) -> Tally {
        *self.prefetcher.figures().by_source.of(source)
    }
}

const THERE: Held = Held::There {
    link: LINK,
    bytes: BLOCK_BYTES,
};

const STORED: Landing = Landing::Stored { bytes: BLOCK_BYTES };
