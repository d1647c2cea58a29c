//! The mesh between processes, since the library's names and groups belong to the process.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::time::timeout;
use ultrakv_actors::clock::Clock;
use ultrakv_actors::{BootId, Entropy};

use super::house::{Book, Ca, WAIT, id, now};
use crate::NodeId;
use crate::lane::mesh::{Mesh, MeshPlan, Presence, ReportError};
use crate::lane::tls::{Credentials, Identity};
use crate::lane::{QuicLane, QuicLimits, QuicPlan};
use crate::peer::{Parcel, ParcelStream, Refused, Responder};

const FOLDER: &str = "ULTRAKV_TEST_MESH_FOLDER";
const PARENT: &str = "ULTRAKV_TEST_MESH_PARENT";
const ME: u128 = 2;

/// Hands streams to the mesh, and has nothing else to say.
#[derive(Default)]
struct ToMesh(OnceLock<Mesh>);

impl Responder for ToMesh {
    fn answer(&self, _peer: NodeId, _ask: Parcel) -> BoxFuture<'_, Result<Parcel, Refused>> {
        unreachable!("nobody asks")
    }

    fn take(&self, _peer: NodeId, _parcel: Parcel) {}

    fn stream(
        &self,
        peer: NodeId,
        first: Parcel,
        stream: Box<dyn ParcelStream>,
    ) -> BoxFuture<'_, ()> {
        async move {
            if let Some(mesh) = self.0.get() {
                mesh.accept(peer, first, stream).await;
            }
        }
        .boxed()
    }
}

struct Member {
    lane: QuicLane,
    mesh: Mesh,
    book: Arc<Book>,
    clock: Clock,
}

fn member(folder: &Path) -> Member {
    let credentials = Credentials::load(folder, now()).unwrap();
    let (book, clock) = (Arc::new(Book::default()), Clock::machine());
    let responder = Arc::new(ToMesh::default());
    let plan = QuicPlan {
        identity: Identity::new(&credentials).unwrap(),
        boot: BootId::draw(&Entropy::machine()).unwrap(),
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        limits: QuicLimits::default(),
        clock: clock.clone(),
    };
    let lane = QuicLane::start(
        plan,
        Arc::<ToMesh>::clone(&responder),
        Arc::<Book>::clone(&book),
    )
    .unwrap();
    let text = format!("{} of process {}", credentials.node, std::process::id());
    let mesh = Mesh::new(MeshPlan {
        cluster: credentials.cluster.clone(),
        node: credentials.node,
        lane: Arc::new(lane.clone()),
        reporter: Arc::new(move || text.clone().into()),
        clock: clock.clone(),
    });
    assert!(responder.0.set(mesh.clone()).is_ok());
    Member {
        lane,
        mesh,
        book,
        clock,
    }
}

/// Does nothing in a usual run; in a child it is a node that knows its parent, until it is killed.
#[tokio::test]
async fn child_is_a_member_until_it_is_killed() {
    let (Ok(folder), Ok(parent)) = (std::env::var(FOLDER), std::env::var(PARENT)) else {
        return;
    };
    let member = member(Path::new(&folder));
    member
        .book
        .0
        .lock()
        .insert(id(ME), vec![parent.parse().unwrap()]);
    member.mesh.set_peers([id(ME)]);
    member.mesh.start_alone().await;
    println!("\nlistens {}", member.lane.local_addr().unwrap());
    // A child whose parent died must not stay.
    let orphaned = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    orphaned.await.unwrap().unwrap();
}

/// A process that is a member; killed when dropped.
struct Process(Child, SocketAddr);

impl Process {
    fn start(folder: &Path, parent: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "lane::tests::mesh::child_is_a_member_until_it_is_killed",
                "--nocapture",
            ])
            .env(FOLDER, folder)
            .env(PARENT, parent.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            Some(line.strip_prefix("listens ")?.parse().unwrap())
        });
        Self(child, address.expect("the child is a member"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn until(events: &mut broadcast::Receiver<Presence>, wanted: Presence) {
    let seen = async { while events.recv().await.unwrap() != wanted {} };
    timeout(WAIT, seen)
        .await
        .unwrap_or_else(|_| panic!("no {wanted:?}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_in_other_processes_are_seen_report_are_lost_and_come_back() {
    let ca = Ca::new("blue");
    let folders: BTreeMap<u128, TempDir> = [1, ME, 3].map(|node| (node, ca.folder(node))).into();
    let parent = member(folders[&ME].path());
    let address = parent.lane.local_addr().unwrap();
    let mut events = parent.mesh.presence();
    parent.mesh.set_peers([id(1), id(3), id(9)]);
    let actor = parent.mesh.start_alone().await;

    // The first dials this node, the third is dialled; the ninth is nowhere.
    let first = Process::start(folders[&1].path(), address);
    let third = Process::start(folders[&3].path(), address);
    parent.book.0.lock().insert(id(3), vec![third.1]);
    until(&mut events, Presence::Seen(id(1))).await;
    if !parent.mesh.present().contains(&id(3)) {
        until(&mut events, Presence::Seen(id(3))).await;
    }
    let report = |node: u128, process: &Process| {
        (
            id(node),
            Ok(format!("{} of process {}", id(node), process.0.id()).into()),
        )
    };
    let own = format!("{} of process {}", id(ME), std::process::id());
    let soon = || parent.clock.deadline(Duration::from_secs(5));
    assert_eq!(
        parent.mesh.ask_all(soon()).await,
        [
            report(1, &first),
            (id(ME), Ok(own.into())),
            report(3, &third),
            (id(9), Err(ReportError::Absent)),
        ]
    );

    drop(third);
    until(&mut events, Presence::Lost(id(3))).await;
    assert_eq!(
        parent.mesh.ask(id(3), soon()).await,
        Err(ReportError::Absent)
    );
    let third = Process::start(folders[&3].path(), address);
    parent.book.0.lock().insert(id(3), vec![third.1]);
    until(&mut events, Presence::Seen(id(3))).await;
    assert_eq!(
        (id(3), parent.mesh.ask(id(3), soon()).await),
        report(3, &third)
    );

    strangers_are_sent_away().await;
    assert_eq!(parent.mesh.present(), [id(1), id(3)]);

    // A life that ends takes its sessions along, and the next has them again.
    actor.kill();
    until(&mut events, Presence::Lost(id(3))).await;
    parent.mesh.start_alone().await;
    until(&mut events, Presence::Seen(id(3))).await;
    assert_eq!(
        (id(3), parent.mesh.ask(id(3), soon()).await),
        report(3, &third)
    );
    let again = async {
        while parent.mesh.ask(id(1), soon()).await != report(1, &first).1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(WAIT, again).await.unwrap();
}

/// Whoever connects to the library's own port is sent away, without being a member for a moment.
async fn strangers_are_sent_away() {
    for port in own_loopback_ports() {
        // Lanes of other tests listen too, and may be gone by now.
        let Ok(mut stranger) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        stranger.set_read_timeout(Some(WAIT)).unwrap();
        let told = tokio::task::spawn_blocking(move || stranger.read_to_end(&mut Vec::new()));
        let waited_in_vain = told.await.unwrap().err().map(|error| error.kind());
        assert!(
            waited_in_vain != Some(ErrorKind::WouldBlock),
            "nobody sent it away"
        );
    }
}

/// Ports of the loopback address on which this process listens.
fn own_loopback_ports() -> Vec<u16> {
    let own: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let ports: Vec<u16> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = fields.get(1)?.strip_prefix("0100007F:")?;
            let listens = *fields.get(3)? == "0A" && own.iter().any(|one| one == fields[9]);
            listens.then(|| u16::from_str_radix(port, 16).unwrap())
        })
        .collect();
    assert!(!ports.is_empty(), "the library listens");
    ports
}
