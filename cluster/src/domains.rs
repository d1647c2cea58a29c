//! The domains of the services as this node serves them: Raft's word about secrets and purges, and the arenas of this
//! node's memory that belong to them.
//!
//! Responsible for which arena stands for which domain and generation, and for what a purge leaves to be freed. It must
//! never know requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use ultrakv_actors::{Domain, DomainTag};
use ultrakv_cache::ArenaId;

use crate::metadata::{Services, Sharing};

/// A name that no service of this cluster has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no service named {service:?}")]
pub struct UnknownService {
    /// The name that was given.
    pub service: String,
}

impl UnknownService {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "unknown_service"
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "name a service that the settings list under `services`"
    }
}

/// Past generations whose leftovers are looked for. A purge frees at once; this is for what arrived late.
const RETIRED_GENERATIONS: u64 = 8;

/// A domain at one generation, on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) arena: ArenaId,
    pub(crate) tag: DomainTag,
    pub(crate) generation: u64,
}

/// One that was purged, or whose last service went: its arena is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) sharing: Sharing,
    pub(crate) held: Held,
    /// The generation that follows it; none when nobody has a part in the domain any more.
    pub(crate) next: Option<u64>,
}

/// Every domain of the present metadata and its arena. Cheap to clone and to publish.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains {
    services: Arc<Services>,
    held: BTreeMap<Sharing, Held>,
    arenas: BTreeMap<DomainTag, ArenaId>,
}

impl Domains {
    /// The domains that the metadata tells of now; `open` opens an arena for each that is new. Gives those that ended.
    pub(crate) fn follow(
        &self,
        services: &Arc<Services>,
        mut open: impl FnMut() -> ArenaId,
    ) -> (Self, Vec<Ended>) {
        let mut next = Self {
            services: Arc::clone(services),
            ..Self::default()
        };
        for (_, sharing, keyring) in services.iter() {
            let generation = keyring.generation;
            let known = next.held.get(sharing).or_else(|| self.held.get(sharing));
            let held = match known {
                Some(held) if held.generation == generation => *held,
                _ => Held {
                    arena: open(),
                    tag: keyring.tag(generation),
                    generation,
                },
            };
            next.held.insert(sharing.clone(), held);
            next.arenas.insert(held.tag, held.arena);
        }
        let ended = self.held.iter().filter_map(|(sharing, held)| {
            let now = next.held.get(sharing);
            (now != Some(held)).then(|| Ended {
                sharing: sharing.clone(),
                held: *held,
                next: now.map(|now| now.generation),
            })
        });
        let ended = ended.collect();
        (next, ended)
    }

    /// The domain of a service's caller.
    pub(crate) fn domain(
        &self,
        service: &str,
        salt: Option<&str>,
    ) -> Result<Domain, UnknownService> {
        let found = self.services.find(service);
        let found = found.and_then(|(sharing, keyring)| Some((keyring, self.held.get(sharing)?)));
        let (keyring, held) = found.ok_or_else(|| UnknownService {
            service: service.to_owned(),
        })?;
        let effective = keyring.effective(salt.unwrap_or_default().as_bytes());
        Ok(Domain::new(effective, held.arena, held.tag))
    }

    /// The sharing of a service and its generation.
    pub(crate) fn find(&self, service: &str) -> Result<(&Sharing, u64), UnknownService> {
        let found = self.services.find(service);
        let found = found.map(|(sharing, keyring)| (sharing, keyring.generation));
        found.ok_or_else(|| UnknownService {
            service: service.to_owned(),
        })
    }

    /// The arena of a domain that another node names.
    pub(crate) fn arena(&self, tag: DomainTag) -> Option<ArenaId> {
        self.arenas.get(&tag).copied()
    }

    /// The domain of an arena of this node; none when it was purged.
    pub(crate) fn tag(&self, arena: ArenaId) -> Option<DomainTag> {
        let mut arenas = self.arenas.iter();
        arenas
            .find(|(_, held)| **held == arena)
            .map(|(tag, _)| *tag)
    }

    /// Domains of the past: what is stored under them can be named by nobody.
    pub(crate) fn retired(&self) -> Vec<DomainTag> {
        let mut retired = Vec::new();
        for sharing in self.held.keys() {
            if let Some(keyring) = self.services.keyring(sharing) {
                let first = keyring.generation.saturating_sub(RETIRED_GENERATIONS);
                retired.extend((first..keyring.generation).map(|past| keyring.tag(past)));
            }
        }
        retired
    }

    /// Every service with its sharing and generation, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Sharing, u64)> {
        self.services
            .iter()
            .map(|(service, sharing, keyring)| (service, sharing, keyring.generation))
    }
}
