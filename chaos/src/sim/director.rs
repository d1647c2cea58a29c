//! Who breaks what, and when: drawn from the seed, each fault with its end.
//!
//! Responsible for choosing. What a fault does to the world is done by the world; it must never look into a node.

use std::collections::BTreeMap;

use crate::network::{LinkShape, Place, Us};
use crate::rng::Rng;

/// Between two looks of the director.
pub(super) const ACT_US: u64 = 40_000;
/// Long enough for a voter that hears no leader to stand more than once.
const DEAF_US: u64 = 2_200_000;

/// One thing that is done to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Links behave so from now on.
    Shape(LinkShape),
    /// These directions are cut, and no others.
    Cut(CutKind),
    Heal,
    Pause(Place),
    Resume(Place),
    Crash {
        place: Place,
        is_reboot: bool,
    },
    Start(Place),
    LoseDisk(Place),
    RestartShard(Place),
    Join,
    Drain(Place),
    Undrain,
    Storm,
    /// One plan of a storm.
    Stage,
}

/// Who does not hear whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutKind {
    OneWay,
    Bridge,
    Partition,
    Leader,
    /// One voter does not hear the leader, and is heard by it.
    Deaf,
}

/// How hard it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mood {
    /// A new fault at a look, of a million.
    pub(super) fault_ppm: u32,
    /// A restart falls on who still hears both sides of a cut, of a million.
    pub(super) bridge_restart_ppm: u32,
    /// There is no other fault than that the leader is not heard by one other.
    pub(super) is_deaf: bool,
    /// A node sleeps in a client's question, of a million.
    pub(super) sleep_ppm: u32,
}

/// The seed's will.
pub(super) struct Director {
    rng: Rng,
    mood: Mood,
    due: BTreeMap<(Us, u64), Act>,
    serial: u64,
}

impl Director {
    pub(super) const fn new(rng: Rng, mood: Mood) -> Self {
        Self {
            rng,
            mood,
            due: BTreeMap::new(),
            serial: 0,
        }
    }

    pub(super) const fn mood(&self) -> Mood {
        self.mood
    }

    pub(super) const fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Does something later.
    pub(super) fn later(&mut self, at: Us, act: Act) {
        self.serial += 1;
        self.due.insert((at, self.serial), act);
    }

    /// What was to be done by now.
    pub(super) fn due(&mut self, now: Us) -> Vec<Act> {
        let rest = self.due.split_off(&(now.plus(1), 0));
        std::mem::replace(&mut self.due, rest)
            .into_values()
            .collect()
    }

    /// Everything that was to be done at all, when the time of faults is over.
    pub(super) fn rest(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.due).into_values().collect()
    }

    /// The next fault, if it is time for one, among the running nodes.
    pub(super) fn choose(&mut self, now: Us, running: &[Place]) -> Option<Act> {
        if !self.rng.chance_ppm(self.mood.fault_ppm) {
            return None;
        }
        let place = self.rng.pick(running).copied()?;
        let short_us = self.rng.between(30_000, 400_000);
        let long_us = self.rng.between(300_000, 2_500_000);
        let end_us = if self.rng.chance_ppm(400_000) {
            short_us
        } else {
            long_us
        };
        let end = now.plus(end_us);
        if self.mood.is_deaf {
            self.later(now.plus(DEAF_US), Act::Heal);
            return Some(Act::Cut(CutKind::Deaf));
        }
        let act = match self.rng.below(100) {
            0..=13 => {
                self.later(end, Act::Shape(LinkShape::calm()));
                Act::Shape(self.shape())
            }
            14..=31 => {
                self.later(end, Act::Heal);
                Act::Cut(match self.rng.below(10) {
                    0 | 1 => CutKind::OneWay,
                    9 => CutKind::Deaf,
                    2 | 3 => CutKind::Bridge,
                    4 | 5 => CutKind::Partition,
                    _ => CutKind::Leader,
                })
            }
            32..=47 => {
                self.later(end, Act::Resume(place));
                Act::Pause(place)
            }
            48..=61 => {
                self.later(end, Act::Start(place));
                let is_reboot = self.rng.chance_ppm(400_000);
                Act::Crash { place, is_reboot }
            }
            62..=64 => Act::LoseDisk(place),
            65..=74 => Act::RestartShard(place),
            75..=80 => Act::Join,
            81..=87 => Act::Drain(place),
            88..=91 => Act::Undrain,
            _ => Act::Storm,
        };
        Some(act)
    }

    fn shape(&mut self) -> LinkShape {
        let dice = |rng: &mut Rng, most| {
            if rng.chance_ppm(500_000) {
                u32::try_from(rng.below(most)).unwrap_or(0)
            } else {
                0
            }
        };
        LinkShape {
            delay_us_min: 100,
            delay_us_max: self.rng.between(500, 20_000),
            loss_ppm: dice(&mut self.rng, 250_000),
            duplicate_ppm: dice(&mut self.rng, 200_000),
            tail_ppm: dice(&mut self.rng, 100_000),
            tail_us_max: self.rng.between(50_000, 1_500_000),
        }
    }
}
