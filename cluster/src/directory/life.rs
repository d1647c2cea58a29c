//! Holders by small numbers: which life of which shard each stands for, and whether it still lives. It must never know
//! what a life holds.
//!
//! ```text
//! free ──open──▶ live ──another boot id, or close──▶ void ──one whole sweep──▶ free
//! ```
//! A record names holders by number; a number's bit says whether it lives. To void a million records is to clear one
//! bit. A number is given again only after a sweep has passed over every record since, so a void claim never comes back
//! to life.

use std::collections::BTreeMap;

use ultrakv_actors::BootId;

use crate::NodeId;

/// Lives known at one time, void ones that are not yet swept among them: 32 nodes of 64 shards, and one former life
/// each.
pub const LIVES_MAX: usize = 4_096;

const WORDS: usize = LIVES_MAX / 64;

/// One life of one shard, as it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The shard's node.
    pub node: NodeId,
    /// The shard's number in its node.
    pub shard: u16,
    /// The id that the shard drew at its start.
    pub boot: BootId,
}

/// The number of a life in records.
pub(super) type LifeNumber = u16;

/// Which numbers live: half a kilobyte, so that it stays in the first cache of a core that looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiveBits([u64; WORDS]);

impl LiveBits {
    #[inline]
    pub(super) fn is_live(&self, number: LifeNumber) -> bool {
        let word = self.0.get(usize::from(number / 64)).copied().unwrap_or(0);
        word >> (number % 64) & 1 == 1
    }

    fn set(&mut self, number: LifeNumber, live: bool) {
        if let Some(word) = self.0.get_mut(usize::from(number / 64)) {
            let bit = 1 << (number % 64);
            *word = if live { *word | bit } else { *word & !bit };
        }
    }
}

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// Waits for a sweep that begins.
    Void,
    /// The sweep that runs frees it at its end.
    Sweeping,
}

/// One number that is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) life: Life,
    pub(super) state: State,
}

/// What is known of a life that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) number: LifeNumber,
    /// While an inventory runs, the number under which records from before it are still shown.
    pub(super) before: Option<LifeNumber>,
}

/// All lives that the directory knows.
#[derive(Clone, Debug)]
pub(super) struct Lives {
    pub(super) live: LiveBits,
    numbered: Vec<Option<Numbered>>,
    by_boot: BTreeMap<BootId, Current>,
    by_shard: BTreeMap<(NodeId, u16), BootId>,
}

impl Lives {
    pub(super) const fn new() -> Self {
        Self {
            live: LiveBits([0; WORDS]),
            numbered: Vec::new(),
            by_boot: BTreeMap::new(),
            by_shard: BTreeMap::new(),
        }
    }

    pub(super) fn current(&self, boot: BootId) -> Option<&Current> {
        self.by_boot.get(&boot)
    }

    /// Whether one life more can get a number.
    pub(super) fn has_free(&self) -> bool {
        self.numbered.len() < LIVES_MAX || self.numbered.iter().any(Option::is_none)
    }

    /// The life of a number, when it lives.
    pub(super) fn life(&self, number: LifeNumber) -> Option<Life> {
        let numbered = self.numbered(number)?;
        (numbered.state == State::Live).then_some(numbered.life)
    }

    pub(super) fn numbered(&self, number: LifeNumber) -> Option<Numbered> {
        self.numbered.get(usize::from(number)).copied().flatten()
    }

    /// Every number that is not free, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LifeNumber, Numbered)> {
        let numbers = 0..LifeNumber::MAX;
        numbers
            .zip(&self.numbered)
            .filter_map(|(number, numbered)| Some((number, (*numbered)?)))
    }

    /// Every life that lives, with what is known of it, in order of boot ids.
    pub(super) fn currents(&self) -> impl Iterator<Item = (BootId, Current)> {
        self.by_boot.iter().map(|(boot, current)| (*boot, *current))
    }

    /// Gives a life a number and voids the former life of its shard. `false` when no number is free.
    pub(super) fn open(&mut self, life: Life) -> bool {
        if self.by_boot.contains_key(&life.boot) {
            return true;
        }
        if let Some(former) = self.by_shard.get(&(life.node, life.shard)).copied() {
            self.void(former);
        }
        let Some(number) = self.take(life) else {
            return false;
        };
        self.by_shard.insert((life.node, life.shard), life.boot);
        let current = Current {
            number,
            before: None,
        };
        self.by_boot.insert(life.boot, current);
        true
    }

    /// Voids every life of a node.
    pub(super) fn close(&mut self, node: NodeId) {
        let shards = self.by_shard.range((node, 0)..=(node, u16::MAX));
        let boots: Vec<BootId> = shards.map(|(_, boot)| *boot).collect();
        boots.into_iter().for_each(|boot| self.void(boot));
    }

    fn void(&mut self, boot: BootId) {
        let Some(current) = self.by_boot.remove(&boot) else {
            return;
        };
        if let Some(numbered) = self.numbered(current.number) {
            self.by_shard
                .remove(&(numbered.life.node, numbered.life.shard));
        }
        for number in [Some(current.number), current.before].into_iter().flatten() {
            self.set_void(number);
        }
    }

    fn set_void(&mut self, number: LifeNumber) {
        self.live.set(number, false);
        if let Some(Some(numbered)) = self.numbered.get_mut(usize::from(number)) {
            numbered.state = State::Void;
        }
    }

    fn take(&mut self, life: Life) -> Option<LifeNumber> {
        let free = self.numbered.iter().position(Option::is_none);
        let at = free.unwrap_or(self.numbered.len());
        let number = LifeNumber::try_from(at).ok().filter(|_| at < LIVES_MAX)?;
        if at == self.numbered.len() {
            self.numbered.push(None);
        }
        self.put(
            number,
            Numbered {
                life,
                state: State::Live,
            },
        );
        Some(number)
    }

    /// Begins an inventory: the life goes on under a new number, and what it claimed so far is shown until the end.
    /// The answer is the new number; none when the life is not known or no number is free.
    pub(super) fn begin_inventory(&mut self, boot: BootId) -> Option<LifeNumber> {
        let current = self.by_boot.get(&boot).copied()?;
        let number = self.take(self.life(current.number)?)?;
        // What an inventory listed that did not end is from before, as what it was to replace was.
        if let Some(before) = current.before {
            self.set_void(before);
        }
        if let Some(of) = self.by_boot.get_mut(&boot) {
            (of.number, of.before) = (number, Some(current.number));
        }
        Some(number)
    }

    /// Ends an inventory: what was not listed again is void.
    pub(super) fn end_inventory(&mut self, boot: BootId) {
        let before = self
            .by_boot
            .get_mut(&boot)
            .and_then(|current| current.before.take());
        if let Some(before) = before {
            self.set_void(before);
        }
    }

    /// Takes all void numbers into a sweep that begins; `false` when there is nothing to sweep.
    pub(super) fn begin_sweep(&mut self) -> bool {
        let mut any = false;
        for numbered in self.numbered.iter_mut().flatten() {
            if numbered.state == State::Void {
                numbered.state = State::Sweeping;
                any = true;
            }
        }
        any
    }

    /// Frees the numbers of the sweep that ends.
    pub(super) fn end_sweep(&mut self) {
        for entry in &mut self.numbered {
            if entry.is_some_and(|numbered| numbered.state == State::Sweeping) {
                *entry = None;
            }
        }
        while self.numbered.last().is_some_and(Option::is_none) {
            self.numbered.pop();
        }
    }

    /// Whether the sweep that runs frees a number at its end.
    pub(super) fn is_sweeping(&self, number: LifeNumber) -> bool {
        self.numbered(number)
            .is_some_and(|numbered| numbered.state == State::Sweeping)
    }

    /// Whether every number is one that will be freed: by a life's end when it lives, by a sweep when it does not.
    pub(super) fn is_whole(&self, is_sweeping: bool) -> bool {
        let of_lives = |current: &Current| 1 + usize::from(current.before.is_some());
        let owned: usize = self.by_boot.values().map(of_lives).sum();
        let states = || self.iter().map(|(_, numbered)| numbered.state);
        let live = states().filter(|state| *state == State::Live).count();
        live == owned && (is_sweeping || states().all(|state| state != State::Sweeping))
    }

    /// Puts a number of a snapshot back; [`Lives::restore`] follows for those that live.
    pub(super) fn put(&mut self, number: LifeNumber, numbered: Numbered) {
        let at = usize::from(number);
        if self.numbered.len() <= at {
            self.numbered.resize(at + 1, None);
        }
        self.live.set(number, numbered.state == State::Live);
        if let Some(entry) = self.numbered.get_mut(at) {
            *entry = Some(numbered);
        }
    }

    /// Puts a current life of a snapshot back; `false` when its numbers do not stand for it, or another has its place.
    pub(super) fn restore(&mut self, boot: BootId, current: Current) -> bool {
        let Some(life) = self.life(current.number) else {
            return false;
        };
        let before = current
            .before
            .is_none_or(|before| before != current.number && self.life(before) == Some(life));
        let place = (life.node, life.shard);
        let fresh = !self.by_boot.contains_key(&boot) && !self.by_shard.contains_key(&place);
        if life.boot != boot || !before || !fresh {
            return false;
        }
        self.by_shard.insert(place, boot);
        self.by_boot.insert(boot, current);
        true
    }
}
