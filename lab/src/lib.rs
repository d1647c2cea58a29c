//! The lab of UltraKV: what would each policy have kept, on this trace, with that much room? And what would each rung of the
//! codec ladder cost and save, on these numbers?
//!
//! It drives the forest, the policies and the codecs that a shard drives, through the calls that a shard makes; there is no
//! second implementation of anything.
//!
//! # Map
//! | Module | Responsible for |
//! |---|---|
//! | [`trace`] | requests as chains of blocks, and the formats they are read from |
//! | [`generate`] | traces made from a seed: chats, agents, templates, documents, phases, scans |
//! | [`cache`] | one forest and one policy under a capacity, fed request by request |
//! | [`optimum`] | what a policy that knows the future keeps |
//! | [`prefetch`] | a node with little room and its neighbours: what fetching ahead is worth |
//! | [`replay`] | every policy at every capacity, and what that saved |
//! | [`command`] | the command line's part: a trace replayed, a trace made |
//! | [`form`] | table or JSON |
//! | [`report`] | the figures as a table, as JSON and as a picture |
//! | [`codecs`] | keys and values made from a seed or read from files, and every rung on them: error, ratio, speed |

pub mod cache;
pub mod codecs;
pub mod command;
pub mod form;
pub mod generate;
pub mod optimum;
pub mod prefetch;
pub mod replay;
pub mod report;
pub mod trace;
