//! The shapes of the cluster routes' answers. They are the cluster's own reports, described for OpenAPI.

use serde::Serialize;
use ultrakv_cluster::{JobReport, JoinReport, LayoutReport, NodeLayout};
use utoipa::ToSchema;

/// Where the slots are, and where they are to be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LayoutAnswer {
    /// The node that answers.
    node_id: String,
    /// The number of the plan that targets follow; 0 before the first plan.
    plan: u64,
    /// Slots that are not yet as the plan wants them.
    unsettled: u32,
    /// Every member that did not leave, by id.
    nodes: Vec<NodeLayoutAnswer>,
}

/// One node's part of the layout.
#[derive(Debug, Serialize, ToSchema)]
struct NodeLayoutAnswer {
    /// The node.
    #[schema(example = "5b0f1c2d3e4f5a6b7c8d9e0f1a2b3c4d")]
    node_id: String,
    /// The name it was configured with.
    #[schema(example = "node-1")]
    name: String,
    /// Its failure zone; empty when it has no label.
    zone: String,
    /// `joining`, `up`, `draining` or `down`.
    #[schema(example = "up")]
    state: String,
    /// Slots that its capacity entitles it to own.
    quota: u32,
    /// Slots that it owns, of 16 384.
    owned: u32,
    /// Slots that it holds in sync for another owner.
    followers: u32,
    /// Slots that the plan wants it to own.
    target_owned: u32,
    /// Slots, of those that it has or is to have, that are not yet as the plan wants them.
    unsettled: u32,
}

/// Jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobsAnswer {
    /// Newest first.
    jobs: Vec<JobAnswer>,
}

/// A job, as far as it has come.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobAnswer {
    /// Its id.
    #[schema(example = "3f0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d")]
    id: String,
    /// `join`, `drain` or `rebalance`.
    #[schema(example = "drain")]
    kind: &'static str,
    /// The member it is about; null when it is about all.
    node_id: Option<String>,
    /// Whether the member leaves the cluster once it is drained.
    leave: bool,
    /// `running`, `cancelling`, `done`, `cancelled` or `failed`.
    #[schema(example = "running")]
    state: &'static str,
    /// Why it stands so.
    reason: String,
    /// Slots that are settled, of `total`.
    done: u32,
    /// Slots that it has to settle.
    total: u32,
    /// The most bytes a second that each node may move for it; null when the nodes' own setting counts.
    throttle_bytes_per_second: Option<u64>,
    /// When it was asked for.
    created_unix_ms: u64,
}

/// How a joining node was received.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JoinAnswer {
    /// The node that joined: this one.
    node_id: String,
    /// The cluster's name, as its certificates have it.
    cluster: String,
    /// Members, the new one among them.
    members: u32,
    /// The job that gives it its slots; null while none has begun.
    job: Option<JobAnswer>,
}

impl From<LayoutReport> for LayoutAnswer {
    fn from(report: LayoutReport) -> Self {
        let LayoutReport {
            node_id,
            plan,
            unsettled,
            nodes,
        } = report;
        Self {
            node_id: node_id.to_string(),
            plan,
            unsettled,
            nodes: nodes.into_iter().map(NodeLayoutAnswer::from).collect(),
        }
    }
}

impl From<NodeLayout> for NodeLayoutAnswer {
    fn from(layout: NodeLayout) -> Self {
        let NodeLayout {
            node_id,
            name,
            zone,
            state,
            quota,
            owned,
            followers,
            target_owned,
            unsettled,
        } = layout;
        Self {
            node_id: node_id.to_string(),
            name,
            zone,
            state: state.to_string(),
            quota,
            owned,
            followers,
            target_owned,
            unsettled,
        }
    }
}

impl From<Vec<JobReport>> for JobsAnswer {
    fn from(jobs: Vec<JobReport>) -> Self {
        Self {
            jobs: jobs.into_iter().map(JobAnswer::from).collect(),
        }
    }
}

impl From<JobReport> for JobAnswer {
    fn from(report: JobReport) -> Self {
        let JobReport {
            id,
            kind,
            node_id,
            leave,
            state,
            reason,
            done,
            total,
            throttle_bytes_per_second,
            created_unix_ms,
        } = report;
        Self {
            id: id.to_string(),
            kind: kind.name(),
            node_id: node_id.map(|node| node.to_string()),
            leave,
            state: state.name(),
            reason,
            done,
            total,
            throttle_bytes_per_second,
            created_unix_ms,
        }
    }
}

impl From<JoinReport> for JoinAnswer {
    fn from(report: JoinReport) -> Self {
        let JoinReport {
            node_id,
            cluster,
            members,
            job,
        } = report;
        Self {
            node_id: node_id.to_string(),
            cluster,
            members,
            job: job.map(JobAnswer::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_cluster::metadata::MemberState;
    use ultrakv_cluster::{JobId, JobKind, JobState, NodeId};

    use super::*;

    /// Whoever reads an answer as the report that it was made of reads the same.
    #[test]
    fn answers_are_the_reports() {
        let node_id = NodeId::from_u128(7);
        let job = JobReport {
            id: JobId(3),
            kind: JobKind::Drain,
            node_id: Some(node_id),
            leave: true,
            state: JobState::Running,
            reason: "9 slots are moving".to_owned(),
            done: 1,
            total: 10,
            throttle_bytes_per_second: Some(1 << 20),
            created_unix_ms: 1_700_000_000_000,
        };
        let written = serde_json::to_value(JobAnswer::from(job.clone())).expect("plain data");
        assert_eq!(written, serde_json::to_value(&job).expect("plain data"));
        let joined = JoinReport {
            node_id,
            cluster: "blue".to_owned(),
            members: 2,
            job: Some(job),
        };
        let written = serde_json::to_value(JoinAnswer::from(joined.clone())).expect("plain data");
        assert_eq!(written, serde_json::to_value(&joined).expect("plain data"));
        let layout = LayoutReport {
            node_id,
            plan: 4,
            unsettled: 2,
            nodes: vec![NodeLayout {
                node_id,
                name: "node-1".to_owned(),
                zone: "rack-1".to_owned(),
                state: MemberState::Draining,
                quota: 1,
                owned: 2,
                followers: 3,
                target_owned: 0,
                unsettled: 2,
            }],
        };
        let written = serde_json::to_value(LayoutAnswer::from(layout.clone())).expect("plain data");
        assert_eq!(written, serde_json::to_value(&layout).expect("plain data"));
    }
}
