//! `ultrakv stats`: the documented figures of a running node.

use serde_json::Value;

use crate::args::ClientArguments;
use crate::client::{NodeClient, read_token};
use crate::exit::{Failure, Status};
use crate::{format, output};

/// How a figure is shown.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    Share,
    Milliseconds,
    PerSecond,
    Bytes,
}

/// The documented figures, in the order the documentation gives them, then ours; and where each is in the answer.
const FIGURES: &[(&str, &str, Unit)] = &[
    ("total requests", "/total_requests", Unit::Count),
    ("cached requests", "/cached_requests", Unit::Count),
    ("hit rate", "/hit_rate", Unit::Share),
    ("miss rate", "/miss_rate", Unit::Share),
    ("average latency", "/average_latency_ms", Unit::Milliseconds),
    ("P50 latency", "/p50_latency_ms", Unit::Milliseconds),
    ("P95 latency", "/p95_latency_ms", Unit::Milliseconds),
    ("P99 latency", "/p99_latency_ms", Unit::Milliseconds),
    ("throughput", "/throughput_rps", Unit::PerSecond),
    ("errors", "/process/errors", Unit::Count),
    ("prefix hits", "/process/prefix_hits", Unit::Count),
    ("tokens reused", "/process/tokens_reused", Unit::Count),
    ("tokens computed", "/process/tokens_computed", Unit::Count),
    ("tokens generated", "/process/tokens_generated", Unit::Count),
    (
        "first token, prefix reused, P50",
        "/process/first_token_warm/p50_ms",
        Unit::Milliseconds,
    ),
    (
        "first token, all computed, P50",
        "/process/first_token_cold/p50_ms",
        Unit::Milliseconds,
    ),
    (
        "active generations",
        "/process/generations_active",
        Unit::Count,
    ),
    (
        "queued generations",
        "/process/generations_queued",
        Unit::Count,
    ),
    ("blocks", "/cache/blocks", Unit::Count),
    ("tokens cached", "/cache/tokens", Unit::Count),
    ("entries", "/cache/entries", Unit::Count),
    ("blocks evicted", "/cache/blocks_evicted", Unit::Count),
    ("memory usage", "/memory_usage", Unit::Share),
    ("memory used", "/memory/used_bytes", Unit::Bytes),
    ("memory budget", "/memory/limit_bytes", Unit::Bytes),
    ("memory resident", "/memory/resident_bytes", Unit::Bytes),
];

/// Asks and prints.
pub(super) async fn run(arguments: &ClientArguments) -> Result<(), Failure> {
    let token_file = arguments.token_file.as_deref();
    let token = token_file.map(|path| read_token(path, None)).transpose()?;
    let client = NodeClient::new(&arguments.url, "--url", token, arguments.timeout)?;
    let answer = client.get("/api/v1/kv-cache/stats").await?;
    if !answer.status.is_success() {
        let message = format!("{}: answered {}", arguments.url, answer.status);
        return Err(Failure::new(Status::Failed, message));
    }
    output::result(arguments.output, &answer.body, || {
        output::print_figures(&[], &rows(&answer.body))
    })
}

fn rows(body: &Value) -> Vec<Vec<String>> {
    FIGURES
        .iter()
        .filter_map(|(label, key, unit)| {
            body.pointer(key)
                .map(|value| vec![(*label).to_owned(), figure(value, *unit)])
        })
        .collect()
}

fn figure(value: &Value, unit: Unit) -> String {
    let whole = value.as_u64();
    let real = value.as_f64();
    match (unit, whole, real) {
        (Unit::Count, Some(count), _) => format::count(count),
        (Unit::Bytes, Some(bytes), _) => format::bytes(bytes),
        (Unit::Share, _, Some(ratio)) => format::share(ratio),
        (Unit::Milliseconds, _, Some(ms)) => format::milliseconds(ms),
        (Unit::PerSecond, _, Some(rate)) => format!("{rate:.1} /s"),
        // A figure that does not exist yet, such as a percentile before the first request.
        _ if value.is_null() => "-".to_owned(),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documented_figures_are_shown_in_order_and_absent_ones_left_out() {
        let body = json!({"p50_latency_ms": 3.25, "hit_rate": 0.5, "total_requests": 1200, "other": 1, "p99_latency_ms": null, "memory": {"used_bytes": 1024}});
        let rows = rows(&body);
        assert_eq!(
            rows,
            [
                ["total requests", "1 200"],
                ["hit rate", "50.0 %"],
                ["P50 latency", "3.2 ms"],
                ["P99 latency", "-"],
                ["memory used", "1.0 KiB"]
            ]
        );
    }
}
