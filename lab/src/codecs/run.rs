//! Responsible for the command line's part of the codec lab: what is asked for, done in order, told as asked. It must never print
//! or exit: that is for whoever owns the terminal.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use thiserror::Error;
use ultrakv_cache::codec::{Contract, Isa};
use ultrakv_cache::{Codec, Dtype};

use super::blocks::{Blocks, BlocksError};
use super::contracts;
use super::dump::{self, DumpError};
use super::picture::{self, PictureError};
use super::profile::{Profile, Sample, SampleShape};
use super::quality;
use super::report::{Report, SampleReport};
use super::speed;
use crate::form::Form;

/// Tokens of the sample on which speed is measured, and so its bytes: a few blocks, as when one after the other is moved, so that memory
/// is not measured instead.
const SPEED_TOKENS: usize = 512;

/// Measures every rung of the codec ladder: error of the attention output, ratio, speed; and whether contracts hold.
#[derive(Args, Clone, Debug)]
pub struct CodecsArgs {
    /// Synthetic profiles to measure; all by default.
    #[arg(long, value_enum)]
    pub profile: Vec<Profile>,
    /// A folder with real keys, values and queries instead (see docs/codecs.md); may be given more than once.
    #[arg(long)]
    pub dump: Vec<PathBuf>,
    /// Rungs to measure, by name; all by default.
    #[arg(long, value_parser = codec_of)]
    pub codec: Vec<Codec>,
    /// Element type of the blocks.
    #[arg(long, value_enum, default_value = "bf16")]
    pub dtype: Element,
    /// Tokens a block.
    #[arg(long, default_value_t = 64)]
    pub block_tokens: usize,
    /// Tokens of a synthetic sequence.
    #[arg(long, default_value_t = 2048)]
    pub tokens: usize,
    /// K/V heads of a synthetic layer.
    #[arg(long, default_value_t = 8)]
    pub heads: usize,
    /// Elements of a head, even.
    #[arg(long, default_value_t = 128)]
    pub dims: usize,
    /// Queries a head.
    #[arg(long, default_value_t = 256)]
    pub queries: usize,
    /// Seed of the synthetic samples and of the contracts' probes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Errors of the attention output to accept as contracts, in percent; none checks no contract.
    #[arg(long, value_delimiter = ',', default_value = "1,5,15,25")]
    pub contract: Vec<f32>,
    /// Rounds of the speed measurement; 0 measures none.
    #[arg(long, default_value_t = 25)]
    pub rounds: usize,
    /// Uses the portable kernels, whatever this machine has.
    #[arg(long)]
    pub portable: bool,
    /// How the figures are printed.
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    pub format: Form,
    /// Draws error against size into this SVG file.
    #[arg(long)]
    pub picture: Option<PathBuf>,
}

/// Element types by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Element {
    /// The upper half of a binary32.
    Bf16,
    /// binary16.
    F16,
    /// binary32.
    F32,
}

impl Element {
    const fn dtype(self) -> Dtype {
        match self {
            Self::Bf16 => Dtype::Bf16,
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }
}

fn codec_of(name: &str) -> Result<Codec, String> {
    let found = Codec::ALL.into_iter().find(|codec| codec.name() == name);
    found.ok_or_else(|| {
        format!(
            "no rung is called so; there are {}",
            Codec::ALL.map(Codec::name).join(", ")
        )
    })
}

/// Measures what is asked for and answers the text to print. `progress` is told what comes next.
///
/// # Errors
/// [`CodecsError`] for arguments that make no sense and files that cannot be read or written.
pub fn run(args: &CodecsArgs, progress: &mut dyn FnMut(&str)) -> Result<String, CodecsError> {
    let shape = SampleShape {
        heads: args.heads,
        tokens: args.tokens,
        dims: args.dims,
        queries: args.queries,
    };
    if [shape.heads, shape.tokens, shape.queries, args.block_tokens].contains(&0)
        || shape.dims < 4
        || !shape.dims.is_multiple_of(4)
    {
        return Err(CodecsError::Shape);
    }
    let codecs = if args.codec.is_empty() {
        Codec::ALL.to_vec()
    } else {
        args.codec.clone()
    };
    let samples = samples(args, shape, progress)?;
    let isa = if args.portable {
        Isa::PORTABLE
    } else {
        Isa::detect()
    };
    let mut report = Report {
        shape: samples.first().map_or(shape, |(_, sample)| sample.shape),
        block_tokens: args.block_tokens,
        dtype: args.dtype.dtype().to_string(),
        seed: args.seed,
        instructions: isa.name(),
        samples: Vec::new(),
        speeds: Vec::new(),
    };
    for (name, sample) in &samples {
        report
            .samples
            .push(measure(args, &codecs, name, sample, progress)?);
    }
    if args.rounds > 0 {
        progress("measuring speed");
        let sample = Sample::generate(
            Profile::Qwen,
            SampleShape {
                tokens: SPEED_TOKENS,
                queries: 1,
                ..shape
            },
            args.seed,
        );
        let blocks = Blocks::cut(&sample, args.dtype.dtype(), args.block_tokens)?;
        report.speeds = speed::measure(&blocks, &codecs, isa, args.rounds);
    }
    if let Some(path) = &args.picture {
        let svg = picture::draw(&report)?;
        fs::write(path, svg).map_err(|source| CodecsError::Write {
            path: path.clone(),
            source,
        })?;
    }
    Ok(match args.format {
        Form::Table => report.tables(),
        Form::Json => report.json()?,
    })
}

/// The folders' samples, or else the profiles'.
fn samples(
    args: &CodecsArgs,
    shape: SampleShape,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<(String, Sample)>, CodecsError> {
    let mut samples = Vec::new();
    for folder in &args.dump {
        samples.push((folder.display().to_string(), dump::read(folder)?));
    }
    if samples.is_empty() {
        let profiles = match args.profile.as_slice() {
            [] => &Profile::ALL,
            some => some,
        };
        for profile in profiles {
            progress(&format!("making {}", profile.name()));
            let sample = Sample::generate(*profile, shape, args.seed);
            samples.push((profile.name().to_owned(), sample));
        }
    }
    Ok(samples)
}

fn measure(
    args: &CodecsArgs,
    codecs: &[Codec],
    name: &str,
    sample: &Sample,
    progress: &mut dyn FnMut(&str),
) -> Result<SampleReport, CodecsError> {
    let blocks = Blocks::cut(sample, args.dtype.dtype(), args.block_tokens)?;
    let exact = quality::answers(sample);
    let mut report = SampleReport {
        name: name.to_owned(),
        rungs: Vec::new(),
        contracts: Vec::new(),
    };
    for codec in codecs {
        progress(&format!("{name}: {codec}"));
        report
            .rungs
            .push(quality::measure(sample, &blocks, &exact, *codec));
    }
    for accepted in &args.contract {
        progress(&format!("{name}: contract of {accepted} %"));
        let contract = Contract::accepting(accepted / 100.0);
        report.contracts.push(contracts::measure(
            sample, &blocks, &exact, &contract, args.seed,
        ));
    }
    Ok(report)
}

/// Why nothing was measured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodecsError {
    /// Counts that make no sample.
    #[error("heads, tokens, queries and block tokens must not be 0, dimensions a multiple of 4")]
    Shape,
    /// More than a block's layout holds.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// No sample in a folder.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// No picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// No JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The picture cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl CodecsError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Shape | Self::Blocks(_) => "codecs_shape",
            Self::Dump(error) => error.code(),
            Self::Picture(_) => "codecs_picture",
            Self::Json(_) => "codecs_json",
            Self::Write { .. } => "codecs_write",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Shape | Self::Blocks(_) => {
                "heads and dimensions are at most 65 535, tokens at most 4 billion"
            }
            Self::Dump(error) => error.hint(),
            Self::Picture(_) | Self::Json(_) => {
                "leave the picture or the JSON out, and report this"
            }
            Self::Write { .. } => "name a file in a folder that exists and may be written to",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CodecsArgs,
    }

    fn told(line: &str) -> Result<String, CodecsError> {
        let line =
            Line::try_parse_from(format!("lab {line}").split_whitespace()).expect("arguments");
        run(&line.args, &mut |_| {})
    }

    #[test]
    fn a_small_run_tells_every_rung_and_keeps_its_contracts() {
        let text =
            told("--tokens 256 --heads 2 --dims 64 --queries 12 --rounds 1 --contract 2,20 --format json")
                .expect("figures");
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let samples = report["samples"].as_array().expect("samples");
        assert_eq!(samples.len(), 3);
        for sample in samples {
            let rungs = sample["rungs"].as_array().expect("rungs");
            assert_eq!(rungs.len(), Codec::ALL.len());
            for (rung, codec) in rungs.iter().zip(Codec::ALL) {
                assert_eq!(rung["exact"], codec.is_exact(), "{codec}");
                let within = rung["error_max"].as_f64() <= rung["error_bound"].as_f64();
                assert!(within, "{codec}");
            }
            let output = |at: usize| rungs[at]["all"]["output"].as_f64().expect("a figure");
            assert!(
                output(3) < output(4)
                    && output(4) < output(5)
                    && output(5) < output(6)
                    && output(6) < output(7)
            );
            for contract in sample["contracts"].as_array().expect("contracts") {
                assert_eq!(contract["kept"], true, "{contract}");
            }
        }
        assert_eq!(
            report["speeds"].as_array().map(Vec::len),
            Some(Codec::ALL.len() + 1)
        );
    }

    #[test]
    fn tables_and_pictures_are_drawn_and_nonsense_is_refused() {
        let path = std::env::temp_dir().join(format!("ultrakv-codecs-{}.svg", std::process::id()));
        let line = format!(
            "--tokens 64 --heads 1 --dims 32 --queries 2 --rounds 0 --profile qwen --contract 5 --picture {}",
            path.display()
        );
        let text = told(&line).expect("figures");
        assert!(text.contains("int4") && text.contains("promised"), "{text}");
        let svg = fs::read_to_string(&path).expect("a picture");
        assert!(svg.starts_with("<svg") && svg.contains("qwen"));
        fs::remove_file(&path).expect("the picture goes");
        assert!(matches!(told("--dims 31"), Err(CodecsError::Shape)));
        assert!(Line::try_parse_from(["lab", "--codec", "mp3"]).is_err());
    }
}
