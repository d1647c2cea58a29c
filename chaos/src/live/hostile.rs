//! Everybody who must not come in, one after the other, and after each the proof that the cluster is as it was.
//!
//! Responsible for the rows and for looking at the cluster in between. Each row needs a word of refusal: silence where a code
//! is promised fails.

mod frames;
mod intruder;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use ultrakv_actors::{Clock, UnixMs};
use ultrakv_cluster::NodeId;
use ultrakv_cluster::lane::tls::{
    Authority as Signer, ClusterName, Credentials, NODE_KEY, Subject,
};
use ultrakv_tests::cluster::{Authority, Options, TestCluster, View};
use ultrakv_tests::process::Process;
use ultrakv_tests::seat::{BULK_PORT, CLUSTER_PORT};

use self::frames::Bad;
use self::intruder::{Told, visit, visit_plain};
use super::load::Traffic;
use super::stage::{Ground, Stage};
use crate::history::{Op, Outcome};
use crate::rng::Rng;

/// How long a process that must not come in is given to come in.
const STRANGER_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long an entry may take after an intrusion.
const SERVED_WITHIN: Duration = Duration::from_secs(2);
/// Datagrams of the flood.
const FLOOD_DATAGRAMS: u32 = 30_000;
/// Connections of the flood that say nothing.
const FLOOD_CONNECTIONS: usize = 400;
/// What a node may grow by under all of it.
const GROWTH_BYTES_MAX: u64 = 96 << 20;
/// How TLS names an authority that it does not know, or whose signature does not fit.
const STRANGE: &[&str] = &["UnknownCA", "UnknownIssuer", "DecryptError", "BadSignature"];
/// Days of certificates; an expired one was made longer ago.
const DAYS: u32 = 1;
const EXPIRED_MS: u64 = 3 * 86_400_000;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was tried.
    pub what: String,
    /// What was told.
    pub told: String,
    /// Whether it was refused with a word that says why, and the cluster is unharmed.
    pub ok: bool,
}

/// Tries everything on a cluster of three; `heard` hears of each row at once.
///
/// # Errors
/// When the cluster does not come up or the impostors cannot be made.
pub fn run(seed: u64, heard: &mut dyn FnMut(&Row)) -> Result<Vec<Row>> {
    let mut stage = Stage::build(3, 0, Ground::default(), Options::default(), seed)?;
    let mut rows = Rows {
        before: stage.cluster.wait_whole(STRANGER_WITHIN)?,
        resident: resident(&stage.cluster)?,
        stage: &stage,
        seed,
        key: 0,
        rows: Vec::new(),
        heard,
    };
    let impostors = Impostors::make(&stage.cluster)?;
    processes(&mut rows, &impostors)?;
    handshakes(&mut rows, &impostors)?;
    frames(&mut rows, &impostors)?;
    floods(&mut rows, seed)?;
    let rows = rows.rows;
    if rows.iter().any(|row| !row.ok) {
        let place = stage.cluster.keep_logs();
        heard(&Row {
            what: "logs".to_owned(),
            told: format!("kept in {}", place.display()),
            ok: true,
        });
    }
    Ok(rows)
}

/// The rows so far, and the cluster that must stay as it is.
struct Rows<'run> {
    stage: &'run Stage,
    before: View,
    resident: Vec<u64>,
    seed: u64,
    key: u32,
    rows: Vec<Row>,
    heard: &'run mut dyn FnMut(&Row),
}

impl Rows<'_> {
    /// Notes a row: it holds when the words hold one of those expected and the cluster is unharmed.
    fn note(&mut self, what: &str, told: &str, expected: &[&str]) {
        let harm = self.harm().err();
        let ok = harm.is_none() && expected.iter().any(|word| told.contains(word));
        let told = match harm {
            None => told.to_owned(),
            Some(harm) => format!("{told}; HARMED: {harm:#}"),
        };
        let row = Row {
            what: what.to_owned(),
            told,
            ok,
        };
        (self.heard)(&row);
        self.rows.push(row);
    }

    /// The same members, leader and owners; every door serves entries; nobody grew.
    fn harm(&mut self) -> Result<()> {
        let cluster = &self.stage.cluster;
        for at in cluster.running() {
            let view = cluster.view(at)?;
            if view.members != self.before.members || view.leader != self.before.leader {
                bail!("node {at} tells other members or another leader: {view:?}");
            }
            if view.moved_since(&self.before) > 0 {
                bail!("node {at} tells that slots moved");
            }
            let door = self.stage.traffic(at, self.seed, SERVED_WITHIN)?;
            self.key += 1;
            let value = u64::from(self.key);
            let written = door.entry(self.key, Op::Write(value))?;
            let read = door.entry(self.key, Op::Read)?;
            if (written, read) != (Outcome::Done, Outcome::Value(Some(value))) {
                bail!("node {at}: an entry was {written:?}, then {read:?}");
            }
        }
        for (now, before) in resident(cluster)?.iter().zip(&self.resident) {
            let grown = now.saturating_sub(*before);
            if grown > GROWTH_BYTES_MAX {
                bail!("a node grew by {grown} bytes");
            }
        }
        Ok(())
    }

    fn port(&self, port: u16) -> Result<SocketAddr> {
        Ok(self.stage.cluster.process(1)?.address(port))
    }
}

/// Resident memory of every node.
fn resident(cluster: &TestCluster) -> Result<Vec<u64>> {
    let of = |at: usize| {
        let pid = cluster.process(at)?.pid().context("a node does not run")?;
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    };
    cluster.running().into_iter().map(of).collect()
}

/// Folders of certificates that must open nothing.
struct Impostors {
    /// By an authority that only has the cluster's name.
    strange: PathBuf,
    /// Of another cluster.
    other: PathBuf,
    /// By the cluster's own authority, out of date.
    expired: PathBuf,
    /// One node's certificate with another's key.
    mixed: PathBuf,
    /// By the cluster's own authority, for a client.
    client: PathBuf,
    /// By the cluster's own authority, good, of a node that is no member.
    newcomer: PathBuf,
    newcomer_id: NodeId,
}

impl Impostors {
    fn make(cluster: &TestCluster) -> Result<Self> {
        let root = cluster.root()?.join("impostors");
        let at = |name: &str| root.join(name);
        let name = cluster.options().name.as_str();
        Authority::create(at("strange-ca"), name)?.node(&at("strange"), None)?;
        Authority::create(at("other-ca"), "another")?.node(&at("other"), None)?;
        let id = cluster.authority().node(&at("newcomer"), None)?;
        cluster.authority().node(&at("mixed"), None)?;
        std::fs::copy(at("newcomer").join(NODE_KEY), at("mixed").join(NODE_KEY))?;
        let now = Clock::machine().unix();
        let then = UnixMs(now.0.saturating_sub(EXPIRED_MS));
        let (signer, ca) = Signer::load(cluster.authority().folder(), now)?;
        let newcomer_id = NodeId::parse(&id).context("a drawn id")?;
        let expired = signer.issue(&Subject::Node(newcomer_id), DAYS, then)?;
        Credentials::write(&at("expired"), &ca, &expired, true)?;
        let guest = ClusterName::parse("guest").context("a client's name")?;
        let client = signer.issue(&Subject::Client(guest), DAYS, now)?;
        Credentials::write(&at("client"), &ca, &client, true)?;
        Ok(Self {
            strange: at("strange"),
            other: at("other"),
            expired: at("expired"),
            mixed: at("mixed"),
            client: at("client"),
            newcomer: at("newcomer"),
            newcomer_id,
        })
    }
}

/// Whole nodes that ask to join.
fn processes(rows: &mut Rows<'_>, impostors: &Impostors) -> Result<()> {
    for (name, what, certs, expected) in [
        (
            "strange",
            "a node of a strange authority",
            &impostors.strange,
            STRANGE,
        ),
        (
            "other",
            "a node of another cluster",
            &impostors.other,
            STRANGE,
        ),
        (
            "expired",
            "a node with an expired certificate",
            &impostors.expired,
            &["certs_expired"],
        ),
        (
            "mixed",
            "a node with another node's certificate",
            &impostors.mixed,
            &["certs_wrong_key"],
        ),
        (
            "client",
            "a node with a client's certificate",
            &impostors.client,
            &["certs_wrong_subject"],
        ),
    ] {
        let mut process = rows.stage.cluster.stranger(name, certs)?;
        process.spawn()?;
        let told = hear(&mut process, expected)?;
        drop(process);
        rows.note(what, &told, expected);
    }
    Ok(())
}

/// Waits until a process ends or logs one of these words; being ready is what it must not become.
fn hear(process: &mut Process, words: &[&str]) -> Result<String> {
    let clock = Clock::machine();
    let deadline = clock.deadline(STRANGER_WITHIN);
    loop {
        let ended = process.ended()?;
        let log = process.log();
        let line = log
            .lines()
            .rev()
            .find(|line| words.iter().any(|word| line.contains(word)))
            .map(str::to_owned);
        match (ended, line) {
            (Some(status), line) => return Ok(format!("{status}: {}", line.unwrap_or(log))),
            (None, _) if process.is_ready() => bail!("{} became ready", process.name()),
            (None, Some(line)) => return Ok(format!("it logged: {line}")),
            (None, None) if clock.remaining(deadline).is_zero() => {
                return Ok(format!("nothing:\n{}", process.log_end()));
            }
            (None, None) => thread::sleep(LOOK_EVERY),
        }
    }
}

/// Handshakes on the port of block bytes.
fn handshakes(rows: &mut Rows<'_>, impostors: &Impostors) -> Result<()> {
    let hello = frames::hello(impostors.newcomer_id)?;
    let port = rows.port(BULK_PORT)?;
    let certificates: [(&str, Option<&Path>, &[&str]); 5] = [
        (
            "TLS with a strange authority's certificate",
            Some(&impostors.strange),
            STRANGE,
        ),
        (
            "TLS with another cluster's certificate",
            Some(&impostors.other),
            STRANGE,
        ),
        (
            "TLS with an expired certificate",
            Some(&impostors.expired),
            &["xpired"],
        ),
        (
            "TLS with a client's certificate",
            Some(&impostors.client),
            &["Alert"],
        ),
        ("TLS without a certificate", None, &["ertificate"]),
    ];
    for (what, folder, expected) in certificates {
        let told = visit(port, folder, &hello)?;
        let words = match &told {
            Told::Alert(_) => format!("{told:?}"),
            // A word of the frame layer would mean that the handshake succeeded.
            other => format!("not at the handshake: {other:?}").replace("ertificate", ""),
        };
        rows.note(what, &words, expected);
    }
    let told = visit_plain(port, b"GET / HTTP/1.0\r\n\r\n")?;
    rows.note("no TLS at all", &format!("{told:?}"), &["Alert", "Closed"]);
    Ok(())
}

/// Frames by a node whose certificate is good.
fn frames(rows: &mut Rows<'_>, impostors: &Impostors) -> Result<()> {
    let port = rows.port(BULK_PORT)?;
    let victim = NodeId::parse(rows.stage.cluster.id(0)?).context("a node's id")?;
    for bad in Bad::ALL {
        let bytes = frames::bad(bad, impostors.newcomer_id, victim)?;
        let told = visit(port, Some(&impostors.newcomer), &bytes)?;
        let words = match &told {
            Told::Refusal(code) => code.clone(),
            other => format!("no refusal: {other:?}"),
        };
        rows.note(bad.name(), &words, bad.codes());
    }
    Ok(())
}

/// Noise on both ports.
fn floods(rows: &mut Rows<'_>, seed: u64) -> Result<()> {
    let port = rows.port(CLUSTER_PORT)?;
    let mouth = UdpSocket::bind((port.ip(), 0))?;
    let mut dice = Rng::new(seed);
    let mut sent = 0_u32;
    for number in 0..FLOOD_DATAGRAMS {
        let mut bytes: Vec<u8> = (0..150)
            .flat_map(|_| dice.next_u64().to_le_bytes())
            .collect();
        // Every other one looks like the first of a QUIC connection.
        if number % 2 == 0
            && let Some(head) = bytes.get_mut(..5)
        {
            head.copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        sent += u32::from(mouth.send_to(&bytes, port).is_ok());
    }
    let told = if sent == FLOOD_DATAGRAMS {
        "all sent"
    } else {
        "not all could be sent"
    };
    rows.note(
        "a flood of datagrams",
        &format!("{told}: {sent}"),
        &["all sent"],
    );

    let port = rows.port(BULK_PORT)?;
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..FLOOD_CONNECTIONS {
        match TcpStream::connect_timeout(&port, Duration::from_secs(1)) {
            Ok(stream) => open.push(stream),
            Err(_) => refused += 1,
        }
    }
    let told = format!(
        "{} connections that say nothing, {refused} refused",
        open.len()
    );
    rows.note("a flood of silent connections", &told, &["connections"]);
    drop(open);
    rows.note("after the floods", "all as before", &["all as before"]);
    Ok(())
}
