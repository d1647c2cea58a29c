//! Services, share groups, and the domain behind each: a pure table.
//!
//! Services of one share group have one domain and so share blocks; others never do. It must never
//! know requests.

use std::collections::BTreeMap;

use ultrakv_actors::{Domain, DomainTag, Entropy, EntropyError};
use ultrakv_cache::{ArenaId, DomainSecret};

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

/// Whose blocks are shared: a share group by its name, or a service on its own.
///
/// Two variants and not one name, so that a group and a service of one name stay apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sharing {
    Alone(String),
    Group(String),
}

impl Sharing {
    /// How operators are told.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Alone(service) => format!("service {service}"),
            Self::Group(group) => format!("share group {group}"),
        }
    }
}

/// The secret of one sharing, and which purge it is at.
#[derive(Clone, Debug)]
pub(crate) struct Keyring {
    secret: DomainSecret,
    pub(crate) generation: u64,
    pub(crate) arena: ArenaId,
}

impl Keyring {
    /// What nodes call this generation.
    pub(crate) fn tag(&self) -> DomainTag {
        DomainTag(self.secret.tag(self.generation))
    }
}

/// Every service and its domain.
#[derive(Clone, Debug)]
pub(crate) struct Domains {
    services: BTreeMap<String, Sharing>,
    keyrings: BTreeMap<Sharing, Keyring>,
}

impl Domains {
    /// Draws a secret for every sharing; `open` opens an arena for it.
    ///
    /// Secrets live as long as the process: a restarted node starts empty, so nothing is left that
    /// an old secret could still name.
    pub(crate) fn draw(
        services: &BTreeMap<String, Option<String>>,
        entropy: &Entropy,
        mut open: impl FnMut() -> ArenaId,
    ) -> Result<Self, EntropyError> {
        let sharing = |(service, group): (&String, &Option<String>)| {
            let sharing = match group {
                Some(group) => Sharing::Group(group.clone()),
                None => Sharing::Alone(service.clone()),
            };
            (service.clone(), sharing)
        };
        let services: BTreeMap<_, _> = services.iter().map(sharing).collect();
        let mut keyrings = BTreeMap::new();
        for sharing in services.values() {
            if !keyrings.contains_key(sharing) {
                let keyring = Keyring {
                    secret: DomainSecret::from_bytes(entropy.draw()?),
                    generation: 0,
                    arena: open(),
                };
                keyrings.insert(sharing.clone(), keyring);
            }
        }
        Ok(Self { services, keyrings })
    }

    /// The domain of a service's caller.
    pub(crate) fn domain(
        &self,
        service: &str,
        salt: Option<&str>,
    ) -> Result<Domain, UnknownService> {
        let (_, keyring) = self.find(service)?;
        let salt = salt.unwrap_or_default().as_bytes();
        Ok(Domain {
            effective: keyring.secret.effective(keyring.generation, salt),
            arena: keyring.arena,
            tag: keyring.tag(),
        })
    }

    /// The sharing of a service and its keyring.
    pub(crate) fn find(&self, service: &str) -> Result<(&Sharing, &Keyring), UnknownService> {
        let sharing = self.services.get(service);
        let found = sharing.and_then(|sharing| Some((sharing, self.keyrings.get(sharing)?)));
        found.ok_or_else(|| UnknownService {
            service: service.to_owned(),
        })
    }

    /// Moves a sharing to its next generation, in this arena. Gives the new generation.
    pub(crate) fn advance(&mut self, sharing: &Sharing, arena: ArenaId) -> Option<u64> {
        let keyring = self.keyrings.get_mut(sharing)?;
        keyring.generation += 1;
        keyring.arena = arena;
        Some(keyring.generation)
    }

    /// Every service with its sharing and keyring, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Sharing, &Keyring)> {
        self.services.iter().filter_map(|(service, sharing)| {
            Some((service.as_str(), sharing, self.keyrings.get(sharing)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Domains {
        let group = |name: &str| Some(name.to_owned());
        let services = [
            ("a", None),
            ("b", None),
            ("c", group("g")),
            ("d", group("g")),
            // A service on its own that bears a group's name.
            ("g", None),
        ];
        let services = services
            .map(|(name, group)| (name.to_owned(), group))
            .into();
        let mut next = 0;
        let open = || {
            next += 1;
            ArenaId(next)
        };
        Domains::draw(&services, &Entropy::seeded(3), open).unwrap()
    }

    #[test]
    fn services_share_a_domain_only_through_a_share_group() {
        let domains = domains();
        let names = ["a", "b", "c", "d", "g"];
        for one in names {
            for other in names {
                let same = domains.domain(one, None) == domains.domain(other, None);
                let meant =
                    one == other || (["c", "d"].contains(&one) && ["c", "d"].contains(&other));
                assert_eq!(same, meant, "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_salt_changes_the_keys_but_not_the_arena() {
        let domains = domains();
        let plain = domains.domain("a", None).unwrap();
        let salted = domains.domain("a", Some("salt")).unwrap();
        assert_ne!(plain.effective, salted.effective);
        assert_eq!(plain.arena, salted.arena);
    }

    #[test]
    fn a_purge_of_one_service_of_a_group_moves_the_whole_group_and_nobody_else() {
        let mut domains = domains();
        let before = domains.clone();
        let (sharing, _) = domains.find("c").unwrap();
        assert_eq!(domains.advance(&sharing.clone(), ArenaId(99)), Some(1));
        for (service, moved) in [("c", true), ("d", true), ("a", false), ("g", false)] {
            let same = domains.domain(service, None) == before.domain(service, None);
            assert_eq!(same, !moved, "{service}");
        }
    }

    #[test]
    fn an_unknown_service_is_an_error_that_names_it() {
        let error = domains().domain("nobody", None).unwrap_err();
        assert_eq!(error.service, "nobody");
    }
}
