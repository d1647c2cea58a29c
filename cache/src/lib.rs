//! The pure cache: keys, index, prefix forest, policies, arenas, leases. No I/O, no clock, no threads.

pub mod arena;
pub mod block;
pub mod budget;
pub mod effect;
pub mod event;
pub mod key;
pub mod layout;
pub mod shard;
pub mod time;

pub use arena::{Extents, PageRange};
pub use block::{BlockHeader, Codec, HEADER_BYTES, HeaderError};
pub use budget::{Budget, Usage};
pub use effect::{Effect, EntryRead, EntryRefusal, Lent, PinOutcome, PutRefusal};
pub use event::{
    ArenaId, EntryClass, EntryPut, EntryValue, Event, LeaseId, OnlyIf, Pin, ReservationId,
    ReserveBlock, Retain, Term, Ticket,
};
pub use key::{
    BlockAddress, BlockKey, DomainSecret, EffectiveDomain, KeyInputs, KeySpace,
    PLACEMENT_RUN_BLOCKS, ParseKeyError, SLOT_COUNT, entry_slot, opaque_key,
};
pub use layout::{BlockKind, BlockLayout, Dtype, LAYOUT_VERSION};
pub use shard::{PolicyKind, Shard, ShardConfig, ShardStats};
pub use time::Now;
