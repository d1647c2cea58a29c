//! Responsible for names: which inputs a block's key stands for, under whose domain, and which slot it falls into.
//! It must never know what is stored under a name, nor where.
//!
//! Every derivation is BLAKE3 with a context string of its own, over an encoding in which each field has a fixed length
//! or is preceded by its length. Two different inputs therefore never hash the same bytes, and one kind of key is never
//! another kind's.
//!
//! ```text
//! domain secret ──generation, salt──▶ effective domain ──model inputs──▶ key space ──parent, tokens──▶ block key
//!                                                      ──name──────────▶ opaque key
//! ```

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::layout::{BlockLayout, LAYOUT_VERSION};

/// Consecutive blocks of a chain that share one slot, so that neighbours travel together.
pub const PLACEMENT_RUN_BLOCKS: usize = 16;

/// Fixed parts of the key space; the unit of ownership. The same number as in Redis, so that its cluster clients agree.
pub const SLOT_COUNT: u16 = 16_384;

const CONTEXT_DOMAIN: &str = "UltraKV 2026-11 effective domain v1";
const CONTEXT_TAG: &str = "UltraKV 2026-11 domain tag v1";
const CONTEXT_SPACE: &str = "UltraKV 2026-11 chained block key space v1";
const CONTEXT_OPAQUE: &str = "UltraKV 2026-11 opaque block key v1";
const CONTEXT_ENTRY: &str = "UltraKV 2026-11 domain of entries v1";
const CONTEXT_TERMS: &str = "UltraKV 2026-11 domain under terms v1";
const CONTEXT_FINGERPRINT: &str = "UltraKV 2026-11 domain fingerprint v1";

/// Name of a block: a digest of everything that produced it. Equal keys mean interchangeable values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The slot this key falls into when it heads a run; a block lives in the slot of its run's head.
    pub const fn slot(&self) -> u16 {
        // The last bytes, because tables inside a shard hash by the first ones: keys of one slot still spread there.
        let [.., a, b] = self.0;
        u16::from_be_bytes([a, b]) % SLOT_COUNT
    }
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "BlockKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

impl FromStr for BlockKey {
    type Err = ParseKeyError;

    /// Reads the 64 hexadecimal digits that [`fmt::Display`] writes; either case.
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParseKeyError::Length {
                digits: digits.len(),
            });
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    b'A'..=b'F' => digit - b'A' + 10,
                    _ => return Err(ParseKeyError::Digit),
                };
                *byte = *byte << 4 | value;
            }
        }
        Ok(Self(bytes))
    }
}

/// Why a text is not a block key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseKeyError {
    /// Not 64 digits.
    #[error("a block key has 64 hexadecimal digits, not {digits}")]
    Length {
        /// Bytes given.
        digits: usize,
    },
    /// Something other than `0-9a-fA-F`.
    #[error("a block key has hexadecimal digits only")]
    Digit,
}

impl ParseKeyError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "key_length",
            Self::Digit => "key_digit",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        "send the key as 64 hexadecimal digits, exactly as the cache returned it"
    }
}

/// The secret that separates one service's keys from another's. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DomainSecret([u8; 32]);

impl DomainSecret {
    /// The secret with these bytes, which a caller drew at random.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The domain that keys are derived under: another `generation` (a purge) or `salt` (a client's wish) is another
    /// domain, and nothing stored under the old one can be named again.
    pub fn effective(&self, generation: u64, salt: &[u8]) -> EffectiveDomain {
        let mut hash = blake3::Hasher::new_derive_key(CONTEXT_DOMAIN);
        hash.update(&self.0);
        hash.update(&generation.to_le_bytes());
        hash.update(&length(salt));
        hash.update(salt);
        EffectiveDomain(*hash.finalize().as_bytes())
    }

    /// What nodes call this domain at one generation among themselves: it tells nothing of the secret, and no key can be
    /// derived from it.
    pub fn tag(&self, generation: u64) -> [u8; 16] {
        let mut hash = blake3::Hasher::new_derive_key(CONTEXT_TAG);
        hash.update(&self.0);
        hash.update(&generation.to_le_bytes());
        let [tag @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            *hash.finalize().as_bytes();
        tag
    }
}

impl fmt::Debug for DomainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DomainSecret(redacted)")
    }
}

/// What keys are derived under: secret, purge generation and salt in one. As secret as the secret, so never printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectiveDomain([u8; 32]);

impl EffectiveDomain {
    /// The domain with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The domain's bytes. They let their reader name every block of the domain: keep them inside the process.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What entries of this domain lie under, among those of its tag. Half a digest is enough: who does not know the secret
    /// can only try salts one request at a time, and 2^64 tries make two of them meet.
    pub fn entry_name(&self) -> [u8; 16] {
        let digest = blake3::derive_key(CONTEXT_ENTRY, &self.0);
        let mut name = [0; 16];
        name.copy_from_slice(digest.split_at(16).0);
        name
    }

    /// The part of this domain in which values are interchangeable only on `terms`, such as an error that its readers accept. Nothing
    /// stored there can be named without the same terms, so whoever accepts less never meets it.
    #[must_use]
    pub fn under(&self, terms: &[u8]) -> Self {
        let mut hash = blake3::Hasher::new_derive_key(CONTEXT_TERMS);
        hash.update(&self.0);
        hash.update(&length(terms));
        hash.update(terms);
        Self(*hash.finalize().as_bytes())
    }

    /// A number that tells domains apart in logs and file names and reveals nothing of the secret.
    pub fn fingerprint(&self) -> u64 {
        let digest = blake3::derive_key(CONTEXT_FINGERPRINT, &self.0);
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for EffectiveDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "EffectiveDomain(redacted, fingerprint {:016x})",
            self.fingerprint()
        )
    }
}

/// Everything besides the tokens that decides which numbers a model computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInputs {
    /// Digest of the weights.
    pub weights: [u8; 32],
    /// Digest of the adapter; zeros for none.
    pub adapter: [u8; 32],
    /// Digest of the rotary embedding's configuration, scaling included.
    pub rope: [u8; 32],
    /// Shape and element type.
    pub layout: BlockLayout,
    /// Tokens a block covers.
    pub block_tokens: u32,
}

/// Where a block lives: its key, and the key of its run's head, which decides the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockAddress {
    /// Key of the block.
    pub key: BlockKey,
    /// Key of the first block of its run.
    pub run: BlockKey,
}

impl BlockAddress {
    /// The slot of the run, and so of the block.
    pub const fn slot(&self) -> u16 {
        self.run.slot()
    }
}

/// All chained keys of one model under one domain: their common inputs, hashed once.
#[derive(Clone)]
pub struct KeySpace {
    key: [u8; 32],
    block_tokens: usize,
}

impl KeySpace {
    /// The key space of `inputs` under `domain`.
    pub fn new(domain: &EffectiveDomain, inputs: &KeyInputs) -> Self {
        let mut hash = blake3::Hasher::new_derive_key(CONTEXT_SPACE);
        hash.update(&domain.0);
        hash.update(&inputs.weights);
        hash.update(&inputs.adapter);
        hash.update(&inputs.rope);
        hash.update(&[LAYOUT_VERSION]);
        hash.update(&inputs.layout.encode());
        hash.update(&inputs.block_tokens.to_le_bytes());
        Self {
            key: *hash.finalize().as_bytes(),
            block_tokens: usize::try_from(inputs.block_tokens).unwrap_or(usize::MAX),
        }
    }

    /// The addresses of all whole blocks of `tokens`, in order. A rest shorter than a block has no key.
    pub fn chain(&self, tokens: &[u32]) -> Vec<BlockAddress> {
        if self.block_tokens == 0 {
            return Vec::new();
        }
        let mut addresses = Vec::with_capacity(tokens.len() / self.block_tokens);
        let mut bytes = Vec::new();
        let mut parent: Option<BlockAddress> = None;
        for (index, block) in tokens.chunks_exact(self.block_tokens).enumerate() {
            let parent_key = parent.as_ref().map(|parent| &parent.key);
            let key = self.hash(parent_key, block, &[], &mut bytes);
            let run = match parent {
                Some(parent) if index % PLACEMENT_RUN_BLOCKS != 0 => parent.run,
                _ => key,
            };
            let address = BlockAddress { key, run };
            addresses.push(address);
            parent = Some(address);
        }
        addresses
    }

    /// The key of the block after `parent` that covers `tokens` and the images or sounds that `multimodal` identifies.
    pub fn child(&self, parent: Option<&BlockKey>, tokens: &[u32], multimodal: &[u8]) -> BlockKey {
        self.hash(parent, tokens, multimodal, &mut Vec::new())
    }

    /// Encodes into `bytes` (kept by the caller so that a chain allocates once) and hashes in one go:
    /// `has parent 1, parent 32, token count LE64, tokens LE32 each, multimodal length LE64, multimodal`.
    fn hash(
        &self,
        parent: Option<&BlockKey>,
        tokens: &[u32],
        multimodal: &[u8],
        bytes: &mut Vec<u8>,
    ) -> BlockKey {
        bytes.clear();
        bytes.push(u8::from(parent.is_some()));
        bytes.extend_from_slice(parent.map_or(&[0; 32], |parent| &parent.0));
        bytes.extend_from_slice(&length(tokens));
        for token in tokens {
            bytes.extend_from_slice(&token.to_le_bytes());
        }
        bytes.extend_from_slice(&length(multimodal));
        bytes.extend_from_slice(multimodal);
        BlockKey(*blake3::keyed_hash(&self.key, bytes).as_bytes())
    }
}

impl fmt::Debug for KeySpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "KeySpace(redacted, {} tokens a block)",
            self.block_tokens
        )
    }
}

/// The key of a block that a client named itself. Under its domain, so that nobody can guess another service's.
pub fn opaque_key(domain: &EffectiveDomain, name: &[u8]) -> BlockKey {
    let mut hash = blake3::Hasher::new_derive_key(CONTEXT_OPAQUE);
    hash.update(&domain.0);
    hash.update(name);
    BlockKey(*hash.finalize().as_bytes())
}

/// The slot of an entry: CRC16 of its hash tag (the part between the first `{` and the next `}`, when not empty), or of
/// the whole key.
///
/// # Source
/// Redis cluster specification, "Hash tags"; CRC-16/XMODEM.
pub fn entry_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOT_COUNT
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let after = key.get(open + 1..)?;
        let close = after.iter().position(|byte| *byte == b'}')?;
        after.get(..close)
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// Polynomial 0x1021, initial value 0, no reflection. Keys are short, so eight shifts a byte do.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            }
        })
    })
}

fn length<T>(slice: &[T]) -> [u8; 8] {
    u64::try_from(slice.len()).unwrap_or(u64::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests;
