//! Responsible for the list of policies by name. It must never know how any of them works.

use std::fmt;

use crate::policy::{Policy, adaptive, arc, gdsf, lfuda, lirs, lru, mq, s3_fifo, sieve};

/// What a policy is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Where its chance comes from: the same seed and calls give the same victims.
    pub seed: u64,
}

/// A policy by name.
pub struct Recipe {
    /// As configurations name it: lower case, words joined by hyphens.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Who described it first, or which part is ours.
    pub source: &'static str,
    /// Makes one that knows no block yet.
    pub make: fn(&Setup) -> Box<dyn Policy>,
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every policy of the house. A new one needs its line here and nothing else anywhere.
static RECIPES: &[&Recipe] = &[
    &lru::RECIPE,
    &lfuda::RECIPE,
    &s3_fifo::RECIPE,
    &sieve::RECIPE,
    &arc::RECIPE,
    &lirs::RECIPE,
    &mq::RECIPE,
    &gdsf::RECIPE,
    &adaptive::RECIPE,
];

/// Which policy a shard runs: one of the house, or one that another crate describes.
#[derive(Clone, Copy)]
pub struct PolicyKind(&'static Recipe);

impl PolicyKind {
    /// Least recently used.
    pub const LRU: Self = Self(&lru::RECIPE);
    /// Least frequently used, with dynamic ageing.
    pub const LFUDA: Self = Self(&lfuda::RECIPE);

    /// A policy that is not in the list.
    pub const fn of(recipe: &'static Recipe) -> Self {
        Self(recipe)
    }

    /// The policy with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|kind| kind.0.name == name)
    }

    /// Every policy of the house.
    pub fn all() -> impl Iterator<Item = Self> {
        RECIPES.iter().map(|recipe| Self(recipe))
    }

    /// Its description.
    pub const fn recipe(self) -> &'static Recipe {
        self.0
    }

    /// One that knows no block yet.
    pub fn make(self, setup: &Setup) -> Box<dyn Policy> {
        (self.0.make)(setup)
    }
}

impl Default for PolicyKind {
    fn default() -> Self {
        Self::LRU
    }
}

impl PartialEq for PolicyKind {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for PolicyKind {}

impl fmt::Debug for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_found_under_its_own_name_only() {
        for kind in PolicyKind::all() {
            let Recipe {
                name,
                summary,
                source,
                ..
            } = kind.recipe();
            assert_eq!(PolicyKind::named(name), Some(kind));
            assert!(summary.ends_with('.') && !source.is_empty(), "{name}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            );
        }
        assert_eq!(PolicyKind::named("none"), None);
        let names: std::collections::BTreeSet<_> =
            PolicyKind::all().map(|kind| kind.recipe().name).collect();
        assert_eq!(names.len(), PolicyKind::all().count());
    }
}
