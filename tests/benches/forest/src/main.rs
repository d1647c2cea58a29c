//! Prefix forest beside dynamo-kv-router's `RadixTree`: one thread, the same seeded requests, keys already
//! computed for both, rounds in turn, medians. For every request: query the whole chain, then store what
//! was missing. Exits non-zero when ours is slower at anything that it measures, or when answers differ.

mod workload;

use std::time::Instant;

use dynamo_kv_router::RadixTree;
use dynamo_kv_router::protocols::{
    ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheStoreData,
    KvCacheStoredBlockData, LocalBlockHash, RouterEvent,
};
use ultrakv_cache::Forest;
use workload::{Request, generate};

const SEED: u64 = 0x5eed_0000_0000_0001;
const REQUESTS: usize = 12_000;
const ROUNDS: usize = 5;

/// What one pass over the workload measured.
struct Pass {
    query_ns: Vec<u64>,
    store_ns: u64,
    stored_blocks: u64,
    matched: Vec<usize>,
}

impl Pass {
    fn queries_per_second(&self) -> f64 {
        self.query_ns.len() as f64 / (self.query_ns.iter().sum::<u64>() as f64 / 1e9)
    }

    fn stores_per_second(&self) -> f64 {
        self.stored_blocks as f64 / (self.store_ns as f64 / 1e9)
    }

    fn query_us(&self, quantile: f64) -> f64 {
        let mut sorted = self.query_ns.clone();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * quantile) as usize] as f64 / 1e3
    }
}

fn ours(requests: &[Request]) -> Pass {
    let mut forest = Forest::new();
    let mut pass = Pass { query_ns: Vec::new(), store_ns: 0, stored_blocks: 0, matched: Vec::new() };
    for request in requests {
        // Copied before the clock starts, as the other's argument is: keys that were just computed are in the cache.
        let keys = request.keys.clone();
        let began = Instant::now();
        let matched = forest.match_prefix(&keys);
        let queried = Instant::now();
        forest.insert_chain(&keys, matched);
        let stored = Instant::now();
        pass.query_ns.push((queried - began).as_nanos() as u64);
        pass.store_ns += (stored - queried).as_nanos() as u64;
        pass.stored_blocks += (request.keys.len() - matched) as u64;
        pass.matched.push(matched);
    }
    pass
}

fn theirs(requests: &[Request]) -> Pass {
    const WORKER: u64 = 0;
    let mut tree = RadixTree::new();
    let mut pass = Pass { query_ns: Vec::new(), store_ns: 0, stored_blocks: 0, matched: Vec::new() };
    for (number, request) in requests.iter().enumerate() {
        // Its argument is taken by value, so it is made before the clock starts.
        let sequence: Vec<LocalBlockHash> =
            request.local.iter().map(|hash| LocalBlockHash(*hash)).collect();
        let began = Instant::now();
        let scores = tree.find_matches(sequence, false);
        let queried = Instant::now();
        let matched = scores.scores.values().copied().max().unwrap_or(0) as usize;
        let blocks: Vec<KvCacheStoredBlockData> = (matched..request.local.len())
            .map(|at| KvCacheStoredBlockData {
                block_hash: ExternalSequenceBlockHash(request.chained[at]),
                tokens_hash: LocalBlockHash(request.local[at]),
                mm_extra_info: None,
            })
            .collect();
        let stored_blocks = blocks.len() as u64;
        let event = RouterEvent::new(
            WORKER,
            KvCacheEvent {
                event_id: number as u64,
                data: KvCacheEventData::Stored(KvCacheStoreData {
                    parent_hash: (matched > 0)
                        .then(|| ExternalSequenceBlockHash(request.chained[matched - 1])),
                    start_position: None,
                    blocks,
                }),
                dp_rank: 0,
            },
        );
        let ready = Instant::now();
        if stored_blocks > 0 {
            tree.apply_event(event).expect("the peer stores what follows a stored parent");
        }
        let stored = Instant::now();
        pass.query_ns.push((queried - began).as_nanos() as u64);
        pass.store_ns += (stored - ready).as_nanos() as u64;
        pass.stored_blocks += stored_blocks;
        pass.matched.push(matched);
    }
    pass
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let requests = generate(SEED, REQUESTS);
    let blocks: usize = requests.iter().map(|request| request.keys.len()).sum();
    let mut passes: Vec<(Pass, Pass)> = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        let pair = if round % 2 == 0 {
            let first = ours(&requests);
            (first, theirs(&requests))
        } else {
            let second = theirs(&requests);
            (ours(&requests), second)
        };
        assert_eq!(pair.0.matched, pair.1.matched, "both find the same prefixes");
        passes.push(pair);
    }
    let hit: usize = passes[0].0.matched.iter().sum();
    println!(
        "{REQUESTS} requests, {blocks} blocks of 16 tokens, {:.1} % of them found; {ROUNDS} rounds, medians",
        100.0 * hit as f64 / blocks as f64
    );
    let row = |of: &dyn Fn(&Pass) -> f64| {
        (
            median(passes.iter().map(|pair| of(&pair.0)).collect()),
            median(passes.iter().map(|pair| of(&pair.1)).collect()),
        )
    };
    let queries = row(&Pass::queries_per_second);
    let stores = row(&Pass::stores_per_second);
    let p50 = row(&|pass| pass.query_us(0.50));
    let p99 = row(&|pass| pass.query_us(0.99));
    println!("{:28}{:>14}{:>14}{:>9}", "", "ultrakv", "RadixTree", "ratio");
    println!("{:28}{:>14.0}{:>14.0}{:>9.2}", "queries/s", queries.0, queries.1, queries.0 / queries.1);
    println!("{:28}{:>14.0}{:>14.0}{:>9.2}", "blocks stored/s", stores.0, stores.1, stores.0 / stores.1);
    println!("{:28}{:>14.2}{:>14.2}{:>9.2}", "query p50 (us)", p50.0, p50.1, p50.0 / p50.1);
    println!("{:28}{:>14.2}{:>14.2}{:>9.2}", "query p99 (us)", p99.0, p99.1, p99.0 / p99.1);
    let holds = queries.0 > queries.1 && stores.0 > stores.1 && p50.0 <= p50.1 && p99.0 <= p99.1;
    println!(
        "prefix-forest: {:.2}x queries/s, {:.2}x stores/s, p50 {:.2}x, p99 {:.2}x of RadixTree (target above RadixTree on all)",
        queries.0 / queries.1,
        stores.0 / stores.1,
        p50.0 / p50.1,
        p99.0 / p99.1
    );
    std::process::exit(i32::from(!holds));
}
