//! Nodes as real processes that outlive their own deaths: started, killed, paused, told to stop, wiped, started again, with
//! one folder, one seat and one log.
//!
//! Signals go to the pid of our own child and to nothing else. It must never know what a node is asked by others.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::http::Door;
use crate::seat::{ADMIN_PORT, HTTP_PORT, Seat};
use crate::{binary, without_own_variables};

/// The service token of every node of ours.
pub const TOKEN: &str = "chaos-service-token-0001";
/// The admin token of every node of ours.
pub const ADMIN_TOKEN: &str = "chaos-admin-token-0002";
/// Looks at a process that changes; with [`LOOK_EVERY`] between them, 60 s.
const LOOKS_MAX: u32 = 3_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long one question to a node may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How much of a log an error shows: the end.
const LOG_BYTES_SHOWN: usize = 8_000;

/// A node, running or not. Whatever runs is killed when it is dropped, and ends by itself when this process is gone: its
/// standard input closes then, and should it stand still, the kernel lets its orphaned group go on.
#[derive(Debug)]
pub struct Process {
    name: String,
    folder: PathBuf,
    seat: Seat,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Process {
    /// A node that does not run yet. It keeps its files in `folder` and listens where it sits.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new(name: &str, folder: PathBuf, seat: Seat) -> Result<Self> {
        fs::create_dir_all(&folder).context("the node's folder")?;
        let mut tokens = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(folder.join("tokens"))?;
        tokens.write_all(format!("default {TOKEN}\nadmin {ADMIN_TOKEN}\n").as_bytes())?;
        let process = Self {
            name: name.to_owned(),
            folder,
            seat,
            arguments: Vec::new(),
            child: None,
        };
        fs::create_dir_all(process.data()).context("the node's data")?;
        Ok(process)
    }

    /// What `ultrakv start` is told from the next start on, beyond doors and tokens.
    pub fn configure(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it sits.
    #[must_use]
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Where its files lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it was started and has not ended, as far as was looked. A paused one runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended by itself; none while it runs, and none when it was stopped from here.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let ended = child.try_wait()?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    /// Starts it, and returns when `/readyz` says yes.
    ///
    /// # Errors
    /// When it runs already, ends, or does not become ready; the error holds its log.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let mut command = self.seat.command(&binary()?);
        without_own_variables(&mut command);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("node.log"))?;
        let tokens = self.folder.join("tokens");
        command
            .arg("start")
            .args(["--http", &self.seat.door(HTTP_PORT).to_string()])
            .args(["--admin", &self.seat.door(ADMIN_PORT).to_string()])
            .arg("--set")
            .arg(format!("auth.token_file={}", tokens.display()))
            .args(&self.arguments)
            // Our end of its standard input closes with us, however we end.
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .current_dir(self.data());
        self.child = Some(command.spawn().context("starting the node")?);
        Ok(())
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// When the process ends or does not become ready.
    pub fn wait_ready(&mut self) -> Result<()> {
        for _ in 0..LOOKS_MAX {
            if self.is_ready() {
                return Ok(());
            }
            if let Some(ended) = self.running()?.try_wait()? {
                self.child = None;
                bail!("{} ended ({ended}):\n{}", self.name, self.log_end());
            }
            thread::sleep(LOOK_EVERY);
        }
        bail!("{} did not become ready:\n{}", self.name, self.log_end())
    }

    /// Whether `/readyz` says yes now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let door = self.door(ADMIN_PORT, None);
        let answer = door.call("GET", "/readyz", &[], b"");
        answer.is_ok_and(|answer| answer.status == 200)
    }

    fn door(&self, port: u16, token: Option<&str>) -> Door {
        Door {
            address: self.address(port),
            token: token.map(str::to_owned),
            within: ANSWER_WITHIN,
        }
    }

    /// The address of one of its doors.
    #[must_use]
    pub fn address(&self, port: u16) -> SocketAddr {
        self.seat.door(port)
    }

    /// Its main HTTP door, with a token that opens it.
    #[must_use]
    pub fn http(&self) -> Door {
        self.door(HTTP_PORT, Some(TOKEN))
    }

    /// Its admin door, with a token that opens it.
    #[must_use]
    pub fn admin(&self) -> Door {
        self.door(ADMIN_PORT, Some(ADMIN_TOKEN))
    }

    /// What it logged in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("node.log")).unwrap_or_default()
    }

    /// The end of what it logged.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = self.log();
        let mut from = log.len().saturating_sub(LOG_BYTES_SHOWN);
        while !log.is_char_boundary(from) {
            from += 1;
        }
        log.get(from..).unwrap_or_default().to_owned()
    }

    /// Ends it at once, as a loss of power does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait_gone()
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or does not stop.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_gone()
    }

    /// Stops its time, and returns when the kernel says that it stands still.
    ///
    /// # Errors
    /// When it does not run, or does not stand still.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        self.wait_state(|state| state == 'T')
    }

    /// Lets its time go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)?;
        self.wait_state(|state| state != 'T')
    }

    /// Deletes its data, as a lost disk does. Its settings and log stay.
    ///
    /// # Errors
    /// When it runs, or the folder cannot be emptied.
    pub fn wipe(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} still runs on the data that shall be wiped", self.name);
        }
        // What is in it, not itself: it may be a disk of its own.
        for entry in fs::read_dir(self.data()).context("wiping")? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).context("wiping")?;
            } else {
                fs::remove_file(&path).context("wiping")?;
            }
        }
        Ok(())
    }

    /// Where it keeps its data; also its working folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        let own = || self.folder.join("data");
        self.seat.data.clone().unwrap_or_else(own)
    }

    fn running(&mut self) -> Result<&mut Child> {
        let name = &self.name;
        self.child
            .as_mut()
            .with_context(|| format!("{name} does not run"))
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        let child = self.running()?;
        kill_process(Pid::from_child(child), signal).context("sending a signal")
    }

    fn wait_gone(&mut self) -> Result<ExitStatus> {
        for _ in 0..LOOKS_MAX {
            if let Some(ended) = self.running()?.try_wait()? {
                self.child = None;
                return Ok(ended);
            }
            thread::sleep(LOOK_EVERY);
        }
        bail!("{} does not end:\n{}", self.name, self.log_end())
    }

    fn wait_state(&mut self, expected: impl Fn(char) -> bool) -> Result<()> {
        let path = format!("/proc/{}/stat", self.running()?.id());
        for _ in 0..LOOKS_MAX {
            let text = fs::read_to_string(&path).context("the process's state")?;
            // The state stands behind the name, and a name may hold anything.
            let state = text
                .rsplit(')')
                .next()
                .and_then(|rest| rest.trim().chars().next());
            if state.is_some_and(&expected) {
                return Ok(());
            }
            thread::sleep(LOOK_EVERY);
        }
        bail!("the state of {} does not change", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _already_gone = child.kill();
            let _reaped = child.wait();
        }
    }
}
