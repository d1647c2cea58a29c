//! Services, share groups, the secret behind each, and how far its purges are confirmed.
//!
//! Replicated so that every node derives the same domains. It must never know requests, nor show a secret.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use ultrakv_actors::DomainTag;
use ultrakv_cache::{DomainSecret, EffectiveDomain};

use super::command::{PurgeConfirm, ServiceSet};
use super::is_name;
use super::outcome::{Bound, Done, FieldName, Outcome, Present, Refusal};
use crate::Incarnation;

/// Services of one cluster.
pub const SERVICES_MAX: usize = 1_024;

/// Whose blocks are shared: a share group by its name, or a service on its own.
///
/// Two variants and not one name, so that a group and a service of one name stay apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sharing {
    /// A service on its own.
    Alone(String),
    /// Every service of this group.
    Group(String),
}

impl Sharing {
    /// How operators are told.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Alone(service) => format!("service {service}"),
            Self::Group(group) => format!("share group {group}"),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Alone(name) | Self::Group(name) => name,
        }
    }
}

/// 32 random bytes, never printed; written to the log and to snapshots only, where bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The secret with these bytes, which a caller drew at random.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Err(serde::ser::Error::custom(
                "a secret is not written where people read",
            ));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 32]>::deserialize(deserializer).map(Self)
    }
}

/// The secret of one sharing, which purge it is at, and who has not confirmed that yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    secret: Secret,
    /// How often it was purged.
    pub generation: u64,
    /// Lives that must confirm, each with the last generation that it did.
    waiting: BTreeMap<Incarnation, u64>,
}

impl Keyring {
    /// The domain of callers with this salt at the present generation.
    #[must_use]
    pub fn effective(&self, salt: &[u8]) -> EffectiveDomain {
        DomainSecret::from_bytes(self.secret.0).effective(self.generation, salt)
    }

    /// What nodes call the domain at a generation among themselves.
    #[must_use]
    pub fn tag(&self, generation: u64) -> DomainTag {
        DomainTag(DomainSecret::from_bytes(self.secret.0).tag(generation))
    }

    /// Lives that have not applied the purge to this generation, and still hold a metadata lease for all that is known.
    pub fn waiting_for(&self, generation: u64) -> impl Iterator<Item = Incarnation> {
        let behind = self
            .waiting
            .iter()
            .filter(move |(_, confirmed)| **confirmed < generation);
        behind.map(|(life, _)| *life)
    }

    fn confirm(&mut self, life: Incarnation, generation: u64) {
        if generation >= self.generation {
            self.waiting.remove(&life);
        } else if let Some(confirmed) = self.waiting.get_mut(&life) {
            *confirmed = generation.max(*confirmed);
        }
    }
}

/// Every service and its domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    services: BTreeMap<String, Sharing>,
    keyrings: BTreeMap<Sharing, Keyring>,
}

impl Services {
    /// The sharing of a service and its keyring.
    #[must_use]
    pub fn find(&self, service: &str) -> Option<(&Sharing, &Keyring)> {
        let sharing = self.services.get(service)?;
        Some((sharing, self.keyrings.get(sharing)?))
    }

    /// The keyring of a sharing.
    #[must_use]
    pub fn keyring(&self, sharing: &Sharing) -> Option<&Keyring> {
        self.keyrings.get(sharing)
    }

    /// Every service with its sharing and keyring, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Sharing, &Keyring)> {
        let services = self.services.iter();
        services.filter_map(|(name, sharing)| {
            Some((name.as_str(), sharing, self.keyrings.get(sharing)?))
        })
    }

    pub(super) fn is_valid(&self) -> bool {
        self.services.len() <= SERVICES_MAX
            && self
                .services
                .iter()
                .all(|(name, sharing)| is_name(name) && self.keyrings.contains_key(sharing))
            && self.keyrings.keys().all(|sharing| self.is_used(sharing))
    }

    fn is_used(&self, sharing: &Sharing) -> bool {
        self.services.values().any(|used| used == sharing)
    }

    pub(super) fn set(&mut self, set: &ServiceSet) -> Outcome {
        if !is_name(&set.service) || !is_name(set.sharing.name()) {
            return Outcome::Refused(Refusal::Field {
                field: FieldName::Name,
            });
        }
        let former = self.services.get(&set.service).cloned();
        if former.as_ref() == Some(&set.sharing) {
            return Outcome::Applied(Done::Already);
        }
        if former.is_none() && self.services.len() >= SERVICES_MAX {
            let max = u64::try_from(SERVICES_MAX).unwrap_or(u64::MAX);
            return Outcome::Refused(Refusal::Full {
                what: Bound::Services,
                max,
            });
        }
        self.services
            .insert(set.service.clone(), set.sharing.clone());
        self.keyrings
            .entry(set.sharing.clone())
            .or_insert_with(|| Keyring {
                secret: set.secret,
                generation: 0,
                waiting: BTreeMap::new(),
            });
        self.forget_unused(former);
        Outcome::Applied(Done::Set)
    }

    pub(super) fn remove(&mut self, service: &str) -> Outcome {
        let Some(former) = self.services.remove(service) else {
            return Outcome::Applied(Done::Already);
        };
        self.forget_unused(Some(former));
        Outcome::Applied(Done::Set)
    }

    fn forget_unused(&mut self, sharing: Option<Sharing>) {
        if let Some(sharing) = sharing.filter(|sharing| !self.is_used(sharing)) {
            self.keyrings.remove(&sharing);
        }
    }

    pub(super) fn purge(
        &mut self,
        sharing: &Sharing,
        generation: u64,
        lives: impl Iterator<Item = Incarnation>,
    ) -> Outcome {
        let Some(keyring) = self.keyrings.get_mut(sharing) else {
            return Outcome::Refused(Refusal::UnknownService);
        };
        if keyring.generation != generation {
            return Outcome::Stale(Present::Generation(keyring.generation));
        }
        let Some(next) = generation.checked_add(1) else {
            return Outcome::Refused(Refusal::Field {
                field: FieldName::Generation,
            });
        };
        keyring.generation = next;
        for life in lives {
            keyring.waiting.entry(life).or_insert(generation);
        }
        let waiting = keyring.waiting_for(next).collect();
        Outcome::Applied(Done::Purge {
            generation: next,
            waiting,
        })
    }

    pub(super) fn confirm(&mut self, confirm: &PurgeConfirm) -> Outcome {
        let Some(keyring) = self.keyrings.get_mut(&confirm.sharing) else {
            return Outcome::Refused(Refusal::UnknownService);
        };
        if confirm.generation > keyring.generation {
            return Outcome::Stale(Present::Generation(keyring.generation));
        }
        keyring.confirm(confirm.life, confirm.generation);
        Outcome::Applied(Done::Set)
    }

    /// Whether any purge waits for this life.
    pub(super) fn waits_for(&self, life: Incarnation) -> bool {
        self.keyrings
            .values()
            .any(|keyring| keyring.waiting.contains_key(&life))
    }

    /// No purge waits for this life any longer: it is over, or serves nothing before it knows them all.
    pub(super) fn excuse(&mut self, life: Incarnation) {
        for keyring in self.keyrings.values_mut() {
            keyring.waiting.remove(&life);
        }
    }
}
