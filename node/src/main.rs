//! The binary: arguments, boot order, shutdown order, telemetry, commands.
//!
//! It must never decide anything about caching: it reads what the operator wants, starts the rooms in order, and
//! turns every outcome into words and an exit status.

mod announce;
mod args;
mod boot;
mod client;
mod command;
mod exit;
mod format;
mod output;
mod settings;
mod shutdown;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    let outcome = command::run(&arguments);
    exit::code(outcome)
}
