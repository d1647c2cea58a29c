//! Where unpredictable bytes come from: boot ids here, domain secrets in `cluster`.
//!
//! A value that is passed in, so that a test or a simulation can replay one seed; this module must
//! never know what the bytes are for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::hex_id;

/// The machine refused to give random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {reason}")]
pub struct EntropyError {
    reason: String,
}

/// A source of random bytes, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Entropy {
    source: Source,
}

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Machine,
    Seeded {
        seed: u64,
        drawn: Arc<AtomicU64>,
    },
}

impl Entropy {
    /// The operating system's generator, the only one fit for secrets.
    #[must_use]
    pub fn machine() -> Self {
        Self::default()
    }

    /// A sequence that the seed fixes. Anybody can guess it: tests and simulations only.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            source: Source::Seeded {
                seed,
                drawn: Arc::new(AtomicU64::new(0)),
            },
        }
    }

    /// Draws `N` bytes that no earlier draw returned.
    ///
    /// # Errors
    /// When the operating system has no randomness to give; the caller must not start without.
    pub fn draw<const N: usize>(&self) -> Result<[u8; N], EntropyError> {
        let mut bytes = [0; N];
        match &self.source {
            Source::Machine => getrandom::fill(&mut bytes).map_err(|error| EntropyError {
                reason: error.to_string(),
            })?,
            Source::Seeded { seed, drawn } => {
                for chunk in bytes.chunks_mut(size_of::<u64>()) {
                    let turn = drawn.fetch_add(1, Ordering::Relaxed);
                    let word = xxh3_64_with_seed(&turn.to_le_bytes(), *seed).to_le_bytes();
                    for (to, from) in chunk.iter_mut().zip(word) {
                        *to = from;
                    }
                }
            }
        }
        Ok(bytes)
    }
}

/// One life of a node, a shard or another actor: drawn at its start, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(u128);

impl BootId {
    /// Draws the id of a life that begins now.
    ///
    /// # Errors
    /// As [`Entropy::draw`].
    pub fn draw(entropy: &Entropy) -> Result<Self, EntropyError> {
        entropy.draw().map(|bytes| Self(u128::from_le_bytes(bytes)))
    }

    /// The id as it stands in frames and records.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        self.0
    }

    /// The id of a frame or a stored record.
    #[must_use]
    pub const fn from_u128(id: u128) -> Self {
        Self(id)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootId({self})")
    }
}

impl serde::Serialize for BootId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex_id::serialize(self.0, serializer)
    }
}

impl<'de> serde::Deserialize<'de> for BootId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex_id::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_without_repeats() {
        let (a, b) = (Entropy::seeded(7), Entropy::seeded(7));
        let first: [u8; 32] = a.draw().unwrap();
        assert_eq!(first, b.draw::<32>().unwrap());
        assert_ne!(first, a.draw::<32>().unwrap());
        assert_ne!(first, Entropy::seeded(8).draw::<32>().unwrap());
    }

    #[test]
    fn boot_ids_of_the_machine_differ() {
        let entropy = Entropy::machine();
        let first = BootId::draw(&entropy).unwrap();
        assert_ne!(first, BootId::draw(&entropy).unwrap());
        assert_eq!(first.to_string().len(), 32);
    }
}
