//! Replays one trace and traces made from seeds with every policy, and prints all figures as JSON, one table a line. What
//! they mean is judged by `tests/show/trace-table`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::fs::File;
use std::io::BufReader;

use ultrakv_cache::{PolicyKind, Setup};
use ultrakv_lab::cache::Cost;
use ultrakv_lab::generate::{Mix, generate};
use ultrakv_lab::replay::{Plan, replay};
use ultrakv_lab::trace::{Format, Trace, read};

const USAGE: &str = "trace_table MOONCAKE_TRACE|- blocks|flops REQUESTS SEED [SEED ..]";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, cost, requests, seeds @ ..] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let cost = match cost.as_str() {
        "blocks" => Cost::Blocks,
        "flops" => Cost::Flops,
        _ => return Err(USAGE.into()),
    };
    let requests: usize = requests.parse()?;
    let plan = Plan {
        kinds: PolicyKind::all().collect(),
        shares: vec![0.01, 0.025, 0.05, 0.1],
        cost,
        setup: Setup::default(),
    };
    let show = |trace: &Trace| -> Result<(), Box<dyn Error>> {
        println!(
            "{}",
            serde_json::to_string(&replay(trace, &plan, |_, _| {}))?
        );
        Ok(())
    };
    if path != "-" {
        show(&read(
            "conversation",
            Format::Mooncake,
            BufReader::new(File::open(path)?),
        )?)?;
    }
    for seed in seeds {
        let seed = seed.parse()?;
        for mix in Mix::ALL {
            show(&generate(mix, seed, requests))?;
        }
    }
    Ok(())
}
