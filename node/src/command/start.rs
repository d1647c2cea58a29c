//! `ultrakv start`: a node that serves until it is told to stop.

use ultrakv_actors::StopReason;
use ultrakv_config::Loaded;

use crate::announce::Announcement;
use crate::args::StartArguments;
use crate::boot::{self, Running};
use crate::exit::{Failure, Status};
use crate::shutdown::{self, Grace, Interrupts};
use crate::{settings, telemetry};

/// Starts, serves, stops.
pub(super) fn run(arguments: &StartArguments) -> Result<(), Failure> {
    let loaded = settings::load(&arguments.settings)?;
    telemetry::start_log(&loaded.settings.log)?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("starting the runtime", &error))?;
    let outcome = runtime.block_on(serve(arguments, loaded));
    // A generation that was cut off by the deadline may still be computing on a blocking thread; it is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Raises the limit of open files as far as this process may: a shell's usual 1 024 are fewer than `limits.connections_max`.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(?current, %error, "the limit of open files stays as it is");
    }
}

async fn serve(arguments: &StartArguments, loaded: Loaded) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let metrics = telemetry::start_metrics()?;
    let grace = Grace {
        hand_over: loaded.settings.limits.drain_timeout,
        finish: loaded.settings.limits.shutdown_timeout,
    };
    let running = tokio::select! {
        running = boot::boot(loaded, metrics) => running?,
        name = interrupts.next() => {
            tracing::info!(signal = name, "stopped before the node was ready");
            return Ok(());
        }
    };
    announce(arguments, &running)?;
    let stdin = async {
        if arguments.stop_with_stdin {
            shutdown::stdin_closed().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        name = interrupts.next() => Ok(name),
        () = stdin => Ok("stdin closed"),
        reason = running.node.stopped() => Err(reason),
    };
    match ended {
        Ok(asked) => {
            tracing::info!(
                asked,
                hand_over_seconds = grace.hand_over.as_secs_f64(),
                finish_seconds = grace.finish.as_secs_f64(),
                "stopping"
            );
            shutdown::close(running, grace, &mut interrupts).await
        }
        Err(reason) => {
            let why = match reason {
                StopReason::Asked => "it was asked to from inside".to_owned(),
                StopReason::Failed(why) => why,
            };
            Err(Failure::new(
                Status::Failed,
                format!("the node's actors stopped: {why}"),
            ))
        }
    }
}

/// Tells the log, and whoever waits for the file, where the doors are.
fn announce(arguments: &StartArguments, running: &Running) -> Result<(), Failure> {
    let Running {
        gateway, cluster, ..
    } = running;
    let pid = std::process::id();
    let node_id = cluster.node_id();
    let lanes = cluster.lanes();
    tracing::info!(http = %gateway.http(), admin = %gateway.admin(), pid, %node_id, "ready");
    let Some(path) = &arguments.announce else {
        return Ok(());
    };
    let said = Announcement {
        http: gateway.http(),
        admin: gateway.admin(),
        pid,
        node_id: Some(node_id),
        // Without certificates nobody listens for other nodes.
        cluster: lanes.map(|(control, _)| control),
        bulk: lanes.map(|(_, bulk)| bulk),
    };
    said.write(path).map_err(|error| {
        Failure::caused(
            &format!("writing the announce file {}", path.display()),
            &error,
        )
    })
}
