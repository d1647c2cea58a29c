//! A replica's writes that are numbered and not yet committed, and where its commits stand. It must never know who else
//! has them.

use std::collections::VecDeque;
use std::sync::Arc;

use ultrakv_cache::Now;

use super::types::{Change, Key, Record, Seq, Stored};
use super::world::{Full, Store};

/// Writes of one slot under way at most.
pub const PREPARED_MAX: usize = 256;

/// Bytes of writes of one slot under way at most. With names and numbers it fits the 4 MiB of a small lane's frame.
pub const PREPARED_BYTES_MAX: usize = 2 << 20;

/// A write with its time to live counted on this replica's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    record: Record,
    expires: Option<Now>,
}

impl Prepared {
    /// Takes in a record whose remaining time counts from `now`.
    pub(super) fn new(record: Record, now: Now) -> Self {
        let ttl_ms = match &record.change {
            Change::Put { ttl_ms, .. } | Change::Expire { ttl_ms } => *ttl_ms,
            Change::Delete => None,
        };
        Self {
            record,
            expires: ttl_ms.map(|ms| now.add_ms(ms)),
        }
    }

    /// The record with the time that it has left at `now`.
    pub(super) fn record(&self, now: Now) -> Record {
        let mut record = self.record.clone();
        if let Change::Put { ttl_ms, .. } | Change::Expire { ttl_ms } = &mut record.change {
            *ttl_ms = self.expires.map(|expires| expires.since_ms(now));
        }
        record
    }

    pub(super) const fn seq(&self) -> Seq {
        self.record.version.seq()
    }

    pub(super) const fn key(&self) -> &Key {
        &self.record.key
    }

    /// For a change of an entry's time alone: the time when it is over.
    pub(super) const fn expiry(&self) -> Option<Option<Now>> {
        match self.record.change {
            Change::Expire { .. } => Some(self.expires),
            Change::Put { .. } | Change::Delete => None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.record.bytes()
    }

    /// What the key holds after this write, when it held `before`.
    fn after(&self, before: Option<Stored>) -> Option<Stored> {
        match &self.record.change {
            Change::Put { value, class, .. } => Some(Stored {
                value: Arc::clone(value),
                version: self.record.version,
                class: *class,
                expires: self.expires,
            }),
            Change::Delete => None,
            Change::Expire { .. } => before.map(|stored| Stored {
                expires: self.expires,
                ..stored
            }),
        }
    }
}

/// Prepared writes above the commit point, without gaps: the first is *committed* + 1.
#[derive(Debug, Default)]
pub(super) struct List {
    committed: Seq,
    prepared: VecDeque<Prepared>,
    bytes: usize,
}

impl List {
    /// A list that begins after `committed`.
    pub(super) fn after(committed: Seq) -> Self {
        Self {
            committed,
            ..Self::default()
        }
    }

    pub(super) const fn committed(&self) -> Seq {
        self.committed
    }

    pub(super) fn last(&self) -> Seq {
        self.prepared.back().map_or(self.committed, Prepared::seq)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prepared.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `bytes` more may be under way.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.prepared.len() < PREPARED_MAX && self.bytes.saturating_add(bytes) <= PREPARED_BYTES_MAX
    }

    /// Takes the next write; whether it was the next.
    pub(super) fn push(&mut self, prepared: Prepared) -> bool {
        let is_next = prepared.seq() == self.last().next();
        if is_next {
            self.bytes += prepared.bytes();
            self.prepared.push_back(prepared);
        }
        is_next
    }

    /// Another list takes the place of all that is prepared.
    pub(super) fn replace(&mut self, records: Vec<Record>, now: Now) {
        self.prepared.clear();
        self.bytes = 0;
        for record in records {
            if record.version.seq() > self.committed {
                self.push(Prepared::new(record, now));
            }
        }
    }

    /// Commits the next write into the store; none when there is no next.
    pub(super) fn commit_next(
        &mut self,
        store: &mut dyn Store,
        now: Now,
    ) -> Result<Option<Prepared>, Full> {
        let Some(next) = self.prepared.front() else {
            return Ok(None);
        };
        let record = next.record(now);
        store.apply(&record.key, &record.change, record.version, now)?;
        self.committed = next.seq();
        self.bytes = self.bytes.saturating_sub(next.bytes());
        Ok(self.prepared.pop_front())
    }

    /// The last prepared write about a key.
    pub(super) fn last_about(&self, key: &Key) -> Option<Seq> {
        let mut latest_first = self.prepared.iter().rev();
        latest_first
            .find(|prepared| prepared.key() == key)
            .map(Prepared::seq)
    }

    /// What a key will hold when all that is prepared is committed.
    pub(super) fn state(&self, key: &Key, store: &mut dyn Store) -> Option<Stored> {
        let about = self
            .prepared
            .iter()
            .filter(|prepared| prepared.key() == key);
        about.fold(store.get(key), |before, prepared| prepared.after(before))
    }

    /// The prepared writes with numbers above `seq`.
    pub(super) fn above(&self, seq: Seq) -> impl Iterator<Item = &Prepared> {
        self.prepared.iter().filter(move |next| next.seq() > seq)
    }
}
