//! Responsible for keys, values and queries from a file, so that real ones can be measured. It must never know what is measured.
//!
//! # Shape
//! One safetensors-like file would bring a parser; three raw ones need none. A folder with `keys.bin`, `values.bin` and `queries.bin`: `f32`
//! little-endian, `[head][token][dim]`, `[head][token][dim]` and `[head][query][dim]`, rotary positions applied; and
//! `shape.json`: `{"heads": 8, "tokens": 2048, "dims": 128, "queries": 256}`. Keys and values are to be numbers that the measured element
//! type holds.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use super::profile::{Sample, SampleShape};

/// Numbers that a file may hold: 4 GiB.
const NUMBERS_MAX: usize = 1 << 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    heads: usize,
    tokens: usize,
    dims: usize,
    queries: usize,
}

/// Reads a sample from a folder.
///
/// # Errors
/// [`DumpError`] naming the file that cannot be read or has another length than `shape.json` says.
pub fn read(folder: &Path) -> Result<Sample, DumpError> {
    let path = folder.join("shape.json");
    let text = fs::read_to_string(&path).map_err(|source| DumpError::Read {
        path: path.clone(),
        source,
    })?;
    let written: Written = serde_json::from_str(&text).map_err(|source| DumpError::Shape {
        path: path.clone(),
        source,
    })?;
    let Written {
        heads,
        tokens,
        dims,
        queries,
    } = written;
    let count = |rows: usize| {
        heads
            .checked_mul(rows)?
            .checked_mul(dims)
            .filter(|count| (1..=NUMBERS_MAX).contains(count))
    };
    let (Some(own), Some(asked)) = (count(tokens), count(queries)) else {
        return Err(DumpError::Size { path });
    };
    Ok(Sample {
        shape: SampleShape {
            heads,
            tokens,
            dims,
            queries,
        },
        keys: numbers(&folder.join("keys.bin"), own)?,
        values: numbers(&folder.join("values.bin"), own)?,
        queries: numbers(&folder.join("queries.bin"), asked)?,
    })
}

fn numbers(path: &Path, count: usize) -> Result<Vec<f32>, DumpError> {
    let bytes = fs::read(path).map_err(|source| DumpError::Read {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() != count * 4 {
        return Err(DumpError::Length {
            path: path.to_owned(),
            bytes: bytes.len(),
            wanted: count * 4,
        });
    }
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers
        .iter()
        .map(|number| f32::from_le_bytes(*number))
        .collect())
}

/// Why a folder is no sample.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DumpError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `shape.json` is not what it should be.
    #[error("{} does not say heads, tokens, dims and queries", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// Nothing, or more than fits.
    #[error("{} asks for no numbers or for more than {NUMBERS_MAX} a file", path.display())]
    Size {
        /// The file.
        path: PathBuf,
    },
    /// A file is shorter or longer.
    #[error("{} has {bytes} bytes, its shape asks for {wanted}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        bytes: usize,
        /// Bytes asked for.
        wanted: usize,
    },
}

impl DumpError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "dump_read",
            Self::Shape { .. } => "dump_shape",
            Self::Size { .. } => "dump_size",
            Self::Length { .. } => "dump_length",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        "give a folder with shape.json, keys.bin, values.bin and queries.bin; docs/codecs.md says how they are laid out"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_names_what_is_wrong() {
        let folder = std::env::temp_dir().join(format!("ultrakv-dump-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("a file");
        assert_eq!(
            read(&folder).err().map(|error| error.code()),
            Some("dump_read")
        );
        write(
            "shape.json",
            br#"{"heads": 1, "tokens": 2, "dims": 2, "queries": 1, "more": 1}"#,
        );
        assert_eq!(
            read(&folder).err().map(|error| error.code()),
            Some("dump_shape")
        );
        write(
            "shape.json",
            br#"{"heads": 1, "tokens": 0, "dims": 2, "queries": 1}"#,
        );
        assert_eq!(
            read(&folder).err().map(|error| error.code()),
            Some("dump_size")
        );
        write(
            "shape.json",
            br#"{"heads": 1, "tokens": 2, "dims": 2, "queries": 1}"#,
        );
        let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        write("keys.bin", &numbers);
        write("values.bin", &numbers);
        write("queries.bin", &numbers);
        assert_eq!(
            read(&folder).err().map(|error| error.code()),
            Some("dump_length")
        );
        write("queries.bin", &numbers[..8]);
        let sample = read(&folder).expect("whole");
        assert_eq!(
            (sample.keys, sample.queries),
            (vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 2.0])
        );
        fs::remove_dir_all(&folder).expect("the folder goes");
    }
}
