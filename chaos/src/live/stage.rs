//! Where a scenario plays: a cluster of real processes on loopback, on simulated hosts, behind relays or on small disks.
//!
//! Responsible for wiring these together and for taking them down in order. It must never decide which fault comes when.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use ultrakv_tests::cluster::{Options, TestCluster};
use ultrakv_tests::http::Door;
use ultrakv_tests::seat::{BULK_PORT, CLUSTER_PORT, Seat, loopback_address};

use super::disk::SmallDisk;
use super::load::HttpTraffic;
use super::netns::Network;
use super::relay::{Counts, Disorder, Relay};
use super::shell::missing;

/// Room on a small disk; a node's empty store takes a part of it.
const DISK_BYTES: u64 = 192 << 20;

/// What a stage is built of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ground {
    /// Each node on a simulated host, so that packets between them can be dropped. Needs root.
    pub hosts: bool,
    /// All that nodes say to each other goes through relays of ours.
    pub relays: bool,
    /// Each node's data on a disk that can be filled. Needs root.
    pub disks: bool,
}

impl Ground {
    /// Why it cannot be built here; none when it can.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        if self.hosts || self.disks {
            missing()
        } else {
            None
        }
    }
}

/// A cluster and what can be done to it. Processes go first when it is dropped, then what they stand on.
pub struct Stage {
    /// The nodes.
    pub cluster: TestCluster,
    relays: Vec<[Relay; 2]>,
    disks: Vec<SmallDisk>,
    network: Option<Network>,
    _mounts: tempfile::TempDir,
}

impl Stage {
    /// Builds it, with seats for `spare` more nodes, and returns when the cluster is whole.
    ///
    /// # Errors
    /// When it cannot be built here, or the cluster does not come up.
    pub fn build(
        nodes: usize,
        spare: usize,
        ground: Ground,
        options: Options,
        seed: u64,
    ) -> Result<Self> {
        if let Some(reason) = ground.missing() {
            bail!("this ground cannot be made here: {reason}");
        }
        if ground.hosts && ground.relays {
            bail!("relays hide the hosts' addresses from the rules that cut hosts off");
        }
        let mounts = tempfile::tempdir().context("a folder for disks")?;
        let seats = nodes.saturating_add(spare);
        let network = ground
            .hosts
            .then(|| Network::new(u8::try_from(seats)?))
            .transpose()?;
        let (mut relays, mut disks, mut options) = (Vec::new(), Vec::new(), options);
        for at in 0..seats {
            let mut seat = match &network {
                Some(network) => network.host(at)?.seat(),
                None => Seat::loopback()?,
            };
            if ground.relays {
                relays.push(relayed(&mut seat, seed.wrapping_add(u64::try_from(at)?))?);
            }
            if ground.disks {
                let disk = SmallDisk::mount(mounts.path().join(format!("disk{at}")), DISK_BYTES)?;
                seat.data = Some(disk.folder().to_owned());
                disks.push(disk);
            }
            options.seats.push(seat);
        }
        let cluster = TestCluster::start(nodes, options)?;
        Ok(Self {
            cluster,
            relays,
            disks,
            network,
            _mounts: mounts,
        })
    }

    /// The simulated hosts.
    ///
    /// # Errors
    /// When the ground has none.
    pub fn network(&self) -> Result<&Network> {
        self.network.as_ref().context("this ground has no hosts")
    }

    /// A node's disk.
    ///
    /// # Errors
    /// When the ground has none.
    pub fn disk(&self, at: usize) -> Result<&SmallDisk> {
        self.disks.get(at).context("this ground has no small disks")
    }

    /// Makes all relays treat what passes so.
    ///
    /// # Errors
    /// When the ground has none.
    pub fn disorder(&self, disorder: Disorder) -> Result<()> {
        if self.relays.is_empty() {
            bail!("this ground has no relays");
        }
        for relay in self.relays.iter().flatten() {
            relay.set(disorder);
        }
        Ok(())
    }

    /// What all relays did so far: to datagrams, and to streams.
    #[must_use]
    pub fn counts(&self) -> [Counts; 2] {
        let mut sums = [Counts::default(); 2];
        for pair in &self.relays {
            for (sum, relay) in sums.iter_mut().zip(pair) {
                sum.add(relay.counts());
            }
        }
        sums
    }

    /// The way in through a node's door.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn traffic(
        &self,
        at: usize,
        seed: u64,
        within: std::time::Duration,
    ) -> Result<HttpTraffic> {
        let door = Door {
            within,
            ..self.cluster.process(at)?.http()
        };
        Ok(HttpTraffic { door, seed })
    }
}

/// Puts relays before a seat: others are told to reach it through them.
fn relayed(seat: &mut Seat, seed: u64) -> Result<[Relay; 2]> {
    let address = loopback_address()?;
    let at = |port: u16| -> SocketAddr { (address, port).into() };
    let datagrams = Relay::udp(at(CLUSTER_PORT), seat.door(CLUSTER_PORT), seed)?;
    let streams = Relay::tcp(at(BULK_PORT), seat.door(BULK_PORT), !seed)?;
    seat.cluster = datagrams.address();
    seat.bulk = streams.address();
    Ok([datagrams, streams])
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, UdpSocket};
    use std::time::Duration;

    use super::*;

    #[test]
    fn others_reach_a_relayed_seat_through_its_relays_only() {
        let mut seat = Seat::loopback().unwrap();
        let direct = seat.clone();
        let ear = UdpSocket::bind(seat.door(CLUSTER_PORT)).unwrap();
        ear.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let listener = TcpListener::bind(seat.door(BULK_PORT)).unwrap();
        let relays = relayed(&mut seat, 7).unwrap();
        assert_ne!((seat.cluster, seat.bulk), (direct.cluster, direct.bulk));
        assert_eq!(seat.address, direct.address, "it listens where it did");

        let mouth = UdpSocket::bind("127.0.0.1:0").unwrap();
        mouth.send_to(b"hello", seat.cluster).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = ear.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hello");
        ear.send_to(b"back", from).unwrap();
        mouth
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        assert_eq!(mouth.recv(&mut buffer).unwrap(), 4);

        let mut stream = std::net::TcpStream::connect(seat.bulk).unwrap();
        stream.write_all(b"bytes").unwrap();
        let (mut heard, _) = listener.accept().unwrap();
        heard.read_exact(&mut buffer[..5]).unwrap();
        assert_eq!(&buffer[..5], b"bytes");
        assert!(relays[0].counts().passed >= 1);
    }

    #[test]
    fn a_ground_that_contradicts_itself_is_refused() {
        let both = Ground {
            hosts: true,
            relays: true,
            disks: false,
        };
        assert!(Stage::build(3, 0, both, Options::default(), 1).is_err());
        assert_eq!(
            Ground {
                relays: true,
                ..Ground::default()
            }
            .missing(),
            None
        );
    }
}
