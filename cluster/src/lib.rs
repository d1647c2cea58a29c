//! Many nodes as one, behind one handle; one node alone is a cluster of one through the same parts.
//!
//! Responsible for members, slots, services' domains and their purges, and for where blocks and entries are. It may use
//! `actors`, `cache` and `config`; it must never know a protocol of the doors or a model.
//!
//! ```text
//!   ClusterHandle ─┬─ EntryRouter ── EntryHost (replicas in the shards) ─┐
//!                  ├─ BlockRouter ── directory, holders ─────────────────┤── peer::Caller ── lanes ── other nodes
//!                  └─ operate, status, purge                             │
//!   director ── makes the metadata's word true here ── Consensus ────────┘
//!   steward ─── on the leader: plans and jobs
//! ```

pub mod block;
mod book;
mod control;
mod director;
pub mod directory;
mod domains;
mod duty;
pub mod entry;
mod handle;
mod identity;
pub mod lane;
mod links;
pub mod metadata;
mod operate;
pub mod peer;
pub mod placement;
mod plan;
mod proposals;
mod purge;
pub mod raft;
mod report;
mod slots;
mod start;
mod status;
pub mod steward;
mod surroundings;
pub mod tenure;
pub mod wire;

#[cfg(test)]
mod tests;

pub use ultrakv_actors::{
    ActorInfo, ActorState, BlockPut, Deadline, Domain, DomainTag, LeasedBlock, PutError,
    RequestError, ShardReport, Stored,
};

pub use domains::UnknownService;
pub use entry::{EntryError, EntryFound, EntryOptions, EntryRefusal, OnlyIf};
pub use handle::ClusterHandle;
pub use identity::{Incarnation, NodeId};
pub use metadata::{JobId, JobState};
pub use operate::{
    JobKind, JobReport, JoinReport, LayoutReport, NodeLayout, OperateError, SteppedAside,
};
pub use plan::{ClusterPlan, MemberPlan};
pub use purge::{PurgeError, PurgeReport};
pub use report::{NodeAnswer, NodeReport};
pub use slots::{Epoch, SlotMap, SlotRange};
pub use start::{ClusterStartError, block_reports};
pub use status::{
    Check, ClusterStatus, Failover, Member, Persistence, Quorum, Role, ServiceStatus,
};
