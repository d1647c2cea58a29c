//! Agreement between nodes: the log, the votes, the snapshots, the machine that all of them feed, and the one handle
//! through which everything else changes and reads what was agreed on.
//!
//! Responsible for keeping what was agreed on disk, for finding a leader, and for handing what was agreed on to a
//! [`machine::Machine`] in order. It must never know a socket, nor what a command does.

mod batcher;
mod control;
mod duties;
mod forward;
mod handle;
mod keeper;
pub mod log;
pub mod machine;
mod network;
mod registry;
mod responder;
mod rpc;
pub mod snapshot;
mod status;
mod timing;
pub mod types;
mod voters;
mod votes;
mod watchdog;

#[cfg(test)]
pub(crate) mod tests;

pub use control::ControlError;
pub use forward::Joined;
pub use handle::{Consensus, ConsensusError, ConsensusPlan, Storage};
pub(crate) use keeper::Loops;
pub use registry::{Published, Registry};
pub use status::{RaftRole, RaftStatus};
pub(crate) use timing::micros;
pub use timing::{RaftTiming, SnapshotRules, VoterRules};
