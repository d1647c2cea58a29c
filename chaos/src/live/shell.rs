//! Runs the system's own tools (`ip`, `nft`, `tc`, `mount`) and turns what they refuse into errors that name the call.
//!
//! It must never know what the calls are for, and never goes through a shell.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// When it cannot be run, or ends with another status than 0; the error holds what it said.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    fed(program, arguments, "")
}

/// As [`run`], with `input` on its standard input.
///
/// # Errors
/// As [`run`].
pub fn fed(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {program}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ended early says why itself.
        let _ended_early = pipe.write_all(input.as_bytes());
    }
    let said = child.wait_with_output()?;
    if !said.status.success() {
        let err = String::from_utf8_lossy(&said.stderr);
        bail!(
            "{program} {}: {}: {}",
            arguments.join(" "),
            said.status,
            err.trim()
        );
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Why network and disk faults cannot be made here; `None` when they can.
#[must_use]
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("namespaces and mounts need root".to_owned());
    }
    for (program, probe) in [("ip", "-V"), ("tc", "-V"), ("nft", "-v"), ("mount", "-V")] {
        if run(program, &[probe]).is_err() {
            return Some(format!("`{program}` is absent"));
        }
    }
    None
}
