//! One node: the supervision tree that runs the pure cache on real devices and clocks.
//!
//! Responsible for actors, handles, devices, time and restarts. It may use `cache` and `config`; it
//! must never know slots, services, protocols or models.

pub mod clock;
pub mod device;
mod domain;
mod entropy;
mod error;
mod eviction;
mod handle;
mod node;
mod placement;
pub mod plan;
mod shard;
pub mod supervise;
pub mod telemetry;

#[cfg(test)]
mod tests;

pub use clock::{Clock, Deadline, UnixMs};
pub use domain::Domain;
pub use entropy::{BootId, Entropy, EntropyError};
pub use error::RequestError;
pub use handle::{BlockPut, CacheHandle, EntryError, EntryOptions, PutError, Stored};
pub use node::{Node, StartError, StopReason};
pub use plan::NodePlan;
pub use shard::{ArenaPurge, LeasedBlock, ShardReport};
pub use supervise::{ActorInfo, ActorState, ChildSpec};
