//! The lanes between two nodes: who is at the other end, and how frames get there.
//!
//! Responsible for identities, connections, bounds and deadlines. It must never know what a frame's header means, nor
//! which node should be asked.

pub mod tls;
