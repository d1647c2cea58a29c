//! Breaks a live cluster: real processes on simulated hosts, faults between them, load through their doors, and records of
//! every answer.
//!
//! Everything made here is named after its run, counts what it did, and is taken down when dropped. It must never decide
//! whether a cluster behaved: that is for [`crate::linear`] and [`record`].

pub mod blow;
pub mod calm;
pub mod disk;
pub mod faults;
pub mod grow;
pub mod hostile;
pub mod load;
pub mod netns;
pub mod probe;
pub mod record;
pub mod relay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shell;
pub mod stage;
pub mod tools;

pub use ultrakv_tests::{http, process};
