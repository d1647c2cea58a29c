//! What each node says of itself at this moment, gathered over the mesh from whichever node is asked.
//!
//! Responsible for the figures that only the node itself knows: the metadata tell the rest. It must never wait for a shard.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ultrakv_actors::BootId;
use ultrakv_actors::clock::{Clock, Deadline, UnixMs};

use crate::block::{BlockMover, Progress};
use crate::lane::mesh::Reporter;
use crate::raft::Consensus;
use crate::tenure::Tenures;
use crate::{ClusterHandle, NodeId};

/// One node, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node_id: NodeId,
    /// Its present life.
    pub boot_id: BootId,
    /// The name it was configured with.
    pub name: String,
    /// The version of its binary.
    pub version: String,
    /// How long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// Whether it may serve as owner at this moment.
    pub tenure_held: bool,
    /// The last log item that it applied.
    pub applied_index: u64,
    /// How old its metadata may be, in milliseconds; none when they never were certain.
    pub metadata_age_ms: Option<u64>,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Slots that it owns, as it knows.
    pub slots_owned: u32,
    /// Slots that it is in sync of without owning them.
    pub slots_followed: u32,
    /// How far it is with moving blocks to where they belong; none of a cluster of one.
    pub moving: Option<Progress>,
}

/// A node, and what it said or why it said nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeAnswer {
    /// The node.
    pub node_id: NodeId,
    /// What it said.
    pub report: Option<NodeReport>,
    /// Why it said nothing: a code.
    pub error: Option<&'static str>,
}

/// What a report is made of.
#[derive(Clone)]
pub(crate) struct Reported {
    pub(crate) boot: BootId,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) started: UnixMs,
    pub(crate) clock: Clock,
    pub(crate) consensus: Consensus,
    pub(crate) tenures: Arc<Tenures>,
    pub(crate) mover: Option<BlockMover>,
}

impl Reported {
    /// What this node says of itself now.
    pub(crate) fn report(&self) -> NodeReport {
        let node_id = self.consensus.node();
        let counts = self.consensus.view().slots().counts();
        let counts = counts.get(&node_id).copied().unwrap_or_default();
        NodeReport {
            node_id,
            boot_id: self.boot,
            name: self.name.clone(),
            version: self.version.clone(),
            uptime_ms: self.clock.unix().0.saturating_sub(self.started.0),
            tenure_held: self.tenures.cell().is_held(),
            applied_index: self.consensus.applied_index(),
            metadata_age_ms: self.tenures.metadata_age_us().map(|age_us| age_us / 1_000),
            leader: self.consensus.leader(),
            slots_owned: counts.owned,
            slots_followed: counts.following,
            moving: self.mover.as_ref().map(BlockMover::progress),
        }
    }

    /// The same for the mesh.
    pub(crate) fn reporter(&self) -> Reporter {
        let reported = self.clone();
        Arc::new(move || {
            let packed = rmp_serde::to_vec_named(&reported.report());
            packed.map(Bytes::from).unwrap_or_default()
        })
    }
}

impl ClusterHandle {
    /// What every member says of itself now, this node first.
    pub async fn reports(&self, deadline: Deadline) -> Vec<NodeAnswer> {
        let own = self.inner.reported.report();
        let mut answers = vec![NodeAnswer {
            node_id: own.node_id,
            report: Some(own),
            error: None,
        }];
        if let Some(mesh) = &self.inner.directed.mesh {
            let said = mesh.ask_all(deadline).await;
            let others = said.into_iter().filter(|(node, _)| *node != self.node_id());
            for (node_id, said) in others {
                let (report, error) = match said {
                    Ok(bytes) => match rmp_serde::from_slice(&bytes) {
                        Ok(report) => (Some(report), None),
                        // A node of another version says it in other words.
                        Err(_) => (None, Some("report_unreadable")),
                    },
                    Err(error) => (None, Some(error.code())),
                };
                answers.push(NodeAnswer {
                    node_id,
                    report,
                    error,
                });
            }
        }
        answers
    }
}
