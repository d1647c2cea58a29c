//! Who may generate next: the pure queue behind the gateway actor.
//!
//! Urgent before patient, and among equals whoever came first. It knows neither time nor threads nor
//! what a waiter is; its length is bounded by the seats that waiters bring with them.

use std::collections::BTreeMap;

use crate::process::Priority;

/// Waiters in order.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    waiters: BTreeMap<(Priority, u64), W>,
    arrivals: u64,
}

impl<W> Queue<W> {
    pub(crate) const fn new() -> Self {
        Self {
            waiters: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Adds a waiter behind all of its priority.
    pub(crate) fn push(&mut self, priority: Priority, waiter: W) {
        self.waiters.insert((priority, self.arrivals), waiter);
        self.arrivals += 1;
    }

    /// Takes the waiter whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<W> {
        self.waiters.pop_first().map(|(_, waiter)| waiter)
    }

    /// Forgets waiters that wait no more.
    pub(crate) fn retain(&mut self, mut waits: impl FnMut(&W) -> bool) {
        self.waiters.retain(|_, waiter| waits(waiter));
    }

    /// Waiters now.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_queue_is_a_stable_sort_by_priority(
            priorities in proptest::collection::vec(0_usize..5, 0..50),
            gone in proptest::collection::vec(any::<bool>(), 50),
        ) {
            let mut queue = Queue::new();
            let mut naive = Vec::new();
            for (index, priority) in priorities.iter().enumerate() {
                let priority = Priority::ALL[*priority];
                queue.push(priority, index);
                naive.push((priority, index));
            }
            queue.retain(|index| !gone[*index]);
            naive.retain(|(_, index)| !gone[*index]);
            naive.sort_by_key(|(priority, _)| *priority);
            prop_assert_eq!(queue.len(), naive.len());
            let popped: Vec<usize> = std::iter::from_fn(|| queue.pop()).collect();
            let expected: Vec<usize> = naive.into_iter().map(|(_, index)| index).collect();
            prop_assert_eq!(popped, expected);
        }
    }
}
