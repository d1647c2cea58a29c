//! The codec lab: what each rung of the ladder costs attention, saves in bytes, and takes in time, on keys and values made from a
//! seed or read from files.
//!
//! # Map
//! | Module | Responsible for |
//! |---|---|
//! | [`profile`] | synthetic keys, values and queries with published statistics |
//! | [`dump`] | keys, values and queries from files |
//! | [`attention`] | attention of one head, and how far two answers lie apart |
//! | [`blocks`] | a sample as the blocks that a cache would hold |
//! | [`quality`] | every rung on a sample: error and ratio |
//! | [`speed`] | every rung on a sample: bytes a second, beside memcpy |
//! | [`contracts`] | whether the check at encode time tells the error on queries that it never saw |
//! | [`report`], [`picture`] | the figures as tables, as JSON and as a picture |
//! | [`run`](mod@run) | the command line's part: what is asked for, done in order |

pub mod attention;
pub mod blocks;
mod chance;
pub mod contracts;
pub mod dump;
pub mod picture;
pub mod profile;
pub mod quality;
pub mod report;
pub mod run;
pub mod speed;

pub use run::{CodecsArgs, run};
