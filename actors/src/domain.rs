//! What a handle is told about the caller: whose keys, and whose memory.
//!
//! Drawn up by `cluster` from service and salt; this module must never know services.

use std::ops::Deref;

use ultrakv_cache::{ArenaId, EffectiveDomain};

use crate::Encoding;

/// The name of a domain's generation among nodes: tells nothing of its secret, and is the same on each of them, which arenas
/// are not.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct DomainTag(pub [u8; 16]);

/// A caller's domain: the secret under which its keys are derived, and the arena that its blocks
/// lie in.
///
/// The two are apart because a client's salt changes the keys but not whose memory it is: salts
/// without end must not make mappings without end. Dereferences to the [`EffectiveDomain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Under what the caller's keys are derived.
    pub effective: EffectiveDomain,
    /// Where the caller's blocks lie: one arena a share group and purge generation.
    pub arena: ArenaId,
    /// What other nodes call that arena's domain and generation.
    pub tag: DomainTag,
    /// Set together with `effective` only: a loss and the keys that stand for it are never apart.
    encoding: Encoding,
}

impl Domain {
    /// A domain whose blocks are stored as they come.
    #[must_use]
    pub const fn new(effective: EffectiveDomain, arena: ArenaId, tag: DomainTag) -> Self {
        Self {
            effective,
            arena,
            tag,
            encoding: Encoding::Raw,
        }
    }

    /// How blocks of this domain are stored.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// This domain for bytes of which nobody knows what an error would do: as the encoding says, and without loss.
    #[must_use]
    pub const fn for_bytes(self, encoding: Encoding) -> Self {
        Self {
            encoding: encoding.exact(),
            ..self
        }
    }

    /// This domain for keys and values that become what the encoding says.
    ///
    /// Where that loses anything, they have keys of their own: equal keys mean interchangeable values, and a value that is good
    /// enough for one reader may not be for another, not even one of the same share group. That holds for what is computed
    /// from such values too, however exactly it is stored.
    #[must_use]
    pub fn for_numbers(self, encoding: Encoding) -> Self {
        let effective = match encoding.terms() {
            Some(terms) => self.effective.under(&terms),
            None => self.effective,
        };
        Self {
            effective,
            encoding,
            ..self
        }
    }
}

impl Deref for Domain {
    type Target = EffectiveDomain;

    fn deref(&self) -> &EffectiveDomain {
        &self.effective
    }
}

impl AsRef<EffectiveDomain> for Domain {
    fn as_ref(&self) -> &EffectiveDomain {
        &self.effective
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_cache::{Codec, DomainSecret};

    use super::*;
    use crate::Quality;

    fn lossy(error_ppm: u32, coarsest: Codec) -> Encoding {
        Encoding::Lossy(Quality {
            error_ppm,
            coarsest,
        })
    }

    #[test]
    fn a_loss_has_keys_of_its_own_for_each_contract() {
        let effective = DomainSecret::from_bytes([7; 32]).effective(0, b"");
        let plain = Domain::new(effective, ArenaId(3), DomainTag([1; 16]));
        let exact = Encoding::Exact {
            coarsest: Codec::Planes,
        };
        assert_eq!(plain.for_numbers(exact).effective, effective);
        let one = plain.for_numbers(lossy(10_000, Codec::Int8));
        let five = plain.for_numbers(lossy(50_000, Codec::Int8));
        assert!(one.effective != effective && five.effective != one.effective);
        assert_eq!((one.arena, one.tag), (plain.arena, plain.tag));
        // How small is wanted is no promise to anybody, so it parts nobody; archives are one.
        let smaller = plain.for_numbers(lossy(10_000, Codec::Int4));
        assert_eq!(smaller.effective, one.effective);
        let archive = plain.for_numbers(lossy(10_000, Codec::Archive));
        assert_ne!(archive.effective, one.effective);
    }

    #[test]
    fn bytes_are_never_approximated() {
        let effective = DomainSecret::from_bytes([7; 32]).effective(0, b"");
        let plain = Domain::new(effective, ArenaId(3), DomainTag([1; 16]));
        let bytes = plain.for_bytes(lossy(500_000, Codec::Archive));
        assert!(!bytes.encoding().takes_loss());
        assert_eq!(bytes.effective, effective);
    }
}
