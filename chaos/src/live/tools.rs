//! Proves each tool of chaos on this machine: it breaks something real, and shows by counts that it did.
//!
//! A tool that hit nothing fails. It must never be taken for a test of the cluster: these proofs use plain peers or one node.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ultrakv_actors::Clock;
use ultrakv_tests::seat::Seat;

use super::disk::SmallDisk;
use super::faults::{Fault, Shape};
use super::http::Door;
use super::load::{self, HttpTraffic, Load, Traffic};
use super::netns::Network;
use super::process::Process;
use super::record::Recorder;
use super::relay::{Disorder, Relay};

/// How long a datagram may take that shall arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);
/// How long nothing is heard before a datagram counts as lost; only faults that lose are asked so.
const SILENT_FOR: Duration = Duration::from_millis(200);
/// Silences after which nothing more is expected.
const SILENCES_MAX: u32 = 50;
/// Datagrams of a proof.
const DATAGRAMS: u32 = 200;
/// Bytes of the disk that is filled.
const DISK_BYTES: u64 = 1 << 20;

/// One proof.
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Whether it needs root and the system's tools.
    pub privileged: bool,
    /// Carries it out; the text is the evidence.
    pub prove: fn(u64) -> Result<String>,
}

/// All of them.
pub const TOOLS: &[Tool] = &[
    tool("partition.split", true, |_| partition(&split())),
    tool("partition.one-way", true, |_| {
        partition(&Shape::OneWay { from: 0, to: 1 })
    }),
    tool("partition.bridge", true, |_| partition(&bridge())),
    tool("loss", true, |_| loss()),
    tool("rate", true, |_| rate()),
    tool("relay.udp", false, relay_udp),
    tool("relay.tcp", false, relay_tcp),
    tool("disk.full", true, |_| disk_full()),
    tool("process", false, process),
    tool("load", false, load_and_record),
];

const fn tool(name: &'static str, privileged: bool, prove: fn(u64) -> Result<String>) -> Tool {
    Tool {
        name,
        privileged,
        prove,
    }
}

fn split() -> Shape {
    Shape::Split {
        left: vec![0],
        right: vec![1, 2],
    }
}

fn bridge() -> Shape {
    Shape::Bridge {
        left: vec![0],
        middle: 2,
        right: vec![1],
    }
}

/// Sends datagrams from one host to another and tells how many arrived.
fn arrive(network: &Network, from: usize, to: usize, count: u32) -> Result<u32> {
    let (from, to) = (network.host(from)?, network.host(to)?);
    let ear = to.inside(|| UdpSocket::bind((to.address, 0)))??;
    let mouth = from.inside(|| UdpSocket::bind((from.address, 0)))??;
    ear.set_read_timeout(Some(SILENT_FOR))?;
    let mut heard = 0;
    let mut buffer = [0; 64];
    for number in 0..count {
        mouth.send_to(&number.to_be_bytes(), ear.local_addr()?)?;
    }
    while ear.recv(&mut buffer).is_ok() {
        heard += 1;
    }
    Ok(heard)
}

fn partition(shape: &Shape) -> Result<String> {
    const SENT: u32 = 3;
    let network = Network::new(3)?;
    let cut: &[(usize, usize)] = match shape {
        Shape::Split { .. } => &[(0, 1), (1, 0), (0, 2), (2, 0)],
        Shape::Bridge { .. } => &[(0, 1), (1, 0)],
        _ => &[(0, 1)],
    };
    let pairs = (0..3).flat_map(|from| (0..3).map(move |to| (from, to)));
    let pairs: Vec<(usize, usize)> = pairs.filter(|(from, to)| from != to).collect();
    let fault = Fault::inject(&network, shape.clone())?;
    for (from, to) in &pairs {
        let heard = arrive(&network, *from, *to, SENT)?;
        let expected = if cut.contains(&(*from, *to)) { 0 } else { SENT };
        ensure!(
            heard == expected,
            "{shape:?}: {heard} of {SENT} from {from} to {to}"
        );
    }
    let evidence = fault.heal()?;
    for (from, to) in pairs {
        ensure!(
            arrive(&network, from, to, SENT)? == SENT,
            "{from} to {to} after healing"
        );
    }
    Ok(format!(
        "{evidence} dropped, {} of 6 directions cut",
        cut.len()
    ))
}

fn loss() -> Result<String> {
    let network = Network::new(2)?;
    let fault = Fault::inject(&network, Shape::Loss { ppm: 300_000 })?;
    let heard = arrive(&network, 0, 1, DATAGRAMS)?;
    ensure!(
        heard > 0 && heard < DATAGRAMS,
        "{heard} of {DATAGRAMS} arrived"
    );
    let evidence = fault.heal()?;
    ensure!(
        arrive(&network, 0, 1, DATAGRAMS)? == DATAGRAMS,
        "lossy after healing"
    );
    Ok(format!(
        "{evidence} dropped, {heard} of {DATAGRAMS} arrived at 30 % loss"
    ))
}

fn rate() -> Result<String> {
    use std::io::{Read as _, Write as _};
    const BYTES: usize = 512 * 1024;
    let network = Network::new(2)?;
    let fault = Fault::inject(&network, Shape::Rate { kibit: 16_384 })?;
    let (one, two) = (network.host(0)?, network.host(1)?);
    let ear = two.inside(|| TcpListener::bind((two.address, 0)))??;
    let to = ear.local_addr()?;
    let sender = std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<usize> {
            let (stream, _) = ear.accept()?;
            let mut all = Vec::new();
            Ok(stream.take(u64::try_from(BYTES)?).read_to_end(&mut all)?)
        });
        let mut mouth = one.inside(|| std::net::TcpStream::connect(to))??;
        mouth.write_all(&vec![1; BYTES])?;
        drop(mouth);
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })?;
    ensure!(sender == BYTES, "{sender} of {BYTES} bytes arrived");
    Ok(format!("{} had to wait for 16 Mibit/s", fault.heal()?))
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn relay_udp(seed: u64) -> Result<String> {
    let ear = UdpSocket::bind(loopback())?;
    ear.set_read_timeout(Some(SILENT_FOR))?;
    let relay = Relay::udp(loopback(), ear.local_addr()?, seed)?;
    let mouth = UdpSocket::bind(loopback())?;
    relay.set(Disorder {
        delay_us: 1_000,
        jitter_us: 20_000,
        duplicate_ppm: 100_000,
        corrupt_ppm: 100_000,
        loss_ppm: 100_000,
    });
    for number in 0..DATAGRAMS {
        mouth.send_to(&number.to_be_bytes(), relay.address())?;
    }
    let mut buffer = [0; 64];
    let (mut heard, mut silences) = (0_u64, 0);
    loop {
        let counts = relay.counts();
        let told = counts.lost + counts.overflowed + counts.passed;
        if told >= u64::from(DATAGRAMS) + counts.duplicated && heard == counts.passed {
            break;
        }
        // The relay counts a datagram after sending it: the last one may be heard before it is counted.
        if ear.recv(&mut buffer).is_ok() {
            heard += 1;
        } else {
            silences += 1;
            ensure!(silences < SILENCES_MAX, "{heard} heard of {counts:?}");
        }
    }
    let counts = relay.counts();
    let hit = [
        counts.delayed,
        counts.reordered,
        counts.duplicated,
        counts.corrupted,
        counts.lost,
    ];
    ensure!(
        hit.iter().all(|count| *count > 0),
        "not all happened: {counts:?}"
    );
    relay.set(Disorder::default());
    mouth.send_to(b"healed", relay.address())?;
    let length = ear.recv(&mut buffer)?;
    ensure!(
        buffer.get(..length) == Some(b"healed".as_slice()),
        "damaged after healing"
    );
    let [delayed, reordered, duplicated, corrupted, lost] = hit;
    Ok(format!(
        "{delayed} delayed, {reordered} reordered, {duplicated} duplicated, {corrupted} corrupted, {lost} lost"
    ))
}

fn relay_tcp(seed: u64) -> Result<String> {
    use std::io::{Read as _, Write as _};
    let ear = TcpListener::bind(loopback())?;
    let relay = Relay::tcp(loopback(), ear.local_addr()?, seed)?;
    let through = |bytes: &[u8]| -> Result<Vec<u8>> {
        let mut mouth = std::net::TcpStream::connect(relay.address())?;
        let (mut heard, _) = ear.accept()?;
        mouth.write_all(bytes)?;
        mouth.shutdown(std::net::Shutdown::Write)?;
        let mut all = Vec::new();
        heard.set_read_timeout(Some(ARRIVES_WITHIN))?;
        heard.read_to_end(&mut all)?;
        Ok(all)
    };
    let bytes = vec![0; 100_000];
    ensure!(through(&bytes)? == bytes, "damaged without a fault");
    relay.set(Disorder {
        delay_us: 5_000,
        corrupt_ppm: 1_000_000,
        ..Disorder::default()
    });
    let damaged = through(&bytes)?;
    let flipped = damaged.iter().filter(|byte| **byte != 0).count();
    let counts = relay.counts();
    ensure!(
        damaged.len() == bytes.len() && flipped > 0,
        "{flipped} bytes flipped"
    );
    ensure!(
        counts.delayed > 0 && counts.corrupted > 0,
        "not all happened: {counts:?}"
    );
    Ok(format!(
        "{} pieces delayed, {flipped} bytes flipped",
        counts.delayed
    ))
}

fn disk_full() -> Result<String> {
    let folder = tempfile::tempdir()?;
    let disk = SmallDisk::mount(folder.path().join("small"), DISK_BYTES)?;
    let file = disk.folder().join("data");
    std::fs::write(&file, b"before")?;
    let ballast = disk.fill()?;
    let refused = std::fs::write(disk.folder().join("more"), vec![1; 8192]);
    let Err(error) = refused else {
        bail!("a full disk took more");
    };
    ensure!(error.kind() == std::io::ErrorKind::StorageFull, "{error}");
    ensure!(std::fs::read(&file)? == b"before", "what was there is gone");
    disk.heal()?;
    std::fs::write(disk.folder().join("more"), vec![1; 8192]).context("after healing")?;
    Ok(format!("{ballast} bytes of ballast, then: {error}"))
}

fn process(_: u64) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::new("one", folder.path().to_owned(), Seat::loopback()?)?;
    node.start()?;
    node.pause()?;
    let paused = Door {
        within: SILENT_FOR,
        ..node.http()
    };
    ensure!(
        paused.call("GET", "/health", &[], b"").is_err(),
        "a paused node answered"
    );
    node.resume()?;
    node.wait_ready()?;
    let killed = node.kill()?;
    ensure!(
        killed.code().is_none(),
        "killed, yet it ended with {killed}"
    );
    std::fs::write(node.data().join("left"), b"behind")?;
    node.wipe()?;
    ensure!(
        !node.data().join("left").exists(),
        "wiped, yet something is left"
    );
    node.start()?;
    let stopped = node.terminate()?;
    ensure!(
        stopped.code() == Some(0),
        "SIGTERM ended it with {stopped}:\n{}",
        node.log()
    );
    Ok(format!(
        "paused, resumed, {killed}, wiped, started again, {stopped}"
    ))
}

fn load_and_record(seed: u64) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::new("one", folder.path().to_owned(), Seat::loopback()?)?;
    node.start()?;
    let record = Recorder::new(&Clock::machine());
    let traffic = HttpTraffic {
        door: node.http(),
        seed,
    };
    let doors: [&dyn Traffic; 1] = [&traffic];
    let load = Load {
        seed,
        clients: 4,
        operations: 60,
        keys: 3,
        first_key: 0,
        blocks: 4,
        block_bytes: 10_000,
        think: Duration::ZERO,
    };
    load::run(load, &doors, &record, &AtomicBool::new(false));
    let verdict = record.judge()?;
    ensure!(verdict.blocks_right > 0, "no block was read: {verdict:?}");
    Ok(format!(
        "{} calls explained, {} acknowledged, {} blocks right",
        verdict.checked.calls, verdict.acknowledged, verdict.blocks_right
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::shell::missing;

    fn check(name: &str) {
        let tool = TOOLS.iter().find(|tool| tool.name == name).unwrap();
        if tool.privileged
            && let Some(reason) = missing()
        {
            return ultrakv_tests::skip(&reason);
        }
        let evidence = (tool.prove)(7);
        assert!(evidence.is_ok(), "{name}: {evidence:?}");
    }

    #[test]
    fn a_split_cuts_both_ways() {
        check("partition.split");
    }

    #[test]
    fn a_one_way_cut_leaves_the_other_way_open() {
        check("partition.one-way");
    }

    #[test]
    fn a_bridge_leaves_the_middle_in_touch() {
        check("partition.bridge");
    }

    #[test]
    fn loss_loses_some() {
        check("loss");
    }

    #[test]
    fn a_rate_makes_packets_wait() {
        check("rate");
    }

    #[test]
    fn the_relay_does_everything_to_datagrams_and_heals() {
        check("relay.udp");
    }

    #[test]
    fn the_relay_flips_bytes_of_streams() {
        check("relay.tcp");
    }

    #[test]
    fn a_full_disk_refuses_and_heals() {
        check("disk.full");
    }

    #[test]
    fn a_node_is_paused_killed_wiped_and_stopped() {
        check("process");
    }

    #[test]
    fn load_on_one_node_is_linearizable_and_every_byte_right() {
        check("load");
    }

    #[test]
    fn a_fault_that_hits_nothing_is_an_error() {
        if let Some(reason) = missing() {
            return ultrakv_tests::skip(&reason);
        }
        let network = Network::new(2).unwrap();
        let shape = Shape::OneWay { from: 0, to: 1 };
        let healed = Fault::inject(&network, shape).unwrap().heal();
        assert!(healed.unwrap_err().to_string().contains("hit no packet"));
        let overlapping = Shape::Split {
            left: vec![0],
            right: vec![0, 1],
        };
        assert!(Fault::inject(&network, overlapping).is_err());
    }
}
