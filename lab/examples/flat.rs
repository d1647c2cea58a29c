//! Replays a libCacheSim CSV through every policy at given capacities and prints hit ratios as JSON: one side of
//! `tests/show/policies-against-libcachesim`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;

use ultrakv_cache::{PolicyKind, Setup};
use ultrakv_lab::cache::{Cache, Cost};
use ultrakv_lab::trace::{Format, read};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, capacities @ ..] = arguments.as_slice() else {
        return Err("flat TRACE.csv CAPACITY [CAPACITY ..]".into());
    };
    let trace = read(
        "flat",
        Format::CacheSimCsv,
        BufReader::new(File::open(path)?),
    )?;
    let mut ratios: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for kind in PolicyKind::all() {
        for capacity in capacities {
            let mut cache = Cache::new(kind, &Setup::default(), capacity.parse()?, Cost::Blocks);
            trace
                .requests
                .iter()
                .for_each(|request| cache.serve(&trace, request));
            ratios
                .entry(kind.recipe().name)
                .or_default()
                .push(cache.saved().hit_ratio());
        }
    }
    println!("{}", serde_json::to_string(&ratios)?);
    Ok(())
}
