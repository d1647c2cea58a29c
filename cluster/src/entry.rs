//! Entries of one slot on several nodes: each acknowledged write lies with every member in sync.
//!
//! Pure machines after PacificA (Lin, Yang, Zhang, Zhou, "PacificA: Replication in Log-Based Distributed Storage
//! Systems", 2008): the owner numbers writes, all members in sync prepare them, then they are committed, answered and
//! visible. Who is owner and who in sync is Raft's word alone, at an epoch that grows with every change; the machines
//! only ask for changes.
//!
//! One [`Replica`] per slot and life of a shard. It is synchronous: an [`Event`], the time, a [`Store`] and a
//! [`Tenure`] go in, [`Effect`]s come out. It must never know sockets, actors, clocks or how Raft works.
//!
//! Around them: [`EntryHost`] has them live in the node's shards, [`EntryRouter`] finds the one that a question is for.
//!
//! # Invariants
//! 1. *committed ≤ prepared* on every replica, and a follower's *committed* never passes its owner's.
//! 2. What is committed under an epoch is in the list of every member in sync of that epoch, at the same place.
//! 3. A replica's store is the result of the writes up to its *committed*, and of nothing else (but a joining one's).
//! 4. A replica acknowledges under epoch E only once its list is the one of E's owner ([`Message::Sync`]).
//! 5. Two writes never get the same [`Version`]: one owner per epoch, one number per write, and a restarted shard is
//!    another member, so it never owns at an epoch of its former life.

mod blob;
mod follow;
mod host;
mod join;
mod list;
mod message;
mod order;
mod owner;
mod read;
mod replica;
mod request;
mod router;
mod sabotage;
mod stream;
mod types;
mod wish;
mod world;

#[cfg(test)]
mod live;
#[cfg(test)]
mod tests;

pub use host::{EntryHost, HostLinks, HostPlan, Proposer, Roll, SlotWord, Tenured, Wanted, wanted};
pub use list::{PREPARED_BYTES_MAX, PREPARED_MAX};
pub use message::{Effect, Event, Message, Progress, Proposal, Why};
pub use owner::{JOINERS_MAX, PARKED_MAX};
pub use replica::{Replica, Timing};
pub use request::{Answer, Delay, Found, OnlyIf, Op, Refusal, Request};
pub use router::{EntryError, EntryFound, EntryOptions, EntryRefusal, EntryRouter};
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
pub use types::{
    Change, CopyEntry, Key, NAME_BYTES_MAX, Ownership, RECORD_BYTES_MAX, Record, Seq, Stored,
    Value, Version,
};
pub use wish::Wish;
pub use world::{Full, Page, Store, Tenure, World};
