//! Agreement between nodes: the log, the votes, the snapshots, and the machine that all of them feed.
//!
//! Responsible for keeping what was agreed on disk and for handing it to a [`machine::Machine`] in order. It must never
//! know what a command means, nor how a node is reached.

pub mod log;
pub mod machine;
pub mod snapshot;
pub mod types;

#[cfg(test)]
mod tests;
