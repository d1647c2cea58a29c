//! Responsible for making a trace as the command line asks. It must never know what is in it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use thiserror::Error;

use crate::generate::Mix;
use crate::trace;

/// Requests of a trace at most: they are made in memory, some hundred bytes each.
const REQUESTS_MAX: u64 = 10_000_000;

/// Makes a trace from a seed.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ultrakv lab generate chat --seed 7 --out chat.jsonl
  ultrakv lab generate everything --requests 100000 | ultrakv lab replay -

The same kind, seed and number of requests make the same trace.")]
pub struct GenerateArgs {
    /// What kind of traffic.
    #[arg(value_name = "KIND", value_parser = mix_parser())]
    pub kind: Mix,
    /// What makes this trace differ from others of its kind.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Requests in it.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=REQUESTS_MAX))]
    pub requests: u64,
    /// The file to write; standard output without it.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

fn mix_parser() -> impl TypedValueParser<Value = Mix> {
    PossibleValuesParser::new(Mix::ALL.map(Mix::name))
        .try_map(|name| Mix::named(&name).ok_or("no kind has this name"))
}

/// Makes the trace and writes it to its file, or else to `to`; answers what it is, in a line.
///
/// # Errors
/// [`GenerateError`] when it cannot be written.
pub fn generate(args: &GenerateArgs, to: &mut dyn Write) -> Result<String, GenerateError> {
    let requests = usize::try_from(args.requests).unwrap_or(usize::MAX);
    let made = crate::generate::generate(args.kind, args.seed, requests);
    let written = match &args.out {
        Some(path) => File::create(path).and_then(|file| {
            let mut file = BufWriter::new(file);
            trace::write(&made, &mut file)?;
            file.flush()
        }),
        None => {
            let mut to = BufWriter::new(to);
            trace::write(&made, &mut to).and_then(|()| to.flush())
        }
    };
    written.map_err(|source| GenerateError {
        path: args.out.clone(),
        source,
    })?;
    Ok(format!(
        "{}: {} requests, {} blocks asked for, {} different, {} tokens a block",
        made.name,
        made.requests.len(),
        made.touches(),
        made.unique_blocks(),
        made.block_tokens
    ))
}

/// The trace cannot be written.
#[derive(Debug, Error)]
#[error("cannot write {}", path.as_ref().map_or("to standard output".into(), |path| path.display().to_string()))]
pub struct GenerateError {
    /// The file; none for standard output.
    pub path: Option<PathBuf>,
    /// What the system said.
    pub source: io::Error,
}

impl GenerateError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        "trace_unwritable"
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        "name a file in a folder that exists and may be written to"
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::trace::Format;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: GenerateArgs,
    }

    fn args(line: &str) -> Result<GenerateArgs, clap::Error> {
        let words = std::iter::once("generate").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn every_kind_is_written_as_it_is_read_and_is_the_same_for_its_seed() {
        for mix in Mix::ALL {
            let made = |seed: u64| {
                let line = format!("{mix} --seed {seed} --requests 50");
                let mut text = Vec::new();
                generate(&args(&line).expect("arguments"), &mut text).expect("written");
                text
            };
            let text = made(4);
            assert_eq!(text, made(4));
            assert_ne!(text, made(5));
            let read = trace::read("x", Format::Ours, text.as_slice()).expect("read");
            assert_eq!(read.requests.len(), 50, "{mix}");
        }
    }

    #[test]
    fn a_kind_that_nobody_knows_and_a_file_that_cannot_be_are_refused() {
        let told = args("chatt").expect_err("refused").to_string();
        assert!(
            told.contains("'chat'") && told.contains("everything"),
            "{told}"
        );
        assert!(args("chat --requests 0").is_err());
        let nowhere = args("chat --requests 5 --out /nowhere/at/all").expect("arguments");
        let error = generate(&nowhere, &mut Vec::new()).expect_err("no such folder");
        assert_eq!(error.code(), "trace_unwritable");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
