//! The node's figures at one moment, gathered once for whoever shows them: `/stats`, `/health`, `/metrics`, the summary.
//!
//! One set of figures under several names: a documented name is a view of these, never a count of its own. This file adds up; it
//! knows nothing of JSON or Prometheus.

use std::time::Duration;

use ultrakv_actors::{ActorInfo, ActorState, ShardReport};
use ultrakv_cache::ShardStats;
use ultrakv_cluster::Check;

use crate::process::{ProcessStats, seconds};
use crate::state::AppState;

/// How long gathering may take. A shard that does not answer in this time is itself a finding.
const GATHER_TIME: Duration = Duration::from_secs(2);

/// How many gather at the same time; the others wait. Health asks for no token, so without this bound whoever floods it would
/// take the shards' places for orders, and a healthy node would look ill.
pub(crate) const GATHERERS_MAX: usize = 8;

/// Everything that is shown of a node.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// The process path.
    pub(crate) process: ProcessStats,
    /// Each shard; none when the shards did not answer.
    pub(crate) shards: Option<Vec<ShardReport>>,
    /// The budget of the node.
    pub(crate) bytes_max: u64,
    /// The budget in tokens, when there is one.
    pub(crate) tokens_max: Option<u64>,
    /// Whether the node can serve, line by line.
    pub(crate) checks: Vec<Check>,
    /// The supervision tree.
    pub(crate) actors: Vec<ActorInfo>,
    /// Requests in progress at the main door.
    pub(crate) requests_in_progress: usize,
    /// Connections of the main door.
    pub(crate) connections: usize,
    /// Blocks that clients hold by HTTP leases.
    pub(crate) blocks_held: usize,
    /// Whether the node is on its way out.
    pub(crate) draining: bool,
    /// Seconds since the gateway started.
    pub(crate) uptime_seconds: f64,
}

impl Figures {
    /// Gathers them.
    pub(crate) async fn gather(state: &AppState) -> Self {
        // The semaphore is never closed, and waiting is bounded by the request's own time.
        let place = state.gatherers.acquire().await.ok();
        let deadline = state.clock.deadline(GATHER_TIME);
        let shards = state.cluster.stats(deadline).await.ok();
        drop(place);
        let mut checks = state.cluster.readiness();
        checks.push(Check {
            name: "shards",
            ok: shards.is_some(),
            entries_only: false,
            detail: match &shards {
                Some(shards) => format!("{} shards answer", shards.len()),
                None => "the shards did not answer in time".to_owned(),
            },
        });
        let draining = state.draining.is_cancelled();
        checks.push(Check {
            name: "draining",
            ok: !draining,
            entries_only: false,
            detail: if draining {
                "the node is stopping"
            } else {
                "the doors are open"
            }
            .to_owned(),
        });
        Self {
            process: state.processor.stats(),
            shards,
            bytes_max: state.settings.cache.bytes_max,
            tokens_max: state.settings.cache.tokens_max,
            checks,
            actors: state.cluster.actors(),
            requests_in_progress: state.limits.requests_in_progress(),
            connections: state.connections.now(),
            blocks_held: state.leases.blocks(),
            draining,
            uptime_seconds: seconds(
                u64::try_from(state.uptime.elapsed().as_micros()).unwrap_or(u64::MAX),
            ),
        }
    }

    /// Whether every check holds.
    pub(crate) fn ready(&self) -> bool {
        self.standing() == Standing::Ready
    }

    /// What the node can do for those who ask.
    pub(crate) fn standing(&self) -> Standing {
        Standing::of(&self.checks, self.draining)
    }

    /// All shards together.
    pub(crate) fn cache(&self) -> ShardStats {
        let mut sum = ShardStats::default();
        for shard in self.shards.iter().flatten() {
            add(&mut sum, shard);
        }
        sum
    }

    /// Used bytes as a part of the budget.
    pub(crate) fn memory_ratio(&self) -> f64 {
        ratio(self.cache().usage.bytes, self.bytes_max)
    }

    /// Requests on the process path now: the sessions that are active.
    pub(crate) fn sessions_active(&self) -> u64 {
        let process = &self.process;
        let active = process
            .generations_active
            .saturating_add(process.generations_queued);
        u64::try_from(active).unwrap_or(u64::MAX)
    }

    /// Actors that run now.
    pub(crate) fn actors_running(&self) -> usize {
        self.actors
            .iter()
            .filter(|actor| actor.status == ActorState::Running)
            .count()
    }
}

/// What a node can do for those who ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everything.
    Ready,
    /// Blocks are read and stored; entries, and changes to the cluster, are refused for now.
    Degraded,
    /// Everything yet, and soon nothing: it is on its way out.
    Draining,
    /// Something that everything needs is missing.
    NotReady,
}

impl Standing {
    fn of(checks: &[Check], draining: bool) -> Self {
        let mut failed = checks.iter().filter(|check| !check.ok).peekable();
        if draining {
            Self::Draining
        } else if failed.peek().is_none() {
            Self::Ready
        } else if failed.all(|check| check.entries_only) {
            Self::Degraded
        } else {
            Self::NotReady
        }
    }

    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::NotReady => "not_ready",
        }
    }
}

fn add(sum: &mut ShardStats, shard: &ShardStats) {
    sum.usage.bytes += shard.usage.bytes;
    sum.usage.tokens += shard.usage.tokens;
    sum.usage.entry_bytes += shard.usage.entry_bytes;
    sum.usage.blocks += shard.usage.blocks;
    sum.usage.pin_bytes += shard.usage.pin_bytes;
    sum.resident_bytes += shard.resident_bytes;
    sum.blocks_visible += shard.blocks_visible;
    sum.entries += shard.entries;
    sum.leases += shard.leases;
    sum.reservations += shard.reservations;
    sum.arenas += shard.arenas;
    sum.lookups += shard.lookups;
    sum.hits += shard.hits;
    sum.stored += shard.stored;
    sum.evicted += shard.evicted;
    sum.expired += shard.expired;
    sum.entry_lookups += shard.entry_lookups;
    sum.entry_hits += shard.entry_hits;
    sum.entries_evicted += shard.entries_evicted;
    sum.refused += shard.refused;
}

/// A part of a whole; nothing of nothing is nothing.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        float(part) / float(whole)
    }
}

/// A count as Prometheus and JSON know numbers.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures: a count above 2^53 loses its last digit, which nobody reads"
)]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_lacks_only_what_entries_need_is_degraded() {
        let check = |ok, entries_only| Check {
            name: "it",
            ok,
            entries_only,
            detail: String::new(),
        };
        let (good, minor, major) = (check(true, false), check(false, true), check(false, false));
        let standing = |checks: &[&Check], draining| {
            let checks: Vec<Check> = checks.iter().map(|check| (*check).clone()).collect();
            Standing::of(&checks, draining).name()
        };
        assert_eq!(standing(&[], false), "ready");
        assert_eq!(standing(&[&good, &good], false), "ready");
        assert_eq!(standing(&[&good, &minor], false), "degraded");
        assert_eq!(standing(&[&minor, &minor], false), "degraded");
        assert_eq!(standing(&[&minor, &major], false), "not_ready");
        assert_eq!(standing(&[&major, &good], false), "not_ready");
        assert_eq!(standing(&[&major, &minor], true), "draining");
    }
}
