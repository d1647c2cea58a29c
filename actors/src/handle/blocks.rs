//! Questions about blocks: how many are here, lend them, pin them, drop them.
//!
//! It must never know what a block holds.

use futures::future::try_join_all;
use ultrakv_cache::{BlockAddress, BlockKey, Pin, PinOutcome};

use super::{CacheHandle, Part};
use crate::clock::Deadline;
use crate::shard::{BlockPage, LeasedBlock, LentBlock, ShardMsg, ShardPort, Wanted};
use crate::{Domain, RequestError};

impl CacheHandle {
    /// How many leading blocks of a chain are here. A hint: without a lease they may go at once.
    ///
    /// # Errors
    /// When a shard is busy, did not answer in time, or stopped; the caller computes the blocks as
    /// if none were here.
    pub async fn match_prefix(
        &self,
        _domain: &Domain,
        chain: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<usize, RequestError> {
        let parts = self.parts(chain);
        let asks = parts.iter().map(|part| async {
            let shard = self.shard(part.shard)?;
            let permit = shard.gate.enter()?;
            let watch = shard.clock.stopwatch();
            let keys = keys(part, chain);
            let held = shard.ask(&permit, keys, deadline, ShardMsg::Match).await?;
            self.inner.seconds.match_prefix.record(watch.elapsed());
            Ok::<_, RequestError>(held)
        });
        let held = try_join_all(asks).await?;
        Ok(leading(&parts, &held, chain.len()))
    }

    /// Each of these blocks, where it is here, in order.
    ///
    /// # Errors
    /// When a shard is busy, did not answer in time, or stopped; the caller treats all as missing.
    pub async fn get(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<Vec<Option<LeasedBlock>>, RequestError> {
        self.lend(domain, addresses, false, deadline).await
    }

    /// The leading blocks of a chain that are here.
    ///
    /// # Errors
    /// As [`CacheHandle::get`].
    pub async fn get_prefix(
        &self,
        domain: &Domain,
        chain: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<Vec<LeasedBlock>, RequestError> {
        let blocks = self.lend(domain, chain, true, deadline).await?;
        Ok(blocks.into_iter().map_while(|block| block).collect())
    }

    async fn lend(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        leading_only: bool,
        deadline: Deadline,
    ) -> Result<Vec<Option<LeasedBlock>>, RequestError> {
        let parts = self.parts(addresses);
        let asks = parts.iter().map(|part| async {
            let shard = self.shard(part.shard)?;
            let permit = shard.gate.enter()?;
            let watch = shard.clock.stopwatch();
            let wanted = Wanted {
                arena: domain.arena,
                keys: keys(part, addresses),
                leading_only,
            };
            let lent = shard.ask(&permit, wanted, deadline, ShardMsg::Get).await?;
            self.inner.seconds.get.record(watch.elapsed());
            Ok::<_, RequestError>(lent)
        });
        let answers = try_join_all(asks).await?;

        let mut blocks: Vec<_> = addresses.iter().map(|_| None).collect();
        for (part, lent) in parts.iter().zip(answers) {
            let shard = self.shard(part.shard)?;
            for (place, lent) in part.places.iter().zip(lent) {
                if let (Some(block), Some(lent)) = (blocks.get_mut(*place), lent) {
                    *block = open(shard, lent);
                }
            }
        }
        Ok(blocks)
    }

    /// Which of these blocks are here. Each that is stays for `ms` milliseconds, at most for as long as the node allows,
    /// whatever becomes of the caller.
    ///
    /// # Errors
    /// As [`CacheHandle::get`]; some blocks may stay all the same.
    pub async fn lease(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        ms: u32,
        deadline: Deadline,
    ) -> Result<Vec<bool>, RequestError> {
        let parts = self.parts(addresses);
        let asks = parts.iter().map(|part| async {
            let shard = self.shard(part.shard)?;
            let permit = shard.gate.enter()?;
            let wanted = (domain.arena, keys(part, addresses), ms);
            let held = shard
                .ask(&permit, wanted, deadline, ShardMsg::Lease)
                .await?;
            Ok::<_, RequestError>(held)
        });
        let answers = try_join_all(asks).await?;

        let mut held = vec![false; addresses.len()];
        for (part, answer) in parts.iter().zip(answers) {
            for (place, is_held) in part.places.iter().zip(answer) {
                if let Some(to) = held.get_mut(*place) {
                    *to = is_held;
                }
            }
        }
        Ok(held)
    }

    /// Blocks that a shard holds, from a number on (0, then what the last page said), at most `blocks_max`. An order.
    ///
    /// Whoever goes from the first page to the last sees every block that was there all the while, once.
    ///
    /// # Errors
    /// When the shard is busy, did not answer in time, or stopped.
    pub async fn list_blocks(
        &self,
        shard: usize,
        from: u32,
        blocks_max: u32,
        deadline: Deadline,
    ) -> Result<BlockPage, RequestError> {
        let shard = self.shard(shard)?;
        let permit = shard.gate.order()?;
        let page = shard.ask(&permit, (from, blocks_max), deadline, ShardMsg::List);
        page.await
    }

    /// Has a shard tell its watcher of the blocks that it holds, as [`CacheHandle::list_blocks`] would list them: in its
    /// turn, so that what the watcher hears of them before and after stays in order.
    ///
    /// # Errors
    /// As [`CacheHandle::list_blocks`].
    pub async fn tell_blocks(
        &self,
        shard: usize,
        from: u32,
        blocks_max: u32,
        deadline: Deadline,
    ) -> Result<BlockPage, RequestError> {
        let shard = self.shard(shard)?;
        let permit = shard.gate.order()?;
        let page = shard.ask(&permit, (from, blocks_max), deadline, ShardMsg::Tell);
        page.await
    }

    /// Changes the pins of blocks. Gives what became of each, in order.
    ///
    /// # Errors
    /// When a shard is busy, did not answer in time, or stopped; some pins may have changed.
    pub async fn pin(
        &self,
        _domain: &Domain,
        addresses: &[BlockAddress],
        pin: Pin,
        deadline: Deadline,
    ) -> Result<Vec<PinOutcome>, RequestError> {
        let parts = self.parts(addresses);
        let asks = parts.iter().map(|part| async {
            let shard = self.shard(part.shard)?;
            let permit = shard.gate.enter()?;
            let keys = keys(part, addresses);
            let outcomes = shard
                .ask(&permit, (keys, pin), deadline, ShardMsg::Pin)
                .await?;
            Ok::<_, RequestError>(outcomes)
        });
        let answers = try_join_all(asks).await?;

        let mut outcomes = vec![PinOutcome::Absent; addresses.len()];
        for (part, answer) in parts.iter().zip(answers) {
            for (place, outcome) in part.places.iter().zip(answer) {
                if let Some(to) = outcomes.get_mut(*place) {
                    *to = outcome;
                }
            }
        }
        Ok(outcomes)
    }

    /// Drops blocks, whatever their pins. Gives how many there were.
    ///
    /// # Errors
    /// When a shard is busy, did not answer in time, or stopped; some blocks may be gone.
    pub async fn remove(
        &self,
        _domain: &Domain,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<usize, RequestError> {
        let parts = self.parts(addresses);
        let asks = parts.iter().map(|part| async {
            let shard = self.shard(part.shard)?;
            let permit = shard.gate.enter()?;
            let keys = keys(part, addresses);
            let removed = shard.ask(&permit, keys, deadline, ShardMsg::Remove).await?;
            Ok::<_, RequestError>(removed)
        });
        let removed = try_join_all(asks).await?;
        let removed = removed
            .into_iter()
            .map(|count| usize::try_from(count).unwrap_or(0));
        Ok(removed.sum())
    }
}

/// The keys of one part, in order.
fn keys(part: &Part, addresses: &[BlockAddress]) -> Vec<BlockKey> {
    let places = part.places.iter();
    places
        .filter_map(|place| addresses.get(*place))
        .map(|address| address.key)
        .collect()
}

/// Where the chain breaks first: each shard says how many of its own pieces' leading blocks it
/// holds, so the first block that a shard lacks is at the place after those.
fn leading(parts: &[Part], held: &[usize], chain: usize) -> usize {
    let breaks = parts
        .iter()
        .zip(held)
        .map(|(part, held)| part.places.get(*held));
    breaks.flatten().copied().min().unwrap_or(chain)
}

/// A lent block as its reader sees it; a device that fails makes it a miss.
fn open(shard: &ShardPort, lent: LentBlock) -> Option<LeasedBlock> {
    match lent.open() {
        Ok(block) => block,
        Err(error) => {
            shard.tier_failed("a block was not read", &error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_chain_breaks_where_one_shard_first_lacks_a_block(
            // For each block its shard, and whether it is there.
            blocks in prop::collection::vec((0_usize..4, prop::bool::weighted(0.9)), 0..80),
        ) {
            let mut parts: Vec<Part> = (0..4).map(|shard| Part { shard, places: vec![] }).collect();
            for (place, (shard, _)) in blocks.iter().enumerate() {
                parts[*shard].places.push(place);
            }
            let held: Vec<usize> = parts
                .iter()
                .map(|part| part.places.iter().take_while(|place| blocks[**place].1).count())
                .collect();
            let naive = blocks.iter().take_while(|(_, there)| *there).count();
            prop_assert_eq!(leading(&parts, &held, blocks.len()), naive);
        }
    }
}
