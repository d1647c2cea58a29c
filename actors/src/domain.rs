//! What a handle is told about the caller: whose keys, and whose memory.
//!
//! Drawn up by `cluster` from service and salt; this module must never know services.

use std::ops::Deref;

use ultrakv_cache::{ArenaId, EffectiveDomain};

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
