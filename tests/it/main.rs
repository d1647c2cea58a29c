//! One integration binary for the whole house. Contents:
//!
//! - [`tidy`]: the rules of the house, read from its manifests and sources;
//! - [`doors`]: real requests to a real process: reuse, isolation, wrong input, shutdown;
//! - [`cluster`]: clusters of real processes: any node answers, deaths, joins, leaves, rolling restarts, strangers;
//! - [`clients`]: other people's programs against our doors (they skip aloud when absent);
//! - [`docker`]: our image and compose files under a real engine (skips aloud without one).

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod clients;
mod cluster;
mod docker;
mod doors;
mod tidy;
