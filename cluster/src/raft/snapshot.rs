//! Snapshots as files: a header, chunks with checksums, an end mark; written aside, flushed, then renamed.
//!
//! Responsible for never showing half a snapshot as a whole one. It must never know what is in a chunk.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::types::SnapshotMeta;

/// The most bytes of one chunk, so that a damaged length asks for no more memory than this.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;

/// What is written between two flushes of a snapshot's file.
const FLUSH_BYTES: usize = 2 << 20;

const MAGIC: &[u8; 8] = b"UKVSNAP1";
const CURRENT: &str = "snapshot";

/// A snapshot on disk, whole or being received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    path: PathBuf,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the snapshot is damaged: {what}"),
    )
}

fn write_chunk(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len())
        .ok()
        .filter(|_| bytes.len() <= CHUNK_BYTES_MAX);
    let len = len.ok_or_else(|| damaged("a chunk is too large"))?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&xxh3_64(bytes).to_le_bytes())?;
    out.write_all(bytes)
}

fn read_chunk(from: &mut impl Read) -> io::Result<Bytes> {
    let (mut len, mut sum) = ([0; 4], [0; 8]);
    from.read_exact(&mut len)?;
    from.read_exact(&mut sum)?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > CHUNK_BYTES_MAX {
        return Err(damaged("a chunk is too large"));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    if xxh3_64(&bytes) != u64::from_le_bytes(sum) {
        return Err(damaged("a chunk has a wrong checksum"));
    }
    Ok(bytes.into())
}

/// The chunks of a snapshot's file, in order; an error ends them.
pub struct Chunks {
    file: BufReader<File>,
    over: bool,
}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let chunk = read_chunk(&mut self.file);
        // An empty chunk is the end mark: a file without it was cut, and reading it is an error.
        self.over = !matches!(&chunk, Ok(bytes) if !bytes.is_empty());
        chunk.map_or_else(
            |error| Some(Err(error)),
            |bytes| (!bytes.is_empty()).then_some(Ok(bytes)),
        )
    }
}

impl SnapshotFile {
    /// Names a file that a snapshot is about to be written to.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The current snapshot's file of a folder, whether it exists or not.
    #[must_use]
    pub fn current(folder: &Path) -> Self {
        Self::at(folder.join(CURRENT))
    }

    /// Writes the whole file and flushes it. Empty chunks are left out.
    ///
    /// # Errors
    /// When the disk cannot be written, or a chunk is over [`CHUNK_BYTES_MAX`].
    pub fn write(
        &self,
        meta: &SnapshotMeta,
        chunks: impl Iterator<Item = Bytes>,
    ) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(&self.path)?);
        out.write_all(MAGIC)?;
        write_chunk(
            &mut out,
            &rmp_serde::to_vec(meta).map_err(io::Error::other)?,
        )?;
        let mut unflushed_bytes = 0;
        for chunk in chunks.filter(|chunk| !chunk.is_empty()) {
            write_chunk(&mut out, &chunk)?;
            unflushed_bytes += chunk.len();
            // Little by little: the log, which is on the same disk, is flushed behind what waits here.
            if unflushed_bytes >= FLUSH_BYTES {
                out.flush()?;
                out.get_ref().sync_data()?;
                unflushed_bytes = 0;
            }
        }
        write_chunk(&mut out, &[])?;
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    }

    /// Reads what the snapshot covers, and gives its chunks.
    ///
    /// # Errors
    /// When the file cannot be read or its beginning is damaged.
    pub fn read(&self) -> io::Result<(SnapshotMeta, Chunks)> {
        let mut file = BufReader::new(File::open(&self.path)?);
        let mut magic = [0; 8];
        file.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(damaged("it does not begin like one"));
        }
        let meta = read_chunk(&mut file)?;
        let meta = rmp_serde::from_slice(&meta).map_err(|_| damaged("its header"))?;
        Ok((meta, Chunks { file, over: false }))
    }

    /// Makes this file the current snapshot of its folder, in one step that survives a crash.
    ///
    /// # Errors
    /// When the file cannot be renamed or the folder not flushed.
    pub fn publish(self, folder: &Path) -> io::Result<Self> {
        let current = Self::current(folder);
        fs::rename(&self.path, &current.path)?;
        File::open(folder)?.sync_all()?;
        Ok(current)
    }
}
