//! What doors ask about entries, and every way it can end. It must never know slots or nodes.

use bytes::Bytes;
use ultrakv_actors::RequestError;
use ultrakv_cache::EntryClass;

use crate::entry::{Found, OnlyIf};

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

impl From<Found> for EntryFound {
    fn from(found: Found) -> Self {
        Self {
            value: Bytes::from_owner(found.value),
            version: found.version.0,
            class: found.class,
            ttl_ms: found.ttl_ms,
        }
    }
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

/// Why an entry was not stored, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryRefusal {
    /// Name and value are larger than an entry may be.
    #[error("the entry is larger than the limit")]
    TooLarge,
    /// The quota is full of entries that are never evicted.
    #[error("the quota of entries is full")]
    Full,
    /// The slot's versions are used up.
    #[error("the versions of this slot are used up")]
    Exhausted,
}

impl EntryRefusal {
    /// A stable code for logs and answers.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "entry_too_large",
            Self::Full => "entry_quota_full",
            Self::Exhausted => "entry_versions_used_up",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge => "store a smaller value: name and value have a mebibyte together",
            Self::Full => "delete kept entries or give them a TTL, or raise the budget of entries",
            Self::Exhausted => {
                "use another name; this takes millions of years of writes or a fault"
            }
        }
    }
}

/// An entry was not read or written; never to be taken for "absent".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Nothing was carried out.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Nothing was carried out: no node serves this entry now.
    #[error("no node serves this entry at the moment")]
    Unavailable,
    /// The write reached the owner, or may have, but no answer came back.
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
            Self::Unavailable => "entry_unavailable",
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
            Self::Unavailable => {
                "send the request again after a moment: another node takes over, or a quorum is missing"
            }
            Self::OutcomeUnknown(_) => "read the entry before you write it again",
            Self::Refused(why) => why.hint(),
            Self::Conflict { .. } => "read the entry and decide again",
            Self::DomainPurged => "ask for the service's domain again, then write",
        }
    }
}
