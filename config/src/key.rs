//! The table of keys: every word an operator may write, what it accepts and what becomes of it.
//!
//! Files, variables, flags, the schema, `config show` and the suggestions all read this one table, so that none of them
//! can know a key the others do not. It must never know where a value was typed.

mod cluster;
mod documented;
mod ours;
mod variables;

use crate::settings::Settings;
use crate::value::{Kind, Value};

/// One word an operator may write.
pub(crate) struct Key {
    /// Section and word as in a file, such as `cache.bytes_max`; a variable's name where there is no file key.
    pub(crate) path: &'static str,
    /// What it accepts.
    pub(crate) kind: Kind,
    /// One sentence for the operator.
    pub(crate) doc: &'static str,
    /// What becomes of it.
    pub(crate) meaning: Meaning,
    /// Never shown.
    pub(crate) secret: bool,
}

/// What becomes of a value.
pub(crate) enum Meaning {
    /// A setting of ours.
    Setting {
        /// Reads the setting.
        get: fn(&Settings) -> Value,
        /// Writes it; `None` when the value is of another kind.
        set: fn(&mut Settings, &Value) -> Option<()>,
    },
    /// The documented word for a setting of ours.
    Alias {
        /// The path of that setting.
        of: &'static str,
        /// From the documented unit to ours.
        convert: fn(Value) -> Value,
    },
    /// Picks the values that stand between defaults and files.
    Preset,
    /// Read by `config plan` only: the loaded model decides its own shape.
    Shape,
    /// Documented, but the feature does not exist yet.
    NotYet {
        /// What happens instead, as a sentence.
        instead: &'static str,
    },
    /// Documented, and always so: only this value is true.
    Always {
        /// The one value that is true; none where every value comes to the same.
        only: Option<&'static str>,
        /// Why no other value does anything, as a sentence.
        because: &'static str,
    },
}

/// The documented section, kept as it was.
pub(crate) const DOCUMENTED_SECTION: &str = "kv_cache";
/// The section whose keys are names the operator chooses.
pub(crate) const SERVICES_SECTION: &str = "services";
/// What a strategy may be, of the node or of a service.
pub(crate) const STRATEGY: Kind = Kind::Choice(ours::STRATEGIES);
/// The presets, in the order the documentation lists them.
pub(crate) const PRESETS: [&str; 5] = [
    "development",
    "production",
    "high_performance",
    "memory_efficient",
    "bulk_processing",
];

/// Every key that a file may hold, ours first.
pub(crate) fn file_keys() -> impl Iterator<Item = &'static Key> {
    ours::KEYS
        .iter()
        .chain(cluster::KEYS)
        .chain(documented::KEYS)
}

/// The settings of ours.
pub(crate) fn settings() -> impl Iterator<Item = &'static Key> {
    ours::KEYS
        .iter()
        .chain(cluster::KEYS)
        .filter(|key| matches!(key.meaning, Meaning::Setting { .. }))
}

/// The key with this path in a file.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    file_keys().find(|key| key.path == path)
}

/// The sections of a file, in table order.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut sections = Vec::new();
    for section in file_keys()
        .filter_map(|key| key.path.split_once('.'))
        .map(|(section, _)| section)
    {
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    sections.push(SERVICES_SECTION);
    sections
}

/// The key that a variable sets, for the names that are written down somewhere: the documented ones and ours.
pub(crate) fn find_variable(name: &str) -> Option<&'static Key> {
    variables::KEYS
        .iter()
        .find(|key| key.path == name)
        .or_else(|| {
            variables::ALIASES
                .iter()
                .find(|(alias, _)| *alias == name)
                .and_then(|(_, path)| find(path))
        })
        .or_else(|| file_keys().find(|key| variable_name(key.path).as_deref() == Some(name)))
}

/// Every variable with one of our prefixes, for suggestions.
pub(crate) fn variable_names() -> Vec<String> {
    let derived = file_keys().filter_map(|key| variable_name(key.path));
    let aliases = variables::ALIASES
        .iter()
        .map(|(alias, _)| (*alias).to_owned());
    derived.chain(aliases).collect()
}

/// Every documented variable that carries neither prefix.
#[cfg(test)]
pub(crate) fn documented_variables() -> impl Iterator<Item = &'static str> {
    let aliases = variables::ALIASES.iter().map(|(alias, _)| *alias);
    variables::KEYS.iter().map(|key| key.path).chain(aliases)
}

/// The variable of a file key: `KV_CACHE_MAX_TOKENS` for `kv_cache.max_tokens`, `ULTRAKV_CACHE__BYTES_MAX` for
/// `cache.bytes_max`.
pub(crate) fn variable_name(path: &str) -> Option<String> {
    let (section, word) = path.split_once('.')?;
    let word = word.to_ascii_uppercase();
    Some(if section == DOCUMENTED_SECTION {
        format!("KV_CACHE_{word}")
    } else {
        format!("ULTRAKV_{}__{word}", section.to_ascii_uppercase())
    })
}

/// A documented word for a setting of ours, in the same unit.
const fn alias(path: &'static str, kind: Kind, of: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        doc,
        meaning: Meaning::Alias {
            of,
            convert: |value| value,
        },
        secret: false,
    }
}

/// A documented word whose feature does not exist yet.
const fn not_yet(path: &'static str, kind: Kind, instead: &'static str) -> Key {
    let doc = "Documented; accepted with a warning, because the feature does not exist yet.";
    Key {
        path,
        kind,
        doc,
        meaning: Meaning::NotYet { instead },
        secret: false,
    }
}

/// A documented word that can only be one way.
const fn always(path: &'static str, only: &'static str, because: &'static str) -> Key {
    let doc = "Documented; always so, and any other value is answered with a warning.";
    Key {
        path,
        kind: Kind::Flag,
        doc,
        meaning: Meaning::Always {
            only: Some(only),
            because,
        },
        secret: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_setting_writes_what_it_reads() {
        for key in settings() {
            let Meaning::Setting { get, set } = key.meaning else {
                unreachable!()
            };
            let mut settings = Settings::default();
            let value = get(&settings);
            assert_eq!(set(&mut settings, &value), Some(()), "{}", key.path);
            assert_eq!(get(&settings), value, "{}", key.path);
            if let Some(text) = value.text() {
                assert_eq!(
                    key.kind.parse(&text),
                    Ok(value),
                    "{}: its default is a value of its kind",
                    key.path
                );
            }
        }
    }

    #[test]
    fn every_key_and_every_variable_is_written_once() {
        let mut seen = BTreeSet::new();
        for key in file_keys() {
            assert!(seen.insert(key.path), "{} twice", key.path);
            assert!(key.doc.ends_with('.'), "{}: a sentence", key.path);
        }
        let mut names = BTreeSet::new();
        for name in variable_names() {
            assert!(names.insert(name.clone()), "{name} twice");
            assert!(find_variable(&name).is_some(), "{name} finds its key");
        }
        for name in documented_variables() {
            assert!(find_variable(name).is_some(), "{name} finds its key");
        }
    }

    #[test]
    fn every_alias_names_a_setting() {
        for key in file_keys() {
            if let Meaning::Alias { of, .. } = key.meaning {
                let target = find(of).unwrap_or_else(|| panic!("{} aliases {of}", key.path));
                assert!(matches!(target.meaning, Meaning::Setting { .. }), "{of}");
            }
        }
    }
}
