//! Breaks a live cluster: real processes on simulated hosts, faults between them, load through their doors, and records of
//! every answer.
//!
//! Everything made here is named after its run, counts what it did, and is taken down when dropped. It must never decide
//! whether a cluster behaved: that is for [`crate::linear`] and [`record`].

pub mod disk;
pub mod faults;
pub mod http;
pub mod load;
pub mod netns;
pub mod process;
pub mod record;
pub mod relay;
pub mod shell;
pub mod tools;
