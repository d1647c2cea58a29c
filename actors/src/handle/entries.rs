//! Entries: small values by name, with a time to live.
//!
//! Ordered by the shard that holds the key. A write whose fate is unknown says so and is never sent
//! twice. It must never know what an entry means.

use std::sync::Arc;

use bytes::Bytes;
use ultrakv_cache::{EntryClass, EntryPut, EntryRefusal, OnlyIf};

use super::CacheHandle;
use crate::clock::Deadline;
use crate::shard::{EntryWritten, ShardMsg, ShardPort, Unanswered};
use crate::{Domain, RequestError};

/// How an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryOptions {
    /// Whether it may be evicted.
    pub class: EntryClass,
    /// Milliseconds to live; none for no limit.
    pub ttl_ms: Option<u64>,
    /// When to write at all.
    pub only_if: OnlyIf,
}

impl EntryOptions {
    /// May be evicted, and lives this long.
    #[must_use]
    pub const fn cached(ttl_ms: Option<u64>) -> Self {
        Self {
            class: EntryClass::Cached,
            ttl_ms,
            only_if: OnlyIf::Always,
        }
    }

    /// Is never evicted, and lives this long.
    #[must_use]
    pub const fn kept(ttl_ms: Option<u64>) -> Self {
        Self {
            class: EntryClass::Kept,
            ttl_ms,
            only_if: OnlyIf::Always,
        }
    }
}

/// An entry as it was found.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryFound {
    /// Its bytes, not copied.
    pub value: Bytes,
    /// Its version; every write gives a new one.
    pub version: u64,
    /// Whether it may be evicted.
    pub class: EntryClass,
    /// Milliseconds it has left; none for no limit.
    pub ttl_ms: Option<u64>,
}

impl std::fmt::Debug for EntryFound {
    /// Sizes only: entries are users' data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryFound")
            .field("value_bytes", &self.value.len())
            .field("version", &self.version)
            .field("class", &self.class)
            .field("ttl_ms", &self.ttl_ms)
            .finish()
    }
}

/// An entry was not read or written; never to be taken for "absent".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Nothing was carried out.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The write reached the shard, but no answer came back.
    #[error("it is not known whether the entry was written: {0}")]
    OutcomeUnknown(RequestError),
    /// The write was refused; what was stored before still is.
    #[error(transparent)]
    Refused(#[from] EntryRefusal),
    /// The condition does not hold; nothing changed.
    #[error("the entry's condition does not hold")]
    Conflict {
        /// The version that is stored; none when nothing is.
        version: Option<u64>,
    },
    /// The domain was purged since the caller asked for it.
    #[error("the entry's domain was purged")]
    DomainPurged,
}

impl EntryError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Request(error) => error.code(),
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Refused(why) => why.code(),
            Self::Conflict { .. } => "entry_conflict",
            Self::DomainPurged => "domain_purged",
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Request(error) => error.hint(),
            Self::OutcomeUnknown(_) => "read the entry before you write it again",
            Self::Refused(why) => why.hint(),
            Self::Conflict { .. } => "read the entry and decide again",
            Self::DomainPurged => "ask for the service's domain again, then write",
        }
    }
}

impl CacheHandle {
    /// An entry, without copying its value.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn entry_get(
        &self,
        domain: &Domain,
        key: &[u8],
        deadline: Deadline,
    ) -> Result<Option<EntryFound>, EntryError> {
        let shard = self.entry_shard(domain, key)?;
        let permit = shard.gate.enter()?;
        let watch = shard.clock.stopwatch();
        let question = (domain.arena, stored_key(domain, key));
        let found = shard
            .ask(&permit, question, deadline, ShardMsg::EntryGet)
            .await;
        let found = found.map_err(RequestError::from)?;
        self.inner.seconds.entry_get.record(watch.elapsed());
        Ok(found.map(|entry| EntryFound {
            value: Bytes::from_owner(entry.value),
            version: entry.version,
            class: entry.class,
            ttl_ms: entry.ttl_ms,
        }))
    }

    /// Writes an entry; gives its version.
    ///
    /// # Errors
    /// When the write was refused, its condition does not hold, or its fate is not known.
    pub async fn entry_put(
        &self,
        domain: &Domain,
        key: &[u8],
        value: Bytes,
        options: EntryOptions,
        deadline: Deadline,
    ) -> Result<u64, EntryError> {
        let shard = self.entry_shard(domain, key)?;
        let payload_bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
        let permit = shard.gate.enter_with(payload_bytes)?;
        let watch = shard.clock.stopwatch();
        let put = EntryPut {
            domain: domain.arena,
            key: stored_key(domain, key),
            // The one copy of an entry: the caller's buffer may be part of something larger.
            value: Arc::from(&*value),
            class: options.class,
            ttl_ms: options.ttl_ms,
            only_if: options.only_if,
        };
        let written = shard.ask(&permit, put, deadline, ShardMsg::EntryPut).await;
        let written = written.map_err(fate)??;
        self.inner.seconds.entry_put.record(watch.elapsed());
        match written {
            EntryWritten::Stored { version } => Ok(version),
            EntryWritten::Conflict { version } => Err(EntryError::Conflict { version }),
            EntryWritten::Purged | EntryWritten::Deleted { .. } => Err(EntryError::DomainPurged),
        }
    }

    /// Deletes an entry; gives whether there was one.
    ///
    /// # Errors
    /// When its condition does not hold, or its fate is not known.
    pub async fn entry_delete(
        &self,
        domain: &Domain,
        key: &[u8],
        only_if: OnlyIf,
        deadline: Deadline,
    ) -> Result<bool, EntryError> {
        let shard = self.entry_shard(domain, key)?;
        let permit = shard.gate.enter()?;
        let question = (domain.arena, stored_key(domain, key), only_if);
        let written = shard
            .ask(&permit, question, deadline, ShardMsg::EntryDelete)
            .await;
        match written.map_err(fate)? {
            EntryWritten::Deleted { existed } => Ok(existed),
            EntryWritten::Conflict { version } => Err(EntryError::Conflict { version }),
            EntryWritten::Stored { .. } | EntryWritten::Purged => Err(EntryError::DomainPurged),
        }
    }

    fn entry_shard(&self, domain: &Domain, key: &[u8]) -> Result<&Arc<ShardPort>, RequestError> {
        self.shard(self.inner.placement.entry(domain, key))
    }
}

/// An entry's key inside the arena: callers of one arena with different salts stay apart.
fn stored_key(domain: &Domain, key: &[u8]) -> Box<[u8]> {
    [domain.effective.as_bytes(), key].concat().into()
}

/// A write without an answer: known to be nothing, or unknown.
fn fate(unanswered: Unanswered) -> EntryError {
    if unanswered.sent {
        EntryError::OutcomeUnknown(unanswered.cause)
    } else {
        EntryError::Request(unanswered.cause)
    }
}
