//! Simulated hosts on one machine: a network namespace each, joined by a bridge in a namespace of its own.
//!
//! ```text
//!   this process ── veth ──┐
//!   host 1 (10.a.b.11) ────┤ bridge, in the namespace "<prefix><pid>-<run>-sw"
//!   host 2 (10.a.b.12) ────┘
//! ```
//! The bridge stands apart so that no firewall of the machine (Docker's forward rules, for one) meets our frames. Responsible
//! for making all this under names of its own and for taking it down, also what a killed run left. It must never know what
//! runs on the hosts.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};
use ultrakv_tests::seat::Seat;

use super::shell::run;

/// Hosts of one network: one octet of an address numbers them.
pub const HOSTS_MAX: u8 = 100;
/// Every namespace of ours begins so; the reaper looks at no other.
const PREFIX: &str = "ukv-";
/// The network interface of a host, inside its namespace.
pub const INTERFACE: &str = "uplink";
/// Looks for a subnet that no route of the machine names.
const SUBNET_TRIES_MAX: u32 = 64;

static RUNS: AtomicU32 = AtomicU32::new(0);

/// One simulated host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its namespace, as `ip netns` names it.
    pub namespace: String,
    /// Its address, which this process reaches too.
    pub address: Ipv4Addr,
}

impl Host {
    /// Where a node sits that runs on this host.
    #[must_use]
    pub fn seat(&self) -> Seat {
        let words = ["ip", "netns", "exec", &self.namespace];
        Seat::at(self.address.into(), words.map(str::to_owned).to_vec())
    }

    /// A command that runs `program` on this host. `ip netns exec` replaces itself, so the child's pid is the program's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program);
        command
    }

    /// Does something from inside this host; sockets that are opened there stay there.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T> {
        let space = std::fs::File::open(format!("/run/netns/{}", self.namespace))?;
        // A namespace belongs to a thread, so a thread is spent on it.
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<T> {
                let network = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(space.as_fd(), network)?;
                Ok(act())
            });
            inside
                .join()
                .map_err(|_| anyhow::anyhow!("the thread inside panicked"))?
        })
    }

    /// Runs `program` on this host to its end and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.fed(program, arguments, "")
    }

    /// As [`Host::run`], with `input` on standard input.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn fed(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let mut all = vec!["netns", "exec", self.namespace.as_str(), program];
        all.extend_from_slice(arguments);
        super::shell::fed("ip", &all, input)
    }
}

/// Hosts joined by one bridge; all of it vanishes when dropped.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    switch: String,
    /// This process' end of the cable.
    uplink: String,
    own: Ipv4Addr,
}

impl Network {
    /// Makes a network of `hosts`, after reaping what dead runs left.
    ///
    /// # Errors
    /// When `hosts` is 0 or above [`HOSTS_MAX`], or a tool refuses; nothing is left behind then.
    pub fn new(hosts: u8) -> Result<Self> {
        if hosts == 0 || hosts > HOSTS_MAX {
            bail!("a network has 1 to {HOSTS_MAX} hosts, not {hosts}");
        }
        reap();
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let pid = process::id();
        let [_, second, third, _] = free_subnet(pid, run)?.octets();
        let name = format!("{PREFIX}{pid}-{run}-");
        let mut network = Self {
            hosts: Vec::new(),
            switch: format!("{name}sw"),
            // Interface names have 15 characters at most: "uk" + pid + run.
            uplink: format!("uk{pid:x}x{run:x}"),
            own: Ipv4Addr::new(10, second, third, 1),
        };
        network.build_switch()?;
        for number in 1..=hosts {
            network.add(Host {
                namespace: format!("{name}{number}"),
                address: Ipv4Addr::new(10, second, third, 10 + number),
            })?;
        }
        Ok(network)
    }

    /// The hosts, in the order of their numbers.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// One host, counted from 0.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn host(&self, at: usize) -> Result<&Host> {
        let count = self.hosts.len();
        self.hosts
            .get(at)
            .ok_or_else(|| anyhow::anyhow!("host {at} of {count}"))
    }

    /// The address under which hosts reach this process.
    #[must_use]
    pub fn own_address(&self) -> Ipv4Addr {
        self.own
    }

    fn build_switch(&self) -> Result<()> {
        let switch = self.switch.as_str();
        run("ip", &["netns", "add", switch])?;
        run(
            "ip",
            &["-n", switch, "link", "add", "bridge", "type", "bridge"],
        )?;
        run("ip", &["-n", switch, "link", "set", "bridge", "up"])?;
        let up = self.uplink.as_str();
        run(
            "ip",
            &[
                "link", "add", up, "type", "veth", "peer", "name", "own", "netns", switch,
            ],
        )?;
        run(
            "ip",
            &["addr", "add", &format!("{}/24", self.own), "dev", up],
        )?;
        run("ip", &["link", "set", up, "up"])?;
        run(
            "ip",
            &["-n", switch, "link", "set", "own", "master", "bridge", "up"],
        )?;
        Ok(())
    }

    fn add(&mut self, host: Host) -> Result<()> {
        let (switch, name) = (self.switch.clone(), host.namespace.clone());
        let port = format!("port{}", self.hosts.len());
        let address = format!("{}/24", host.address);
        run("ip", &["netns", "add", &name])?;
        // Noted at once, so that a refusal below does not leave it behind.
        self.hosts.push(host);
        run(
            "ip",
            &[
                "link", "add", INTERFACE, "netns", &name, "type", "veth", "peer", "name", &port,
                "netns", &switch,
            ],
        )?;
        run(
            "ip",
            &[
                "-n", &switch, "link", "set", &port, "master", "bridge", "up",
            ],
        )?;
        run(
            "ip",
            &["-n", &name, "addr", "add", &address, "dev", INTERFACE],
        )?;
        run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
        run("ip", &["-n", &name, "link", "set", INTERFACE, "up"])?;
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            remove(&host.namespace);
        }
        remove(&self.switch);
        let _gone_with_its_peer = run("ip", &["link", "del", &self.uplink]);
    }
}

/// A 10.x.y.0/24 that no route of this machine knows.
fn free_subnet(pid: u32, run_number: u32) -> Result<Ipv4Addr> {
    for attempt in 0..SUBNET_TRIES_MAX {
        let mixed = pid
            .wrapping_mul(8)
            .wrapping_add(run_number)
            .wrapping_add(attempt.wrapping_mul(4_099));
        let [.., third, fourth] = mixed.to_be_bytes();
        // 10.64 to 10.191: away from both ends, where machines' own networks like to be.
        let subnet = Ipv4Addr::new(10, 64 + third % 128, fourth, 0);
        let known = run(
            "ip",
            &["route", "show", "to", "match", &format!("{subnet}/24")],
        )?;
        if !known.lines().any(|line| line.starts_with("10.")) {
            return Ok(subnet);
        }
    }
    bail!("no free subnet in 10.64.0.0 to 10.191.255.0 after {SUBNET_TRIES_MAX} tries");
}

/// Ends what still runs in a namespace of ours and removes it.
fn remove(namespace: &str) {
    let inside = run("ip", &["netns", "pids", namespace]).unwrap_or_default();
    for pid in inside.lines().filter_map(|line| line.trim().parse().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _already_gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    let _best_effort = run("ip", &["netns", "del", namespace]);
}

/// Removes the networks of runs that are dead, and tells how many namespaces that were. A living run's stay.
pub fn reap() -> usize {
    let listed = run("ip", &["netns", "list"]).unwrap_or_default();
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let dead: Vec<&str> = names.filter(|name| is_left_behind(name)).collect();
    for name in &dead {
        remove(name);
    }
    dead.len()
}

/// Whether a namespace's name says that it is ours and that its maker is gone.
fn is_left_behind(name: &str) -> bool {
    let maker = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next())
        .and_then(|pid| pid.parse::<u32>().ok());
    maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::shell::missing;

    #[test]
    fn hosts_reach_each_other_and_vanish_when_dropped() {
        if let Some(reason) = missing() {
            return ultrakv_tests::skip(&reason);
        }
        let network = Network::new(2).unwrap();
        let (one, two) = (network.host(0).unwrap(), network.host(1).unwrap());
        assert!(network.host(2).is_err());
        for address in [two.address, network.own_address()] {
            let route = one
                .run("ip", &["route", "get", &address.to_string()])
                .unwrap();
            assert!(route.contains(INTERFACE), "{route}");
        }
        let listener = std::net::TcpListener::bind((network.own_address(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!(
            "exec 3<>/dev/tcp/{}/{port}; echo hello >&3",
            network.own_address()
        );
        let mut child = one.command("bash").args(["-c", &script]).spawn().unwrap();
        let (mut stream, from) = listener.accept().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        assert_eq!((text.as_str(), from.ip()), ("hello\n", one.address.into()));
        assert!(child.wait().unwrap().success());

        // What still runs on a host goes with it.
        let mut left = one.command("sleep").arg("1000").spawn().unwrap();
        let names: Vec<String> = network
            .hosts()
            .iter()
            .map(|host| host.namespace.clone())
            .collect();
        drop(network);
        assert!(!left.wait().unwrap().success());
        let listed = run("ip", &["netns", "list"]).unwrap();
        assert!(names.iter().all(|name| !listed.contains(name)), "{listed}");
    }

    #[test]
    fn a_dead_runs_network_is_reaped_and_a_living_runs_is_not() {
        if let Some(reason) = missing() {
            return ultrakv_tests::skip(&reason);
        }
        let mut gone = Command::new("true").spawn().unwrap();
        let dead = format!("{PREFIX}{}-0-1", gone.id());
        gone.wait().unwrap();
        let alive = Network::new(1).unwrap();
        run("ip", &["netns", "add", &dead]).unwrap();
        // Another test's run may reap first: what counts is that it is gone.
        reap();
        let listed = run("ip", &["netns", "list"]).unwrap();
        assert!(!listed.contains(&dead), "{listed}");
        assert!(
            listed.contains(&alive.host(0).unwrap().namespace),
            "{listed}"
        );
        assert!(!is_left_behind("cni-1234") && !is_left_behind("ukv-what-1"));
        assert!(Network::new(0).is_err() && Network::new(HOSTS_MAX + 1).is_err());
    }
}
