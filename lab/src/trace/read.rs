//! Responsible for traces as text: Mooncake's JSON lines, libCacheSim's CSV, and our own JSON lines. It must never guess a
//! format from contents.
//!
//! # Source
//! Mooncake: "Mooncake: Trading more storage for less computation", FAST 2025, folder `FAST25-release/traces` of its
//! repository. libCacheSim: its documentation of CSV traces with a header. Ours is Mooncake's with a first line that says
//! how many tokens a block has, so that nothing has to be assumed.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::Deserialize;
use thiserror::Error;

use super::{Request, Trace};

/// Tokens of a block in Mooncake's traces.
const MOONCAKE_BLOCK_TOKENS: u32 = 512;

/// Longest line read: a chain of a million blocks.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// How a trace of ours begins, as it is written here: what it is stands in its first line.
pub const OURS_BEGINS: &[u8] = b"{\"ultrakv_trace\"";

/// How a trace is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"timestamp": ms, "hash_ids": [..], ..}` a line; equal ids mean equal prefixes, a block has 512 tokens.
    Mooncake,
    /// Columns `time,obj_id,obj_size` with a header; every object is a block without parent. Sizes are not used: one block
    /// is one block.
    CacheSimCsv,
    /// A line `{"ultrakv_trace": 1, "block_tokens": n}`, then Mooncake's lines.
    Ours,
}

/// Why a trace cannot be read.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file or pipe failed.
    #[error("line {line}: reading failed")]
    Io {
        /// From 1.
        line: usize,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// A line is not what the format says.
    #[error("line {line}: {what}")]
    Malformed {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// One id stands after two different ones, so ids are contents of single blocks and not of prefixes.
    #[error(
        "line {line}: block {id} follows {after:?} here and something else before; ids must name whole prefixes"
    )]
    NotChained {
        /// From 1.
        line: usize,
        /// The id.
        id: u64,
        /// What it follows here.
        after: Option<u64>,
    },
    /// There are no requests in it.
    #[error("the trace has no requests")]
    Empty,
}

impl TraceError {
    /// The stable name of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "trace_unreadable",
            Self::Malformed { .. } => "trace_malformed",
            Self::NotChained { .. } => "trace_not_chained",
            Self::Empty => "trace_empty",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check that the file is there and may be read",
            Self::Malformed { .. } => "check --from: mooncake, csv or ultrakv",
            Self::NotChained { .. } => {
                "re-chain the ids: each must stand for its block and everything before it"
            }
            Self::Empty => "name a file with at least one request",
        }
    }
}

#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    hash_ids: Vec<u64>,
}

#[derive(Deserialize)]
struct Header {
    ultrakv_trace: u32,
    block_tokens: u32,
}

/// Numbers for the ids of a file, and the check that ids are prefixes.
#[derive(Default)]
struct Ids {
    numbers: BTreeMap<u64, (u32, Option<u64>)>,
}

impl Ids {
    fn chain(
        &mut self,
        trace: &mut Trace,
        ids: &[u64],
        line: usize,
    ) -> Result<Vec<u32>, TraceError> {
        let mut blocks = Vec::with_capacity(ids.len());
        let mut after = None;
        for id in ids {
            let (number, first_after) = *self
                .numbers
                .entry(*id)
                .or_insert_with(|| (trace.add_block(), after));
            if first_after != after {
                return Err(TraceError::NotChained {
                    line,
                    id: *id,
                    after,
                });
            }
            blocks.push(number);
            after = Some(*id);
        }
        Ok(blocks)
    }
}

/// Reads a whole trace.
///
/// # Errors
/// [`TraceError`] with the line at fault.
pub fn read(name: &str, format: Format, mut from: impl BufRead) -> Result<Trace, TraceError> {
    let mut trace = Trace::new(name, MOONCAKE_BLOCK_TOKENS);
    let mut ids = Ids::default();
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let got = io::Read::take(&mut from, LINE_BYTES_MAX).read_line(&mut text);
        if got.map_err(|source| TraceError::Io { line, source })? == 0 {
            break;
        }
        let row = text.trim();
        match format {
            _ if row.is_empty() => {}
            Format::CacheSimCsv if line == 1 => {}
            Format::Ours if line == 1 => trace.block_tokens = header(row)?,
            Format::CacheSimCsv => {
                let (at_ms, id) = csv_row(row, line)?;
                // Flat: an object is a root, whatever was asked for before.
                let blocks = ids.chain(&mut trace, &[id], line)?;
                trace.requests.push(Request { at_ms, blocks });
            }
            Format::Mooncake | Format::Ours => {
                let parsed: Line =
                    serde_json::from_str(row).map_err(|error| malformed(line, error))?;
                let blocks = ids.chain(&mut trace, &parsed.hash_ids, line)?;
                if !blocks.is_empty() {
                    let at_ms = millis(parsed.timestamp)
                        .ok_or_else(|| malformed(line, "a negative time"))?;
                    trace.requests.push(Request { at_ms, blocks });
                }
            }
        }
    }
    if trace.requests.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(trace)
}

fn malformed(line: usize, what: impl ToString) -> TraceError {
    let what = what.to_string();
    TraceError::Malformed { line, what }
}

fn header(row: &str) -> Result<u32, TraceError> {
    let header: Header = serde_json::from_str(row).map_err(|error| malformed(1, error))?;
    if header.ultrakv_trace != 1 || header.block_tokens == 0 {
        return Err(malformed(
            1,
            "want version 1 and at least one token a block",
        ));
    }
    Ok(header.block_tokens)
}

fn csv_row(row: &str, line: usize) -> Result<(u64, u64), TraceError> {
    let mut columns = row.split(',').map(str::trim);
    let mut next = |what: &str| {
        columns
            .next()
            .ok_or_else(|| malformed(line, format!("no column {what}")))
    };
    let (time, id) = (next("time")?, next("obj_id")?);
    let time: f64 = time.parse().map_err(|error| malformed(line, error))?;
    let id = id.parse().map_err(|error| malformed(line, error))?;
    let at_ms = millis(time * 1_000.0).ok_or_else(|| malformed(line, "a negative time"))?;
    Ok((at_ms, id))
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a number from zero to below 2^53"
)]
fn millis(ms: f64) -> Option<u64> {
    (0.0..9e15).contains(&ms).then_some(ms as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_str(format: Format, text: &str) -> Result<Trace, TraceError> {
        read("test", format, text.as_bytes())
    }

    #[test]
    fn reads_each_format() {
        let lines = "{\"timestamp\": 5, \"input_length\": 9, \"hash_ids\": [7, 9]}\n\n{\"timestamp\": 6, \"hash_ids\": [7, 8]}\n";
        let trace = read_str(Format::Mooncake, lines).unwrap();
        assert_eq!(
            (trace.block_tokens, trace.unique_blocks(), trace.touches()),
            (512, 3, 4)
        );
        assert_eq!(
            trace.requests[1],
            Request {
                at_ms: 6,
                blocks: vec![0, 2]
            }
        );
        let ours = format!("{{\"ultrakv_trace\": 1, \"block_tokens\": 16}}\n{lines}");
        let trace = read_str(Format::Ours, &ours).unwrap();
        assert_eq!((trace.block_tokens, trace.requests.len()), (16, 2));
        let trace = read_str(Format::CacheSimCsv, "time,id,size\n1,5,1\n2.5,5,1\n3,6,1\n").unwrap();
        assert_eq!((trace.unique_blocks(), trace.requests[1].at_ms), (2, 2_500));
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let code = |format, text| read_str(format, text).unwrap_err();
        let error = code(
            Format::Mooncake,
            "{\"timestamp\": 1, \"hash_ids\": [1]}\n{\"timestamp\"\n",
        );
        assert_eq!(
            (error.code(), error.to_string().starts_with("line 2")),
            ("trace_malformed", true)
        );
        let two =
            "{\"timestamp\": 1, \"hash_ids\": [1, 3]}\n{\"timestamp\": 1, \"hash_ids\": [2, 3]}\n";
        assert_eq!(code(Format::Mooncake, two).code(), "trace_not_chained");
        assert_eq!(code(Format::CacheSimCsv, "time,id\n").code(), "trace_empty");
        assert_eq!(
            code(Format::CacheSimCsv, "time,id\n-1,4\n").code(),
            "trace_malformed"
        );
        assert_eq!(
            code(
                Format::Ours,
                "{\"ultrakv_trace\": 2, \"block_tokens\": 1}\n"
            )
            .code(),
            "trace_malformed"
        );
    }
}
