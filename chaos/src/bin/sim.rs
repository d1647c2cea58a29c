//! Runs seeds of the simulator and tells what they exercised.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that reports"
)]

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use ultrakv_actors::Clock;
use ultrakv_chaos::sim::{Bug, Coverage, Plan, Report, Seen, replay, run};

/// The whole protocol from a seed, judged at every step.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One JSON document.
    Json,
    /// Lines for people.
    Table,
}

#[derive(Clone, Copy, Args)]
struct Shape {
    /// Voters; drawn from the seed when not given.
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=5))]
    nodes: Option<u8>,
    /// Simulated seconds of one seed; it ends with the first calm after them.
    #[arg(long, default_value_t = 30)]
    seconds_simulated: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Run a batch of seeds; exit 1 when something is wrong, or when a kind of fault was not exercised.
    Run {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Stop after this much real time, however many seeds are left.
        #[arg(long)]
        minutes: Option<f64>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Run one seed, and show what led to what is wrong.
    Replay {
        /// The seed.
        seed: u64,
        /// A planted bug.
        #[arg(long)]
        bug: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Plant each bug, and look for a seed that sees it; exit 1 when one is not seen.
    Bugs {
        /// Seeds tried for each.
        #[arg(long, default_value_t = 400)]
        seeds: u64,
        /// Only the bug of this name.
        #[arg(long)]
        only: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
}

/// Violations of a batch that are told with what led to them.
const TOLD_MAX: usize = 3;

/// What a batch came to.
#[derive(Default, Serialize)]
struct Batch {
    seeds: u64,
    simulated_hours: f64,
    wall_seconds: f64,
    /// Simulated time over real time, of one core.
    speed: f64,
    steps_per_second: f64,
    calls: usize,
    /// Seeds that ended early: a second fault came before the first was repaired.
    excused: u64,
    /// Those among them whose history was too tangled to be judged.
    undecided: u64,
    fault_kinds: usize,
    coverage: Coverage,
    missing: Vec<Seen>,
    violations: Vec<Report>,
}

/// How a planted bug fared.
#[derive(Serialize)]
struct Catch {
    bug: Bug,
    seed: Option<u64>,
    what: Option<String>,
    seeds_tried: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { command, output } = Arguments::parse();
    match command {
        Command::Run {
            seeds,
            from,
            minutes,
            shape,
        } => run_batch((from, seeds), minutes, &plan(shape, None), output),
        Command::Replay { seed, bug, shape } => {
            let bug = bug.as_deref().map(find).transpose()?;
            replay_one(seed, &plan(shape, bug), output)
        }
        Command::Bugs { seeds, only, shape } => {
            let only = only.as_deref().map(find).transpose()?;
            hunt(seeds, only, shape, output)
        }
    }
}

const fn plan(shape: Shape, bug: Option<Bug>) -> Plan {
    Plan {
        voters: shape.nodes,
        seconds: shape.seconds_simulated,
        bug,
    }
}

fn find(name: &str) -> anyhow::Result<Bug> {
    let bug = Bug::find(name).with_context(|| {
        let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        format!(
            "no planted bug is named {name:?}; there are {}",
            names.join(", ")
        )
    })?;
    anyhow::ensure!(
        bug.is_there(),
        "this build cannot plant {name:?}; build with --features sabotage"
    );
    Ok(bug)
}

fn command_of(seed: u64, plan: &Plan) -> String {
    let voters = plan.voters.map(|voters| format!(" --nodes {voters}"));
    let bug = plan.bug.map(|bug| format!(" --bug {}", bug.name()));
    format!(
        "ultrakv-sim replay {seed} --seconds-simulated {}{}{}",
        plan.seconds,
        voters.unwrap_or_default(),
        bug.unwrap_or_default()
    )
}

#[expect(clippy::as_conversions, reason = "figures for people")]
fn ratio(part: u64, whole: f64) -> f64 {
    if whole > 0.0 {
        part as f64 / whole
    } else {
        0.0
    }
}

fn run_batch(
    (from, seeds): (u64, u64),
    minutes: Option<f64>,
    plan: &Plan,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let clock = Clock::machine();
    let mut batch = Batch::default();
    let (mut simulated_us, mut steps) = (0_u64, 0_u64);
    for seed in from..from.saturating_add(seeds) {
        let wall_s = seconds(&clock);
        if minutes.is_some_and(|minutes| wall_s >= minutes * 60.0) {
            break;
        }
        if batch.seeds % 20 == 0 && batch.seeds > 0 {
            eprintln!("{} seeds, {:.0} s", batch.seeds, wall_s);
        }
        let report = run(seed, plan);
        batch.seeds += 1;
        batch.calls += report.calls;
        batch.excused += u64::from(report.is_excused);
        batch.undecided += u64::from(report.is_undecided);
        simulated_us += report.simulated_us;
        steps += report.steps;
        batch.coverage.merge(&report.coverage);
        if report.violation.is_some() {
            let is_told = batch.violations.len() < TOLD_MAX;
            show(
                &if is_told {
                    replay(seed, plan)
                } else {
                    report.clone()
                },
                plan,
            );
            batch.violations.push(report);
        }
    }
    batch.wall_seconds = seconds(&clock);
    batch.simulated_hours = ratio(simulated_us, 3.6e9);
    batch.speed = ratio(simulated_us, batch.wall_seconds * 1e6);
    batch.steps_per_second = ratio(steps, batch.wall_seconds);
    batch.fault_kinds = batch.coverage.faults();
    batch.missing = batch.coverage.missing();
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&batch)?);
    } else {
        for (seen, times) in batch.coverage.iter() {
            println!("{:<18} {times:>10}", format!("{seen:?}"));
        }
        println!("calls              {:>10}", batch.calls);
        println!("not exercised      {:?}", batch.missing);
        println!(
            "{} seeds, {:.2} simulated hours in {:.0} s ({:.0} x real time, {:.0} steps/s), {} fault kinds, {} ended early ({} undecided), {} violations",
            batch.seeds,
            batch.simulated_hours,
            batch.wall_seconds,
            batch.speed,
            batch.steps_per_second,
            batch.fault_kinds,
            batch.excused,
            batch.undecided,
            batch.violations.len()
        );
    }
    Ok(code(
        batch.violations.is_empty() && batch.missing.is_empty(),
    ))
}

fn code(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn seconds(clock: &Clock) -> f64 {
    ratio(clock.now().0, 1e3)
}

/// Tells of a violation on stderr.
fn show(report: &Report, plan: &Plan) {
    if let Some(violation) = &report.violation {
        for line in &violation.trace {
            eprintln!("{line}");
        }
        eprintln!(
            "seed {}: at {} us, slot {:?}: {}",
            report.seed, violation.at_us, violation.slot, violation.what
        );
        eprintln!("again with: {}", command_of(report.seed, plan));
    }
}

fn replay_one(seed: u64, plan: &Plan, output: Output) -> anyhow::Result<ExitCode> {
    let report = replay(seed, plan);
    show(&report, plan);
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "seed {seed}: digest {:016x}, {} steps, {} calls, {:.1} s simulated: {}",
            report.digest,
            report.steps,
            report.calls,
            ratio(report.simulated_us, 1e6),
            if report.violation.is_some() {
                "WRONG"
            } else {
                "nothing wrong"
            }
        );
    }
    Ok(code(report.violation.is_none()))
}

fn hunt(seeds: u64, only: Option<Bug>, shape: Shape, output: Output) -> anyhow::Result<ExitCode> {
    let mut catches = Vec::new();
    for bug in Bug::ALL
        .into_iter()
        .filter(|bug| only.is_none_or(|only| only == *bug))
    {
        find(bug.name())?;
        let plan = plan(shape, Some(bug));
        let mut catch = Catch {
            bug,
            seed: None,
            what: None,
            seeds_tried: 0,
        };
        for seed in 1..=seeds {
            catch.seeds_tried = seed;
            // What is merely late is no proof: the bug must have done what is forbidden.
            let violation = run(seed, &plan).violation;
            if let Some(violation) = violation.filter(|violation| !violation.is_missing) {
                catch.seed = Some(seed);
                catch.what = Some(violation.what);
                break;
            }
        }
        match (&catch.seed, &catch.what) {
            (Some(seed), Some(what)) => {
                eprintln!("{}: seen by seed {seed}: {what}", bug.name());
                eprintln!("  again with: {}", command_of(*seed, &plan));
            }
            _ => eprintln!("{}: NOT SEEN in {seeds} seeds", bug.name()),
        }
        catches.push(catch);
    }
    let caught = catches.iter().filter(|catch| catch.seed.is_some()).count();
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&catches)?);
    } else {
        println!("bugs caught {caught} of {}", catches.len());
    }
    Ok(code(caught == catches.len()))
}
