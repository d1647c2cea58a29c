//! Nodes as real processes that outlive their own deaths: started, killed, paused, told to stop, wiped, started again, with
//! one folder, one pair of ports and one log.
//!
//! Signals go to the pid of our own child and to nothing else. It must never know what a node is asked by others.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use ultrakv_tests::{binary, without_own_variables};

use super::http::Door;
use super::netns::Host;

/// The service token of every node of ours.
pub const TOKEN: &str = "chaos-service-token-0001";
/// The admin token of every node of ours.
pub const ADMIN_TOKEN: &str = "chaos-admin-token-0002";
/// Looks at a process that changes; with [`LOOK_EVERY`] between them, 60 s.
const LOOKS_MAX: u32 = 3_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long one question to a node may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A node, running or not. Whatever runs is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    folder: PathBuf,
    host: Option<Host>,
    http: SocketAddr,
    admin: SocketAddr,
    child: Option<Child>,
}

impl Process {
    /// A node that does not run yet. It keeps everything in `folder`, listens on its simulated host, or on loopback without
    /// one, and reads `config` (YAML).
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new(name: &str, folder: PathBuf, host: Option<Host>, config: &str) -> Result<Self> {
        fs::create_dir_all(folder.join("data")).context("the node's folder")?;
        fs::write(folder.join("node.yaml"), config).context("the node's settings")?;
        let mut tokens = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(folder.join("tokens"))?;
        tokens.write_all(format!("default {TOKEN}\nadmin {ADMIN_TOKEN}\n").as_bytes())?;
        let (http, admin) = match &host {
            Some(host) => {
                let ip = IpAddr::from(host.address);
                ((ip, 7800).into(), (ip, 7801).into())
            }
            None => free_ports()?,
        };
        Ok(Self {
            name: name.to_owned(),
            folder,
            host,
            http,
            admin,
            child: None,
        })
    }

    /// Starts it, and returns when `/readyz` says yes.
    ///
    /// # Errors
    /// When it runs already, ends, or does not become ready; the error holds its log.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let binary = binary()?;
        let mut command = self
            .host
            .as_ref()
            .map_or_else(|| Command::new(&binary), |host| host.command(&binary));
        without_own_variables(&mut command);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("node.log"))?;
        command
            .arg("start")
            .arg("--config")
            .arg(self.folder.join("node.yaml"));
        command.args([
            "--http",
            &self.http.to_string(),
            "--admin",
            &self.admin.to_string(),
        ]);
        let tokens = self.folder.join("tokens");
        command
            .arg("--set")
            .arg(format!("auth.token_file={}", tokens.display()));
        // Our end of its standard input closes with us, however we end.
        command.arg("--stop-with-stdin").stdin(Stdio::piped());
        command
            .stdout(Stdio::null())
            .stderr(log)
            .current_dir(self.folder.join("data"));
        self.child = Some(command.spawn().context("starting the node")?);
        self.wait_ready()
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// When the process ends or does not become ready.
    pub fn wait_ready(&mut self) -> Result<()> {
        let door = self.door(self.admin, None);
        for _ in 0..LOOKS_MAX {
            if door
                .call("GET", "/readyz", &[], b"")
                .is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            if let Some(ended) = self.running()?.try_wait()? {
                self.child = None;
                bail!("{} ended ({ended}):\n{}", self.name, self.log());
            }
            thread::sleep(LOOK_EVERY);
        }
        bail!("{} did not become ready:\n{}", self.name, self.log())
    }

    fn door(&self, address: SocketAddr, token: Option<&str>) -> Door {
        Door {
            address,
            token: token.map(str::to_owned),
            within: ANSWER_WITHIN,
        }
    }

    /// Its main HTTP door, with a token that opens it.
    #[must_use]
    pub fn http(&self) -> Door {
        self.door(self.http, Some(TOKEN))
    }

    /// Its admin door, with a token that opens it.
    #[must_use]
    pub fn admin(&self) -> Door {
        self.door(self.admin, Some(ADMIN_TOKEN))
    }

    /// What it logged in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("node.log")).unwrap_or_default()
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
        let data = self.data();
        fs::remove_dir_all(&data).context("wiping")?;
        fs::create_dir(&data).context("an empty folder after wiping")
    }

    /// Where it keeps its data; also its working folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
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
        bail!("{} does not end:\n{}", self.name, self.log())
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

/// Two free ports of loopback, which the node can have again after a restart.
fn free_ports() -> Result<(SocketAddr, SocketAddr)> {
    let (one, two) = (
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    );
    Ok((one.local_addr()?, two.local_addr()?))
}
