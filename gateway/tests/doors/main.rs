//! The doors as their clients see them: a real gateway on a real node with a small model, asked over HTTP.
//!
//! - [`routes`]: every route is documented and every documented route is served;
//! - [`blocks`]: the block API;
//! - [`encoding`]: blocks that are stored encoded;
//! - [`cache`]: figures, health, clearing, the self-test;
//! - [`admin`]: the admin door;
//! - [`operate`]: the cluster's routes at the admin door;
//! - [`policy`]: which blocks go next, and why;
//! - [`opening`]: what keeps the doors shut, and how they close.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod admin;
mod blocks;
mod cache;
mod encoding;
mod house;
mod opening;
mod operate;
mod policy;
mod routes;
