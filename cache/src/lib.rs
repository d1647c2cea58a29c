//! The pure cache: keys, index, prefix forest, policies, arenas, leases. No I/O, no clock, no threads.

pub mod arena;
pub mod block;
pub mod budget;
pub mod effect;
mod entry;
pub mod event;
pub mod forest;
pub mod key;
pub mod layout;
mod lease;
pub mod policy;
mod record;
mod region;
mod reservation;
pub mod shard;
mod slab;
pub mod time;

pub use arena::{Arena, Extents, PageRange};
pub use block::{BlockHeader, Codec, HEADER_BYTES, HeaderError};
pub use budget::{Budget, Usage};
pub use effect::{Effect, EntryRead, EntryRefusal, Lent, PinOutcome, PutRefusal};
pub use entry::{ENTRY_KEY_BYTES_MAX, ENTRY_OVERHEAD_BYTES};
pub use event::{
    ArenaId, EntryClass, EntryPut, EntryValue, Event, LeaseId, OnlyIf, Pin, ReservationId,
    ReserveBlock, Retain, Term, Ticket,
};
pub use forest::{BlockId, Forest, Inserted};
pub use key::{
    BlockAddress, BlockKey, DomainSecret, EffectiveDomain, KeyInputs, KeySpace,
    PLACEMENT_RUN_BLOCKS, ParseKeyError, SLOT_COUNT, entry_slot, opaque_key,
};
pub use layout::{BlockKind, BlockLayout, Dtype, LAYOUT_VERSION};
pub use policy::{Lfu, Lru, Policy, Rank};
pub use shard::{BLOCKS_MAX, PolicyKind, Shard, ShardConfig, ShardStats};
pub use time::Now;
