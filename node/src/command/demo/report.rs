//! The demo's last words: tables for people, one object for machines, and what was amiss.

use serde::Serialize;
use serde_json::Value;

use super::cluster::DemoCluster;
use super::outcome::{DoorTally, Kill, Outcome, Window, median_ms};
use super::script::{Layouts, owned};
use crate::exit::{Failure, Status};
use crate::{format, output};

/// Everything the demo found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Grows when a field changes its meaning.
    version: u32,
    /// Whether everything was as it must be.
    right: bool,
    /// What was not.
    complaints: Vec<String>,
    /// The nodes, in the order of their start.
    nodes: Vec<NodeLine>,
    /// Prompts sent.
    requests: u64,
    /// Answered with a stored answer.
    response_hits: u64,
    /// Reused a prefix.
    prefix_hits: u64,
    /// Tokens that were not computed.
    tokens_reused: u64,
    /// Tokens that were, in the requests over the documented route.
    tokens_computed: u64,
    /// Answers that equalled the one computed with the cache off; a single difference fails the demo.
    answers_equal: u64,
    /// Entries that were found as they were written, at whichever node; a single other one fails the demo.
    entries_right: u64,
    /// Answers and entries that were not right.
    wrong: u64,
    /// Requests that a running node did not answer, or refused.
    failed: u64,
    /// How it went on while a node was killed.
    kill: Kill,
    /// Median with the cache off, in milliseconds.
    time_to_first_token_cold_ms: f64,
    /// Median over a prefix that another node computed, in milliseconds.
    time_to_first_token_warm_ms: f64,
    /// Median of stored answers, in milliseconds.
    time_to_first_token_stored_ms: f64,
    /// Cold over warm.
    time_to_first_token_ratio: f64,
    /// From the first process to the last answer.
    seconds: f64,
}

/// One node.
#[derive(Debug, Serialize)]
struct NodeLine {
    name: String,
    node_id: Option<String>,
    /// `up`, or `killed`.
    state: &'static str,
    /// Slots that it owned with three nodes.
    slots_before: u32,
    /// Slots that it owns at the end.
    slots: u32,
    /// Memory of blocks and entries.
    memory_used_bytes: Option<u64>,
    #[serde(flatten)]
    door: DoorTally,
    /// The main HTTP door.
    http: String,
    /// The admin door.
    admin: String,
    pid: u32,
}

impl Report {
    /// What was found, and what the nodes' own figures add.
    pub(super) async fn new(
        outcome: Outcome,
        layouts: &Layouts,
        cluster: &DemoCluster,
        seconds: f64,
    ) -> Result<Self, Failure> {
        let cold = median_ms(&outcome.cold);
        let warm = median_ms(&outcome.warm);
        let complaints = outcome.complaints();
        Ok(Self {
            version: 2,
            right: complaints.is_empty(),
            complaints,
            nodes: lines(&outcome, layouts, cluster).await?,
            requests: outcome.requests,
            response_hits: outcome.response_hits,
            prefix_hits: outcome.prefix_hits,
            tokens_reused: outcome.tokens_reused,
            tokens_computed: outcome.tokens_computed,
            answers_equal: outcome.answers_equal,
            entries_right: outcome.entries_right,
            wrong: outcome.wrong.count,
            failed: outcome.failed.count,
            kill: outcome.kill,
            time_to_first_token_cold_ms: cold,
            time_to_first_token_warm_ms: warm,
            time_to_first_token_stored_ms: median_ms(&outcome.stored),
            time_to_first_token_ratio: if warm > 0.0 { cold / warm } else { 0.0 },
            seconds,
        })
    }

    /// Prints the tables.
    pub(super) fn print(&self) -> Result<(), Failure> {
        const NODES: [&str; 7] = [
            "UltraKV demo",
            "state",
            "slots of 3",
            "slots",
            "asked",
            "hits",
            "memory",
        ];
        let nodes: Vec<_> = self.nodes.iter().map(NodeLine::row).collect();
        output::print_records(&NODES, &nodes, 2)?;
        output::data("")?;
        output::print_figures(&[], &self.figures())?;
        output::data("")?;
        output::data(&self.kill_line())?;
        output::data(if self.right {
            "every answer was right, nothing was lost, and what one node computed was reused by all"
        } else {
            "NOT as it must be; see below"
        })
    }

    /// Whether everything was as it must be.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.right {
            return Ok(());
        }
        let (wrong, failed) = (self.wrong, self.failed);
        let told = self.complaints.join("\n  ");
        let message = format!("{wrong} answers were wrong and {failed} requests failed:\n  {told}");
        Err(Failure::new(Status::Failed, message))
    }

    fn figures(&self) -> Vec<Vec<String>> {
        let row = |label: &str, value: String| vec![label.to_owned(), value];
        vec![
            row("prompts", format::count(self.requests)),
            row("answered from store", format::count(self.response_hits)),
            row("prefix reused", format::count(self.prefix_hits)),
            row("tokens reused", format::count(self.tokens_reused)),
            row(
                "answers equal with and without the cache",
                format::count(self.answers_equal),
            ),
            row(
                "entries as they were written",
                format::count(self.entries_right),
            ),
            row("wrong, or lost", format::count(self.wrong)),
            row("failed requests", format::count(self.failed)),
            row(
                "time to first token, cold",
                format::milliseconds(self.time_to_first_token_cold_ms),
            ),
            row(
                "time to first token, computed by another node",
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
            row("seconds", format!("{:.1}", self.seconds)),
        ]
    }

    fn kill_line(&self) -> String {
        let Kill {
            node,
            slots_owned,
            entries_owned,
            tried_again,
            before,
            after,
        } = &self.kill;
        let Window {
            in_doubt,
            longest_entry_ms,
            ..
        } = after;
        let mut rest = String::new();
        for (count, told) in [
            (in_doubt, "in doubt, read and written again"),
            (tried_again, "asked again"),
        ] {
            if *count > 0 {
                rest.push_str(&format!("; {count} {told}"));
            }
        }
        format!(
            "{node} was killed with {slots} slots and {entries_owned} entries: before it {} of {} questions were hits, \
             after it {} of {}, and {} requests failed; an entry waited at most {longest}{rest}",
            before.hits,
            before.questions,
            after.hits,
            after.questions,
            after.failed,
            slots = format::count(u64::from(*slots_owned)),
            longest = format::milliseconds(*longest_entry_ms),
        )
    }
}

impl NodeLine {
    fn row(&self) -> Vec<String> {
        let slots = |count: u32| match count {
            0 => "-".to_owned(),
            count => format::count(u64::from(count)),
        };
        vec![
            self.name.clone(),
            self.state.to_owned(),
            slots(self.slots_before),
            slots(self.slots),
            format::count(self.door.asked),
            format::count(self.door.hits),
            self.memory_used_bytes
                .map_or_else(|| "-".to_owned(), format::bytes),
        ]
    }
}

async fn lines(
    outcome: &Outcome,
    layouts: &Layouts,
    cluster: &DemoCluster,
) -> Result<Vec<NodeLine>, Failure> {
    let mut lines = Vec::new();
    let askers = cluster.askers()?;
    for (at, (node, asker)) in cluster.nodes().iter().zip(&askers).enumerate() {
        let memory_used_bytes = if node.killed {
            None
        } else {
            let stats = asker.get("/api/v1/kv-cache/stats").await?;
            stats.pointer("/memory/used_bytes").and_then(Value::as_u64)
        };
        let announced = &node.announced;
        let slots = |layout| announced.node_id.map_or(0, |id| owned(layout, id));
        lines.push(NodeLine {
            name: node.name.clone(),
            node_id: announced.node_id.map(|id| id.to_string()),
            state: if node.killed { "killed" } else { "up" },
            slots_before: slots(&layouts.before),
            slots: slots(&layouts.after),
            memory_used_bytes,
            door: outcome.doors.get(at).copied().unwrap_or_default(),
            http: format!("http://{}", announced.http),
            admin: format!("http://{}", announced.admin),
            pid: announced.pid,
        });
    }
    Ok(lines)
}
