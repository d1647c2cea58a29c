//! Which requests are in progress on a connection, and which connections of a door have none.
//!
//! The connection's task waits on [`Activity`]; the accept loop takes a victim from [`IdleList`]. Neither knows HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use ultrakv_actors::clock::Deadline;

/// The idle connections of a door, longest idle first.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdleList {
    shared: Arc<IdleShared>,
}

#[derive(Debug, Default)]
struct IdleShared {
    /// Counts idle spells, so that their order is the order in which they began.
    spells: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

impl IdleList {
    /// Tells the connection that has been idle longest to close; false when none is idle.
    pub(crate) fn evict_longest(&self) -> bool {
        let longest = self.shared.waiting.lock().pop_first();
        longest.map(|(_, evicted)| evicted.notify_one()).is_some()
    }

    fn join(&self, evicted: Arc<Notify>) -> u64 {
        let spell = self.shared.spells.fetch_add(1, Ordering::Relaxed);
        self.shared.waiting.lock().insert(spell, evicted);
        spell
    }

    fn leave(&self, spell: u64) {
        self.shared.waiting.lock().remove(&spell);
    }
}

/// What one connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    idle: IdleList,
    state: Mutex<State>,
    changed: Notify,
    evicted: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    requests_begun: u64,
    in_progress: BTreeMap<u64, Deadline>,
    /// The idle spell the connection is in; none while a request is in progress.
    spell: Option<u64>,
}

/// What a connection's task has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No request has begun yet.
    New,
    /// Between two requests.
    Idle,
    /// At least one request is in progress; this is the earliest of their deadlines.
    Busy(Deadline),
}

/// A request in progress; ends when dropped.
#[derive(Debug)]
pub(crate) struct InProgress {
    activity: Arc<Activity>,
    id: u64,
}

impl Activity {
    /// A new connection, idle from now on.
    pub(crate) fn new(idle: IdleList) -> Arc<Self> {
        let evicted = Arc::new(Notify::new());
        let spell = Some(idle.join(Arc::clone(&evicted)));
        let state = State {
            requests_begun: 0,
            in_progress: BTreeMap::new(),
            spell,
        };
        Arc::new(Self {
            idle,
            state: Mutex::new(state),
            changed: Notify::new(),
            evicted,
        })
    }

    /// Notes that a request has begun.
    pub(crate) fn begin(self: &Arc<Self>, deadline: Deadline) -> InProgress {
        let mut state = self.state.lock();
        let id = state.requests_begun;
        state.requests_begun += 1;
        state.in_progress.insert(id, deadline);
        if let Some(spell) = state.spell.take() {
            self.idle.leave(spell);
        }
        drop(state);
        self.changed.notify_one();
        InProgress {
            activity: Arc::clone(self),
            id,
        }
    }

    /// What the connection is doing now.
    pub(crate) fn phase(&self) -> Phase {
        let state = self.state.lock();
        match state.in_progress.values().min() {
            Some(deadline) => Phase::Busy(*deadline),
            None if state.requests_begun == 0 => Phase::New,
            None => Phase::Idle,
        }
    }

    /// Waits until [`Activity::phase`] may have another answer.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until the connection's place is needed by another.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn end(&self, id: u64) {
        let mut state = self.state.lock();
        state.in_progress.remove(&id);
        if state.in_progress.is_empty() && state.spell.is_none() {
            state.spell = Some(self.idle.join(Arc::clone(&self.evicted)));
        }
        drop(state);
        self.changed.notify_one();
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if let Some(spell) = self.state.get_mut().spell.take() {
            self.idle.leave(spell);
        }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.activity.end(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ultrakv_cache::Now;

    fn until(at: u64) -> Deadline {
        Deadline { at: Now(at) }
    }

    fn listed(idle: &IdleList) -> usize {
        idle.shared.waiting.lock().len()
    }

    #[test]
    fn a_connection_is_listed_exactly_while_it_is_idle() {
        let idle = IdleList::default();
        let activity = Activity::new(idle.clone());
        assert_eq!((activity.phase(), listed(&idle)), (Phase::New, 1));
        let first = activity.begin(until(7));
        let second = activity.begin(until(5));
        assert_eq!(
            (activity.phase(), listed(&idle)),
            (Phase::Busy(until(5)), 0)
        );
        drop(second);
        assert_eq!(
            (activity.phase(), listed(&idle)),
            (Phase::Busy(until(7)), 0)
        );
        drop(first);
        assert_eq!((activity.phase(), listed(&idle)), (Phase::Idle, 1));
        drop(activity);
        assert_eq!(listed(&idle), 0);
    }

    #[tokio::test]
    async fn the_longest_idle_connection_is_the_victim() {
        let idle = IdleList::default();
        let (old, young) = (Activity::new(idle.clone()), Activity::new(idle.clone()));
        drop(old.begin(until(1)));
        assert!(idle.evict_longest(), "two connections are idle");
        young.evicted().await;
        assert!(idle.evict_longest(), "one connection is idle");
        old.evicted().await;
        assert!(!idle.evict_longest());
    }
}
