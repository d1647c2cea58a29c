//! A bound on how much is under way: so many things of so many bytes. It must never wait; who finds no room is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for a number of things and of bytes.
#[derive(Debug)]
pub(super) struct Room {
    count: AtomicUsize,
    bytes: AtomicUsize,
    count_max: usize,
    bytes_max: usize,
}

/// A place in a room, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            count_max,
            bytes_max,
        })
    }

    /// A place for one thing, or none when there is no room.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        grow(&self.count, 1, self.count_max)?;
        if grow(&self.bytes, bytes, self.bytes_max).is_none() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place {
            room: Arc::clone(self),
            bytes,
        })
    }

    /// How many things are under way.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.room.count.fetch_sub(1, Ordering::Relaxed);
    }
}

fn grow(counter: &AtomicUsize, by: usize, max: usize) -> Option<usize> {
    // A counter of its own guards nothing else, so no order between counters is needed.
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            now.checked_add(by).filter(|next| *next <= max)
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_takes_nothing_and_a_place_left_is_taken_again() {
        let room = Room::new(2, 100);
        let first = room.take(60).unwrap();
        assert!(room.take(41).is_none(), "too many bytes");
        assert_eq!(room.count(), 1, "what was refused left nothing behind");
        let second = room.take(40).unwrap();
        assert!(room.take(0).is_none(), "too many things");
        drop(first);
        assert!(room.take(usize::MAX).is_none());
        let third = room.take(60).unwrap();
        drop((second, third));
        assert_eq!(room.count(), 0);
    }
}
