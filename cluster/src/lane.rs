//! The lanes between two nodes: who is at the other end, and how frames get there.
//!
//! Responsible for identities, connections, bounds and deadlines. It must never know what a frame's header means, nor
//! which node should be asked.

mod backoff;
mod book;
mod bulk;
mod gate;
mod hello;
pub mod mesh;
mod quic;
mod respond;
mod room;
mod telemetry;
pub mod tls;

#[cfg(test)]
mod tests;

pub use book::{AddressBook, Direction, LaneChange, LaneError, LaneEvent, PeerState};
pub use bulk::{BulkLane, BulkLimits, BulkPeer, BulkPlan, BulkSecurity};
pub use quic::{QuicLane, QuicLimits, QuicPlan};
