//! What decides which blocks give way, for operators: how a block stands, and who would go next.
//!
//! Looks only. They are orders, which get in when clients fill the gate. It must never know how a policy works.

use futures::future::try_join_all;
use ultrakv_cache::{BlockKey, Standing};

use super::CacheHandle;
use crate::RequestError;
use crate::clock::Deadline;
use crate::shard::{PolicyReport, ShardMsg};

/// Blocks that would go next, of one shard, that anybody is told of: what an operator reads, and some tens of kilobytes.
pub const NEXT_MAX: usize = 256;

impl CacheHandle {
    /// How a block stands in the order of eviction, and which shard holds it; none where no shard of this node does.
    ///
    /// A key alone does not say where its run is, so every shard is asked. The look is no use of the block.
    ///
    /// # Errors
    /// When a shard is busy, did not answer in time, or stopped.
    pub async fn explain(
        &self,
        key: BlockKey,
        deadline: Deadline,
    ) -> Result<Option<(usize, Standing)>, RequestError> {
        let looks = self.inner.shards.iter().map(|shard| async move {
            let permit = shard.gate.order()?;
            let found = shard.ask(&permit, key, deadline, ShardMsg::Explain).await?;
            Ok::<_, RequestError>(found.map(|standing| (shard.index, standing)))
        });
        let found = try_join_all(looks).await?;
        Ok(found.into_iter().flatten().next())
    }

    /// What the policy of every shard does, in order, and which blocks would go next: of each shard so many, [`NEXT_MAX`] at
    /// most.
    ///
    /// # Errors
    /// When a shard is busy, did not answer in time, or stopped.
    pub async fn policies(
        &self,
        next_max: usize,
        deadline: Deadline,
    ) -> Result<Vec<PolicyReport>, RequestError> {
        let next_max = next_max.min(NEXT_MAX);
        let reports = self.inner.shards.iter().map(|shard| async move {
            let permit = shard.gate.order()?;
            let report = shard.ask(&permit, next_max, deadline, ShardMsg::Policy);
            report.await
        });
        try_join_all(reports).await
    }
}
