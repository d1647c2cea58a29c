//! What this node knows of slots and lives: the latest word of each slot, whoever told it, and which of them a shard has not heard.
//!
//! It must never know what anybody makes of a word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::sync::watch;
use ultrakv_actors::{BootId, DomainTag};
use ultrakv_cache::SLOT_COUNT;

use crate::NodeId;
use crate::entry::{Ownership, Wish};

/// What Raft and the plan say of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotWord {
    /// Which.
    pub slot: u16,
    /// Raft's word about its entries.
    pub ownership: Ownership,
    /// Who is to hold it.
    pub wish: Wish,
}

/// Who lives, as the metadata says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// The lives of this node's shards that the metadata lists, by shard.
    pub lives: BTreeMap<usize, BootId>,
    /// Nodes that may be given slots.
    pub alive: BTreeSet<NodeId>,
    /// Generations of domains that were purged: what lies under them is void.
    pub retired: BTreeSet<DomainTag>,
}

/// What one shard has not heard.
#[derive(Debug, Default)]
struct News {
    slots: Mutex<BTreeSet<u16>>,
    is_due: AtomicBool,
}

/// The latest words.
#[derive(Debug)]
pub(in crate::entry) struct Words {
    slots: Vec<ArcSwapOption<SlotWord>>,
    /// Held while a word is compared with its predecessor and replaced.
    writing: Mutex<()>,
    roll: ArcSwap<Roll>,
    news: Vec<News>,
    changes: watch::Sender<()>,
}

impl Words {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            slots: (0..SLOT_COUNT).map(|_| ArcSwapOption::empty()).collect(),
            writing: Mutex::default(),
            roll: ArcSwap::default(),
            news: (0..shards).map(|_| News::default()).collect(),
            changes: watch::Sender::new(()),
        }
    }

    pub(in crate::entry) fn get(&self, slot: u16) -> Option<Arc<SlotWord>> {
        self.slots.get(usize::from(slot))?.load_full()
    }

    /// Takes a word unless a newer one is known; a word of the same epoch may bring another wish. Whether it was news.
    pub(super) fn learn(&self, word: SlotWord, shard: usize) -> bool {
        let slot = word.slot;
        let Some(place) = self.slots.get(usize::from(slot)) else {
            return false;
        };
        let writing = self.writing.lock();
        let known = place.load();
        let is_news = known
            .as_ref()
            .is_none_or(|known| known.ownership.epoch <= word.ownership.epoch && **known != word);
        if is_news {
            place.store(Some(Arc::new(word)));
        }
        drop(writing);
        if is_news && let Some(news) = self.news.get(shard) {
            news.slots.lock().insert(slot);
            news.is_due.store(true, Ordering::SeqCst);
        }
        is_news
    }

    /// Wakes whoever waits for a word.
    pub(super) fn tell(&self) {
        self.changes.send_replace(());
    }

    /// Tells of every later change.
    pub(in crate::entry) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The slots of which a shard has not heard the latest word.
    pub(super) fn take_news(&self, shard: usize) -> BTreeSet<u16> {
        match self.news.get(shard) {
            Some(news) if news.is_due.swap(false, Ordering::SeqCst) => {
                std::mem::take(&mut news.slots.lock())
            }
            _ => BTreeSet::new(),
        }
    }

    /// A shard begins anew: everything known of its slots is news to it.
    pub(super) fn forget_told(&self, shard: usize, is_its: impl Fn(u16) -> bool) {
        if let Some(news) = self.news.get(shard) {
            let known = (0..SLOT_COUNT).filter(|slot| is_its(*slot) && self.get(*slot).is_some());
            news.slots.lock().extend(known);
            news.is_due.store(true, Ordering::SeqCst);
        }
    }

    pub(super) fn roll(&self) -> Arc<Roll> {
        self.roll.load_full()
    }

    /// Domains retired by this node's own word stay so. Whether there is news in it.
    pub(super) fn set_roll(&self, roll: Roll) -> bool {
        let known = self.roll();
        if known.lives == roll.lives
            && known.alive == roll.alive
            && known.retired.is_superset(&roll.retired)
        {
            return false;
        }
        self.change_roll(|known| {
            let mut retired = std::mem::take(&mut known.retired);
            *known = roll;
            retired.append(&mut known.retired);
            known.retired = retired;
        });
        true
    }

    pub(super) fn retire(&self, tag: DomainTag) {
        self.change_roll(|roll| {
            roll.retired.insert(tag);
        });
    }

    pub(super) fn change_roll(&self, change: impl FnOnce(&mut Roll)) {
        let writing = self.writing.lock();
        let mut roll = Roll::clone(&self.roll.load());
        change(&mut roll);
        self.roll.store(Arc::new(roll));
        drop(writing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;

    fn word(epoch: u64, plan: &[u128]) -> SlotWord {
        let plan = plan.iter().map(|id| NodeId::from_u128(*id)).collect();
        SlotWord {
            slot: 3,
            ownership: Ownership {
                epoch: Epoch(epoch),
                founded: Epoch(1),
                in_sync: Vec::new(),
            },
            wish: Wish::new(&plan, |_| true),
        }
    }

    #[test]
    fn a_word_gives_way_to_a_newer_one_only_and_a_shard_hears_of_each_once() {
        let words = Words::new(2);
        assert!(words.learn(word(2, &[1]), 1));
        assert!(!words.learn(word(2, &[1]), 1), "the same");
        assert!(!words.learn(word(1, &[2]), 1), "an older one");
        assert!(words.learn(word(2, &[2]), 1), "another plan");
        assert!(words.learn(word(3, &[2]), 1));
        assert_eq!(words.get(3).as_deref(), Some(&word(3, &[2])));
        assert_eq!(words.take_news(0), BTreeSet::new());
        assert_eq!(words.take_news(1), BTreeSet::from([3]));
        assert_eq!(words.take_news(1), BTreeSet::new());
        words.forget_told(1, |slot| slot < 10);
        assert_eq!(words.take_news(1), BTreeSet::from([3]), "to its next life");
        let beyond = SlotWord {
            slot: SLOT_COUNT,
            ..word(1, &[])
        };
        assert!(!words.learn(beyond, 0));
    }

    #[test]
    fn what_was_retired_here_stays_retired() {
        let words = Words::new(1);
        let tag = |byte| DomainTag([byte; 16]);
        words.retire(tag(1));
        let roll = Roll {
            retired: [tag(2)].into(),
            ..Roll::default()
        };
        assert!(words.set_roll(roll.clone()));
        assert!(!words.set_roll(roll), "the same again is no news");
        assert_eq!(words.roll().retired, BTreeSet::from([tag(1), tag(2)]));
    }
}
