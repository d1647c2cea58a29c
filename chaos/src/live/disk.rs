//! A disk small enough to be filled: a tmpfs with a size, mounted where a node keeps its data.
//!
//! Responsible for mounting, filling, healing and unmounting, also what a killed run left. It must never know what is kept
//! there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::shell::run;

/// What our mounts are called in the machine's list; the maker's pid follows.
const SOURCE: &str = "ukv-disk-";
/// What fills the disk.
const BALLAST: &str = "ballast";
/// The ballast is written in such pieces, then byte by byte.
const PIECE_BYTES: usize = 64 * 1024;

/// A mounted small disk; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    bytes_max: u64,
}

impl SmallDisk {
    /// Mounts a disk of `bytes_max` on an empty folder.
    ///
    /// # Errors
    /// When the folder cannot be made or the mount is refused (it needs root).
    pub fn mount(folder: PathBuf, bytes_max: u64) -> Result<Self> {
        reap();
        fs::create_dir_all(&folder).context("the folder to mount on")?;
        let source = format!("{SOURCE}{}", std::process::id());
        let options = format!("size={bytes_max},mode=0700");
        let at = folder.to_string_lossy().into_owned();
        run("mount", &["-t", "tmpfs", "-o", &options, &source, &at])?;
        Ok(Self { folder, bytes_max })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes all room that is left, until the file system itself says that it is full. Tells how many bytes that were.
    ///
    /// # Errors
    /// When writing fails for any other reason, or the disk does not become full.
    pub fn fill(&self) -> Result<u64> {
        let mut file = File::create(self.folder.join(BALLAST)).context("the ballast")?;
        let piece = vec![0x5a; PIECE_BYTES];
        let mut written = 0;
        while written <= self.bytes_max {
            match file.write(&piece) {
                Ok(bytes) => written += u64::try_from(bytes)?,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(written),
                Err(error) => return Err(error).context("filling the disk"),
            }
        }
        bail!("{written} bytes fitted on a disk of {}", self.bytes_max)
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When the ballast is not there.
    pub fn heal(&self) -> Result<()> {
        fs::remove_file(self.folder.join(BALLAST)).context("removing the ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still has a file open keeps it, and nobody else sees the disk.
        let _best_effort = run("umount", &["--lazy", &self.folder.to_string_lossy()]);
    }
}

/// Unmounts disks of runs that are dead.
pub fn reap() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(source), Some(at)) = (words.next(), words.next()) else {
            continue;
        };
        let maker = source
            .strip_prefix(SOURCE)
            .and_then(|pid| pid.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _best_effort = run("umount", &["--lazy", at]);
        }
    }
}
