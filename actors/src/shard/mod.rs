//! A shard at run time: the actor that drives one pure [`ultrakv_cache::Shard`] on one device.
//!
//! ```text
//!   handle ──ask──► ShardMsg ──► ShardActor ──event──► cache::Shard
//!     ▲                              │  ◄──effects──────────┘
//!     └── lent pages ◄── claims ─────┴── discard, open, close ──► Device
//! ```
//! It must never wait, copy a payload, or decide what the cache decides.

mod actor;
mod arenas;
mod budget;
mod lease;
mod message;
mod meters;
mod port;
mod report;
mod state;

pub(crate) use actor::{ShardActor, ShardLink};
pub(crate) use arenas::Arenas;
pub use lease::LeasedBlock;
pub(crate) use lease::{LentBlock, Reservation};
pub use message::{ArenaPurge, BlockPage};
pub(crate) use message::{Committed, Relief, Reserved, ShardMsg, Turn, Wanted};
pub(crate) use port::ShardPort;
pub use report::{PolicyReport, ShardReport};
