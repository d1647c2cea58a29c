//! The published state of the cluster: one immutable value, replaced as a whole.
//!
//! Readers load it without waiting; the membership actor is the only writer and finds its own last
//! word here after a restart. It must never be changed in place.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ultrakv_actors::DomainTag;
use ultrakv_cache::ArenaId;

use crate::domains::Domains;
use crate::slots::SlotMap;
use crate::status::Member;

/// The cluster at one revision.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) revision: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) slots: SlotMap,
    pub(crate) domains: Domains,
    /// Purged generations that were not yet confirmed empty: where their blocks lay, and what their entries lie under.
    pub(crate) closing: Vec<(ArenaId, DomainTag)>,
}

/// The place where the present view is found.
pub(crate) type Published = Arc<ArcSwap<View>>;
