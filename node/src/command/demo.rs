//! `ultrakv demo`: a node of its own, real requests, and what was reused, within a minute and leaving nothing behind.

mod ask;
mod child;
mod report;
mod script;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ultrakv_actors::clock::Clock;

use self::ask::Asker;
use self::child::DemoNode;
use self::report::Report;
use self::script::Progress;
use crate::args::DemoArguments;
use crate::exit::{Failure, Status};
use crate::output;
use crate::shutdown::Interrupts;

/// The whole demo, from the first process to the last answer.
const DONE_WITHIN: Duration = Duration::from_secs(58);

/// Runs the demo; whatever ends it, the node ends with it.
pub(super) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    super::block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let clock = Clock::machine();
        let (mut node, report) = tokio::select! {
            found = tokio::time::timeout(DONE_WITHIN, demo(&clock)) => found.map_err(|_| late())??,
            // The demo is dropped here, and with it the node.
            name = interrupts.next() => {
                let message = format!("{name}: the demo was stopped, and its node with it");
                return Err(Failure::new(Status::Failed, message));
            }
        };
        output::result(arguments.output, &report, || report.print())?;
        if arguments.keep {
            keep(&mut node, &mut interrupts).await?;
        }
        node.stop().await
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

async fn demo(clock: &Clock) -> Result<(DemoNode, Report), Failure> {
    let stopwatch = clock.stopwatch();
    let screen = Screen::new();
    screen.step("starting a node on this machine");
    let mut node = DemoNode::start(clock).await?;
    let asker = Asker::new(&node.announced, clock)?;
    let outcome = tokio::select! {
        outcome = script::run(&asker, clock, &screen) => outcome,
        failure = wait_for_end(&mut node) => return Err(failure),
    };
    let outcome = outcome.map_err(|failure| with_log(&node, failure))?;
    let stats = asker.get("/api/v1/kv-cache/stats").await?;
    let seconds = stopwatch.elapsed().as_secs_f64();
    let report = Report::new(&outcome, &stats, &node.announced, seconds);
    Ok((node, report))
}

/// Leaves the node up until Ctrl-C, which in a terminal reaches it as well.
async fn keep(node: &mut DemoNode, interrupts: &mut Interrupts) -> Result<(), Failure> {
    let announced = &node.announced;
    output::note(&format!(
        "the node stays up until Ctrl-C:\n  \
         http   http://{http}  (page: http://{http}/docs)\n  \
         admin  http://{admin}  (metrics: http://{admin}/metrics)\n  \
         try    ultrakv stats --url http://{http}",
        http = announced.http,
        admin = announced.admin,
    ));
    tokio::select! {
        _ = interrupts.next() => Ok(()),
        failure = wait_for_end(node) => Err(failure),
    }
}

/// A node that ends by itself has failed.
async fn wait_for_end(node: &mut DemoNode) -> Failure {
    let status = node.wait().await;
    node.failure(&format!("the node ended by itself ({status})"))
}

fn with_log(node: &DemoNode, failure: Failure) -> Failure {
    let shown = node.failure(failure.message.as_deref().unwrap_or("the demo failed"));
    Failure {
        hint: failure.hint,
        ..shown
    }
}

/// A progress bar for a person, a line a step for a pipe.
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
                .template("{spinner} {bar:24} {pos}/{len}  {msg}")
                .unwrap_or(plain);
            let bar = ProgressBar::new(script::REQUESTS).with_style(style);
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
