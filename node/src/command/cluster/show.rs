//! The cluster's reports as rows for people. Machines get the reports themselves.

use serde_json::Value;
use ultrakv_cluster::{JobReport, LayoutReport, NodeId, NodeLayout};

use crate::format;

/// The columns of a layout.
pub(super) const LAYOUT: &[&str] = &[
    "node",
    "id",
    "zone",
    "state",
    "owned",
    "wanted",
    "quota",
    "followed",
    "unsettled",
];
/// How many of them are words.
pub(super) const LAYOUT_WORDS: usize = 4;
/// The columns of a list of jobs.
pub(super) const JOBS: &[&str] = &[
    "job", "kind", "state", "about", "reason", "done", "total", "throttle",
];
/// How many of them are words.
pub(super) const JOBS_WORDS: usize = 5;
/// The columns of a list of members.
pub(super) const MEMBERS: &[&str] = &[
    "member", "id", "role", "state", "version", "shards", "budget",
];
/// How many of them are words.
pub(super) const MEMBERS_WORDS: usize = 5;

/// A line a member, this one marked.
pub(super) fn layout(layout: &LayoutReport) -> Vec<Vec<String>> {
    let nodes = layout.nodes.iter();
    nodes.map(|node| part(node, layout.node_id)).collect()
}

fn part(node: &NodeLayout, this: NodeId) -> Vec<String> {
    let mark = if node.node_id == this { " (asked)" } else { "" };
    let slots = |count: u32| format::count(u64::from(count));
    vec![
        format!("{}{mark}", node.name),
        node.node_id.to_string(),
        or_dash(&node.zone),
        node.state.to_string(),
        slots(node.owned),
        slots(node.target_owned),
        slots(node.quota),
        slots(node.followers),
        slots(node.unsettled),
    ]
}

/// How far the slots are from the plan, in a line.
pub(super) fn settled(layout: &LayoutReport) -> String {
    match (layout.plan, layout.unsettled) {
        (plan, 0) => format!("plan {plan}: every slot is settled"),
        (plan, 1) => format!("plan {plan}: 1 slot is not settled yet"),
        (plan, many) => format!(
            "plan {plan}: {} slots are not settled yet",
            format::count(u64::from(many))
        ),
    }
}

/// One job in full.
pub(super) fn job(job: &JobReport) -> Vec<Vec<String>> {
    let row = |label: &str, value: String| vec![label.to_owned(), value];
    let (done, total) = (u64::from(job.done), u64::from(job.total));
    let mut rows = vec![
        row("job", job.id.to_string()),
        row("kind", kind(job)),
        row("state", job.state.name().to_owned()),
        row("reason", or_dash(&job.reason)),
        row(
            "progress",
            format!("{} of {} slots", format::count(done), format::count(total)),
        ),
        row("throttle", throttle(job)),
    ];
    if let Some(node) = job.node_id {
        rows.insert(2, row("member", node.to_string()));
    }
    rows
}

/// One job in a line.
pub(super) fn job_line(job: &JobReport) -> Vec<String> {
    vec![
        job.id.to_string(),
        kind(job),
        job.state.name().to_owned(),
        job.node_id
            .map_or_else(|| "-".to_owned(), |node| node.to_string()),
        or_dash(&job.reason),
        format::count(u64::from(job.done)),
        format::count(u64::from(job.total)),
        throttle(job),
    ]
}

fn kind(job: &JobReport) -> String {
    let leaves = if job.leave { ", then leave" } else { "" };
    format!("{}{leaves}", job.kind.name())
}

fn throttle(job: &JobReport) -> String {
    job.throttle_bytes_per_second.map_or_else(
        || "-".to_owned(),
        |bytes| format!("{}/s", format::bytes(bytes)),
    )
}

/// The cluster in a few lines. Read from the answer's fields, so that a node of another version can be asked.
pub(super) fn status(status: &Value) -> Vec<Vec<String>> {
    let text = |path: &str| status.pointer(path).map_or_else(|| "-".to_owned(), plain);
    let quorum = format!(
        "{} of {} voters answer, {} needed",
        text("/quorum/reachable"),
        text("/quorum/voters"),
        text("/quorum/needed")
    );
    let row = |label: &str, value: String| vec![label.to_owned(), value];
    vec![
        row(
            "node",
            format!("{} ({})", text("/node_name"), text("/node_id")),
        ),
        row("version", text("/version")),
        row("revision", text("/revision")),
        row("quorum", quorum),
        row("slots owned here", text("/slots_owned")),
        row("failover", text("/failover/detail")),
        row("persistence", text("/persistence/detail")),
    ]
}

/// A line a member.
pub(super) fn members(status: &Value) -> Vec<Vec<String>> {
    let members = status.get("members").and_then(Value::as_array);
    let line = |member: &Value| {
        let text = |path: &str| member.pointer(path).map_or_else(|| "-".to_owned(), plain);
        let budget = member
            .pointer("/capacity/bytes_max")
            .and_then(Value::as_u64);
        vec![
            text("/name"),
            text("/node_id"),
            text("/role"),
            text("/state"),
            text("/version"),
            text("/capacity/shards"),
            budget.map_or_else(|| "-".to_owned(), format::bytes),
        ]
    };
    members.into_iter().flatten().map(line).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ultrakv_cluster::metadata::MemberState;
    use ultrakv_cluster::{JobId, JobKind, JobState};

    use super::*;

    #[test]
    fn a_layout_is_a_line_a_member() {
        let node = |number, name: &str, state| NodeLayout {
            node_id: NodeId::from_u128(number),
            name: name.to_owned(),
            zone: String::new(),
            state,
            quota: 8_192,
            owned: 16_384,
            followers: 0,
            target_owned: 8_192,
            unsettled: 1,
        };
        let mut report = LayoutReport {
            node_id: NodeId::from_u128(2),
            plan: 4,
            unsettled: 8_192,
            nodes: vec![
                node(1, "node-1", MemberState::Draining),
                node(2, "node-2", MemberState::Up),
            ],
        };
        let rows = layout(&report);
        assert!(rows.iter().all(|row| row.len() == LAYOUT.len()));
        assert_eq!(rows[0][0], "node-1");
        assert_eq!(rows[1][0], "node-2 (asked)");
        assert_eq!(
            rows[0][2..],
            ["-", "draining", "16 384", "8 192", "8 192", "0", "1"]
        );
        assert_eq!(settled(&report), "plan 4: 8 192 slots are not settled yet");
        report.unsettled = 0;
        assert_eq!(settled(&report), "plan 4: every slot is settled");
    }

    #[test]
    fn a_job_is_told_in_full_or_in_a_line() {
        let report = JobReport {
            id: JobId(3),
            kind: JobKind::Drain,
            node_id: Some(NodeId::from_u128(7)),
            leave: true,
            state: JobState::Running,
            reason: String::new(),
            done: 1_000,
            total: 5_461,
            throttle_bytes_per_second: Some(20 << 20),
            created_unix_ms: 0,
        };
        let rows = job(&report);
        let pairs: Vec<_> = rows
            .iter()
            .map(|row| (row[0].as_str(), row[1].as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("job", "00000000000000000000000000000003"),
                ("kind", "drain, then leave"),
                ("member", "00000000000000000000000000000007"),
                ("state", "running"),
                ("reason", "-"),
                ("progress", "1 000 of 5 461 slots"),
                ("throttle", "20.0 MiB/s"),
            ]
        );
        assert_eq!(job_line(&report).len(), JOBS.len());
        let all = JobReport {
            node_id: None,
            throttle_bytes_per_second: None,
            ..report
        };
        assert_eq!(job(&all).len(), 6);
        assert_eq!(job_line(&all)[3], "-");
    }

    #[test]
    fn a_status_of_another_version_is_shown_as_far_as_it_goes() {
        let known = json!({
            "node_id": "07", "node_name": "one", "version": "1.2.3", "revision": 4,
            "quorum": {"voters": 3, "needed": 2, "reachable": 2, "held": true},
            "slots_owned": 5461, "failover": {"detail": "f"}, "persistence": {"detail": "p"},
            "members": [{"name": "one", "node_id": "07", "role": "voter", "state": "up", "version": "1.2.3",
                "capacity": {"shards": 2, "bytes_max": 1024}}],
        });
        let rows = status(&known);
        assert_eq!(rows[0][1], "one (07)");
        assert_eq!(rows[3][1], "2 of 3 voters answer, 2 needed");
        assert_eq!(
            members(&known),
            [["one", "07", "voter", "up", "1.2.3", "2", "1.0 KiB"]]
        );
        assert_eq!(MEMBERS.len(), 7);
        let odd = json!({"members": [{}]});
        assert_eq!(status(&odd)[4][1], "-");
        assert_eq!(members(&odd), [["-"; 7]]);
    }
}
