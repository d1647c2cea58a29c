//! The newest items of the log as they were appended, so that what is replicated and applied next need not be read from the
//! disk and decoded again.
//!
//! It must never hold what is not durable, nor anything that was truncated.

use std::collections::VecDeque;

use openraft::EntryPayload;
use parking_lot::Mutex;

use crate::raft::types::{Entry, LogId};

/// Items and their bytes that are kept: a member that is further behind reads the disk.
const ITEMS_MAX: usize = 1024;
const BYTES_MAX: usize = 8 << 20;

#[derive(Default)]
struct Kept {
    /// Without holes. When there is any, the last is the last of the log.
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// The newest items.
#[derive(Default)]
pub(super) struct Tail(Mutex<Kept>);

fn bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.bytes().len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

impl Kept {
    fn end(&self) -> Option<u64> {
        let last = self.entries.back()?;
        last.log_id.index.checked_add(1)
    }

    fn push(&mut self, entry: Entry) {
        if self.end().is_some_and(|end| end != entry.log_id.index) {
            *self = Self::default();
        }
        self.bytes += bytes(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > ITEMS_MAX || self.bytes > BYTES_MAX {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes(&first));
        }
    }
}

impl Tail {
    /// Takes items that are durable now.
    pub(super) fn push(&self, entries: Vec<Entry>) {
        let mut kept = self.0.lock();
        for entry in entries {
            kept.push(entry);
        }
    }

    /// Forgets everything: the log's end is about to change.
    pub(super) fn clear(&self) {
        *self.0.lock() = Kept::default();
    }

    /// Forgets what was purged.
    pub(super) fn purge(&self, upto: LogId) {
        let mut kept = self.0.lock();
        while kept
            .entries
            .front()
            .is_some_and(|first| first.log_id.index <= upto.index)
        {
            kept.pop_front();
        }
    }

    /// The items of a range, `to` not included, that begins in it: those that there are, at most about so many bytes, but one
    /// at least. None when the disk has to be asked.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let kept = self.0.lock();
        let first = kept.entries.front()?.log_id.index;
        if kept.end().is_none_or(|end| from >= end) {
            return None;
        }
        let skipped = usize::try_from(from.checked_sub(first)?).ok()?;
        let (mut found, mut taken) = (Vec::new(), 0);
        for entry in kept.entries.iter().skip(skipped) {
            if entry.log_id.index >= to || taken >= bytes_max {
                break;
            }
            taken += bytes(entry);
            found.push(entry.clone());
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::raft::types::Batch;

    fn entry(index: u64, bytes: usize) -> Entry {
        let batch = Batch::new(Bytes::from(vec![7; bytes])).unwrap();
        Entry {
            log_id: LogId {
                index,
                ..LogId::default()
            },
            payload: EntryPayload::Normal(batch),
        }
    }

    fn indexes(found: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        found.map(|found| found.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn the_newest_items_are_read_and_older_ones_left_to_the_disk() {
        let tail = Tail::default();
        assert_eq!(indexes(tail.read(0, 9, usize::MAX)), None);
        tail.push((5..9).map(|index| entry(index, 10)).collect());
        assert_eq!(indexes(tail.read(4, 9, usize::MAX)), None, "begins before");
        assert_eq!(indexes(tail.read(9, 12, usize::MAX)), None, "begins behind");
        assert_eq!(indexes(tail.read(5, 7, usize::MAX)), Some(vec![5, 6]));
        assert_eq!(indexes(tail.read(7, 99, usize::MAX)), Some(vec![7, 8]));
        assert_eq!(indexes(tail.read(5, 9, 15)), Some(vec![5, 6]));
        assert_eq!(indexes(tail.read(5, 9, 1)), Some(vec![5]), "one at least");
        tail.purge(entry(6, 0).log_id);
        assert_eq!(indexes(tail.read(6, 9, usize::MAX)), None);
        assert_eq!(indexes(tail.read(7, 9, usize::MAX)), Some(vec![7, 8]));
        tail.push(vec![entry(20, 10)]);
        assert_eq!(indexes(tail.read(8, 21, usize::MAX)), None, "a hole");
        assert_eq!(indexes(tail.read(20, 21, usize::MAX)), Some(vec![20]));
        tail.clear();
        assert_eq!(indexes(tail.read(20, 21, usize::MAX)), None);
    }

    #[test]
    fn it_is_bounded_by_number_and_by_bytes() {
        let tail = Tail::default();
        tail.push((0..5_000).map(|index| entry(index, 0)).collect());
        assert_eq!(indexes(tail.read(3_975, 5_000, usize::MAX)), None);
        let kept = tail.read(3_976, 5_000, usize::MAX);
        assert_eq!(kept.map(|kept| kept.len()), Some(ITEMS_MAX));
        tail.push((5_000..5_300).map(|index| entry(index, 60 << 10)).collect());
        let kept = (4_000..5_300).find_map(|from| tail.read(from, 5_300, usize::MAX));
        let kept_bytes: usize = kept.unwrap().iter().map(bytes).sum();
        assert!((BYTES_MAX - (60 << 10)..=BYTES_MAX).contains(&kept_bytes));
    }
}
