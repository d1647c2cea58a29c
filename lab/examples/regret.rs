//! Compares one policy with the best of all others, trace by trace: a tool for whoever works on policies.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a developer's tool"
)]

use std::collections::BTreeMap;

use ultrakv_cache::{PolicyKind, Setup};
use ultrakv_lab::cache::Cost;
use ultrakv_lab::generate::{Mix, generate};
use ultrakv_lab::replay::{Plan, replay};
use ultrakv_lab::trace::{Format, read};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let shares = vec![0.01, 0.025, 0.05, 0.1];
    let cache = std::env::var("REGRET_CACHE").ok();
    let requests = std::env::var("REQUESTS")
        .ok()
        .map_or(10_000, |text| text.parse().unwrap());
    let mut totals: BTreeMap<String, (f64, u32)> = BTreeMap::new();
    let (mut worst_mean, mut worst_cell, mut missed) = (f64::INFINITY, f64::INFINITY, 0.0);
    for name in &arguments {
        let trace = if let Some((mix, seed)) = name.split_once(':') {
            generate(Mix::named(mix).unwrap(), seed.parse().unwrap(), requests)
        } else {
            read(
                "conversation",
                Format::Mooncake,
                std::io::BufReader::new(std::fs::File::open(name).unwrap()),
            )
            .unwrap()
        };
        let a_request = trace.touches() as f64 / trace.requests.len() as f64;
        let mut rows: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let path = cache
            .as_ref()
            .map(|folder| format!("{folder}/{}-{requests}.json", trace.name));
        if let Some(known) = path
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok())
        {
            rows = serde_json::from_str(&known).unwrap();
        }
        let kinds = PolicyKind::all()
            .filter(|kind| {
                kind.recipe().name == "adaptive" || !rows.contains_key(kind.recipe().name)
            })
            .collect();
        let plan = Plan {
            kinds,
            shares: shares.clone(),
            cost: Cost::Blocks,
            setup: Setup::default(),
        };
        let table = replay(&trace, &plan, |_, _| {});
        for kind in plan.kinds {
            let name = kind.recipe().name;
            rows.insert(
                name.to_owned(),
                shares
                    .iter()
                    .map(|share| table.hit_ratio(name, *share).unwrap())
                    .collect(),
            );
        }
        if let Some(path) = path {
            let fixed: BTreeMap<_, _> = rows
                .iter()
                .filter(|(name, _)| *name != "adaptive")
                .collect();
            std::fs::write(path, serde_json::to_string(&fixed).unwrap()).unwrap();
        }
        let mean = |row: &Vec<f64>| row.iter().sum::<f64>() / row.len() as f64;
        let own = rows["adaptive"].clone();
        let (best, best_row) = rows
            .iter()
            .filter(|(name, _)| *name != "adaptive")
            .max_by(|a, b| mean(a.1).total_cmp(&mean(b.1)))
            .unwrap();
        let by_mean = (mean(&own) - mean(best_row)) * 100.0;
        let mut cells = String::new();
        for (at, share) in shares.iter().enumerate() {
            let (name, most) = rows
                .iter()
                .filter(|(name, _)| *name != "adaptive")
                .map(|(name, row)| (name, row[at]))
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap();
            let behind = (own[at] - most) * 100.0;
            let room = trace.capacity(*share) as f64 / a_request;
            if room >= 100.0 {
                worst_cell = worst_cell.min(behind);
            }
            cells += &format!(" {:.4} {behind:+.2} ({name}, {room:.0})", own[at]);
        }
        println!(
            "{:<14} mean {:.4} {by_mean:+.2} ({best}):{cells}",
            trace.name,
            mean(&own)
        );
        worst_mean = worst_mean.min(by_mean);
        missed += by_mean;
        for (name, row) in &rows {
            let total = totals.entry(name.clone()).or_default();
            *total = (total.0 + mean(row), total.1 + 1);
        }
    }
    println!(
        "worst mean {worst_mean:+.2}, worst cell {worst_cell:+.2}, mean lead {:+.3}",
        missed / arguments.len() as f64
    );
    let mut order: Vec<_> = totals
        .iter()
        .map(|(name, (sum, count))| (sum / f64::from(*count), name))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("{order:.4?}");
}
