//! One node more: how many slots move, how evenly they lie afterwards, and what clients notice meanwhile.
//!
//! Responsible for the load, the clock of each answer and the arithmetic. It must never know how slots move.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use serde::Serialize;
use ultrakv_actors::Clock;
use ultrakv_tests::cluster::{Options, SETTLES_WITHIN, SLOT_COUNT, TestCluster};

use super::load::{HttpTraffic, Traffic};
use super::probe::{Timeline, Us};
use super::record::Recorder;
use super::report::Judged;
use super::stage::{Ground, Stage};
use crate::history::{Op, Outcome};
use crate::rng::Rng;

/// Clients that measure.
const CLIENTS: u32 = 4;
/// Between an answer and the next question.
const THINK: Duration = Duration::from_millis(4);
/// Entries that are there before.
const KEYS: u32 = 3_000;
/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What a phase was like for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Phase {
    /// Requests that were answered.
    pub requests: usize,
    /// Requests that failed.
    pub failed: usize,
    /// The median of their latencies, in microseconds.
    pub p50_us: u64,
    /// Ninety-nine of a hundred were faster.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// What joining showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrowReport {
    /// Nodes before.
    pub nodes: usize,
    /// Slots that have another owner now.
    pub moved: u64,
    /// The fewest that had to.
    pub moved_min: u64,
    /// For each node, slots that it owns and slots that it is entitled to by our own arithmetic.
    pub owned_and_quota: Vec<(u64, u64)>,
    /// For each node, the quota that the cluster itself tells.
    pub quota_told: Vec<u64>,
    /// From the start of the new process until every slot was where it belongs.
    pub settled_ms: u64,
    /// Before.
    pub before: Phase,
    /// While slots moved.
    pub during: Phase,
    /// After.
    pub after: Phase,
    /// What the judge found.
    pub judged: Judged,
}

/// Each of `nodes` equal nodes' part of the slots: the largest remainders get one more.
#[must_use]
pub fn quotas(nodes: usize) -> Vec<u64> {
    let (slots, count) = (
        u64::from(SLOT_COUNT),
        u64::try_from(nodes).unwrap_or(u64::MAX).max(1),
    );
    let (each, more) = (slots / count, slots % count);
    (0..count).map(|at| each + u64::from(at < more)).collect()
}

/// The fewest moves that bring `owned` to within the quotas of one node more: what lies above the old nodes' new quotas.
#[must_use]
pub fn moved_min(owned: &[u64]) -> u64 {
    let mut before = owned.to_vec();
    before.sort_unstable_by(|one, two| two.cmp(one));
    // The larger quotas go to those that have most, so that they give least.
    let quotas = quotas(owned.len() + 1);
    before
        .iter()
        .zip(&quotas)
        .map(|(has, quota)| has.saturating_sub(*quota))
        .sum()
}

/// One request, how long it took, and when it was answered.
#[derive(Debug, Clone, Copy)]
struct Timed {
    ended: Us,
    took_us: u64,
    served: bool,
}

/// Adds a node to a cluster of `nodes` under load; before and after are `phase_seconds` long.
///
/// # Errors
/// When the cluster does not come up or settle, or an answer is wrong.
pub fn run(nodes: usize, phase_seconds: u64, seed: u64) -> Result<GrowReport> {
    let mut stage = Stage::build(nodes, 1, Ground::default(), Options::default(), seed)?;
    let outcome = grow(&mut stage, nodes, phase_seconds, seed);
    outcome.map_err(|error| {
        let place = stage.cluster.keep_logs();
        error.context(format!("the nodes' logs are in {}", place.display()))
    })
}

fn grow(stage: &mut Stage, nodes: usize, phase_seconds: u64, seed: u64) -> Result<GrowReport> {
    let clock = Clock::machine();
    let (record, timeline) = (Recorder::new(&clock), Timeline::new(&clock));
    let (timed, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut doors = Vec::new();
    for at in stage.cluster.running() {
        doors.push(stage.traffic(at, seed, WITHIN)?);
    }
    fill(&doors, &record)?;
    let phase = Duration::from_secs(phase_seconds);
    let before_view = stage.cluster.any_view()?;
    let mut owned: Vec<u64> = before_view.owned().into_values().collect();
    owned.resize(nodes, 0);
    let (joins_at, settled_at) = (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX));
    let after_view = thread::scope(|scope| {
        let client = Client {
            doors: &doors,
            record: &record,
            timeline,
            timed: &timed,
            stop: &stop,
        };
        for number in 0..CLIENTS {
            let dice = Rng::new(seed ^ u64::from(number));
            scope.spawn(move || client.ask(number, dice));
        }
        let mut act = || {
            thread::sleep(phase);
            joins_at.store(timeline.now(), Ordering::Relaxed);
            let at = stage.cluster.add()?;
            stage.cluster.wait_whole(SETTLES_WITHIN)?;
            let view = settled(&stage.cluster, at)?;
            settled_at.store(timeline.now(), Ordering::Relaxed);
            thread::sleep(phase);
            Ok::<_, anyhow::Error>(view)
        };
        let view = act();
        stop.store(true, Ordering::Relaxed);
        view
    })?;
    let cluster = &stage.cluster;
    let layout = cluster.layout(0)?;
    let (owned_now, all) = (after_view.owned(), quotas(nodes + 1));
    let mut counts: Vec<u64> = owned_now.into_values().collect();
    counts.sort_unstable_by(|one, two| two.cmp(one));
    let (joins, settled) = (joins_at.into_inner(), settled_at.into_inner());
    let timed = timed.into_inner();
    let between = |from: Us, to: Us| {
        let those = timed.iter().filter(|one| (from..to).contains(&one.ended));
        Phase::of(&those.copied().collect::<Vec<_>>())
    };
    Ok(GrowReport {
        nodes,
        moved: after_view.moved_since(&before_view),
        moved_min: moved_min(&owned),
        owned_and_quota: counts.into_iter().zip(all).collect(),
        quota_told: layout.nodes.iter().map(|node| node.quota).collect(),
        settled_ms: settled.saturating_sub(joins) / 1_000,
        before: between(0, joins),
        during: between(joins, settled),
        after: between(settled, u64::MAX),
        judged: record.judge()?.into(),
    })
}

/// Waits until the layout says that nothing is left to move and the new node owns slots.
fn settled(cluster: &TestCluster, at: usize) -> Result<ultrakv_tests::cluster::View> {
    cluster.wait("the slots are settled", SETTLES_WITHIN, |cluster| {
        let layout = cluster.layout(at)?;
        let line = layout
            .node(cluster.id(at)?)
            .context("the new node is not in the layout")?;
        if layout.unsettled > 0 || line.owned == 0 || line.owned != line.target_owned {
            bail!("{layout:?}");
        }
        cluster.view(at)
    })
}

fn fill(doors: &[HttpTraffic], record: &Recorder) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let next = &next;
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Ok(key), Some(door)) = (u32::try_from(at), doors.get(at % doors.len()))
                    else {
                        return;
                    };
                    if key >= KEYS {
                        return;
                    }
                    let op = Op::Write(record.fresh_value());
                    record.call(number, key, op, || door.entry(key, op));
                }
            });
        }
    });
    let verdict = record.acknowledged();
    if verdict < usize::try_from(KEYS)? {
        bail!("only {verdict} of {KEYS} entries were stored on an idle cluster");
    }
    Ok(())
}

/// What all clients share.
#[derive(Clone, Copy)]
struct Client<'run> {
    doors: &'run [HttpTraffic],
    record: &'run Recorder,
    timeline: Timeline,
    timed: &'run Mutex<Vec<Timed>>,
    stop: &'run AtomicBool,
}

impl Client<'_> {
    /// Asks until it is over: four reads to a write.
    fn ask(self, number: u32, mut dice: Rng) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(door) = dice.pick(self.doors) else {
                return;
            };
            let key = u32::try_from(dice.below(u64::from(KEYS))).unwrap_or(0);
            let op = if dice.below(5) == 0 {
                Op::Write(self.record.fresh_value())
            } else {
                Op::Read
            };
            let began = self.timeline.now();
            let mut served = false;
            self.record.call(number, key, op, || {
                let outcome = door.entry(key, op)?;
                served = matches!(outcome, Outcome::Done | Outcome::Value(Some(_)));
                Ok(outcome)
            });
            let ended = self.timeline.now();
            self.timed.lock().push(Timed {
                ended,
                took_us: ended.saturating_sub(began),
                served,
            });
            thread::sleep(THINK);
        }
    }
}

impl Phase {
    fn of(timed: &[Timed]) -> Self {
        let mut took: Vec<u64> = timed
            .iter()
            .filter(|one| one.served)
            .map(|one| one.took_us)
            .collect();
        took.sort_unstable();
        let at = |percent: usize| {
            took.get(took.len() * percent / 100)
                .or(took.last())
                .copied()
                .unwrap_or(0)
        };
        Self {
            requests: took.len(),
            failed: timed.len() - took.len(),
            p50_us: at(50),
            p99_us: at(99),
            max_us: at(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_sum_to_all_slots_and_differ_by_one_at_most() {
        for nodes in 1..40 {
            let quotas = quotas(nodes);
            assert_eq!(quotas.len(), nodes);
            assert_eq!(quotas.iter().sum::<u64>(), 16_384);
            assert!(quotas[0] - quotas[nodes - 1] <= 1);
        }
    }

    #[test]
    fn only_the_surplus_has_to_move() {
        assert_eq!(moved_min(&[5_462, 5_461, 5_461]), 4_096);
        assert_eq!(moved_min(&[5_461, 5_461, 5_462]), 4_096);
        assert_eq!(moved_min(&[16_384]), 8_192);
        // Five equal parts: 3 277 for four, 3 276 for one.
        assert_eq!(moved_min(&[4_096; 4]), 16_384 - 4 * 3_277);
    }

    #[test]
    fn a_phase_counts_failures_apart_from_latencies() {
        let timed: Vec<Timed> = (1..=200)
            .map(|at| Timed {
                ended: at,
                took_us: at,
                served: at % 2 == 0,
            })
            .collect();
        let phase = Phase::of(&timed);
        assert_eq!((phase.requests, phase.failed), (100, 100));
        assert_eq!((phase.p50_us, phase.p99_us, phase.max_us), (102, 200, 200));
        assert_eq!(Phase::of(&[]), Phase::default());
    }
}
