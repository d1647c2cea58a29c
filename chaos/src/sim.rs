//! The whole protocol from one seed: consensus, metadata, tenures, replicas and clients over a network that fails.
//!
//! The machines are the real ones of `ultrakv_cluster`, driven as the running node drives them; only the consensus is a
//! model ([`crate::consensus`]). Every step is judged: by what must never be (`oracle`), at the end by whether one order
//! explains all that clients were told ([`crate::linear`]), and after each time of faults by whether all comes right.
//! It must never know a socket, a real clock, or anything but its seed.

mod acts;
mod bug;
mod client;
mod clock;
mod coverage;
mod director;
mod duty;
mod movement;
mod oracle;
mod process;
mod store;
mod story;
mod table;
mod trace;
mod words;
mod world;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use bug::Bug;
pub use coverage::{Coverage, Seen};

use crate::consensus::{Membership, Timing};
use crate::network::{LinkShape, Network, Place, Us};
use crate::rng::Rng;
use client::{Client, Habits};
use director::{Director, Mood};
use oracle::Wrong;
use process::Setup;
use trace::Trace;
use words::Msg;
use world::World;

/// Machines that wait to join.
const SPARES: u8 = 3;
const CLIENTS: u8 = 4;

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Voters; drawn from the seed when none are given.
    pub voters: Option<u8>,
    /// Simulated time; a run ends with the first calm after it.
    pub seconds: u64,
    /// A planted bug.
    pub bug: Option<Bug>,
}

/// What became of one seed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash of everything that happened; the same seed gives the same.
    pub digest: u64,
    /// Simulated time.
    pub simulated_us: u64,
    /// Messages and timers.
    pub steps: u64,
    /// Questions of clients.
    pub calls: usize,
    /// Whether it ended early, because faults came together for which nothing is promised.
    pub is_excused: bool,
    /// Whether it ended early, because too many questions overlapped for their history to be judged.
    pub is_undecided: bool,
    /// What was exercised.
    pub coverage: Coverage,
    /// What was wrong, if anything.
    pub violation: Option<Violation>,
}

/// Something that must never be, and how it came about.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// The slot that it is about, if it is about one.
    pub slot: Option<u16>,
    /// Nothing forbidden happened, but something that was due did not.
    pub is_missing: bool,
    /// When, in simulated microseconds.
    pub at_us: u64,
    /// What is wrong.
    pub what: String,
    /// What happened to the slot before; filled by [`replay`].
    pub trace: Vec<String>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, plan: &Plan) -> Report {
    run_traced(seed, plan, Trace::default())
}

/// Runs a seed, and once more with a trace if something is wrong.
#[must_use]
pub fn replay(seed: u64, plan: &Plan) -> Report {
    let report = run(seed, plan);
    match &report.violation {
        Some(violation) => {
            let until = Us(violation.at_us);
            run_traced(seed, plan, Trace::of(violation.slot, until))
        }
        None => report,
    }
}

fn run_traced(seed: u64, plan: &Plan, trace: Trace) -> Report {
    let mut world = build(seed, plan, trace);
    world.play(Us(plan.seconds.saturating_mul(1_000_000)));
    let counts = world.net.counts();
    let mut coverage = std::mem::take(&mut world.coverage);
    coverage.add(Seen::Loss, counts.lost);
    coverage.add(Seen::Duplicate, counts.duplicated);
    coverage.add(Seen::Reorder, counts.overtaken);
    coverage.note(Seen::Drift);
    let overflow = (counts.overflowed > 0)
        .then(|| Wrong::anywhere("the simulated network overflowed".to_owned()));
    let wrong = world.wrong.take().or(overflow);
    let simulated_us = world.net.now().0;
    Report {
        seed,
        digest: world.digest ^ world.net.digest(),
        simulated_us,
        steps: world.steps,
        calls: world.calls,
        is_excused: world.excuse.is_some(),
        is_undecided: world.is_undecided,
        coverage,
        violation: wrong.map(|wrong| Violation {
            slot: wrong.slot,
            is_missing: wrong.is_missing,
            at_us: wrong.at.map_or(simulated_us, |at| at.0),
            what: wrong.what,
            trace: world.trace.take(),
        }),
    }
}

fn build(seed: u64, plan: &Plan, trace: Trace) -> World {
    let mut rng = Rng::new(seed);
    let drawn = if rng.chance_ppm(600_000) { 3 } else { 5 };
    let voters = plan.voters.unwrap_or(drawn);
    let learners = u8::try_from(rng.below(3)).unwrap_or(0);
    let founders = voters.saturating_add(learners);
    let places = founders.saturating_add(SPARES);
    let membership = Membership {
        voters: (0..voters).collect(),
        learners: (voters..places).collect(),
    };
    let mut timing = Timing::standard();
    timing.promise_us = timing.election_us_max;
    timing.promise_after_restart = plan.bug != Some(Bug::PromiseForgotten);
    if rng.chance_ppm(300_000) {
        timing.quorum_loss_us = None;
    }
    let setup = Setup {
        slots: u16::try_from(rng.between(2, 4)).unwrap_or(2),
        voters,
        founders,
        copies: if rng.chance_ppm(750_000) { 3 } else { 2 },
        election_us_max: timing.election_us_max,
        bug: plan.bug,
    };
    let director_place = places.saturating_add(CLIENTS);
    let net = Network::new(
        director_place.saturating_add(1),
        LinkShape::calm(),
        rng.fork(),
    );
    let director = Director::new(rng.fork(), mood(plan.bug));
    let world_rng = rng.fork();
    let mut world = World::new(
        setup,
        (timing, membership),
        (net, director),
        world_rng,
        trace,
    );
    world.director_place = director_place;
    for place in 0..founders {
        world.start(place);
    }
    for client in 0..CLIENTS {
        let place: Place = places.saturating_add(client);
        let habits = habits(&mut rng, plan.bug);
        world
            .clients
            .push(Client::new(place, setup.slots, habits, rng.fork()));
        world.net.timer(place, 1_500_000, Msg::Next);
    }
    world
}

fn habits(rng: &mut Rng, bug: Option<Bug>) -> Habits {
    let habits = Habits {
        pause_us_max: rng.between(40_000, 160_000),
        read_ppm: u32::try_from(rng.between(300_000, 700_000)).unwrap_or(0),
        loyal_ppm: u32::try_from(rng.between(0, 900_000)).unwrap_or(0),
    };
    // A voter that is behind in the log is elected by nobody: for this bug little must be written.
    match bug {
        Some(Bug::PromiseForgotten) => Habits {
            read_ppm: 1_000_000,
            ..habits
        },
        _ => habits,
    }
}

/// How hard the director is; some planted bugs need one kind of bad luck often enough to be met soon.
const fn mood(bug: Option<Bug>) -> Mood {
    let mood = Mood {
        fault_ppm: 110_000,
        bridge_restart_ppm: 300_000,
        is_deaf: false,
        sleep_ppm: 700,
    };
    match bug {
        Some(Bug::PromiseForgotten) => Mood {
            bridge_restart_ppm: 1_000_000,
            is_deaf: true,
            fault_ppm: 15_000,
            sleep_ppm: 0,
        },
        _ => mood,
    }
}
