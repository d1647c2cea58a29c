//! The way down: who may ask for it, in what order the rooms close, and how long they are waited for.
//!
//! Unready first, then a member's slots go to other members while the doors are still open, so that no request meets a node
//! that neither owns nor forwards; then no new connections, the requests that have begun, and the actors. A second
//! request ends the process at once, because somebody who asks twice does not want to wait.

use std::io::Read as _;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::boot::Running;
use crate::exit::{Failure, Status};

/// How long the actors may take once no request is left: they only have to write their last figures.
const ACTORS_WITHIN: Duration = Duration::from_secs(5);

/// How long each part of the way down may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grace {
    /// Handing slots over to other members.
    pub(crate) hand_over: Duration,
    /// Finishing the requests that have begun.
    pub(crate) finish: Duration,
}

/// SIGTERM and SIGINT, listened for from now on.
pub(crate) struct Interrupts {
    terminate: Signal,
    interrupt: Signal,
}

impl Interrupts {
    /// Takes both signals over from the system's default.
    ///
    /// # Errors
    /// When the system refuses, which it does only for signals that cannot be caught.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let on = |kind, name: &str| {
            signal(kind).map_err(|error| Failure::caused(&format!("listening for {name}"), &error))
        };
        Ok(Self {
            terminate: on(SignalKind::terminate(), "SIGTERM")?,
            interrupt: on(SignalKind::interrupt(), "SIGINT")?,
        })
    }

    /// Waits for the next of them, and names it.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits until stdin closes: whoever started this process is gone, or wants it gone.
pub(crate) async fn stdin_closed() {
    let (closed, wait) = oneshot::channel::<()>();
    // A thread of its own, since reading cannot be cancelled: the runtime would wait for it on the way down.
    let reader = std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut ignored = [0_u8; 64];
            let mut stdin = std::io::stdin().lock();
            while stdin.read(&mut ignored).is_ok_and(|count| count > 0) {}
            drop(closed);
        });
    if reader.is_ok() {
        let _closed = wait.await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// Closes the rooms in order; a second signal ends the process at once.
///
/// # Errors
/// When requests or actors had to be dropped at the deadline.
pub(crate) async fn close(
    running: Running,
    grace: Grace,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    tokio::select! {
        outcome = close_in_order(running, grace) => outcome,
        name = interrupts.next() => {
            tracing::warn!(signal = name, "a second signal: ending now");
            Err(Failure::told(Status::Failed))
        }
    }
}

async fn close_in_order(running: Running, grace: Grace) -> Result<(), Failure> {
    let Running {
        gateway,
        cluster,
        node,
        clock,
    } = running;
    let stopwatch = clock.stopwatch();
    gateway.announce_stop();
    let aside = cluster.step_aside(clock.deadline(grace.hand_over)).await;
    if !aside.alone {
        let (handed_over, kept, following) = (aside.handed_over, aside.kept, aside.following);
        if kept == 0 {
            tracing::info!(handed_over, following, "every slot was handed over");
        } else {
            tracing::warn!(
                handed_over,
                kept,
                "some slots were not handed over: others serve them once this node's tenure has run out"
            );
        }
    }
    let finished = gateway.shutdown(clock.deadline(grace.finish)).await;
    cluster.shut_down(clock.deadline(ACTORS_WITHIN)).await;
    let clean = node.stop(clock.deadline(ACTORS_WITHIN)).await;
    let seconds = stopwatch.elapsed().as_secs_f64();
    if finished && clean {
        tracing::info!(seconds, "stopped");
        return Ok(());
    }
    tracing::error!(
        seconds,
        finished,
        clean,
        "stopped, but requests or actors were dropped at the deadline"
    );
    Err(Failure::told(Status::Failed))
}
