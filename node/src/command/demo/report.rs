//! The demo's last words: one table for people, one object for machines.

use serde::Serialize;
use serde_json::Value;

use super::script::{Outcome, median_ms};
use crate::announce::Announcement;
use crate::exit::Failure;
use crate::{format, output};

/// Everything the demo found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Grows when a field changes its meaning.
    version: u32,
    /// Requests sent.
    requests: u64,
    /// Answered with a stored answer.
    response_hits: u64,
    /// Reused a prefix.
    prefix_hits: u64,
    /// Tokens that were not computed.
    tokens_reused: u64,
    /// Tokens that were, in the requests over the documented route.
    tokens_computed: u64,
    /// Warm answers that equalled the one computed with the cache off; a single difference fails the demo.
    answers_equal: u64,
    /// Median with the cache off, in milliseconds.
    time_to_first_token_cold_ms: f64,
    /// Median over a stored prefix, in milliseconds.
    time_to_first_token_warm_ms: f64,
    /// Median of stored answers, in milliseconds.
    time_to_first_token_stored_ms: f64,
    /// Cold over warm.
    time_to_first_token_ratio: f64,
    /// Memory of blocks and entries.
    memory_used_bytes: Option<u64>,
    /// The budget.
    memory_budget_bytes: Option<u64>,
    /// From the start of the node to the last answer.
    seconds: f64,
    /// The main HTTP door.
    http: String,
    /// The admin door.
    admin: String,
    /// The node's process.
    pid: u32,
}

impl Report {
    /// What was found, and what the node's own figures add.
    pub(super) fn new(
        outcome: &Outcome,
        stats: &Value,
        announced: &Announcement,
        seconds: f64,
    ) -> Self {
        let cold = median_ms(&outcome.cold);
        let warm = median_ms(&outcome.warm);
        let figure = |path: &str| stats.pointer(path).and_then(Value::as_u64);
        Self {
            version: 1,
            requests: outcome.requests,
            response_hits: outcome.response_hits,
            prefix_hits: outcome.prefix_hits,
            tokens_reused: outcome.tokens_reused,
            tokens_computed: outcome.tokens_computed,
            answers_equal: outcome.answers_equal,
            time_to_first_token_cold_ms: cold,
            time_to_first_token_warm_ms: warm,
            time_to_first_token_stored_ms: median_ms(&outcome.stored),
            time_to_first_token_ratio: if warm > 0.0 { cold / warm } else { 0.0 },
            memory_used_bytes: figure("/memory/used_bytes"),
            memory_budget_bytes: figure("/memory/limit_bytes"),
            seconds,
            http: format!("http://{}", announced.http),
            admin: format!("http://{}", announced.admin),
            pid: announced.pid,
        }
    }

    /// Prints the table.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let row = |label: &str, value: String| vec![label.to_owned(), value];
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), format::bytes);
        let rows = [
            row("requests", format::count(self.requests)),
            row("response hits", format::count(self.response_hits)),
            row("prefix hits", format::count(self.prefix_hits)),
            row("tokens reused", format::count(self.tokens_reused)),
            row(
                "answers equal with and without the cache",
                format::count(self.answers_equal),
            ),
            row(
                "time to first token, cold",
                format::milliseconds(self.time_to_first_token_cold_ms),
            ),
            row(
                "time to first token, prefix reused",
                format!(
                    "{} ({:.1}x faster)",
                    format::milliseconds(self.time_to_first_token_warm_ms),
                    self.time_to_first_token_ratio
                ),
            ),
            row(
                "time to first token, answer stored",
                format::milliseconds(self.time_to_first_token_stored_ms),
            ),
            row(
                "memory used of budget",
                format!(
                    "{} of {}",
                    bytes(self.memory_used_bytes),
                    bytes(self.memory_budget_bytes)
                ),
            ),
            row("seconds", format!("{:.1}", self.seconds)),
        ];
        output::print_figures(&["UltraKV demo", ""], &rows)
    }
}
