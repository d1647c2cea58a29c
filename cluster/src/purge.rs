//! A purge as its caller sees it: ordered through Raft, and answered when no node can serve what was purged.
//!
//! A node that is cut off may hold the old generation, and goes on serving blocks without a majority, as it should. So a
//! purge waits for it, or for its end, and says for whom: it is never answered while anybody may serve what was purged.

use ultrakv_actors::RequestError;
use ultrakv_actors::clock::Deadline;

use crate::domains::UnknownService;
use crate::metadata::{Command, Done, Outcome, Sharing};
use crate::raft::ControlError;
use crate::{ClusterHandle, NodeId};

/// Why a purge was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// No such service.
    #[error(transparent)]
    Unknown(#[from] UnknownService),
    /// It was not ordered, or nobody knows whether it was.
    #[error("the purge was not ordered: {0}")]
    Unordered(#[from] ControlError),
    /// The purge was ordered, and these nodes have not confirmed it in time. What was stored before is unreachable through
    /// all others.
    #[error("the purge was not confirmed by {}", names(.waiting))]
    Unconfirmed {
        /// Who has not.
        waiting: Vec<NodeId>,
    },
    /// This node stopped meanwhile.
    #[error("the purge was not confirmed: {0}")]
    Stopped(RequestError),
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    names.join(", ")
}

impl PurgeError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown(error) => error.code(),
            Self::Unordered(error) => error.code(),
            Self::Unconfirmed { .. } | Self::Stopped(_) => "purge_unconfirmed",
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unknown(error) => error.hint(),
            Self::Unordered(error) => error.hint(),
            Self::Unconfirmed { .. } => {
                "bring these nodes back, or `ultrakv node forget` one that is gone for good; sending the purge again is harmless"
            }
            Self::Stopped(_) => "send the purge again to have it confirmed; that is harmless",
        }
    }
}

/// What a purge did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PurgeReport {
    /// The service that was asked for.
    pub service: String,
    /// Whose blocks are gone: a share group is purged as a whole.
    pub shares: String,
    /// The generation from now on.
    pub generation: u64,
    /// Blocks that this node dropped.
    pub blocks: u64,
    /// Entries that this node dropped.
    pub entries: u64,
}

impl ClusterHandle {
    /// Makes everything that a service's domain holds unreachable on every node, and frees it. A share group is purged as a
    /// whole.
    ///
    /// # Errors
    /// When there is no such service, or when a node did not confirm in time.
    pub async fn purge(
        &self,
        service: &str,
        deadline: Deadline,
    ) -> Result<PurgeReport, PurgeError> {
        let directed = &self.inner.directed;
        let (sharing, ordered_from) = {
            let domains = directed.domains.load();
            let (sharing, generation) = domains.find(service)?;
            (sharing.clone(), generation)
        };
        let generation = self.order(&sharing, ordered_from, deadline).await?;
        self.confirmed(&sharing, generation, deadline).await?;
        let purged = directed.purged.lock();
        let purged = purged.get(&(sharing.label(), generation));
        let purged = purged.copied().unwrap_or_default();
        Ok(PurgeReport {
            service: service.to_owned(),
            shares: sharing.label(),
            generation,
            blocks: purged.blocks,
            entries: purged.entries,
        })
    }

    /// Orders it; one that another caller ordered meanwhile serves as well.
    async fn order(
        &self,
        sharing: &Sharing,
        generation: u64,
        deadline: Deadline,
    ) -> Result<u64, PurgeError> {
        let command = Command::Purge {
            sharing: sharing.clone(),
            generation,
        };
        let consensus = &self.inner.directed.consensus;
        let outcomes = consensus.propose(vec![command], deadline).await?;
        match outcomes.into_iter().next() {
            Some(Outcome::Applied(Done::Purge { generation, .. })) => Ok(generation),
            _ => Ok(generation.saturating_add(1)),
        }
    }

    /// Waits until every life that may serve the former generation has confirmed that it does not, this one among them.
    async fn confirmed(
        &self,
        sharing: &Sharing,
        generation: u64,
        deadline: Deadline,
    ) -> Result<(), PurgeError> {
        let directed = &self.inner.directed;
        let mut changes = directed.consensus.changes();
        loop {
            changes.mark_unchanged();
            let view = directed.consensus.view();
            let keyring = view.services().keyring(sharing);
            let is_here = keyring.is_none_or(|keyring| keyring.generation >= generation);
            let waiting: Vec<NodeId> = keyring.map_or_else(Vec::new, |keyring| {
                let waiting = keyring.waiting_for(generation);
                waiting.map(|life| life.node).collect()
            });
            if is_here && waiting.is_empty() {
                return Ok(());
            }
            let left = directed.clock.remaining(deadline);
            match tokio::time::timeout(left, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(PurgeError::Stopped(RequestError::Stopped)),
                Err(_) => return Err(PurgeError::Unconfirmed { waiting }),
            }
        }
    }
}
