//! What operators see of consensus on one node. It must never decide anything.

use openraft::ServerState;

use super::types::RaftId;
use crate::NodeId;

/// What a member does in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RaftRole {
    /// It follows and does not vote.
    Learner,
    /// It follows and votes.
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
    /// It stopped.
    Stopped,
}

impl From<ServerState> for RaftRole {
    fn from(state: ServerState) -> Self {
        match state {
            ServerState::Learner => Self::Learner,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Leader => Self::Leader,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}

/// Consensus as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RaftStatus {
    /// This member.
    pub id: RaftId,
    /// What it does.
    pub role: RaftRole,
    /// The present term.
    pub term: u64,
    /// Who leads, when somebody does who has a majority.
    pub leader: Option<NodeId>,
    /// This member leads, but no majority answers it: it is silent so that another one can be elected.
    pub is_without_quorum: bool,
    /// The last log item here.
    pub last_index: u64,
    /// The last that is applied here.
    pub applied_index: u64,
    /// The last that the newest snapshot covers.
    pub snapshot_index: u64,
    /// The last that is no longer in the log.
    pub purged_index: u64,
    /// Who votes.
    pub voters: Vec<RaftId>,
    /// Who follows without a vote.
    pub learners: Vec<RaftId>,
    /// A change of the voters is half done.
    pub is_joint: bool,
    /// How long ago a majority answered; on the leader only, and as old as its last publication.
    pub millis_since_quorum_ack: Option<u64>,
    /// Why consensus stopped; the node must then stop too.
    pub fatal: Option<String>,
}
