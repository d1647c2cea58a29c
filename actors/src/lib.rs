//! One node: the supervision tree that runs the pure cache on real devices and clocks.
//!
//! Responsible for actors, handles, devices, time and restarts. It may use `cache` and `config`; it
//! must never know slots, services, protocols or models.
//!
//! ```text
//!   node                      NodeSupervisor
//!   ├─ cache                  CacheSupervisor
//!   │  ├─ shard-0 .. shard-n  ShardActor     one cache::Shard and its device each
//!   │  ├─ eviction            EvictionActor  headroom, expiry, figures
//!   │  └─ prefetch            PrefetchActor  blocks from elsewhere, before they are asked for
//!   ├─ cluster ...            attached by the room above
//!   └─ gateway ...            attached by the room above that
//!
//!   CacheHandle ── permit ── deadline ── one message a shard ──► ShardActor
//!   GuestPort ── permit ── one wake a window ──► ShardActor's guest, which owns the entries
//! ```
//!
//! Features: `chaos` compiles hooks that kill, stall and panic actors; for tests of other rooms.

pub mod clock;
mod coder;
pub mod device;
mod domain;
mod entropy;
mod error;
mod eviction;
mod guest;
mod handle;
pub mod hex_id;
mod node;
mod placement;
pub mod plan;
mod prefetch;
mod shard;
pub mod supervise;
pub mod telemetry;
mod watcher;

#[cfg(test)]
mod tests;

pub use clock::{Clock, Deadline, UnixMs};
pub use coder::{Coder, Encoding, Quality};
pub use domain::{Domain, DomainTag};
pub use entropy::{BootId, Entropy, EntropyError};
pub use error::RequestError;
pub use guest::{GuestFactory, GuestMessage, GuestPermit, GuestPort, GuestWorld, ShardGuest};
pub use handle::{BlockPut, CacheHandle, NEXT_MAX, PutError, Stored};
pub use node::{Node, StartError, StopReason};
pub use plan::{NodePlan, UnknownPolicy};
pub use prefetch::{
    PrefetchHandle, PrefetchReport, PrefetchSink, SourceReport as PrefetchSourceReport, Whereabouts,
};
pub use shard::{ArenaPurge, BlockPage, LeasedBlock, PolicyReport, ShardReport};
pub use supervise::{ActorInfo, ActorState, ChildSpec};
pub use watcher::BlockWatcher;
