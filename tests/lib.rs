//! The harness: real processes of our own binary, started, asked and stopped by tests and measurements.
//! It knows the binary's command line and its announce file, and nothing of its insides.

#![expect(
    clippy::disallowed_methods,
    reason = "a harness outside the house measures it with the wall's own clock"
)]

pub mod cluster;
pub mod http;
pub mod process;
pub mod seat;

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a node may take from its start until it announces itself.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take from SIGTERM until it is gone.
pub const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at a file or a process that another process changes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The binary, once somebody asked for it: building costs cargo a second even when there is nothing to do.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// The path of the `ultrakv` binary: `ULTRAKV_BIN`, or the one that cargo builds in the profile of the running program, once.
///
/// # Errors
/// When cargo cannot build it.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = BINARY.get() {
        return Ok(path.clone());
    }
    let path = match std::env::var_os("ULTRAKV_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let profile = own_profile()?;
            let release = profile.file_name().is_some_and(|name| name == "release");
            build(release)?;
            profile.join("ultrakv")
        }
    };
    Ok(BINARY.get_or_init(|| path).clone())
}

/// From now on, the binary of the release build, whatever the profile of the running program; `ULTRAKV_BIN` still wins.
///
/// # Errors
/// When cargo cannot build it, or another binary was used before.
pub fn use_release() -> Result<()> {
    if std::env::var_os("ULTRAKV_BIN").is_some() {
        return Ok(());
    }
    build(true)?;
    let path = own_profile()?.with_file_name("release").join("ultrakv");
    if *BINARY.get_or_init(|| path.clone()) != path {
        bail!("another binary was used before");
    }
    Ok(())
}

/// The folder of the running program's profile.
fn own_profile() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program lies")?;
    let mut folders = own.ancestors();
    let profile = folders.find(|folder| folder.join("deps").is_dir());
    let profile =
        profile.context("this program does not lie in a cargo target folder; set ULTRAKV_BIN")?;
    Ok(profile.to_owned())
}

fn build(release: bool) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked"]);
    // Of the whole workspace, whose dependencies other builds have made with the same features.
    build.args(["--workspace", "--bin", "ultrakv"]);
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if release {
        build.arg("--release");
    }
    let status = build.status().context("running cargo build")?;
    if !status.success() {
        bail!("cargo build of the binary failed: {status}");
    }
    Ok(())
}

/// A running node, killed when dropped.
pub struct Node {
    child: Child,
    folder: tempfile::TempDir,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    /// Starts `ultrakv start` on free loopback ports with this configuration and these variables, and
    /// returns when it has announced itself.
    ///
    /// # Errors
    /// When it ends, or says nothing within [`READY_WITHIN`]; the error holds what it logged.
    pub fn start(config: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the node")?;
        let announce = folder.path().join("announce.json");
        let file = folder.path().join("node.yaml");
        fs::write(&file, config).context("writing the node's configuration")?;
        let log = fs::File::create(folder.path().join("node.log")).context("the node's log")?;
        let mut command = Command::new(binary()?);
        without_own_variables(&mut command);
        let mut child = command
            .arg("start")
            .arg("--config")
            .arg(&file)
            .args([
                "--http",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--announce",
            ])
            .arg(&announce)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting the node")?;
        let started = Instant::now();
        loop {
            if let Ok(text) = fs::read_to_string(&announce) {
                let said: serde_json::Value =
                    serde_json::from_str(&text).context("the announce file")?;
                let address = |door: &str| -> Result<SocketAddr> {
                    let text = said.get(door).and_then(serde_json::Value::as_str);
                    Ok(text
                        .with_context(|| format!("no {door} announced"))?
                        .parse()?)
                };
                let (http, admin) = (address("http")?, address("admin")?);
                return Ok(Self {
                    child,
                    folder,
                    http,
                    admin,
                });
            }
            let ended = child.try_wait().context("asking for the node's status")?;
            if ended.is_some() || started.elapsed() > READY_WITHIN {
                let _already_gone = child.kill();
                let log = fs::read_to_string(folder.path().join("node.log")).unwrap_or_default();
                bail!("the node did not become ready ({ended:?}):\n{log}");
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The main HTTP door.
    #[must_use]
    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The admin door.
    #[must_use]
    pub fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// The address of the main HTTP door, for clients that speak to the socket itself.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Resident memory of the process now, in bytes, as the kernel tells.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// What the node has logged so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> io::Result<String> {
        fs::read_to_string(self.folder.path().join("node.log"))
    }

    /// Asks the node to stop (SIGTERM) and waits until it is gone.
    ///
    /// # Errors
    /// When it still runs after [`STOPPED_WITHIN`].
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait(STOPPED_WITHIN)
    }

    /// Sends a signal by name.
    ///
    /// # Errors
    /// When `kill` cannot be run or refuses.
    pub fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()?;
        if !sent.success() {
            bail!("kill -s {name} {}: {sent}", self.pid());
        }
        Ok(())
    }

    /// Waits until the process is gone.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > limit {
                bail!(
                    "still running {limit:?} after it was told to stop:\n{}",
                    self.log()?
                );
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What a command said and how it ended.
pub struct Said {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Keeps this process' `ULTRAKV_*` and `KV_CACHE_*` variables, such as `ULTRAKV_BIN`, from a node that would refuse
/// those it does not know.
pub fn without_own_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("KV_CACHE_") || text.starts_with("ULTRAKV_") {
            command.env_remove(&name);
        }
    }
}

/// Runs `ultrakv` with these arguments and nothing of this process' `ULTRAKV_*` and `KV_CACHE_*` variables.
///
/// # Errors
/// When it cannot be run, or runs longer than `limit`.
pub fn ultrakv(arguments: &[&str], variables: &[(&str, &str)], limit: Duration) -> Result<Said> {
    let mut command = Command::new(binary()?);
    without_own_variables(&mut command);
    command.args(arguments).envs(variables.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("running ultrakv")?;
    let out = read_aside(child.stdout.take());
    let err = read_aside(child.stderr.take());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("ultrakv {arguments:?} ran longer than {limit:?}");
        }
        thread::sleep(LOOK_EVERY);
    };
    let joined = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    Ok(Said {
        code: status.code(),
        out: joined(out),
        err: joined(err),
    })
}

fn read_aside(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _until_it_closed = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A program of other people's that a test needs. `None`, said aloud, when it is absent; under `CI` its
/// absence is a failure, for nothing may be skipped there.
///
/// # Panics
/// Under `CI`, when the program is absent.
#[must_use]
pub fn peer(name: &str, probe: &[&str]) -> Option<String> {
    let variable = format!("ULTRAKV_{}", name.to_uppercase());
    let program = std::env::var(&variable).unwrap_or_else(|_| name.to_owned());
    let answers = Command::new(&program)
        .args(probe)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if answers {
        return Some(program);
    }
    skip(&format!("`{program} {}` fails", probe.join(" ")));
    None
}

/// Says aloud that a test does not run here, and why; under `CI` that is a failure.
///
/// # Panics
/// Under `CI`.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{reason}, under CI, where nothing may be skipped"
    );
    let mut stderr = io::stderr().lock();
    let line = format!("SKIPPED: {reason}; see README, test prerequisites\n");
    let _best_effort = io::Write::write_all(&mut stderr, line.as_bytes());
}
