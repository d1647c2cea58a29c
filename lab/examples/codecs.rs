//! The codec lab without the rest of the house: `cargo run --release -p ultrakv-lab --example codecs -- --help`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints its figures, and tells a person what it does"
)]

use std::process::ExitCode;

use clap::Parser;
use ultrakv_lab::codecs::{CodecsArgs, run};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: CodecsArgs,
}

fn main() -> ExitCode {
    match run(&Line::parse().args, &mut |step| eprintln!("{step}")) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error} [{}]; {}", error.code(), error.hint());
            ExitCode::from(2)
        }
    }
}
