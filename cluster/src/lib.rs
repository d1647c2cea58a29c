//! Many nodes as one; today a real cluster of one, behind the handle that more nodes will keep.
//!
//! Responsible for members, slots, services' domains and their purges. It may use `actors`, `cache`
//! and `config`; it must never know a protocol or a model.

pub mod directory;
mod domains;
pub mod entry;
mod handle;
mod identity;
pub mod lane;
mod membership;
pub mod metadata;
pub mod peer;
pub mod placement;
pub mod raft;
mod slots;
mod status;
pub mod tenure;
mod view;
pub mod wire;

#[cfg(test)]
mod tests;

pub use ultrakv_actors::{
    ActorInfo, ActorState, BlockPut, Deadline, Domain, DomainTag, EntryError, EntryFound,
    EntryOptions, LeasedBlock, PutError, RequestError, ShardReport, Stored,
};

pub use domains::UnknownService;
pub use handle::{ClusterHandle, ClusterPlan, ClusterStartError};
pub use identity::{Incarnation, NodeId};
pub use membership::PurgeError;
pub use slots::{Epoch, SlotMap, SlotRange};
pub use status::{
    Capacity, Check, ClusterStatus, Failover, Member, MemberState, Persistence, PurgeReport,
    Quorum, Role, ServiceStatus,
};
