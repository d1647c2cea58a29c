//! Blocks that a client of HTTP holds between two requests.
//!
//! A lease here keeps the node's own lease of each block until it ends, is released, or the client's time is up. Both the number
//! of leases and the number of blocks under them are bounded, because a held block is memory that cannot be reused.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use ultrakv_actors::LeasedBlock;
use ultrakv_actors::clock::{Clock, Deadline};
use uuid::Uuid;

use super::BATCH_BLOCKS_MAX;
use crate::problem::Problem;

/// Leases at the same time.
const LEASES_MAX: usize = 4_096;

/// Blocks under all leases together.
const LEASED_BLOCKS_MAX: usize = 16 * BATCH_BLOCKS_MAX;

/// The name of a lease. Drawn at random, so that nobody ends another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LeaseName(Uuid);

impl fmt::Display for LeaseName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(formatter)
    }
}

impl FromStr for LeaseName {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// The leases of a door.
#[derive(Clone)]
pub(crate) struct HeldLeases {
    clock: Clock,
    held: Arc<Mutex<Held<LeasedBlock>>>,
}

/// The table itself, whatever it holds.
struct Held<B> {
    leases: BTreeMap<LeaseName, Lease<B>>,
    blocks: usize,
}

struct Lease<B> {
    service: String,
    blocks: Vec<B>,
}

impl HeldLeases {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            held: Arc::new(Mutex::new(Held {
                leases: BTreeMap::new(),
                blocks: 0,
            })),
        }
    }

    /// Holds blocks until that time.
    pub(super) fn hold(
        &self,
        service: &str,
        blocks: Vec<LeasedBlock>,
        until: Deadline,
    ) -> Result<LeaseName, Problem> {
        let name = LeaseName(Uuid::new_v4());
        let lease = Lease {
            service: service.to_owned(),
            blocks,
        };
        self.held.lock().hold(name, lease)?;
        // The lock is not kept while waiting, and a lease that was released early is simply not there any more.
        let (clock, held) = (self.clock.clone(), Arc::downgrade(&self.held));
        tokio::spawn(async move {
            tokio::time::sleep(clock.remaining(until)).await;
            if let Some(held) = held.upgrade() {
                drop(held.lock().end(name, None));
            }
        });
        Ok(name)
    }

    /// Ends a lease of that service; false when there is none.
    pub(super) fn release(&self, service: &str, name: LeaseName) -> bool {
        self.held.lock().end(name, Some(service)).is_some()
    }

    /// Blocks held now.
    pub(crate) fn blocks(&self) -> usize {
        self.held.lock().blocks
    }
}

impl<B> Held<B> {
    fn hold(&mut self, name: LeaseName, lease: Lease<B>) -> Result<(), Problem> {
        let blocks = self.blocks.saturating_add(lease.blocks.len());
        if self.leases.len() >= LEASES_MAX || blocks > LEASED_BLOCKS_MAX {
            return Err(Problem::busy("as many blocks are on lease as may be"));
        }
        self.blocks = blocks;
        self.leases.insert(name, lease);
        Ok(())
    }

    fn end(&mut self, name: LeaseName, service: Option<&str>) -> Option<Lease<B>> {
        let lease = self.leases.get(&name)?;
        if service.is_some_and(|service| service != lease.service) {
            return None;
        }
        let lease = self.leases.remove(&name)?;
        self.blocks = self.blocks.saturating_sub(lease.blocks.len());
        Some(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(service: &str, blocks: usize) -> Lease<()> {
        Lease {
            service: service.to_owned(),
            blocks: vec![(); blocks],
        }
    }

    #[test]
    fn blocks_under_lease_are_counted_and_bounded() {
        let mut held = Held {
            leases: BTreeMap::new(),
            blocks: 0,
        };
        let name = |number: u128| LeaseName(Uuid::from_u128(number));
        assert!(
            held.hold(name(1), lease("alpha", LEASED_BLOCKS_MAX))
                .is_ok()
        );
        assert_eq!(
            held.hold(name(2), lease("alpha", 1))
                .expect_err("full")
                .code(),
            "busy"
        );
        assert!(
            held.end(name(1), Some("beta")).is_none(),
            "another service's lease"
        );
        assert!(held.end(name(1), Some("alpha")).is_some());
        assert!(held.end(name(1), Some("alpha")).is_none(), "it has ended");
        assert_eq!(held.blocks, 0);
        for number in 0..LEASES_MAX {
            let number = u128::try_from(number).expect("small");
            assert!(held.hold(name(number), lease("alpha", 1)).is_ok());
        }
        assert!(held.hold(name(u128::MAX), lease("alpha", 1)).is_err());
    }
}
