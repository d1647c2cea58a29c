//! What replicas say to each other, what can happen to one, and what it wants done. It must never know how these
//! travel.

use serde::{Deserialize, Serialize};

use super::request::{Answer, Request};
use super::types::{CopyEntry, Key, Ownership, Record, Seq};
use crate::{Epoch, Incarnation};

/// How far a follower or joiner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The last number it has.
    pub through: Seq,
    /// Up to where it has committed.
    pub committed: Seq,
    /// The number of the question that began the joiner's copy, so that a copy given up in between is not taken for the
    /// present one; zero of a follower.
    pub copy: u64,
    /// The joiner has copied everything: it may enter.
    pub is_whole: bool,
}

/// From one replica of a slot to another. The lane adds the slot, the sender and the life it is meant for; all messages
/// may be lost, repeated and reordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Owner to follower, first under each epoch: all that the owner has prepared and not committed. The follower's own
    /// list gives way to it at once and as a whole, so that a follower promoted in between has the old or the new list.
    Sync {
        /// Raft's word under which it is sent.
        ownership: Ownership,
        /// Up to where the owner has committed.
        committed: Seq,
        /// Everything prepared after that.
        records: Vec<Record>,
    },
    /// Owner to follower or joiner: the next writes, possibly none.
    Append {
        /// The owner's epoch.
        epoch: Epoch,
        /// Up to where the owner has committed.
        committed: Seq,
        /// Writes with neighbouring numbers.
        records: Vec<Record>,
    },
    /// Follower or joiner to owner: it has all writes up to a number, and its list is the owner's of this epoch.
    Ack {
        /// The epoch of both.
        epoch: Epoch,
        /// How far it is.
        progress: Progress,
    },
    /// An answer to a message of an older epoch.
    Stale {
        /// The newer record.
        ownership: Ownership,
    },
    /// Follower to owner: it lacks writes that were committed, and is no member.
    Void {
        /// The owner's epoch.
        epoch: Epoch,
    },
    /// Joiner to owner: the next part of the copy, please.
    CopyAsk {
        /// The owner's epoch.
        epoch: Epoch,
        /// The joiner's number for this question.
        ask: u64,
        /// The last key it has; none to begin, which also begins the stream of writes.
        after: Option<Key>,
    },
    /// Owner to joiner: entries as they were when `as_of` was committed.
    Chunk {
        /// The owner's epoch.
        epoch: Epoch,
        /// The question's number.
        ask: u64,
        /// The last write that they reflect.
        as_of: Seq,
        /// Entries in the order of keys.
        entries: Vec<CopyEntry>,
        /// Whether nothing lies behind them.
        is_last: bool,
    },
    /// Owner to joiner: writes it needs are no longer kept, or it is not known; begin again. The copy was not, and will
    /// not be, proposed to Raft.
    CopyVoid {
        /// The owner's epoch.
        epoch: Epoch,
        /// The last question seen of it, or the one that began the copy.
        ask: u64,
    },
}

/// What can happen to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Raft's word about the slot. Old ones are ignored.
    Ownership(Ownership),
    /// Questions of clients, one pipeline window at a time. They are taken in order.
    Requests(Vec<Request>),
    /// Another replica says something.
    Message {
        /// Who, proven by its lane.
        from: Incarnation,
        /// Which life of this shard it is meant for.
        to: Incarnation,
        /// What.
        message: Message,
    },
    /// The plan wants this replica to become a member: copy, stream, and ask to enter.
    Join,
    /// The plan does not want that any more. Too late once the copy is whole; the owner then has to dismiss it.
    Leave,
    /// The plan wants a member in sync to own the slot. Ignored unless this replica owns it.
    HandOver {
        /// The next owner.
        to: Incarnation,
    },
    /// The plan wants a member gone. Ignored unless this replica owns the slot and the member is another.
    Dismiss {
        /// The member.
        member: Incarnation,
    },
    /// Time has passed. Due whenever [`super::Replica::is_restless`], and now and then for expiry.
    Tick,
}

/// What a replica wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a client.
    Answer {
        /// The question's number.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
    /// Send something to another replica.
    Send {
        /// To whom; another life of it must not get it.
        to: Incarnation,
        /// What.
        message: Message,
    },
    /// Ask Raft for a change. Its word comes back as [`Event::Ownership`]; until then this is asked again.
    Propose(Proposal),
}

/// A change of a slot that Raft is asked for: if the slot's epoch is still `epoch`, the members are `in_sync` from now
/// on and the epoch is one more; else nothing. Everything in it that is not in the present record must be alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Compared.
    pub epoch: Epoch,
    /// Set; the first is the owner.
    pub in_sync: Vec<Incarnation>,
    /// What it is for, for those who count or log.
    pub why: Why,
}

/// What a proposed change is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// A member is silent or failed.
    Remove(Incarnation),
    /// The plan can do without a member.
    Dismiss(Incarnation),
    /// A joiner has everything.
    Add(Incarnation),
    /// The slot changes hands.
    HandOver(Incarnation),
    /// Nothing but the epoch: it decides whether an earlier proposal of the same epoch was taken.
    Renew,
}
