//! Breaks the cluster on purpose: a seeded simulator of its protocols, and the checkers that judge what happened.
//!
//! One seed fixes everything. It must never know a socket or a real clock.

pub mod consensus;
pub mod history;
pub mod linear;
pub mod network;
pub mod rng;
