//! Responsible for replaying a trace as the command line asks. It must never guess a trace's format from its numbers: ours says
//! what it is in its first line.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use thiserror::Error;
use ultrakv_cache::{PolicyKind, Setup};

use crate::cache::Cost;
use crate::form::Form;
use crate::replay::{Capacity, Plan};
use crate::report::{self, ReportError};
use crate::trace::{self, Format, Trace, TraceError};

/// The trace's path that means standard input.
const STDIN: &str = "-";

/// Replays a trace through policies.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ultrakv lab replay conversation_trace.jsonl                     every policy at 1, 2.5, 5 and 10 % of the different blocks
  ultrakv lab replay trace.csv --policies lru,adaptive --capacities 1000,5% --format json
  ultrakv lab replay trace.jsonl --picture curves.svg
  ultrakv lab generate chat --seed 7 | ultrakv lab replay -

A hit is a block found without a gap from the root of its chain. `opt` is what a policy that knows the future would hit.")]
pub struct ReplayArgs {
    /// The trace; `-` is standard input.
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    /// How it is written. Without it: our own form by its first line, CSV by the file's ending, else Mooncake's.
    #[arg(long, value_enum, value_name = "FORM")]
    pub from: Option<TraceForm>,
    /// Policies, separated by commas; all without it.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = policy_parser())]
    pub policies: Vec<PolicyKind>,
    /// Room, separated by commas: percent of the trace's different blocks, or numbers of blocks.
    #[arg(
        long,
        value_name = "ROOM",
        value_delimiter = ',',
        default_value = "1%,2.5%,5%,10%"
    )]
    pub capacities: Vec<Capacity>,
    /// What a block is taken to save: `blocks` counts each the same, `flops` at what computing it again costs.
    #[arg(long, value_enum, default_value_t)]
    pub cost: Cost,
    /// Where policies that draw by chance begin.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How the figures are printed.
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    pub format: Form,
    /// Draw hits over room, a curve a policy, into this SVG file; needs two capacities.
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
}

/// How a trace is written, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceForm {
    /// JSON lines with `timestamp` and `hash_ids`; 512 tokens a block.
    Mooncake,
    /// libCacheSim's CSV with a header: `time,obj_id,obj_size`.
    Csv,
    /// Our own: Mooncake's after a line that says how many tokens a block has.
    Ultrakv,
}

impl TraceForm {
    const fn format(self) -> Format {
        match self {
            Self::Mooncake => Format::Mooncake,
            Self::Csv => Format::CacheSimCsv,
            Self::Ultrakv => Format::Ours,
        }
    }
}

fn policy_parser() -> impl TypedValueParser<Value = PolicyKind> {
    let names = PolicyKind::all().map(|kind| kind.recipe().name);
    PossibleValuesParser::new(names)
        .try_map(|name| PolicyKind::named(&name).ok_or("no policy has this name"))
}

/// Replays what is asked for and answers the text to print. `progress` is told how many blocks were asked for so far, of how many.
///
/// # Errors
/// [`ReplayError`] for files that cannot be read, understood or written.
pub fn replay(
    args: &ReplayArgs,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<String, ReplayError> {
    let trace = read(args)?;
    let kinds = match args.policies.as_slice() {
        [] => PolicyKind::all().collect(),
        some => some.to_vec(),
    };
    let plan = Plan {
        kinds,
        capacities: args.capacities.clone(),
        cost: args.cost,
        setup: Setup { seed: args.seed },
    };
    let table = crate::replay::replay(&trace, &plan, progress);
    if let Some(path) = &args.picture {
        let svg = report::picture(&table)?;
        fs::write(path, svg).map_err(|source| ReplayError::Write {
            path: path.clone(),
            source,
        })?;
    }
    Ok(match args.format {
        Form::Table => report::text(&table),
        Form::Json => report::json(&table)?,
    })
}

fn read(args: &ReplayArgs) -> Result<Trace, ReplayError> {
    let path = &args.trace;
    let is_stdin = path.as_os_str() == STDIN;
    let (name, mut from): (String, Box<dyn BufRead>) = if is_stdin {
        ("stdin".to_owned(), Box::new(io::stdin().lock()))
    } else {
        let file = File::open(path).map_err(|source| ReplayError::Open {
            path: path.clone(),
            source,
        })?;
        let stem = path.file_stem().unwrap_or_default();
        (
            stem.to_string_lossy().into_owned(),
            Box::new(BufReader::new(file)),
        )
    };
    let faulty = |source| ReplayError::Trace {
        path: path.clone(),
        source,
    };
    let format = match args.from {
        Some(form) => form.format(),
        None => told(path, &mut *from).map_err(faulty)?,
    };
    trace::read(&name, format, from).map_err(faulty)
}

/// The format that a file says it has: by its first line, or by its name.
fn told(path: &Path, from: &mut dyn BufRead) -> Result<Format, TraceError> {
    let begins = from
        .fill_buf()
        .map_err(|source| TraceError::Io { line: 1, source })?;
    let is_csv = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    Ok(if begins.starts_with(trace::OURS_BEGINS) {
        Format::Ours
    } else if is_csv {
        Format::CacheSimCsv
    } else {
        Format::Mooncake
    })
}

/// Why nothing was replayed, or nothing drawn.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The trace cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The trace cannot be read.
    #[error("cannot read {}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TraceError,
    },
    /// The figures cannot be shown as asked.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The picture cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ReplayError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "trace_unreadable",
            Self::Trace { source, .. } => source.code(),
            Self::Report(error) => error.code(),
            Self::Write { .. } => "picture_unwritable",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Open { .. } => "name a file that exists and may be read, or `-`",
            Self::Trace { source, .. } => source.hint(),
            Self::Report(error) => error.hint(),
            Self::Write { .. } => "name a file in a folder that exists and may be written to",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command::{GenerateArgs, generate};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplayArgs,
    }

    #[derive(Parser)]
    struct Made {
        #[command(flatten)]
        args: GenerateArgs,
    }

    fn args(line: &[&str]) -> Result<ReplayArgs, clap::Error> {
        Line::try_parse_from(["replay"].iter().chain(line)).map(|line| line.args)
    }

    fn told(line: &[&str]) -> Result<String, &'static str> {
        replay(&args(line).expect("arguments"), &mut |_, _| {}).map_err(|error| error.code())
    }

    /// A file of this process, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("ultrakv-replay-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn with(name: &str, text: &str) -> Self {
            let scratch = Self::new(name);
            fs::write(&scratch.0, text).expect("written");
            scratch
        }

        fn path(&self) -> &str {
            self.0.to_str().expect("plain letters")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_generated_trace_is_replayed_in_every_form() {
        let (trace, svg) = (Scratch::new("made.trace"), Scratch::new("made.svg"));
        let made = [
            "generate",
            "chat",
            "--requests",
            "300",
            "--out",
            trace.path(),
        ];
        let made = Made::try_parse_from(made).expect("arguments").args;
        let said = generate(&made, &mut Vec::new()).expect("a trace");
        assert!(said.starts_with("chat-1: 300 requests"), "{said}");
        let policies = ["--policies", "lru,adaptive", "--capacities", "5%,200"];
        let line = [&[trace.path()], &policies[..]].concat();
        let table = told(&[&line[..], &["--picture", svg.path()]].concat()).expect("figures");
        for word in ["lru", "adaptive", "opt", "hits 5 %"] {
            assert!(table.contains(word), "{word}: {table}");
        }
        let drawn = fs::read_to_string(&svg.0).expect("a picture");
        assert!(drawn.starts_with("<svg") && drawn.contains("adaptive"));
        let json = told(&[&line[..], &["--format", "json"]].concat()).expect("figures");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let cells = json["cells"].as_array().expect("cells");
        assert_eq!((cells.len(), &json["requests"]), (6, &300.into()));
        let rooms: Vec<_> = cells.iter().map(|cell| &cell["capacity"]).collect();
        assert_eq!(rooms[1], 200);
        let opt = cells.iter().filter(|cell| cell["policy"] == "opt");
        assert_eq!(opt.count(), 2);
    }

    #[test]
    fn progress_reaches_the_end() {
        let trace = Scratch::with("short.csv", "time,obj_id,obj_size\n1,5,1\n2,5,1\n3,6,1\n");
        let args = args(&[trace.path(), "--policies", "lru", "--capacities", "1,2"]);
        let mut seen = Vec::new();
        let mut note = |done, total| seen.push((done, total));
        replay(&args.expect("arguments"), &mut note).expect("figures");
        assert_eq!(seen.last(), Some(&(12, 12)));
        assert!(seen.is_sorted());
    }

    #[test]
    fn what_cannot_be_replayed_says_why() {
        let empty = Scratch::with("empty.csv", "time,obj_id,obj_size\n");
        let odd = Scratch::with("odd.jsonl", "{\"timestamp\"\n");
        let one = Scratch::with("one.csv", "time,obj_id,obj_size\n1,5,1\n");
        assert_eq!(told(&["/nowhere/trace"]), Err("trace_unreadable"));
        assert_eq!(told(&[empty.path()]), Err("trace_empty"));
        assert_eq!(told(&[odd.path()]), Err("trace_malformed"));
        assert_eq!(
            told(&[one.path(), "--from", "mooncake"]),
            Err("trace_malformed")
        );
        let picture = ["--picture", "/nowhere/at.svg"];
        assert_eq!(
            told(&[&[one.path(), "--capacities", "1"], &picture[..]].concat()),
            Err("picture_failed")
        );
        let refused = |line: &[&str]| {
            let error = args(line).expect_err("refused");
            error.to_string()
        };
        let told = refused(&[one.path(), "--policies", "lruu"]);
        assert!(told.contains("'lru'") && told.contains("s3-fifo"), "{told}");
        for room in ["0", "x", "-1%", "101%", "NaN%", "1.5"] {
            let told = refused(&[one.path(), &format!("--capacities={room}")]);
            assert!(told.contains("percent"), "{room}: {told}");
        }
    }
}
