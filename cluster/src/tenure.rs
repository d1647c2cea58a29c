//! Tenures: until when a node may serve as owner without asking anybody.
//!
//! A node asks the Raft leader for a tenure and counts it from the moment it *sent* the question; the leader answers
//! only after a majority of voters has confirmed its leadership *after* the question came. Two pure machines:
//! [`Grantor`] on the leader, [`Holder`] on every node. They must never know entries, sockets, clocks or how leadership
//! is confirmed. [`Tenures`] runs both, and publishes what is held in a [`TenureCell`].
//!
//! # Units
//! Times are microseconds of each machine's own CLOCK_BOOTTIME, which goes on while a machine sleeps.
//!
//! # Why a tenure never outlives its leader's term
//! Let a round begin at *t0* (leader's clock), let the longest election timeout be *T*, and the tenure D = 0.9 T.
//! 1. The round's confirmation is a heartbeat that a majority of voters answered after *t0*. A voter that has heard its
//!    leader refuses its vote for *T* from then on, also when it restarts in between; the leader itself, which hears no
//!    heartbeat, gives no vote before *t0* + *T*. Any other majority shares a voter with this one. So nobody else is
//!    elected before *t0* + *T*.
//! 2. A holder's question was sent before it arrived, and it arrived before *t0*: its tenure ends at *sent* + D by its
//!    own clock, which is before *t0* + *T* even if its clock is a tenth slower than the voters'. That is what the 0.9
//!    is for. For the same reason the leader that granted it calls it over at *t0* + *T* by its own clock, not at *t0*
//!    + D.
//! 3. So when a new leader exists, every tenure of former leaders is over. It says nothing of a node that it granted
//!    nothing for another *T*, so that the node can find it; and for its own grants it waits until *t0* + *T* has passed
//!    by its own clock. A leader that restarts and leads on in its old term knows nothing of what it granted: that time
//!    covers it, too.
//!
//! # Why a node that is declared down holds no tenure when that takes effect
//! - The leader that proposes it bars the node first ([`Grantor::declare_down`]): no question of it is answered before
//!   that is decided and applied, not even one in a round under way. The proposal compares with when the node's state
//!   was last changed, so once the node is up again no former proposal fells it.
//! - A later leader may inherit the proposal in its log. Its first round is confirmed only when everything in its log
//!   is committed *and applied*; it grants only to who is alive in that state. openraft's `ensure_linearizable` waits for
//!   that when a leader was elected, but not when it restarts and leads on: [`crate::raft::Consensus`] has an item of its
//!   own applied first.
//!
//! # Why a node that comes up again serves nothing of what it lost while it was down
//! While it was down its slots may have gone to others, and it may not have heard of that yet: it would believe itself
//! their owner, with a tenure. So a question tells up to where the node's replicas have heard the log, and is granted only
//! if that includes the last change of the node's own membership. While it is up only it itself gives its slots away.

mod cell;
mod desk;
mod grantor;
mod holder;
mod service;

#[cfg(test)]
mod tests;

pub use cell::TenureCell;
pub use grantor::{Grantor, GrantorTiming, Round, StillHeld, WAITING_MAX};
pub use holder::{ASKS_MAX, Holder};
pub use service::{TenurePlan, Tenures};

use serde::{Deserialize, Serialize};

use crate::Incarnation;

/// A node asks for a tenure. May be lost, repeated and reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenureAsk {
    /// Who asks, in which life.
    pub holder: Incarnation,
    /// Its number for this question.
    pub number: u64,
    /// Up to where its replicas have heard the log. They must know of the node's own coming up before they serve.
    pub applied_index: u64,
}

/// The leader's answer. May be lost, repeated and reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenureGrant {
    /// Who may serve.
    pub holder: Incarnation,
    /// The question's number.
    pub number: u64,
    /// For how long after the question was sent, in microseconds.
    pub tenure_us: u64,
}

/// What the leader tells whoever asks once it has confirmed that it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TenureAnswer {
    /// None for a life that the state does not know as alive.
    grant: Option<TenureGrant>,
    /// Whoever has applied this much has everything that was agreed on when the question was sent.
    read_index: u64,
}
