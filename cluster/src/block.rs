//! Blocks of many nodes: what is stored where, found wherever it is, kept in enough places.
//!
//! Responsible for everything that happens to a block beyond this node's own cache. It must never know how frames travel,
//! how the directory's batches are agreed on, or who decides which node a slot is for: all three are told to it.
//!
//! ```text
//!   shards ──told──► BlockReports ──cut──► DirectoryActor ──RecordSink──► log ──► Directory on every node
//!                                              ▲ corrections                        │ who holds it?
//!   door ──► BlockRouter ── local cache first ─┤◄────────────────────────────────────┘
//!                 └─ Fetcher: one flight a block, hedged ──BlockRead──► BlockService of a holder
//!   Mover: own blocks against targets and holders ──BlockWrite──► BlockService of a target
//! ```
//! A block is never wrong: its checksum is compared where it arrives. Any doubt is a miss.

mod ahead;
mod feed;
mod fetch;
mod gates;
mod hold;
mod message;
mod meters;
mod mover;
mod options;
mod pace;
mod recent;
mod reporting;
mod router;
mod serve;
mod world;
mod write;

#[cfg(test)]
mod tests;

pub use feed::BlockReports;
pub use hold::Exists;
pub use mover::{BlockMover, Progress};
pub use options::{Ack, BlockOptions};
pub use reporting::DirectoryReporting;
pub use router::{BlockParts, BlockRouter};
pub use serve::BlockService;
pub use world::{BlockArenas, BlockLayout, DirectorySource, RecordSink, SinkError, Standing};
