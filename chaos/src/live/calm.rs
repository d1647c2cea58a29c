//! The opposite of a fault: a cluster under load on a machine whose every core is busy, in which nothing may change hands.
//!
//! Responsible for the busy cores and for noticing every change of leaders and owners. It must never excuse one.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use ultrakv_actors::Clock;
use ultrakv_tests::cluster::{Options, TestCluster, View};

use super::load::{self, Load, Traffic};
use super::record::Recorder;
use super::report::Judged;
use super::stage::{Ground, Stage};

/// Between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Entries of the load.
const KEYS: u32 = 400;
/// A machine with a larger share of idle time was not saturated.
const IDLE_PERCENT_MAX: u64 = 5;
/// Changes that a report lists one by one.
const CHANGES_SHOWN_MAX: usize = 20;

/// What such a run showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalmReport {
    /// Nodes.
    pub nodes: usize,
    /// How long it was watched.
    pub seconds: u64,
    /// Processes that did nothing but spin.
    pub spinners: usize,
    /// How much of the machine's time was idle meanwhile.
    pub idle_percent: u64,
    /// How often the cluster was looked at.
    pub looks: u64,
    /// Looks that were not answered in time.
    pub unanswered: u64,
    /// Every change that was seen; must be empty.
    pub changes: Vec<String>,
    /// What the judge found in the load.
    pub judged: Judged,
}

impl CalmReport {
    /// Why this run shows nothing, or shows a false failover; none when all is well.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        if self.idle_percent > IDLE_PERCENT_MAX {
            return Some(format!(
                "the machine was idle for {} %: not saturated",
                self.idle_percent
            ));
        }
        if self.looks == 0 || self.unanswered * 2 > self.looks {
            return Some(format!(
                "{} of {} looks were not answered",
                self.unanswered, self.looks
            ));
        }
        let change = self.changes.first()?;
        Some(format!(
            "{} changes, the first: {change}",
            self.changes.len()
        ))
    }
}

/// Processes that spin; they end with this value, and by themselves when this process is gone.
#[derive(Debug)]
struct Spinners(Vec<Child>);

impl Spinners {
    /// Starts `count` of `program spin`, which spins until its standard input closes.
    fn start(program: &Path, count: usize) -> Result<Self> {
        let mut spinners = Self(Vec::new());
        for _ in 0..count {
            let mut command = Command::new(program);
            command
                .arg("spin")
                .stdin(Stdio::piped())
                .stdout(Stdio::null());
            spinners
                .0
                .push(command.spawn().context("starting a spinner")?);
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _already_gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Spins on this thread until standard input closes.
pub fn spin() {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _until_it_closes = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
}

/// Watches a cluster of `nodes` under load for `seconds`, with as many spinners as there are cores.
///
/// # Errors
/// When the cluster does not come up, or its answers are wrong.
pub fn run(nodes: usize, seconds: u64, seed: u64) -> Result<CalmReport> {
    let mut stage = Stage::build(nodes, 0, Ground::default(), Options::default(), seed)?;
    let outcome = watch(&stage, nodes, seconds, seed);
    outcome.map_err(|error| {
        let place = stage.cluster.keep_logs();
        error.context(format!("the nodes' logs are in {}", place.display()))
    })
}

fn watch(stage: &Stage, nodes: usize, seconds: u64, seed: u64) -> Result<CalmReport> {
    let cluster = &stage.cluster;
    let cores = thread::available_parallelism()?.get();
    let clock = Clock::machine();
    let (record, stop) = (Recorder::new(&clock), AtomicBool::new(false));
    let mut doors = Vec::new();
    for at in cluster.running() {
        doors.push(stage.traffic(at, seed, Duration::from_secs(10))?);
    }
    let load = Load {
        seed,
        clients: 4,
        operations: u32::MAX,
        keys: KEYS,
        first_key: 0,
        blocks: 8,
        block_bytes: 16 * 1024,
        // Half an hour of it fits in one history.
        think: Duration::from_millis(20),
    };
    let spinners = Spinners::start(&std::env::current_exe()?, cores)?;
    let mut report = CalmReport {
        nodes,
        seconds,
        spinners: cores,
        idle_percent: 0,
        looks: 0,
        unanswered: 0,
        changes: Vec::new(),
        judged: Judged::default(),
    };
    let before = Ticks::now()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let traffic: Vec<&dyn Traffic> =
                doors.iter().map(|door| -> &dyn Traffic { door }).collect();
            load::run(load, &traffic, &record, &stop);
        });
        let watched = look(cluster, &clock, seconds, &mut report);
        stop.store(true, Ordering::Relaxed);
        watched
    })?;
    report.idle_percent = Ticks::now()?.idle_percent_since(&before);
    drop(spinners);
    report.judged = record.judge()?.into();
    Ok(report)
}

/// Compares what each node tells, in turn, with what it told at first.
fn look(cluster: &TestCluster, clock: &Clock, seconds: u64, report: &mut CalmReport) -> Result<()> {
    let first = cluster.any_view()?;
    let deadline = clock.deadline(Duration::from_secs(seconds));
    let running = cluster.running();
    for at in running.iter().copied().cycle() {
        if clock.remaining(deadline).is_zero() {
            return Ok(());
        }
        report.looks += 1;
        match cluster.view(at) {
            Ok(view) => {
                if let Some(change) = change(&first, &view)
                    && report.changes.len() < CHANGES_SHOWN_MAX
                {
                    report.changes.push(format!("node {at}: {change}"));
                }
            }
            Err(_) => report.unanswered += 1,
        }
        thread::sleep(LOOK_EVERY);
    }
    bail!("no node runs")
}

/// What is otherwise: epochs and terms only grow, so that a change and its undoing are seen too.
fn change(first: &View, now: &View) -> Option<String> {
    if (&first.leader, first.term) != (&now.leader, now.term) {
        return Some(format!(
            "the leader was {:?} in term {:?} and is {:?} in {:?}",
            first.leader, first.term, now.leader, now.term
        ));
    }
    if first.members != now.members {
        return Some(format!(
            "the members were {:?} and are {:?}",
            first.members, now.members
        ));
    }
    let pairs = first.ranges.iter().zip(&now.ranges);
    let other = pairs
        .filter(|(was, is)| was != is)
        .map(|(was, is)| format!("{was:?} is {is:?}"))
        .next();
    let longer =
        (first.ranges.len() != now.ranges.len()).then(|| "slots are cut otherwise".to_owned());
    other.or(longer)
}

/// What the machine's cores did since it was started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat")?)
    }

    /// Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    fn parse(text: &str) -> Result<Self> {
        let line = text.lines().next().context("an empty /proc/stat")?;
        let numbers = line.split_whitespace().skip(1).take(8).map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().context("/proc/stat")?;
        let idle = numbers.iter().skip(3).take(2).sum();
        Ok(Self {
            idle,
            all: numbers.iter().sum(),
        })
    }

    fn idle_percent_since(&self, before: &Self) -> u64 {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle);
        (idle * 100).checked_div(all).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn idle_time_is_read_from_the_kernels_line() {
        let before = Ticks::parse("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(
            before,
            Ticks {
                idle: 800,
                all: 1_000
            }
        );
        let after = Ticks::parse("cpu  290 0 100 709 101 0 0 0 0 0\n").unwrap();
        assert_eq!(after.idle_percent_since(&before), 5);
        assert_eq!(before.idle_percent_since(&before), 100);
        assert!(Ticks::parse("").is_err() && Ticks::parse("cpu a").is_err());
    }

    fn view(leader: &str, term: u64, epoch: u64) -> View {
        View::read(&json!({
            "node_id": "a", "revision": 1, "leader": leader, "term": term,
            "members": [{"node_id": "a", "boot_id": "b", "name": "n1", "state": "up"}],
            "slots": {"ranges": [{"first": 0, "last": 16383, "owner": "a", "in_sync": ["a"], "epoch": epoch}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_change_is_seen_even_when_it_was_undone() {
        let first = view("a", 1, 1);
        assert_eq!(change(&first, &view("a", 1, 1)), None);
        assert!(change(&first, &view("a", 2, 1)).unwrap().contains("term"));
        assert!(change(&first, &view("b", 1, 1)).unwrap().contains("leader"));
        assert!(
            change(&first, &view("a", 1, 2))
                .unwrap()
                .contains("epoch: 2")
        );
    }

    #[test]
    fn a_run_that_was_not_saturated_shows_nothing() {
        let good = CalmReport {
            nodes: 3,
            seconds: 1,
            spinners: 2,
            idle_percent: 0,
            looks: 10,
            unanswered: 1,
            changes: Vec::new(),
            judged: Judged::default(),
        };
        assert_eq!(good.failure(), None);
        for (bad, words) in [
            (
                CalmReport {
                    idle_percent: 30,
                    ..good.clone()
                },
                "not saturated",
            ),
            (
                CalmReport {
                    unanswered: 6,
                    ..good.clone()
                },
                "not answered",
            ),
            (
                CalmReport {
                    changes: vec!["x".to_owned()],
                    ..good.clone()
                },
                "1 changes, the first: x",
            ),
        ] {
            assert!(
                bad.failure().is_some_and(|told| told.contains(words)),
                "{bad:?}"
            );
        }
    }
}
