//! How many requests of this node may be at one peer: fewer than that peer takes from one node, so that a burst waits here,
//! in its order, and is not refused there. It must never know what is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::NodeId;

/// A gate a peer; as many as there are peers that were ever asked, which are members of the cluster.
#[derive(Debug)]
pub(super) struct PeerGates {
    permits: usize,
    gates: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
}

impl PeerGates {
    pub(super) fn new(permits: usize) -> Self {
        Self {
            permits: permits.clamp(1, Semaphore::MAX_PERMITS),
            gates: Mutex::default(),
        }
    }

    /// Waits for a turn at a peer; whoever waits bounds the time. None never happens: gates are not closed.
    pub(super) async fn enter(&self, peer: NodeId) -> Option<OwnedSemaphorePermit> {
        let gate = {
            let mut gates = self.gates.lock();
            let gate = gates
                .entry(peer)
                .or_insert_with(|| Arc::new(Semaphore::new(self.permits)));
            Arc::clone(gate)
        };
        gate.acquire_owned().await.ok()
    }
}
