//! `ultrakv demo`: a cluster of its own, real requests, a node killed and one added, within a minute and leaving nothing behind.

mod ask;
mod child;
mod cluster;
mod entries;
mod outcome;
mod report;
mod script;
mod stream;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ultrakv_actors::clock::Clock;

use self::cluster::DemoCluster;
use self::report::Report;
use self::script::Progress;
use crate::args::DemoArguments;
use crate::exit::{Failure, Status};
use crate::output;
use crate::shutdown::Interrupts;

/// The whole demo, from the first process to the last answer.
const DONE_WITHIN: Duration = Duration::from_secs(150);

/// Runs the demo; whatever ends it, the nodes end with it.
pub(super) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    super::block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let clock = Clock::machine();
        let (mut cluster, report) = tokio::select! {
            found = tokio::time::timeout(DONE_WITHIN, demo(&clock)) => found.map_err(|_| late())??,
            // The demo is dropped here, and with it the nodes.
            name = interrupts.next() => {
                let message = format!("{name}: the demo was stopped, and its nodes with it");
                return Err(Failure::new(Status::Failed, message));
            }
        };
        output::result(arguments.output, &report, || report.print())?;
        if arguments.keep {
            keep(&mut cluster, &mut interrupts).await?;
        }
        let stopped = cluster.stop().await;
        report.verdict().and(stopped)
    })
}

fn late() -> Failure {
    let limit = humantime::format_duration(DONE_WITHIN);
    Failure::new(
        Status::Failed,
        format!("the demo took longer than {limit} and was stopped"),
    )
    .hint("a release build computes many times faster: `cargo run --release -- demo`")
}

async fn demo(clock: &Clock) -> Result<(DemoCluster, Report), Failure> {
    let stopwatch = clock.stopwatch();
    let screen = Screen::new();
    let mut cluster = DemoCluster::new(clock)?;
    let told = script::run(&mut cluster, clock, &screen).await;
    let (outcome, layouts) = told.map_err(|failure| cluster.explain(failure))?;
    let seconds = stopwatch.elapsed().as_secs_f64();
    let report = Report::new(outcome, &layouts, &cluster, seconds).await?;
    Ok((cluster, report))
}

/// Leaves the nodes up until Ctrl-C, which in a terminal reaches them as well.
async fn keep(cluster: &mut DemoCluster, interrupts: &mut Interrupts) -> Result<(), Failure> {
    let mut told = "the nodes stay up until Ctrl-C:".to_owned();
    let running = cluster.nodes().iter().filter(|node| !node.killed);
    for node in running {
        let (name, http, admin) = (&node.name, node.announced.http, node.announced.admin);
        told.push_str(&format!(
            "\n  {name}  http://{http}  (page: /docs)  admin http://{admin}  (metrics: /metrics)\n          \
             try: ultrakv stats --url http://{http}; ultrakv cluster layout --admin http://{admin}"
        ));
    }
    output::note(&told);
    tokio::select! {
        _ = interrupts.next() => Ok(()),
        failure = cluster.wait_for_end() => Err(failure),
    }
}

/// A line that changes for a person, a line a step for a pipe.
struct Screen {
    bar: Option<ProgressBar>,
}

impl Screen {
    fn new() -> Self {
        let person = io::stderr().is_terminal();
        let bar = person.then(|| {
            let plain = ProgressStyle::default_bar();
            let style = plain
                .clone()
                .template("{spinner} {elapsed} {pos:>3} answers  {msg}")
                .unwrap_or(plain);
            let bar = ProgressBar::no_length().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar }
    }

    fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Screen {
    fn step(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => output::note(&format!("demo: {what}")),
        }
    }

    fn answered(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.done();
    }
}
