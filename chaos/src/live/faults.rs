//! Faults of the network between simulated hosts: partitions, loss and rate, with the kernel's own counts as evidence.
//!
//! Everything is done where packets arrive (`nft`, hook input) or leave (`tc tbf`), inside the hosts' namespaces, so that one
//! direction can be cut alone and the machine's own rules stay untouched. It must never know what the packets say.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::netns::{Host, INTERFACE, Network};

/// The table of our rules in each namespace.
const TABLE: &str = "chaos";
/// One million: chances are told in parts of it.
const PPM: u32 = 1_000_000;
/// How long the rate's queue may hold a packet before it is dropped.
const RATE_QUEUE_MS: u32 = 200;
/// What the rate lets pass at once; above the largest packet that the kernel joins, or nothing passes.
const RATE_BURST_BYTES: u32 = 128 * 1024;

/// How packets between two hosts are treated; hosts are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Two sides that do not hear each other. Hosts on neither side hear all.
    Split {
        /// One side.
        left: Vec<usize>,
        /// The other.
        right: Vec<usize>,
    },
    /// What `from` sends never reaches `to`; the other way is open.
    OneWay {
        /// The host that is not heard.
        from: usize,
        /// The host that does not hear.
        to: usize,
    },
    /// Two sides that do not hear each other, while the host between them hears and is heard by both.
    Bridge {
        /// One side.
        left: Vec<usize>,
        /// The host that hears all.
        middle: usize,
        /// The other side.
        right: Vec<usize>,
    },
    /// Some packets between any two hosts are lost.
    Loss {
        /// How many of a million.
        ppm: u32,
    },
    /// Every host sends at most so fast; excess waits, then is dropped.
    Rate {
        /// Kibibits a second.
        kibit: u32,
    },
}

/// What the kernel counted while a fault was on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Packets that were dropped, or for a rate those that had to wait.
    pub packets: u64,
}

impl fmt::Display for Evidence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} packets", self.packets)
    }
}

/// A fault that is on. It heals when told to, or when dropped.
#[derive(Debug)]
pub struct Fault<'network> {
    network: &'network Network,
    shape: Shape,
    healed: bool,
}

impl<'network> Fault<'network> {
    /// Puts a fault on the network. One at a time: a second one replaces the first one's rules.
    ///
    /// # Errors
    /// When the shape names hosts that do not exist or overlap, or a tool refuses.
    pub fn inject(network: &'network Network, shape: Shape) -> Result<Self> {
        let fault = Self {
            network,
            shape,
            healed: false,
        };
        match &fault.shape {
            Shape::Rate { kibit } => {
                for host in network.hosts() {
                    limit(host, *kibit)?;
                }
            }
            shape => {
                for at in 0..network.hosts().len() {
                    let rules = rules_of(network, shape, at)?;
                    if !rules.is_empty() {
                        network.host(at)?.fed("nft", &["-f", "-"], &table(&rules))?;
                    }
                }
            }
        }
        Ok(fault)
    }

    /// What was hit until now.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn evidence(&self) -> Result<Evidence> {
        let mut packets = 0;
        for (at, host) in self.network.hosts().iter().enumerate() {
            packets += if matches!(self.shape, Shape::Rate { .. }) {
                limited(host)?
            } else if rules_of(self.network, &self.shape, at)?.is_empty() {
                0
            } else {
                dropped(host)?
            };
        }
        Ok(Evidence { packets })
    }

    /// Takes the fault away and tells what it hit.
    ///
    /// # Errors
    /// When nothing was hit: such a run has shown nothing. Also when a tool refuses.
    pub fn heal(mut self) -> Result<Evidence> {
        let evidence = self.evidence();
        self.take_away()?;
        let evidence = evidence?;
        if evidence.packets == 0 {
            bail!(
                "the fault {:?} hit no packet, so the run has shown nothing",
                self.shape
            );
        }
        Ok(evidence)
    }

    fn take_away(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.healed, true) {
            return Ok(());
        }
        for (at, host) in self.network.hosts().iter().enumerate() {
            if matches!(self.shape, Shape::Rate { .. }) {
                host.run("tc", &["qdisc", "del", "dev", INTERFACE, "root"])?;
            } else if !rules_of(self.network, &self.shape, at)?.is_empty() {
                host.run("nft", &["delete", "table", "inet", TABLE])?;
            }
        }
        Ok(())
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        let _the_network_goes_with_its_rules = self.take_away();
    }
}

/// The rules of one host's ears.
fn rules_of(network: &Network, shape: &Shape, ear: usize) -> Result<Vec<String>> {
    let deaf_to: Vec<usize> = match shape {
        Shape::Split { left, right } => across(left, right, None, ear)?,
        Shape::Bridge {
            left,
            middle,
            right,
        } => across(left, right, Some(*middle), ear)?,
        Shape::OneWay { from, to } if ear == *to => vec![*from],
        Shape::OneWay { .. } | Shape::Rate { .. } => Vec::new(),
        Shape::Loss { ppm } => {
            if *ppm > PPM {
                bail!("{ppm} of a million packets cannot be lost");
            }
            let others = network
                .hosts()
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != ear);
            let rule = |host: &Host| {
                let from = host.address;
                format!("ip saddr {from} numgen random mod {PPM} < {ppm} counter drop")
            };
            return Ok(others.map(|(_, host)| rule(host)).collect());
        }
    };
    let drop_from = |at: &usize| {
        let from = network.host(*at)?.address;
        Ok(format!("ip saddr {from} counter drop"))
    };
    deaf_to.iter().map(drop_from).collect()
}

/// Whom a host does not hear when two sides are cut.
fn across(
    left: &[usize],
    right: &[usize],
    middle: Option<usize>,
    ear: usize,
) -> Result<Vec<usize>> {
    let both = |at: &usize| right.contains(at) || middle == Some(*at);
    if left.iter().any(both) || right.iter().any(|at| middle == Some(*at)) {
        bail!("a host can be on one side only: {left:?}, {middle:?}, {right:?}");
    }
    Ok(match (left.contains(&ear), right.contains(&ear)) {
        (true, _) => right.to_vec(),
        (_, true) => left.to_vec(),
        _ => Vec::new(),
    })
}

fn table(rules: &[String]) -> String {
    let rules = rules.join("\n");
    // Named once empty first, so that deleting a former table never fails.
    format!(
        "table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n\
         table inet {TABLE} {{ chain ears {{ type filter hook input priority 0; policy accept;\n{rules}\n}}\n}}\n"
    )
}

/// The sum of all counters of a host's rules.
fn dropped(host: &Host) -> Result<u64> {
    let text = host.run("nft", &["-j", "list", "table", "inet", TABLE])?;
    let said: Value = serde_json::from_str(&text).context("what nft lists")?;
    let objects = said.get("nftables").and_then(Value::as_array);
    let rules = objects
        .into_iter()
        .flatten()
        .filter_map(|object| object.get("rule"));
    let parts = rules.filter_map(|rule| rule.get("expr")?.as_array());
    let counts = parts
        .flatten()
        .filter_map(|part| part.pointer("/counter/packets")?.as_u64());
    Ok(counts.sum())
}

fn limit(host: &Host, kibit: u32) -> Result<()> {
    let rate = format!("{kibit}kibit");
    let burst = RATE_BURST_BYTES.to_string();
    let latency = format!("{RATE_QUEUE_MS}ms");
    let before = ["qdisc", "replace", "dev", INTERFACE, "root", "tbf"];
    let mut arguments = before.to_vec();
    arguments.extend(["rate", &rate, "burst", &burst, "latency", &latency]);
    host.run("tc", &arguments).map(drop)
}

/// How often a host's packets had to wait, or were dropped for it.
fn limited(host: &Host) -> Result<u64> {
    let text = host.run("tc", &["-s", "-j", "qdisc", "show", "dev", INTERFACE])?;
    let said: Value = serde_json::from_str(&text).context("what tc lists")?;
    let queues = said.as_array().into_iter().flatten();
    let ours = queues.filter(|queue| queue.get("kind").and_then(Value::as_str) == Some("tbf"));
    let counts = ours.map(|queue| {
        let field = |name| queue.get(name).and_then(Value::as_u64).unwrap_or(0);
        field("overlimits") + field("drops")
    });
    Ok(counts.sum())
}
