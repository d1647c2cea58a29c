//! One file a command. Each reads its arguments, does its work and says what came of it.

mod certs;
mod cluster;
mod config;
mod demo;
mod health;
mod lab;
mod node;
mod policy;
mod start;
mod stats;

use std::future::Future;

use crate::args::{Arguments, Command};
use crate::exit::{Failure, Status};

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Start(arguments) => start::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Stats(arguments) => block_on(stats::run(arguments)),
        Command::Health(arguments) => block_on(health::run(arguments)),
        Command::Config(command) => config::run(command),
        Command::Certs(command) => certs::run(command),
        Command::Cluster(command) => block_on(cluster::run(command)),
        Command::Node(command) => block_on(node::run(command)),
        Command::Policy(arguments) => block_on(policy::policy(arguments)),
        Command::Explain(arguments) => block_on(policy::explain(arguments)),
        Command::Lab(command) => lab::run(command),
    }
}

/// Runs a client's work on this thread.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Status::Failed, format!("cannot start a runtime: {error}")))?
        .block_on(work)
}
