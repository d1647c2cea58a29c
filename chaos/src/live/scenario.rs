//! Scenarios as data: which faults, on which ground, for how long, and what is promised meanwhile.
//!
//! It must never do anything.

use super::relay::Disorder;
use super::stage::Ground;
use crate::rng::Rng;

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The node that leads.
    Leader,
    /// A node that owns slots and does not lead.
    Owner,
}

/// How hosts are cut off from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// One node alone, all others together.
    Alone(Who),
    /// What the leader says does not reach one of the others.
    LeaderUnheard,
    /// What one of the others says does not reach the leader.
    LeaderDeaf,
    /// Two sides that only one node in the middle hears.
    Bridge,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL; started again on the same data.
    Kill(Who),
    /// SIGSTOP, and SIGCONT at the end.
    Pause(Who),
    /// Packets between hosts are dropped.
    Cut(Cut),
    /// So many packets of a million are lost everywhere.
    Loss(u32),
    /// Every host sends at most so many kibibits a second.
    Rate(u32),
    /// Relays do this to all that passes.
    Relays(Disorder),
    /// The node's disk is full.
    FillDisk(Who),
    /// SIGKILL, and the disk is lost: it comes back as another node.
    Wipe(Who),
    /// A node joins, gets its slots, gives them back and leaves.
    Churn,
}

impl Blow {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> String {
        let who = |who| match who {
            Who::Leader => "leader",
            Who::Owner => "owner",
        };
        match self {
            Self::Kill(whom) => format!("kill {}", who(whom)),
            Self::Pause(whom) => format!("pause {}", who(whom)),
            Self::Cut(Cut::Alone(whom)) => format!("cut off {}", who(whom)),
            Self::Cut(Cut::LeaderUnheard) => "leader unheard".to_owned(),
            Self::Cut(Cut::LeaderDeaf) => "leader deaf".to_owned(),
            Self::Cut(Cut::Bridge) => "bridge".to_owned(),
            Self::Loss(ppm) => format!("loss {ppm} ppm"),
            Self::Rate(kibit) => format!("rate {kibit} kibit"),
            Self::Relays(_) => "relays".to_owned(),
            Self::FillDisk(whom) => format!("fill disk of {}", who(whom)),
            Self::Wipe(whom) => format!("wipe {}", who(whom)),
            Self::Churn => "join and leave".to_owned(),
        }
    }
}

/// What must hold in every round beyond safety, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promise {
    /// The median of rounds: the longest silence of entries at doors that the fault left alone.
    pub entries_median_ms: Option<u64>,
    /// The worst of rounds.
    pub entries_worst_ms: Option<u64>,
    /// The longest wait for a block at such a door.
    pub blocks_worst_ms: Option<u64>,
}

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub shows: &'static str,
    /// What it needs.
    pub ground: Ground,
    /// The faults; with several, the dice choose one a round.
    pub blows: &'static [Blow],
    /// How long a fault lasts: from, to.
    pub hold_ms: (u64, u64),
    /// Rounds, unless told otherwise.
    pub rounds: u32,
    /// What is promised.
    pub promise: Promise,
}

impl Scenario {
    /// The fault of the next round, and how long it lasts.
    pub fn draw(&self, dice: &mut Rng) -> Option<(Blow, u64)> {
        let blow = dice.pick(self.blows).copied()?;
        Some((blow, dice.between(self.hold_ms.0, self.hold_ms.1)))
    }
}

const LOOPBACK: Ground = Ground {
    hosts: false,
    relays: false,
    disks: false,
};
const HOSTS: Ground = Ground {
    hosts: true,
    ..LOOPBACK
};
const RELAYS: Ground = Ground {
    relays: true,
    ..LOOPBACK
};
const DISKS: Ground = Ground {
    disks: true,
    ..LOOPBACK
};

/// A node is gone: what targets.md (S11) promises.
const FAILOVER: Promise = Promise {
    entries_median_ms: Some(1_500),
    entries_worst_ms: Some(3_000),
    blocks_worst_ms: Some(200),
};
/// A node is silent but not gone; its connections stay, so the same holds but for blocks, which wait for the hedge.
const SILENT: Promise = Promise {
    entries_median_ms: Some(1_500),
    entries_worst_ms: Some(3_000),
    blocks_worst_ms: None,
};
/// A node is cut off. The median is promised for deaths; packets that vanish are noticed a little later.
const CUT_OFF: Promise = Promise {
    entries_median_ms: None,
    ..SILENT
};
/// Only safety.
const SAFETY: Promise = Promise {
    entries_median_ms: None,
    entries_worst_ms: None,
    blocks_worst_ms: None,
};

const NO_DISORDER: Disorder = Disorder {
    delay_us: 0,
    jitter_us: 0,
    duplicate_ppm: 0,
    corrupt_ppm: 0,
    loss_ppm: 0,
};
const SLOW: Disorder = Disorder {
    delay_us: 20_000,
    jitter_us: 20_000,
    ..NO_DISORDER
};
const SHUFFLED: Disorder = Disorder {
    delay_us: 1_000,
    jitter_us: 30_000,
    duplicate_ppm: 100_000,
    ..NO_DISORDER
};
const DAMAGED: Disorder = Disorder {
    delay_us: 500,
    jitter_us: 5_000,
    duplicate_ppm: 50_000,
    corrupt_ppm: 30_000,
    loss_ppm: 30_000,
};

const fn scenario(
    name: &'static str,
    shows: &'static str,
    ground: Ground,
    blows: &'static [Blow],
    hold_ms: (u64, u64),
    promise: Promise,
) -> Scenario {
    Scenario {
        name,
        shows,
        ground,
        blows,
        hold_ms,
        rounds: 5,
        promise,
    }
}

/// Faults for which no ground but hosts is needed.
const MIXED: &[Blow] = &[
    Blow::Kill(Who::Leader),
    Blow::Kill(Who::Owner),
    Blow::Pause(Who::Leader),
    Blow::Pause(Who::Owner),
    Blow::Cut(Cut::Alone(Who::Leader)),
    Blow::Cut(Cut::Alone(Who::Owner)),
    Blow::Cut(Cut::LeaderUnheard),
    Blow::Cut(Cut::LeaderDeaf),
    Blow::Cut(Cut::Bridge),
    Blow::Loss(50_000),
    Blow::Rate(16_384),
    Blow::Wipe(Who::Owner),
    Blow::Churn,
];

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "kill-leader",
        "entries and blocks after the leader's death",
        LOOPBACK,
        &[Blow::Kill(Who::Leader)],
        (1_500, 2_500),
        FAILOVER,
    ),
    scenario(
        "kill-owner",
        "entries and blocks after an owner's death",
        LOOPBACK,
        &[Blow::Kill(Who::Owner)],
        (1_500, 2_500),
        FAILOVER,
    ),
    scenario(
        "pause-leader",
        "a leader that stands still and comes back",
        LOOPBACK,
        &[Blow::Pause(Who::Leader)],
        (500, 10_000),
        SILENT,
    ),
    scenario(
        "pause-owner",
        "an owner that stands still and comes back",
        LOOPBACK,
        &[Blow::Pause(Who::Owner)],
        (500, 10_000),
        SILENT,
    ),
    scenario(
        "cut-leader",
        "the leader alone on its side",
        HOSTS,
        &[Blow::Cut(Cut::Alone(Who::Leader))],
        (2_000, 6_000),
        CUT_OFF,
    ),
    scenario(
        "cut-owner",
        "an owner alone on its side",
        HOSTS,
        &[Blow::Cut(Cut::Alone(Who::Owner))],
        (2_000, 6_000),
        CUT_OFF,
    ),
    scenario(
        "cut-one-way",
        "one direction only, to or from the leader",
        HOSTS,
        &[Blow::Cut(Cut::LeaderUnheard), Blow::Cut(Cut::LeaderDeaf)],
        (2_000, 6_000),
        SAFETY,
    ),
    scenario(
        "cut-bridge",
        "two sides that one node in the middle hears",
        HOSTS,
        &[Blow::Cut(Cut::Bridge)],
        (2_000, 6_000),
        SAFETY,
    ),
    scenario(
        "loss",
        "lost packets between all hosts",
        HOSTS,
        &[Blow::Loss(20_000), Blow::Loss(100_000), Blow::Loss(300_000)],
        (4_000, 8_000),
        SAFETY,
    ),
    scenario(
        "rate",
        "narrow links between all hosts",
        HOSTS,
        &[Blow::Rate(8_192), Blow::Rate(32_768)],
        (4_000, 8_000),
        SAFETY,
    ),
    scenario(
        "relay-slow",
        "everything late by 20 to 40 ms",
        RELAYS,
        &[Blow::Relays(SLOW)],
        (4_000, 8_000),
        SAFETY,
    ),
    scenario(
        "relay-shuffled",
        "reordered and doubled datagrams",
        RELAYS,
        &[Blow::Relays(SHUFFLED)],
        (4_000, 8_000),
        SAFETY,
    ),
    scenario(
        "relay-damaged",
        "turned bits, losses, duplicates",
        RELAYS,
        &[Blow::Relays(DAMAGED)],
        (4_000, 8_000),
        SAFETY,
    ),
    scenario(
        "disk-full",
        "a node whose disk takes nothing more",
        DISKS,
        &[Blow::FillDisk(Who::Leader), Blow::FillDisk(Who::Owner)],
        (3_000, 6_000),
        SAFETY,
    ),
    scenario(
        "wipe",
        "a node that comes back without its disk",
        LOOPBACK,
        &[Blow::Wipe(Who::Leader), Blow::Wipe(Who::Owner)],
        (1_500, 2_500),
        FAILOVER,
    ),
    scenario(
        "churn",
        "joins and leaves under load",
        LOOPBACK,
        &[Blow::Churn],
        (1_000, 2_000),
        SAFETY,
    ),
    scenario(
        "mixed",
        "one fault of every kind after another",
        HOSTS,
        MIXED,
        (1_000, 6_000),
        SAFETY,
    ),
];

/// The scenario of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scenario_is_found_by_its_own_name_and_can_be_played_on_its_ground() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            assert_eq!(find(scenario.name), Some(scenario));
            assert!(scenario.hold_ms.0 <= scenario.hold_ms.1 && scenario.rounds > 0);
            for blow in scenario.blows {
                let fits = match blow {
                    Blow::Cut(_) | Blow::Loss(_) | Blow::Rate(_) => scenario.ground.hosts,
                    Blow::Relays(_) => scenario.ground.relays,
                    Blow::FillDisk(_) => scenario.ground.disks,
                    Blow::Kill(_) | Blow::Pause(_) | Blow::Wipe(_) | Blow::Churn => true,
                };
                assert!(fits, "{}: {}", scenario.name, blow.name());
            }
        }
        assert_eq!(find("kill-leade"), None);
    }

    #[test]
    fn the_dice_choose_among_all_faults_and_durations() {
        let mixed = find("mixed").unwrap();
        let mut dice = Rng::new(3);
        let drawn: Vec<_> = (0..400).filter_map(|_| mixed.draw(&mut dice)).collect();
        for blow in mixed.blows {
            assert!(
                drawn.iter().any(|(drawn, _)| drawn == blow),
                "{}",
                blow.name()
            );
        }
        assert!(drawn.iter().all(|(_, hold)| (1_000..=6_000).contains(hold)));
        let again: Vec<_> = {
            let mut dice = Rng::new(3);
            (0..400).filter_map(|_| mixed.draw(&mut dice)).collect()
        };
        assert_eq!(drawn, again);
    }
}
