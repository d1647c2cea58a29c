//! Keys and values of the store: what each is called, how it is encoded, and its checksum. It must never know when they
//! are written.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use super::{Disk, LogError};

/// The layout that this build reads and writes.
pub(super) const VERSION: u64 = 1;

pub(super) const KEY_VERSION: &[u8] = b"m/version";
pub(super) const KEY_DISK: &[u8] = b"m/disk";
pub(super) const KEY_VOTE: &[u8] = b"m/vote";
pub(super) const KEY_COMMITTED: &[u8] = b"m/committed";
pub(super) const KEY_PURGED: &[u8] = b"m/purged";
pub(super) const KEY_PROBE: &[u8] = b"m/probe";

/// Before every log item, and after all of them.
pub(super) const LOGS_FROM: &[u8] = b"l/";
pub(super) const LOGS_TO: &[u8] = b"l0";

const SUM_BYTES: usize = 8;

/// The key of a log item; keys sort as their indexes do.
pub(super) fn log_key(index: u64) -> Vec<u8> {
    let mut key = LOGS_FROM.to_vec();
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The index that a log item's key names.
pub(super) fn log_index(key: &[u8]) -> Result<u64, LogError> {
    let digits = key
        .strip_prefix(LOGS_FROM)
        .and_then(|rest| rest.try_into().ok());
    digits
        .map(u64::from_be_bytes)
        .ok_or_else(|| LogError::Corrupt {
            what: format!("a log item has the key {key:?}"),
        })
}

/// The key is part of the sum, so that a value under another's key is found too.
fn sum(key: &[u8], payload: &[u8]) -> [u8; SUM_BYTES] {
    let mut hasher = Xxh3::new();
    hasher.update(key);
    hasher.update(payload);
    hasher.digest().to_le_bytes()
}

/// Encodes a value with its checksum.
pub(super) fn seal(key: &[u8], value: &impl Serialize) -> Result<Vec<u8>, LogError> {
    let payload = rmp_serde::to_vec(value).map_err(|error| LogError::Corrupt {
        what: format!("an item cannot be encoded: {error}"),
    })?;
    let mut sealed = sum(key, &payload).to_vec();
    sealed.extend_from_slice(&payload);
    Ok(sealed)
}

/// Checks and decodes a value.
pub(super) fn unseal<T: DeserializeOwned>(key: &[u8], sealed: &[u8]) -> Result<T, LogError> {
    let corrupt = |how: &str| LogError::Corrupt {
        what: format!("{} {how}", key.escape_ascii()),
    };
    let (stored, payload) = sealed
        .split_at_checked(SUM_BYTES)
        .ok_or_else(|| corrupt("is too short"))?;
    if stored != sum(key, payload) {
        return Err(corrupt("has a wrong checksum"));
    }
    rmp_serde::from_slice(payload).map_err(|error| corrupt(&error.to_string()))
}

/// Reads one of the store's single values.
pub(super) fn read<T: DeserializeOwned>(
    disk: &dyn Disk,
    key: &[u8],
) -> Result<Option<T>, LogError> {
    disk.get(key)?
        .map(|sealed| unseal(key, &sealed))
        .transpose()
}
