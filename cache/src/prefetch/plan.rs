//! Responsible for blocks that are to be fetched and wait for room in the budgets. It must never know the budgets.

use std::collections::{BTreeSet, VecDeque};

use super::event::{LinkId, Wanted};
use super::source::{BySource, Source};
use crate::event::ArenaId;
use crate::key::BlockKey;
use crate::time::Now;

/// Blocks of one source that may wait.
const WAITING_MAX: usize = 8_192;

/// A block that is to be fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) arena: ArenaId,
    pub(super) wanted: Wanted,
    pub(super) link: LinkId,
    pub(super) bytes: u64,
    /// After that nobody needs it any more.
    pub(super) until: Now,
}

/// Those of one source, in order.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Planned>,
    /// How many at its front are a probe.
    probe: usize,
}

/// Those of all sources.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: BySource<Queue>,
}

impl Queues {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        Source::ALL
            .into_iter()
            .all(|source| self.queues.of(source).waiting.is_empty())
    }

    /// Adds blocks; answers how many found no room.
    pub(super) fn push(&mut self, source: Source, planned: Vec<Planned>) -> u64 {
        let waiting = &mut self.queues.of_mut(source).waiting;
        let room = WAITING_MAX.saturating_sub(waiting.len());
        let refused = planned.len().saturating_sub(room);
        waiting.extend(planned.into_iter().take(room));
        crate::policy::count(refused)
    }

    /// Puts the first of these before all others. A closed source has nothing else that could be sent.
    pub(super) fn probe(&mut self, source: Source, planned: &[Planned], most: usize) {
        let queue = self.queues.of_mut(source);
        for planned in planned.iter().take(most).rev() {
            queue.waiting.push_front(*planned);
            queue.probe += 1;
        }
    }

    /// The next block and whether it is of a probe, after those whose time is over were dropped: so many.
    pub(super) fn next(&mut self, source: Source, now: Now) -> (Option<(Planned, bool)>, u64) {
        let mut dropped = 0;
        while let Some(first) = self.queues.of(source).waiting.front() {
            if now < first.until {
                return (Some((*first, self.queues.of(source).probe > 0)), dropped);
            }
            dropped += 1;
            self.pop(source);
        }
        (None, dropped)
    }

    /// Takes the next block out.
    pub(super) fn pop(&mut self, source: Source) {
        let queue = self.queues.of_mut(source);
        queue.waiting.pop_front();
        queue.probe = queue.probe.saturating_sub(1);
    }

    /// Takes out what a request has come to fetch itself.
    pub(super) fn drop_demanded(&mut self, keys: &BTreeSet<BlockKey>) {
        self.retain(|planned| !keys.contains(&planned.wanted.address.key));
    }

    /// Takes out a domain's.
    pub(super) fn purge(&mut self, arena: ArenaId) {
        self.retain(|planned| planned.arena != arena);
    }

    fn retain(&mut self, mut keeps: impl FnMut(&Planned) -> bool) {
        for source in Source::ALL {
            let queue = self.queues.of_mut(source);
            let mut place = 0;
            let mut probe = queue.probe;
            queue.waiting.retain(|planned| {
                let kept = keeps(planned);
                if !kept && place < queue.probe {
                    probe -= 1;
                }
                place += 1;
                kept
            });
            queue.probe = probe;
        }
    }
}
