//! Tokens by their digests, quotas of services, and hard pins.
//!
//! Records and their compare-and-set. It must never know a token itself, nor enforce a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::command::{PinSet, QuotaSet, TokenSet};
use super::is_name;
use super::outcome::{Bound, Done, FieldName, Outcome, Present, Refusal};
use super::services::Sharing;

/// Tokens of one cluster.
const TOKENS_MAX: usize = 16_384;
/// Scopes of one token.
const SCOPES_MAX: usize = 64;
/// Hard pins of one cluster.
const PINS_MAX: usize = 65_536;

/// BLAKE3 of a token. Tokens are long and random, so the digest gives nothing away; shown by its first bytes only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenDigest(pub [u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "TokenDigest({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// A name for people.
    pub name: String,
    /// What it allows.
    pub scopes: BTreeSet<String>,
    /// From when on it is refused; none for never.
    pub expires_unix_ms: Option<u64>,
    /// The log index at which this record was written.
    pub written_index: u64,
}

/// The limits of one service; none where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRecord {
    /// Bytes of blocks and entries.
    pub bytes_max: Option<u64>,
    /// Tokens of blocks.
    pub tokens_max: Option<u64>,
    /// Requests a minute, over all nodes.
    pub requests_per_minute_max: Option<u64>,
    /// Bytes of hard pins.
    pub pinned_bytes_max: Option<u64>,
    /// The log index at which this record was written; what a command says here is ignored.
    pub written_index: u64,
}

/// A block that may be pinned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PinKey {
    /// The domain.
    pub sharing: Sharing,
    /// The block's key.
    pub key: [u8; 32],
}

/// One hard pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRecord {
    /// Bytes that the block holds.
    pub bytes: u64,
    /// When it was pinned.
    pub at_unix_ms: u64,
}

/// Tokens, quotas and pins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    tokens: BTreeMap<TokenDigest, TokenRecord>,
    quotas: BTreeMap<String, QuotaRecord>,
    pins: BTreeMap<PinKey, PinRecord>,
}

impl Access {
    /// A token, expired or not.
    #[must_use]
    pub fn token(&self, digest: &TokenDigest) -> Option<&TokenRecord> {
        self.tokens.get(digest)
    }

    /// A service's quota.
    #[must_use]
    pub fn quota(&self, service: &str) -> Option<&QuotaRecord> {
        self.quotas.get(service)
    }

    /// A hard pin.
    #[must_use]
    pub fn pin(&self, pin: &PinKey) -> Option<&PinRecord> {
        self.pins.get(pin)
    }

    pub(super) fn is_valid(&self) -> bool {
        self.tokens.len() <= TOKENS_MAX
            && self.pins.len() <= PINS_MAX
            && self.quotas.len() <= super::SERVICES_MAX
            && self
                .tokens
                .values()
                .all(|token| scopes_fit(&token.name, &token.scopes).is_ok())
    }

    pub(super) fn set_token(&mut self, set: &TokenSet, index: u64) -> Outcome {
        if let Err(refusal) = scopes_fit(&set.name, &set.scopes) {
            return Outcome::Refused(refusal);
        }
        let present = self.tokens.get(&set.digest);
        if present.map(|record| record.written_index) != set.replaces {
            return Outcome::Stale(Present::Token(present.cloned()));
        }
        if present.is_none() && self.tokens.len() >= TOKENS_MAX {
            return full(Bound::Tokens, TOKENS_MAX);
        }
        let record = TokenRecord {
            name: set.name.clone(),
            scopes: set.scopes.clone(),
            expires_unix_ms: set.expires_unix_ms,
            written_index: index,
        };
        self.tokens.insert(set.digest, record);
        Outcome::Applied(Done::Set)
    }

    pub(super) fn remove_token(&mut self, digest: &TokenDigest) -> Outcome {
        let was = self.tokens.remove(digest);
        Outcome::Applied(was.map_or(Done::Already, |_| Done::Set))
    }

    pub(super) fn set_quota(&mut self, set: &QuotaSet, index: u64) -> Outcome {
        let present = self.quotas.get(&set.service).copied();
        if present.map(|record| record.written_index) != set.replaces {
            return Outcome::Stale(Present::Quota(present));
        }
        match set.quota {
            Some(quota) => {
                let quota = QuotaRecord {
                    written_index: index,
                    ..quota
                };
                self.quotas.insert(set.service.clone(), quota);
            }
            None => {
                self.quotas.remove(&set.service);
            }
        }
        Outcome::Applied(Done::Set)
    }

    pub(super) fn set_pin(&mut self, set: &PinSet) -> Outcome {
        let Some(bytes) = set.bytes else {
            let was = self.pins.remove(&set.pin);
            return Outcome::Applied(was.map_or(Done::Already, |_| Done::Set));
        };
        if let Some(present) = self.pins.get(&set.pin) {
            return if present.bytes == bytes {
                Outcome::Applied(Done::Already)
            } else {
                Outcome::Stale(Present::Pin(Some(*present)))
            };
        }
        if self.pins.len() >= PINS_MAX {
            return full(Bound::Pins, PINS_MAX);
        }
        let at_unix_ms = set.at_unix_ms;
        self.pins
            .insert(set.pin.clone(), PinRecord { bytes, at_unix_ms });
        Outcome::Applied(Done::Set)
    }

    /// A service that is there no more has no quota.
    pub(super) fn forget_service(&mut self, service: &str) {
        self.quotas.remove(service);
    }

    /// A domain that was purged, or is there no more, has nothing pinned.
    pub(super) fn forget_pins(&mut self, sharing: &Sharing) {
        self.pins.retain(|pin, _| pin.sharing != *sharing);
    }
}

fn full(what: Bound, max: usize) -> Outcome {
    let max = u64::try_from(max).unwrap_or(u64::MAX);
    Outcome::Refused(Refusal::Full { what, max })
}

fn scopes_fit(name: &str, scopes: &BTreeSet<String>) -> Result<(), Refusal> {
    if !is_name(name) {
        return Err(Refusal::Field {
            field: FieldName::Name,
        });
    }
    if scopes.len() > SCOPES_MAX || !scopes.iter().all(|scope| is_name(scope)) {
        return Err(Refusal::Field {
            field: FieldName::Scope,
        });
    }
    Ok(())
}
