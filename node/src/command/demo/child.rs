//! The demo's node: a real process of the same binary, which cannot outlive the demo.
//!
//! Three things end it, so that every way out is covered: it is asked to stop and waited for; it is killed when the
//! guard is dropped, also by a panic; and it stops by itself when its stdin closes, which the system does even when
//! this process is killed outright.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ultrakv_actors::clock::Clock;

use crate::announce::Announcement;
use crate::exit::{Failure, Status};

/// How long the node may take until it is ready: the reference model is made in a second or two on one core.
const READY_WITHIN: Duration = Duration::from_secs(45);
/// How long it may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at the announce file, or at the process.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Names tried for a folder of the demo's own.
const FOLDERS_TRIED: u32 = 100;
/// Lines of the node's log that a failure shows.
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

/// A running node.
pub(super) struct DemoNode {
    child: Child,
    log: PathBuf,
    clock: Clock,
    /// Removed, with everything in it, when the demo ends.
    folder: Folder,
    /// What it announced.
    pub(super) announced: Announcement,
}

/// A folder of the demo's own, removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    /// A folder that did not exist before, so that nobody else can have put anything into it.
    fn make() -> Result<Self, Failure> {
        let base = std::env::temp_dir();
        let pid = std::process::id();
        // A demo that was killed outright leaves its folder behind, and process ids come again.
        for attempt in 0..FOLDERS_TRIED {
            let path = base.join(format!("ultrakv-demo-{pid}-{attempt}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let message = format!("{}: cannot be made: {error}", path.display());
                    return Err(Failure::new(Status::Failed, message));
                }
            }
        }
        let message = format!("{}: is full of folders of earlier demos", base.display());
        Err(Failure::new(Status::Failed, message).hint("remove its ultrakv-demo-* folders"))
    }
}

impl DemoNode {
    /// Starts a node and waits until it is ready.
    pub(super) async fn start(clock: &Clock) -> Result<Self, Failure> {
        let folder = Folder::make()?;
        let announce = folder.0.join("announce.json");
        let log = folder.0.join("node.log");
        let cannot = |error: std::io::Error| Failure::caused("starting the demo's node", &error);
        let binary = std::env::current_exe().map_err(cannot)?;
        let child = Command::new(binary)
            .args([
                "start",
                "--stop-with-stdin",
                "--http",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
            ])
            .args(["--log-level", "info", "--log-format", "text", "--announce"])
            .arg(&announce)
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
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let announced = Announcement {
            http: nowhere,
            admin: nowhere,
            pid: child.id(),
            node_id: None,
            cluster: None,
            bulk: None,
        };
        // From here on the guard ends the process, whatever happens.
        let mut node = Self {
            child,
            log,
            clock: clock.clone(),
            folder,
            announced,
        };
        node.announced = node.ready(&announce).await?;
        Ok(node)
    }

    async fn ready(&mut self, announce: &std::path::Path) -> Result<Announcement, Failure> {
        let deadline = self.clock.deadline(READY_WITHIN);
        loop {
            let read = Announcement::read(announce)
                .map_err(|error| Failure::caused("reading what the node announced", &error))?;
            if let Some(announced) = read {
                return Ok(announced);
            }
            if let Some(status) = self.ended() {
                return Err(self.failure(&format!("the node ended before it was ready ({status})")));
            }
            if deadline.passed(self.clock.now()) {
                let limit = humantime::format_duration(READY_WITHIN);
                return Err(self.failure(&format!("the node was not ready within {limit}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How the process ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until the process ends by itself.
    pub(super) async fn wait(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A failure with the end of the node's log.
    pub(super) fn failure(&self, message: &str) -> Failure {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.len().saturating_sub(LOG_LINES_SHOWN);
        let shown = lines.get(tail..).unwrap_or_default().join("\n");
        Failure::new(
            Status::Failed,
            format!("{message}; its log ends with:\n{shown}"),
        )
    }

    /// Asks the node to stop and waits until it is gone.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let status = tokio::time::timeout(STOP_WITHIN, self.wait())
            .await
            .map_err(|_| {
                let limit = humantime::format_duration(STOP_WITHIN);
                self.failure(&format!(
                    "the node did not stop within {limit} and was killed"
                ))
            })?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failure(&format!("the node did not stop cleanly ({status})")))
        }
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
        debug_assert!(
            self.log.starts_with(&self.folder.0),
            "the log lies in the folder that goes next"
        );
    }
}
