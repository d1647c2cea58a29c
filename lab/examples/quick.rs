//! Replays traces with every policy and prints hit ratios: a tool for whoever works on policies.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a developer's tool"
)]

use ultrakv_cache::{PolicyKind, Setup};
use ultrakv_lab::cache::Cost;
use ultrakv_lab::generate::{Mix, generate};
use ultrakv_lab::replay::{Plan, replay};
use ultrakv_lab::trace::{Format, read};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only: Vec<&str> = arguments[0].split(',').collect();
    let kinds: Vec<PolicyKind> = PolicyKind::all()
        .filter(|kind| only.contains(&"all") || only.contains(&kind.recipe().name))
        .collect();
    let shares = vec![0.01, 0.025, 0.05, 0.1];
    for name in &arguments[1..] {
        let trace = if let Some((mix, seed)) = name.split_once(':') {
            generate(Mix::named(mix).unwrap(), seed.parse().unwrap(), 10_000)
        } else {
            read(
                "file",
                if name.ends_with("csv") {
                    Format::CacheSimCsv
                } else {
                    Format::Mooncake
                },
                std::io::BufReader::new(std::fs::File::open(name).unwrap()),
            )
            .unwrap()
        };
        let plan = Plan {
            kinds: kinds.clone(),
            shares: shares.clone(),
            cost: Cost::Blocks,
            setup: Setup {
                seed: std::env::var("SEED").map_or(0, |text| text.parse().unwrap()),
            },
        };
        let capacities: Vec<usize> = shares.iter().map(|share| trace.capacity(*share)).collect();
        println!(
            "{}: {} requests, {} touches, {} unique, capacities {capacities:?}",
            trace.name,
            trace.requests.len(),
            trace.touches(),
            trace.unique_blocks()
        );
        for kind in &kinds {
            let start = std::time::Instant::now();
            let plan = Plan {
                kinds: vec![*kind],
                ..plan.clone()
            };
            let table = replay(&trace, &plan, |_, _| {});
            let own: Vec<String> = table
                .cells
                .iter()
                .filter(|cell| cell.policy != "opt")
                .map(|cell| format!("{:.5}", cell.hit_ratio))
                .collect();
            let speed =
                trace.touches() as f64 * shares.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
            println!(
                "  {:<10} {} ({speed:.2} M touches/s with opt)",
                kind.to_string(),
                own.join(" ")
            );
            if kind == kinds.last().unwrap() {
                let opt: Vec<String> = table
                    .cells
                    .iter()
                    .filter(|cell| cell.policy == "opt")
                    .map(|cell| format!("{:.5}", cell.hit_ratio))
                    .collect();
                println!("  {:<10} {}", "opt", opt.join(" "));
            }
        }
    }
}
