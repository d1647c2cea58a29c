//! `ultrakv-chaos`: breaks live clusters, and proves its tools.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use ultrakv_chaos::live::run::Setup;
use ultrakv_chaos::live::scenario::{SCENARIOS, find};
use ultrakv_chaos::live::shell::missing;
use ultrakv_chaos::live::tools::TOOLS;
use ultrakv_chaos::live::{calm, grow, hostile, run};

/// Breaks live clusters on purpose.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prove every tool on this machine, with evidence; exit 1 when one fails or cannot be tried.
    Tools {
        /// Only tools whose name begins so.
        #[arg(default_value = "")]
        prefix: String,
        /// What the dice of relay and load begin with.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// List every scenario.
    List,
    /// Play a scenario on a cluster of real processes; exit 1 when a promise was not kept.
    Run(RunArguments),
    /// Watch a cluster under load on a saturated machine; exit 1 when anything changed hands.
    Calm {
        /// Nodes.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// How long.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Add a node under load; exit 1 when more slots moved than had to, or they lie unevenly.
    Grow {
        /// Nodes before.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// How long clients are measured before and after.
        #[arg(long, default_value_t = 10)]
        phase_seconds: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Send everybody who must not come in; exit 1 when one was not refused, or did harm.
    Hostile {
        #[command(flatten)]
        common: Common,
    },
    /// Spin until standard input closes.
    #[command(hide = true)]
    Spin,
}

#[derive(Args)]
struct RunArguments {
    /// The scenario's name.
    scenario: String,
    /// Nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// Rounds; the scenario's own number without it.
    #[arg(long)]
    rounds: Option<u32>,
    /// Clients of the load.
    #[arg(long, default_value_t = 4)]
    clients: u32,
    /// One more setting of every node; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Judge answers alone, not how long anybody waited: for slow builds and machines.
    #[arg(long)]
    untimed: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// What the dice begin with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Break the binary of the release build instead of this program's own profile.
    #[arg(long)]
    release: bool,
}

impl Common {
    /// Chooses the binary that is broken.
    fn binary(&self) -> Result<()> {
        if self.release {
            ultrakv_tests::use_release()?;
        }
        Ok(())
    }

    fn write(&self, figures: &impl Serialize) -> Result<()> {
        let Some(path) = &self.report else {
            return Ok(());
        };
        write(path, figures)
    }
}

fn write(path: &Path, figures: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)?;
    std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Tools { prefix, seed } => Ok(tools(&prefix, seed)),
        Command::List => Ok(list()),
        Command::Run(arguments) => play(&arguments),
        Command::Calm {
            nodes,
            seconds,
            common,
        } => keep_calm(nodes, seconds, &common),
        Command::Grow {
            nodes,
            phase_seconds,
            common,
        } => add_one(nodes, phase_seconds, &common),
        Command::Hostile { common } => intrude(&common),
        Command::Spin => {
            calm::spin();
            Ok(true)
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tools(prefix: &str, seed: u64) -> bool {
    let missing = missing();
    let (mut proven, mut failed) = (0, 0);
    for tool in TOOLS.iter().filter(|tool| tool.name.starts_with(prefix)) {
        let outcome = match (&missing, tool.privileged) {
            (Some(reason), true) => Err(anyhow::anyhow!("not tried: {reason}")),
            _ => (tool.prove)(seed),
        };
        match outcome {
            Ok(evidence) => {
                proven += 1;
                println!("ok    {:<18} {evidence}", tool.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAIL  {:<18} {error:#}", tool.name);
            }
        }
    }
    println!("{proven} proven, {failed} failed, seed {seed}");
    failed == 0 && proven > 0
}

fn list() -> bool {
    for scenario in SCENARIOS {
        let ground = if scenario.ground.missing().is_some() {
            "  (not here)"
        } else {
            ""
        };
        println!("{:<16} {}{ground}", scenario.name, scenario.shows);
    }
    true
}

fn play(arguments: &RunArguments) -> Result<bool> {
    let scenario = find(&arguments.scenario)
        .with_context(|| format!("no scenario {}; `list` names them", arguments.scenario))?;
    let common = &arguments.common;
    common.binary()?;
    let setup = Setup {
        scenario,
        nodes: usize::try_from(arguments.nodes)?,
        rounds: arguments.rounds.unwrap_or(scenario.rounds),
        seed: common.seed,
        clients: arguments.clients,
        settings: arguments.settings.clone(),
        is_timed: !arguments.untimed,
    };
    let report = run::run(&setup, &mut |round| println!("{}", round.line()))?;
    let text = report.text();
    // The rounds were told as they came.
    for line in text.lines().skip(report.rounds.len()) {
        println!("{line}");
    }
    common.write(&report)?;
    Ok(report.failures.is_empty() && !report.rounds.is_empty())
}

fn keep_calm(nodes: usize, seconds: u64, common: &Common) -> Result<bool> {
    common.binary()?;
    let report = calm::run(nodes, seconds, common.seed)?;
    println!(
        "{} nodes, {} s, {} spinners, {} % idle, {} looks ({} unanswered), {} changes, {} calls explained",
        report.nodes,
        report.seconds,
        report.spinners,
        report.idle_percent,
        report.looks,
        report.unanswered,
        report.changes.len(),
        report.judged.calls,
    );
    let failure = report.failure();
    if let Some(failure) = &failure {
        println!("FAILED: {failure}");
    }
    common.write(&report)?;
    Ok(failure.is_none())
}

fn add_one(nodes: usize, phase_seconds: u64, common: &Common) -> Result<bool> {
    common.binary()?;
    let report = grow::run(nodes, phase_seconds, common.seed)?;
    println!(
        "{} slots moved, {} had to; settled after {} ms",
        report.moved, report.moved_min, report.settled_ms
    );
    println!("slots owned and quota: {:?}", report.owned_and_quota);
    for (name, phase) in [
        ("before", report.before),
        ("during", report.during),
        ("after", report.after),
    ] {
        println!(
            "{name:<7} {:>6} requests, {} failed, p50 {} us, p99 {} us, slowest {} us",
            phase.requests, phase.failed, phase.p50_us, phase.p99_us, phase.max_us
        );
    }
    let even = report
        .owned_and_quota
        .iter()
        .all(|(owned, quota)| owned.abs_diff(*quota) <= 1);
    common.write(&report)?;
    Ok(even && report.moved == report.moved_min)
}

fn intrude(common: &Common) -> Result<bool> {
    common.binary()?;
    let rows = hostile::run(common.seed, &mut |row| {
        let mark = if row.ok { "ok  " } else { "FAIL" };
        println!("{mark}  {:<44} {}", row.what, row.told);
    })?;
    common.write(&rows)?;
    Ok(rows.iter().all(|row| row.ok) && !rows.is_empty())
}
