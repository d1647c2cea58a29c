//! Where a process of ours stands: its own address, how a program is launched there, and where its data lies.
//!
//! Every seat has an address to itself, so that all nodes use the ports of the manual, have them again after a restart, and
//! never meet another test's. It must never know what runs there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// The main HTTP door.
pub const HTTP_PORT: u16 = 7800;
/// The admin door.
pub const ADMIN_PORT: u16 = 7801;
/// Messages between nodes (UDP).
pub const CLUSTER_PORT: u16 = 7802;
/// Block bytes between nodes (TCP).
pub const BULK_PORT: u16 = 7803;
/// Looks for a loopback address of our own.
const ADDRESS_TRIES_MAX: u32 = 1_000;

static SEATS: AtomicU32 = AtomicU32::new(0);

/// Where one process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The address that nothing else uses.
    pub address: IpAddr,
    /// The words before the program, such as `ip netns exec NAME`.
    pub launcher: Vec<String>,
    /// Where its data lies; a folder beside its log without.
    pub data: Option<PathBuf>,
    /// Where others are told to send messages to it: itself, or a relay of ours.
    pub cluster: SocketAddr,
    /// Where others are told to ask it for block bytes.
    pub bulk: SocketAddr,
}

impl Seat {
    /// A seat with this address.
    #[must_use]
    pub fn at(address: IpAddr, launcher: Vec<String>) -> Self {
        Self {
            address,
            launcher,
            data: None,
            cluster: (address, CLUSTER_PORT).into(),
            bulk: (address, BULK_PORT).into(),
        }
    }

    /// A seat on a loopback address (127.0.0.0/8) of its own.
    ///
    /// # Errors
    /// When none is free.
    pub fn loopback() -> Result<Self> {
        Ok(Self::at(loopback_address()?, Vec::new()))
    }

    /// A door of this seat.
    #[must_use]
    pub fn door(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// A command that runs `program` here.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut words = self.launcher.iter();
        match words.next() {
            None => Command::new(program),
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
        }
    }
}

/// A loopback address on which nobody listens. It follows from this process' id, so that two of them do not meet.
///
/// # Errors
/// When none is free.
pub fn loopback_address() -> Result<IpAddr> {
    let [.., high, low] = std::process::id().to_be_bytes();
    for _ in 0..ADDRESS_TRIES_MAX {
        let [.., number] = (SEATS.fetch_add(1, Ordering::Relaxed) % 254 + 1).to_be_bytes();
        // From 127.16 on: resolvers and the like sit at the beginning.
        let address = Ipv4Addr::new(127, 16 + high % 224, low, number).into();
        let ports = [HTTP_PORT, ADMIN_PORT, BULK_PORT];
        if ports
            .iter()
            .all(|port| TcpListener::bind((address, *port)).is_ok())
        {
            return Ok(address);
        }
    }
    bail!("no free loopback address after {ADDRESS_TRIES_MAX} tries")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seats_never_share_an_address_and_know_their_launcher() {
        let seats = [(); 100].map(|()| Seat::loopback().unwrap());
        let addresses: BTreeSet<IpAddr> = seats.iter().map(|seat| seat.address).collect();
        assert_eq!(addresses.len(), seats.len());
        let [one, two, ..] = &seats;
        assert!(one.address.is_loopback() && two.address.is_loopback());
        assert_eq!(one.cluster, one.door(CLUSTER_PORT));
        let words = ["ip", "netns", "exec", "space"].map(str::to_owned);
        let far = Seat::at(one.address, words.to_vec());
        let command = far.command(Path::new("/bin/true"));
        assert_eq!(command.get_program(), "ip");
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["netns", "exec", "space", "/bin/true"]);
        assert_eq!(
            one.command(Path::new("/bin/true")).get_program(),
            "/bin/true"
        );
    }

    #[test]
    fn a_taken_address_is_passed_over() {
        let taken = Seat::loopback().unwrap();
        let _listener = TcpListener::bind(taken.door(ADMIN_PORT)).unwrap();
        for _ in 0..600 {
            assert_ne!(loopback_address().unwrap(), taken.address);
        }
    }
}
