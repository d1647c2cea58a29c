//! The pure cache of UltraKV: keys, index, prefix forest, policies, arenas, leases. No I/O, no clock, no threads, no
//! randomness: the manifest is the proof, and everything here replays from its inputs.
//!
//! A [`Shard`] is one device's part of the cache: a state machine that an actor drives. It never touches a payload. It says
//! which *pages* a payload goes to and who may read them; the actor owns the memory behind the pages.
//!
//! ```text
//!                     Event, Now                                      Effects, in order
//!   actor ───────────────────────────▶ Shard::handle ───────────────────────────────▶ actor
//!                                            │
//!        ┌─────────────┬─────────────┬───────┴─────┬──────────────┬───────────────┐
//!     forest        policy        record         region        lease          entry
//!   which blocks   who goes     header, pages   arenas:      who holds      small values
//!   are here, and   first       expiry, pin     pages used,  which pages    with versions
//!   what follows                of each block   resident     until when
//!   what
//!        └──────── one number a block: BlockId ────┘
//! ```
//!
//! # Map
//! | Module | Knows | Must never know |
//! |---|---|---|
//! | [`key`] | how names are derived, under whose domain, and slots | what is stored |
//! | [`layout`], [`block`] | what a payload's numbers are; headers and checksums | where it lies |
//! | [`codec`] | how a payload becomes fewer bytes, and which error that costs attention | where it lies, who asks |
//! | [`event`], [`effect`], [`budget`], [`time`] | the contract of a shard | how it is kept |
//! | [`forest`] | presence, parents, longest prefix | pages, policies, time |
//! | [`policy`] | order of eviction; one file a policy | keys, pages, budgets |
//! | [`prefetch`] | which blocks are fetched before they are asked for | how a block travels, where it lies |
//! | [`arena`] | used, resident and absent pages of one region | addresses, bytes |
//! | [`entry`] | small values in numbered boxes, as replicas of slots write them | conditions, expiry, owners |
//! | `record`, `region`, `lease`, `reservation` | one table each | one another |
//! | [`shard`] | how an event changes all of them | time and memory, except as numbers |
//!
//! # Invariants
//! 1. **used ≤ budget** in bytes, tokens, blocks, entry bytes and pinned bytes after every event, and used plus
//!    resident-free pages ≤ the budget of bytes. Asserted, in release builds too.
//! 2. **A page is lent to one block or one reservation at a time**, until its last lease and its writer are done, whatever
//!    happened to the block meanwhile: eviction, removal, purge, expiry.
//! 3. **A block that is found was committed under that key**, in a domain that is not purged, and its time is not over.
//!    Entries are what their writer last said; only cached ones may go by themselves, when room is needed.
//! 4. **Every ticket is answered exactly once**, whatever the event.
//! 5. **Evicted blocks are leaves** without lease, hard pin or reservation, soft pins last.
//! 6. **Nothing grows without a limit**: blocks, leases, reservations and arenas have named ones, entries a quota, ghosts of
//!    removed blocks never outnumber blocks. Tables keep the memory of their largest size.
//!
//! # Costs
//! A block costs about 121 bytes under LRU in index, forest, policy and block table together, at any number of blocks
//! (`tests/memory.rs` counts it). A match costs O(log n) lookups of its n keys, mostly two or three; storing, touching,
//! leasing and evicting cost O(1) for LRU and O(log of different merits) for LFU. `tests/benches/forest` measures the forest
//! beside its best known peer.
//!
//! # Example
//! ```
//! use ultrakv_cache::*;
//!
//! let domain = DomainSecret::from_bytes([7; 32]).effective(0, b"");
//! let key = opaque_key(&domain, b"greeting");
//! let payload = b"hello";
//! let header = BlockHeader::seal(BlockLayout::OPAQUE, 0, &key, payload);
//!
//! let mut shard = Shard::new(ShardConfig::new(Budget::of_bytes(1 << 20)));
//! let mut effects = Vec::new();
//! let block = Box::new(ReserveBlock {
//!     key, run: key, parent: None, depth: 0, arena: ArenaId(0), header, retain: Retain::default(), term: Term::Held,
//! });
//! shard.handle(Event::Reserve { ticket: Ticket(1), block }, Now(0), &mut effects);
//! let Some(Effect::Reserved { reservation, extents, .. }) = effects.pop() else { unreachable!() };
//! assert_eq!(extents.pages(), 1); // The actor now copies the payload into that page,
//! shard.handle(Event::Commit { ticket: Ticket(2), reservation }, Now(1), &mut effects);
//! assert_eq!(effects.pop(), Some(Effect::Stored { ticket: Ticket(2) })); // and from here on it is found.
//!
//! let get = Event::Get { ticket: Ticket(3), keys: vec![key], leading_only: false, term: Term::Held };
//! shard.handle(get, Now(2), &mut effects);
//! let Some(Effect::Lent { blocks, .. }) = effects.pop() else { unreachable!() };
//! let lent = blocks[0].as_ref().expect("it was stored");
//! assert!(lent.header.verify(&key, payload));
//! shard.handle(Event::Release { lease: lent.lease }, Now(3), &mut effects);
//! ```

pub mod arena;
pub mod block;
pub mod budget;
pub mod codec;
pub mod effect;
pub mod entry;
pub mod event;
pub mod forest;
pub mod key;
pub mod layout;
mod lease;
pub mod policy;
pub mod prefetch;
mod record;
mod region;
mod reservation;
pub mod shard;
mod slab;
pub mod time;

pub use arena::{Arena, Extents, PageRange};
pub use block::{BlockHeader, HEADER_BYTES, HeaderError};
pub use budget::{Budget, Usage};
pub use codec::Codec;
pub use effect::{Effect, Lent, Listed, PinOutcome, PutRefusal};
pub use entry::{
    ENTRY_OVERHEAD_BYTES, Entry, EntryBox, EntryClass, EntryFull, EntryPage, EntryValue,
};
pub use event::{
    ArenaId, Event, LeaseId, ListPage, Pin, ReservationId, ReserveBlock, Retain, Term, Ticket,
};
pub use forest::{BlockId, Forest, Inserted};
pub use key::{
    BlockAddress, BlockKey, DomainSecret, EffectiveDomain, KeyInputs, KeySpace,
    PLACEMENT_RUN_BLOCKS, ParseKeyError, SLOT_COUNT, entry_slot, opaque_key,
};
pub use layout::{BlockKind, BlockLayout, Dtype, LAYOUT_VERSION};
pub use policy::{
    ClassFigures, Explanation, Facts, Figures, Lfuda, Lru, Newcomer, Policy, PolicyKind, Rank,
    Recipe, Setup,
};
pub use shard::{BLOCKS_MAX, EntryTable, Shard, ShardConfig, ShardStats, Standing};
pub use time::Now;
