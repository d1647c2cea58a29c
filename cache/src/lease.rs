//! Responsible for open claims on pages: which lease holds what, and which ran out of time. It must never know what the
//! pages hold.
//!
//! A claim names its block by number *and* by the first page it holds. Numbers are used again as soon as a block is removed,
//! pages only when nobody holds them: so the pair tells a block that is still there from one that was removed while lent.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::LeaseId;
use crate::forest::BlockId;
use crate::time::Now;

/// One lease's hold on one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) block: BlockId,
    pub(crate) holding: Holding,
}

/// The pages of one block, named by arena slot and first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holding {
    pub(crate) arena: u16,
    pub(crate) first: u32,
}

/// What one lease holds.
#[derive(Debug)]
pub(crate) enum Claims {
    One(Claim),
    Many(Box<[Claim]>),
}

impl Claims {
    pub(crate) fn as_slice(&self) -> &[Claim] {
        match self {
            Self::One(claim) => std::slice::from_ref(claim),
            Self::Many(claims) => claims,
        }
    }
}

#[derive(Debug)]
struct Lease {
    claims: Claims,
    until: Option<Now>,
}

/// All open leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    open: BTreeMap<LeaseId, Lease>,
    due: BTreeSet<(Now, LeaseId)>,
    latest: u64,
    claims: usize,
}

impl Leases {
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Blocks leased, counted once a lease.
    pub(crate) const fn claims(&self) -> usize {
        self.claims
    }

    /// Opens a lease; without `until` it ends by release only.
    pub(crate) fn open(&mut self, claims: Claims, until: Option<Now>) -> LeaseId {
        self.latest += 1;
        let id = LeaseId(self.latest);
        self.claims += claims.as_slice().len();
        self.open.insert(id, Lease { claims, until });
        if let Some(until) = until {
            self.due.insert((until, id));
        }
        id
    }

    /// Ends a lease; `None` when it is not open (any more).
    pub(crate) fn close(&mut self, id: LeaseId) -> Option<Claims> {
        let lease = self.open.remove(&id)?;
        if let Some(until) = lease.until {
            self.due.remove(&(until, id));
        }
        self.claims -= lease.claims.as_slice().len();
        Some(lease.claims)
    }

    /// A lease whose time is over.
    pub(crate) fn due(&self, now: Now) -> Option<LeaseId> {
        self.due
            .first()
            .filter(|(until, _)| *until <= now)
            .map(|(_, id)| *id)
    }

    /// Every claim of every open lease.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.open.values().flat_map(|lease| lease.claims.as_slice())
    }
}
