//! `ultrakv-chaos`: breaks live clusters. Today it proves its tools; scenarios come when nodes join each other.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ultrakv_chaos::live::shell::missing;
use ultrakv_chaos::live::tools::TOOLS;

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
}

fn main() -> ExitCode {
    let Command::Tools { prefix, seed } = Arguments::parse().command;
    let missing = missing();
    let (mut proven, mut failed) = (0, 0);
    for tool in TOOLS.iter().filter(|tool| tool.name.starts_with(&prefix)) {
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
    if failed == 0 && proven > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
