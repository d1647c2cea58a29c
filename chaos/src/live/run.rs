//! Plays a scenario: rounds of load, probes and one fault each, then the judge.
//!
//! Responsible for the order of things and for what is measured between which moments. It must never know how a fault is made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ultrakv_actors::Clock;
use ultrakv_tests::cluster::{Options, SETTLES_WITHIN, TestCluster};

use super::blow::{Aim, Watcher};
use super::load::{self, HttpTraffic, Load, Traffic, block_bytes, entry_name, read_block};
use super::probe::{Probe, Sightings, Timeline, Us, Watch, Wish};
use super::record::Recorder;
use super::report::{Report, Round};
use super::scenario::{Blow, Promise, Scenario};
use super::stage::Stage;
use crate::history::{Op, Outcome};
use crate::rng::Rng;

/// Keys of one round are numbered from its number times this.
const KEYS_PER_ROUND: u32 = 10_000;
/// Entries that the load contends for in one round.
const LOAD_KEYS: u32 = 24;
/// Probed entries are looked for from here on in a round's numbers.
const PROBE_KEYS_FROM: u32 = 100;
/// Blocks that the probes of one round read.
const BLOCKS: usize = 8;
/// Bytes of each.
const BLOCK_BYTES: usize = 32 * 1024;
/// How long a load client waits for an answer.
const LOAD_WITHIN: Duration = Duration::from_secs(2);
/// How long a probe waits for one.
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// How long those whom a fault left alone may stay without service before the round goes on without them.
const RECOVERS_WITHIN_MS: u64 = 20_000;
/// How long blocks may take to be readable everywhere after a fault.
const BLOCKS_WITHIN_MS: u64 = 3_000;
/// Between two looks at what the probes saw.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a read at the end of a round is tried.
const REREADS_MAX: u32 = 20;
/// The client of those reads.
const REREADER: u32 = 900;

/// What is to be played.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// Nodes.
    pub nodes: usize,
    /// Rounds.
    pub rounds: u32,
    /// Decides names, contents, faults and their lengths.
    pub seed: u64,
    /// Clients of the load.
    pub clients: u32,
    /// Settings of every node beyond the small ones, as `--set` takes them.
    pub settings: Vec<String>,
    /// Whether the scenario's promises about time are held against it.
    pub is_timed: bool,
}

/// One round's answers and the keys they are about; judged again when everything is over.
struct Played {
    record: Recorder,
    keys: Vec<u32>,
}

/// Plays it to the end or to the first failure; `told` hears of each round at once.
///
/// # Errors
/// When the stage cannot be built; whatever goes wrong later is in the report.
pub fn run(setup: &Setup, told: &mut dyn FnMut(&Round)) -> Result<Report> {
    let scenario = setup.scenario;
    let mut options = Options::default().set("cluster.block_copies=2");
    options.settings.extend(setup.settings.iter().cloned());
    let spare = usize::from(scenario.blows.contains(&Blow::Churn));
    let mut stage = Stage::build(setup.nodes, spare, scenario.ground, options, setup.seed)?;
    let mut report = Report {
        scenario: scenario.name.to_owned(),
        nodes: setup.nodes,
        seed: setup.seed,
        ..Report::default()
    };
    let mut dice = Rng::new(setup.seed);
    let mut played = Vec::new();
    for number in 1..=setup.rounds {
        match play(&mut stage, setup, number, &mut dice) {
            Ok((round, past)) => {
                told(&round);
                report.rounds.push(round);
                played.push(past);
            }
            Err(error) => {
                report.failures.push(format!("round {number}: {error:#}"));
                break;
            }
        }
    }
    for past in &played {
        let judged = reread(&stage, setup.seed, past).and_then(|()| past.record.judge().map(drop));
        if let Err(error) = judged {
            report.failures.push(format!("after everything: {error:#}"));
        }
    }
    report.hold(if setup.is_timed {
        scenario.promise
    } else {
        Promise::default()
    });
    if !report.failures.is_empty() {
        let place = stage.cluster.keep_logs();
        report
            .failures
            .push(format!("the nodes' logs are in {}", place.display()));
    }
    Ok(report)
}

/// Ends everybody who looks at the flag, however the round ends.
struct EndWhenDropped<'round>(&'round AtomicBool);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One way in to every running node.
struct Doors(Vec<(usize, HttpTraffic)>);

impl Doors {
    fn of(stage: &Stage, seed: u64, within: Duration) -> Result<Self> {
        let mut doors = Vec::new();
        for at in stage.cluster.running() {
            doors.push((at, stage.traffic(at, seed, within)?));
        }
        Ok(Self(doors))
    }

    fn traffic(&self) -> Vec<&dyn Traffic> {
        self.0
            .iter()
            .map(|(_, traffic)| -> &dyn Traffic { traffic })
            .collect()
    }
}

/// What is asked for through which door in a round.
struct Wishes {
    /// Keys that each door's probes write and read.
    keys: Vec<(usize, Vec<u32>)>,
    /// Names of the blocks that all read.
    blocks: Vec<String>,
}

impl Wishes {
    /// For each door an entry that the victim owns and one that another owns.
    fn choose(cluster: &TestCluster, aim: &Aim, seed: u64, first: u32) -> Result<Self> {
        let victim = cluster.id(aim.victim)?;
        let owned = |key: u32| aim.before.owner_of(&entry_name(seed, key));
        let mut numbers = first + PROBE_KEYS_FROM..first + KEYS_PER_ROUND;
        let mut keys = Vec::new();
        for door in cluster.running() {
            let mut next = |of_victim: bool| {
                let fits =
                    |key: &u32| owned(*key).is_some_and(|owner| (owner == victim) == of_victim);
                numbers.find(fits).context("no entry's slot is owned so")
            };
            keys.push((door, vec![next(true)?, next(false)?]));
        }
        let blocks = (0..BLOCKS).map(|at| format!("probe-{seed:x}-{first}-{at}"));
        Ok(Self {
            keys,
            blocks: blocks.collect(),
        })
    }

    fn entries(&self, doors: &[usize]) -> Vec<(usize, Wish)> {
        let doors = self.keys.iter().filter(|(door, _)| doors.contains(door));
        let pairs = doors.flat_map(|(door, keys)| keys.iter().map(move |key| (*door, *key)));
        pairs
            .flat_map(|(door, key)| [(door, Wish::Write(key)), (door, Wish::Read(key))])
            .collect()
    }

    fn blocks(&self, doors: &[usize]) -> Vec<(usize, Wish)> {
        let of = |door: usize| (0..self.blocks.len()).map(move |at| (door, Wish::Block(at)));
        doors.iter().flat_map(|door| of(*door)).collect()
    }
}

/// What happened when, and who waits for it.
struct Moments<'round> {
    timeline: Timeline,
    sightings: &'round Sightings,
    /// Wishes that must be fulfilled before the fault ends, where somebody takes over.
    awaited: Vec<(usize, Wish)>,
    hold_ms: u64,
    began: Us,
    ended: Us,
}

impl Watcher for Moments<'_> {
    fn begin(&mut self) {
        self.began = self.timeline.now();
    }

    fn hold(&mut self) -> Result<()> {
        let since = |began: Us, timeline: Timeline| timeline.now().saturating_sub(began) / 1_000;
        loop {
            let lasted = since(self.began, self.timeline);
            let served = self.sightings.all_since(&self.awaited, self.began);
            if lasted >= self.hold_ms && (served || lasted >= RECOVERS_WITHIN_MS) {
                return Ok(());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn end(&mut self) {
        self.ended = self.timeline.now();
    }
}

fn play(stage: &mut Stage, setup: &Setup, number: u32, dice: &mut Rng) -> Result<(Round, Played)> {
    let (blow, hold_ms) = setup.scenario.draw(dice).context("no fault to draw")?;
    let aim = Aim::take(&stage.cluster, blow, dice)?;
    let first = number.saturating_mul(KEYS_PER_ROUND);
    let wishes = Wishes::choose(&stage.cluster, &aim, setup.seed, first)?;
    let clock = Clock::machine();
    let scene = Scene {
        loaded: Doors::of(stage, setup.seed, LOAD_WITHIN)?,
        probed: Doors::of(stage, setup.seed, PROBE_WITHIN)?,
        wishes,
        seed: setup.seed,
        load: Load {
            seed: setup.seed.wrapping_add(u64::from(number)),
            clients: setup.clients,
            operations: u32::MAX,
            keys: LOAD_KEYS,
            first_key: first,
            blocks: 8,
            block_bytes: 16 * 1024,
            think: Duration::from_millis(5),
        },
        timeline: Timeline::new(&clock),
        record: Recorder::new(&clock),
        sightings: Sightings::default(),
        stop: AtomicBool::new(false),
    };
    spread_blocks(&scene.wishes.blocks, setup.seed, &scene.loaded)?;
    let (evidence, began, ended) = scene.perform(stage, &aim, hold_ms)?;
    let over = scene.timeline.now();

    let of_probes = scene.wishes.keys.iter().flat_map(|(_, keys)| keys.clone());
    let past = Played {
        keys: (first..first + LOAD_KEYS).chain(of_probes).collect(),
        record: scene.record,
    };
    reread(stage, setup.seed, &past)?;
    let doors = stage.cluster.running();
    let (wishes, sightings) = (&scene.wishes, &scene.sightings);
    let round = Round {
        number,
        blow: blow.name(),
        victim: stage.cluster.process(aim.victim)?.name().to_owned(),
        held_ms: ended.saturating_sub(began) / 1_000,
        evidence,
        entries: sightings.silence(&wishes.entries(&aim.calm), began, ended),
        blocks_ms: sightings.longest_wait_ms(&wishes.blocks(&aim.calm), began, over),
        after: sightings.silence(&wishes.entries(&doors), ended, over),
        whole_ms: over.saturating_sub(ended) / 1_000,
        judged: past.record.judge()?.into(),
    };
    Ok((round, past))
}

/// Everybody in a round and everything that they note.
struct Scene {
    loaded: Doors,
    probed: Doors,
    wishes: Wishes,
    seed: u64,
    load: Load,
    timeline: Timeline,
    record: Recorder,
    sightings: Sightings,
    stop: AtomicBool,
}

impl Scene {
    /// Load, probes and the fault, until all is well again; tells the evidence, when the fault began, and when it ended.
    fn perform(&self, stage: &mut Stage, aim: &Aim, hold_ms: u64) -> Result<(String, Us, Us)> {
        let watch = Watch {
            timeline: self.timeline,
            sightings: &self.sightings,
            record: &self.record,
            stop: &self.stop,
        };
        let mut moments = Moments {
            timeline: self.timeline,
            sightings: &self.sightings,
            awaited: Vec::new(),
            hold_ms,
            began: 0,
            ended: 0,
        };
        if aim.is_failover() {
            moments.awaited = self.wishes.entries(&aim.calm);
        }
        let doors = stage.cluster.running();
        let (entries, blocks) = (self.wishes.entries(&doors), self.wishes.blocks(&doors));
        let evidence = thread::scope(|scope| {
            let _ends = EndWhenDropped(&self.stop);
            scope.spawn(|| {
                load::run(self.load, &self.loaded.traffic(), &self.record, &self.stop);
            });
            for (door, traffic) in &self.probed.0 {
                self.probe(*door, traffic).spawn(scope, watch);
            }
            let all = [entries.as_slice(), &blocks].concat();
            wait_served(&watch, &all, 0, RECOVERS_WITHIN_MS).context("before the fault")?;
            let evidence = aim.deal(stage, &mut moments)?;
            stage.cluster.wait_whole(SETTLES_WITHIN)?;
            wait_served(&watch, &entries, moments.ended, RECOVERS_WITHIN_MS)
                .context("after the fault")?;
            // A cache may lose a block; the report then says that it was never read again.
            let _told = wait_served(&watch, &blocks, moments.ended, BLOCKS_WITHIN_MS);
            Ok::<_, anyhow::Error>(evidence)
        })?;
        Ok((evidence, moments.began, moments.ended))
    }

    fn probe<'run>(&'run self, door: usize, traffic: &'run HttpTraffic) -> Probe<'run> {
        let keys = self.wishes.keys.iter().filter(|(of, _)| *of == door);
        Probe {
            door,
            traffic,
            keys: keys.flat_map(|(_, keys)| keys.clone()).collect(),
            blocks: &self.wishes.blocks,
            block_bytes: BLOCK_BYTES,
            seed: self.seed,
        }
    }
}

/// Stores the round's blocks and reads each twice at every door, so that there are copies.
fn spread_blocks(names: &[String], seed: u64, doors: &Doors) -> Result<()> {
    let traffic = doors.traffic();
    for (name, door) in names.iter().zip(traffic.iter().cycle()) {
        if !door.block_put(name, &block_bytes(seed, name, BLOCK_BYTES)) {
            bail!("block {name} was not stored");
        }
    }
    for name in names.iter().chain(names) {
        for door in &traffic {
            // A miss is allowed here: the probes wait until it is there.
            let _missed = !read_block(seed, name, BLOCK_BYTES, *door)?;
        }
    }
    Ok(())
}

fn wait_served(
    watch: &Watch<'_>,
    wishes: &[(usize, Wish)],
    since: Us,
    within_ms: u64,
) -> Result<()> {
    let began = watch.timeline.now();
    while !watch.sightings.all_since(wishes, since) {
        let waited = watch.timeline.now().saturating_sub(began) / 1_000;
        if waited > within_ms {
            let missing = wishes
                .iter()
                .find(|wish| !watch.sightings.all_since(&[**wish], since));
            bail!("{missing:?} (door, wish) was not fulfilled within {waited} ms");
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Reads every entry of a round through every door, into its history: what was acknowledged must be there.
fn reread(stage: &Stage, seed: u64, past: &Played) -> Result<()> {
    let doors = Doors::of(stage, seed, LOAD_WITHIN)?;
    for key in &past.keys {
        for (at, door) in &doors.0 {
            let mut answered = false;
            for _ in 0..REREADS_MAX {
                let noted = past.record.call(REREADER, *key, Op::Read, || {
                    let outcome = door.entry(*key, Op::Read)?;
                    answered = matches!(outcome, Outcome::Value(_));
                    Ok(outcome)
                });
                if answered {
                    break;
                }
                if !noted {
                    bail!("the history is full");
                }
                thread::sleep(LOOK_EVERY);
            }
            if !answered {
                bail!("entry {key} is not readable at node {at} when all is well");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_lasts_its_time_and_where_somebody_takes_over_until_all_are_served() {
        let sightings = Sightings::default();
        let mut moments = Moments {
            timeline: Timeline::new(&Clock::machine()),
            sightings: &sightings,
            awaited: Vec::new(),
            hold_ms: 30,
            began: 0,
            ended: 0,
        };
        moments.begin();
        moments.hold().unwrap();
        moments.end();
        assert!(moments.ended - moments.began >= 30_000);

        moments.awaited = vec![(0, Wish::Write(1))];
        moments.hold_ms = 0;
        let (timeline, record, stop) = (
            moments.timeline,
            Recorder::new(&Clock::machine()),
            AtomicBool::new(false),
        );
        let later = Duration::from_millis(40);
        struct Slow(Duration);
        impl Traffic for Slow {
            fn entry(&self, _: u32, op: Op) -> Result<Outcome, crate::live::record::WrongBytes> {
                thread::sleep(self.0);
                Ok(if op == Op::Read {
                    Outcome::Value(Some(1))
                } else {
                    Outcome::Done
                })
            }

            fn block_put(&self, _: &str, _: &[u8]) -> bool {
                true
            }

            fn block_get(&self, _: &str) -> Option<Vec<u8>> {
                None
            }
        }
        let slow = Slow(later);
        moments.begin();
        thread::scope(|scope| {
            let _ends = EndWhenDropped(&stop);
            let watch = Watch {
                timeline,
                sightings: &sightings,
                record: &record,
                stop: &stop,
            };
            let probe = Probe {
                door: 0,
                traffic: &slow,
                keys: vec![1],
                blocks: &[],
                block_bytes: 0,
                seed: 1,
            };
            probe.spawn(scope, watch);
            moments.hold().unwrap();
        });
        moments.end();
        assert!(moments.ended - moments.began >= 40_000);
        let silence = sightings.silence(&[(0, Wish::Write(1))], moments.began, moments.ended);
        assert!(
            silence.longest_ms >= 40 && silence.never == 0,
            "{silence:?}"
        );
    }
}
