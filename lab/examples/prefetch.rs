//! Prints what prefetching is worth on generated traces: `cargo run --release -p ultrakv-lab --example prefetch [SEED [REQUESTS]]`.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use comfy_table::Table;
use ultrakv_lab::generate::{Mix, generate};
use ultrakv_lab::prefetch::{Place, Report, replay};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| {
        let argument = arguments.next();
        argument.map_or(default, |text| text.parse().unwrap_or(default))
    };
    let (seed, requests) = (number(1), number(10_000));
    let requests = usize::try_from(requests).unwrap_or(usize::MAX);
    let mut table = Table::new();
    table.set_header([
        "mix",
        "room",
        "queue",
        "prefetch",
        "here",
        "there",
        "wait mean",
        "median",
        "GB moved",
        "wasted",
        "arrival a/c/t",
        "session a/c/t",
        "polluted",
    ]);
    for mix in Mix::ALL {
        let trace = generate(mix, seed, requests);
        for share in [0.02, 0.05, 0.1] {
            for queue_ms in [50, 500] {
                let place = Place {
                    queue_ms,
                    ..Place::new(trace.capacity(share), trace.block_tokens)
                };
                for place in [place, place.with_prefetch()] {
                    let report = replay(&trace, &place);
                    table.add_row(row(mix, share, &place, &report));
                }
            }
        }
    }
    println!("{table}");
}

fn row(mix: Mix, share: f64, place: &Place, report: &Report) -> Vec<String> {
    let source = |source: &ultrakv_lab::prefetch::SourceReport| match source.asked_blocks {
        0 => "-".to_owned(),
        _ => format!(
            "{:.2}/{:.2}/{:.2}",
            source.accuracy, source.coverage, source.timeliness
        ),
    };
    let sources = &report.sources;
    vec![
        mix.to_string(),
        format!("{:.0} %", share * 100.0),
        format!("{} ms", place.queue_ms),
        if place.prefetch.is_some() {
            "on"
        } else {
            "off"
        }
        .to_owned(),
        format!("{:.3}", report.here_ratio()),
        format!("{}", report.there),
        format!("{:.0} ms", report.wait_ms_mean),
        format!("{:.0} ms", report.wait_ms_median),
        format!("{}", report.link_bytes >> 30),
        format!("{}", report.wasted_bytes >> 30),
        source(&sources.arrival),
        source(&sources.session),
        (sources.arrival.polluted_blocks + sources.session.polluted_blocks).to_string(),
    ]
}
