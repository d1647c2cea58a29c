//! Breaks the cluster on purpose: a seeded simulator of its protocols, tools against live clusters, and the checkers that
//! judge what happened.
//!
//! One seed fixes everything that is simulated. Only [`live`] may know a socket or a real clock.

pub mod consensus;
pub mod history;
pub mod linear;
pub mod live;
pub mod network;
pub mod rng;
pub mod sim;
