//! A node of the demo: a real process of the same binary, which cannot outlive the demo.
//!
//! Three things end it, so that every way out is covered: it is asked to stop and waited for; it is killed when the
//! guard is dropped, also by a panic; and it stops by itself when its stdin closes, which the system does even when
//! this process is killed outright. It knows one process, and nothing of the others.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ultrakv_actors::clock::Clock;
use ultrakv_cluster::NodeId;

use crate::announce::Announcement;
use crate::exit::{Failure, Status};

/// How long a node may take until it is ready: the reference model is made in a second or two on one core.
const READY_WITHIN: Duration = Duration::from_secs(45);
/// How long it may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks at the announce file, or at the process.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of a node's log that a failure shows.
const LOG_LINES_SHOWN: usize = 20;
/// Variables that a process needs from its surroundings; settings of the operator's node are none of the demo's.
const KEPT: [&str; 8] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LD_LIBRARY_PATH",
    "RUST_BACKTRACE",
    "RAYON_NUM_THREADS",
    "SYSTEMROOT",
];
/// Small nodes, so that four of them fit on two cores and a little memory. Two copies of a block, so that the loss of
/// one node costs no hit; and what a lost node held is copied again at once rather than after half a minute.
const SETTINGS: [&str; 10] = [
    "cluster.bind=127.0.0.1:0",
    "cluster.bulk_bind=127.0.0.1:0",
    "cluster.block_copies=2",
    "cluster.repair_delay=1s",
    "cluster.directory_bytes_max=16MiB",
    "cache.bytes_max=128MiB",
    "cache.entry_bytes_max=16MiB",
    "cache.devices=1",
    "model.threads=1",
    "limits.drain_timeout=1s",
];

/// Where a node stands: its name, its certificates, and whom it asks to be let in.
pub(super) struct Place<'a> {
    /// Its name, and that of its files.
    pub(super) name: String,
    /// The demo's folder.
    pub(super) folder: &'a Path,
    /// The folder of its certificates.
    pub(super) certs: PathBuf,
    /// Members that it asks to be let in; it founds the cluster where there are none.
    pub(super) seeds: Vec<SocketAddr>,
}

/// A node: starting, running, or killed.
pub(super) struct DemoNode {
    child: Child,
    announce: PathBuf,
    log: PathBuf,
    clock: Clock,
    /// Its name.
    pub(super) name: String,
    /// Killed on purpose.
    pub(super) killed: bool,
    /// What it announced, once it was ready.
    pub(super) announced: Announcement,
}

impl DemoNode {
    /// Starts the process and does not wait.
    pub(super) fn spawn(place: &Place<'_>, clock: &Clock) -> Result<Self, Failure> {
        let Place {
            name,
            folder,
            certs,
            seeds,
        } = place;
        let file = |ending: &str| folder.join(format!("{name}.{ending}"));
        let (announce, log) = (file("json"), file("log"));
        let cannot = |error: std::io::Error| Failure::caused("starting a node of the demo", &error);
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command
            .args(["start", "--stop-with-stdin"])
            .args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--log-level", "info", "--log-format", "text"])
            .arg("--announce")
            .arg(&announce)
            .arg("--certs")
            .arg(certs)
            .arg("--data")
            .arg(file("data"))
            .args(["--set", &format!("node.name={name}")])
            .args(SETTINGS.iter().flat_map(|setting| ["--set", *setting]));
        if seeds.is_empty() {
            command.arg("--found");
        } else {
            command
                .arg("--join")
                .args(seeds.iter().map(SocketAddr::to_string));
        }
        let child = command
            .env_clear()
            .envs(
                KEPT.iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).map_err(cannot)?)
            .spawn()
            .map_err(cannot)?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self {
            announced: Announcement {
                http: nowhere,
                admin: nowhere,
                pid: child.id(),
                node_id: None,
                cluster: None,
                bulk: None,
            },
            child,
            announce,
            log,
            clock: clock.clone(),
            name: name.clone(),
            killed: false,
        })
    }

    /// Waits until it is ready.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        let deadline = self.clock.deadline(READY_WITHIN);
        loop {
            let read = Announcement::read(&self.announce)
                .map_err(|error| Failure::caused("reading what a node announced", &error))?;
            if let Some(announced) = read {
                self.announced = announced;
                return Ok(());
            }
            if let Some(status) = self.ended() {
                return Err(self.failure(&format!("ended before it was ready ({status})")));
            }
            if deadline.passed(self.clock.now()) {
                let limit = humantime::format_duration(READY_WITHIN);
                return Err(self.failure(&format!("was not ready within {limit}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The node, once it is ready.
    pub(super) fn id(&self) -> Result<NodeId, Failure> {
        let told = self.announced.node_id;
        told.ok_or_else(|| self.failure("announced no id"))
    }

    /// Where other nodes reach it, once it is ready.
    pub(super) fn seed(&self) -> Result<SocketAddr, Failure> {
        let told = self.announced.cluster;
        told.ok_or_else(|| self.failure("announced no address for other nodes"))
    }

    /// How the process ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it at once, as a loss of power does.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.killed = true;
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.map(drop).map_err(|error| {
            let doing = format!("killing {}", self.name);
            Failure::caused(&doing, &error)
        })
    }

    /// A failure of this node, with the end of its log.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.len().saturating_sub(LOG_LINES_SHOWN);
        let shown = lines.get(tail..).unwrap_or_default().join("\n");
        Failure::new(
            Status::Failed,
            format!("{} {what}; its log ends with:\n{shown}", self.name),
        )
    }

    /// Asks it to stop.
    pub(super) fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it is gone, after it was asked to stop.
    pub(super) async fn stopped(&mut self) -> Result<(), Failure> {
        let deadline = self.clock.deadline(STOP_WITHIN);
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            if deadline.passed(self.clock.now()) {
                let limit = humantime::format_duration(STOP_WITHIN);
                return Err(self.failure(&format!("did not stop within {limit} and is killed")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        if status.success() {
            Ok(())
        } else {
            Err(self.failure(&format!("did not stop cleanly ({status})")))
        }
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
