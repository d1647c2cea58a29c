//! What was typed: each value with its key, its place and the layer that decides who is heard.
//!
//! Readers of files, variables and flags all produce [`Given`]s; none of them decides which one counts.

use std::path::PathBuf;

use crate::key::{self, Key, Meaning, SERVICES_SECTION};
use crate::problem::{Origin, Problem, Warning};
use crate::suggest::closest;
use crate::value::{Kind, Value};

/// Where settings come from. Later files win over earlier ones; variables over files; flags over all.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// YAML files, in the order given.
    pub files: Vec<PathBuf>,
    /// Files of `NAME=value` lines; the process's own variables win over them.
    pub env_files: Vec<PathBuf>,
    /// The process's variables.
    pub env: Vec<(String, String)>,
    /// What the command line said.
    pub flags: Vec<FlagValue>,
    /// The policies that there are, by name: what `cache.policy` may say. Settings know of no policy themselves.
    pub policies: Vec<&'static str>,
}

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagValue {
    /// The key, such as `http.bind`.
    pub key: String,
    /// The value as typed.
    pub value: String,
    /// The flag as typed, such as `--http`.
    pub flag: String,
}

/// Who is heard when two places set the same thing: the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// The chosen preset.
    Preset,
    /// A YAML file, by its position on the command line.
    File(usize),
    /// A file of variables, by its position.
    EnvFile(usize),
    /// The process's variables.
    Environment,
    /// The command line.
    Flag,
}

/// One value as typed, already read as its kind.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// What it sets.
    pub(crate) target: Target,
    /// The key as the operator wrote it.
    pub(crate) written: String,
    /// What was meant.
    pub(crate) value: Value,
    /// Where it was typed.
    pub(crate) origin: Origin,
    /// Its weight.
    pub(crate) layer: Layer,
}

/// What a service may accept: a share of the attention output.
pub(crate) const ERROR_MAX: Kind = Kind::Ratio { min: 0.0, max: 1.0 };

/// What a value sets.
#[derive(Clone, Copy)]
pub(crate) enum Named {
    /// A key of the table.
    Key(&'static Key),
    /// The existence of a service.
    Service,
    /// A service's share group.
    ShareGroup,
    /// A service's strategy.
    ServiceStrategy,
    /// The error that a service accepts.
    ErrorMax,
}

/// What a value sets, with the service's name where there is one.
#[derive(Clone)]
pub(crate) struct Target {
    /// Which key.
    pub(crate) named: Named,
    /// The service's name; empty for keys of the table.
    pub(crate) service: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path())
    }
}

impl Target {
    /// The key of the table with this path, or a service's key.
    pub(crate) fn find(path: &str) -> Option<Self> {
        if let Some(key) = key::find(path) {
            return Some(Self {
                named: Named::Key(key),
                service: String::new(),
            });
        }
        let (section, rest) = path.split_once('.')?;
        let (service, word) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let named = match (section, word) {
            (SERVICES_SECTION, "share_group") => Named::ShareGroup,
            (SERVICES_SECTION, "strategy") => Named::ServiceStrategy,
            (SERVICES_SECTION, "error_max") => Named::ErrorMax,
            _ => return None,
        };
        Some(Self {
            named,
            service: service.to_owned(),
        })
    }

    /// Where the value ends up, in our words: the setting an alias stands for.
    pub(crate) fn path(&self) -> String {
        match self.named {
            Named::Key(Key {
                meaning: Meaning::Alias { of, .. },
                ..
            }) => (*of).to_owned(),
            Named::Key(Key {
                meaning: Meaning::Preset,
                ..
            }) => "preset".to_owned(),
            Named::Key(key) => key.path.to_owned(),
            Named::Service => format!("{SERVICES_SECTION}.{}", self.service),
            Named::ShareGroup => format!("{SERVICES_SECTION}.{}.share_group", self.service),
            Named::ServiceStrategy => format!("{SERVICES_SECTION}.{}.strategy", self.service),
            Named::ErrorMax => format!("{SERVICES_SECTION}.{}.error_max", self.service),
        }
    }

    /// What it accepts.
    pub(crate) fn kind(&self) -> Kind {
        match self.named {
            Named::Key(key) => key.kind,
            Named::Service | Named::ShareGroup => Kind::Name,
            Named::ServiceStrategy => key::STRATEGY,
            Named::ErrorMax => ERROR_MAX,
        }
    }

    fn secret(&self) -> bool {
        matches!(self.named, Named::Key(Key { secret: true, .. }))
    }
}

/// Everything read so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Values, in the order read.
    pub(crate) given: Vec<Given>,
    /// Reasons not to start.
    pub(crate) problems: Vec<Problem>,
    /// What else should be said.
    pub(crate) warnings: Vec<Warning>,
    /// Names that a policy may have.
    pub(crate) policies: Vec<&'static str>,
}

/// Where a value was read, as a reader hands it over.
pub(crate) struct Place {
    /// The key as the operator wrote it.
    pub(crate) written: String,
    /// Where.
    pub(crate) origin: Origin,
    /// Its weight.
    pub(crate) layer: Layer,
}

impl Heard {
    /// Reads `text` as what `target` accepts, and keeps the value or the problem.
    pub(crate) fn hear(&mut self, target: Target, text: &str, place: Place) {
        let Place {
            written,
            origin,
            layer,
        } = place;
        match target.kind().parse(text) {
            Ok(value) => self.given.push(Given {
                target,
                written,
                value,
                origin,
                layer,
            }),
            Err(refusal) => self.problems.push(Problem {
                code: refusal.code,
                given: (!target.secret()).then(|| shown(text)),
                key: written,
                origin,
                reason: refusal.reason,
                hint: refusal.hint,
            }),
        }
    }

    /// Notes that a service exists.
    pub(crate) fn hear_service(&mut self, service: &str, place: Place) {
        let target = Target {
            named: Named::Service,
            service: service.to_owned(),
        };
        self.hear(target, service, place);
    }

    /// Refuses a word that no key has. What stood beside it is not shown: it may be a secret under a misspelled name.
    pub(crate) fn unknown(&mut self, path: &str, place: Place) {
        self.problems.push(Problem {
            code: "config.unknown_key",
            hint: Some(suggest_key(path)),
            key: place.written,
            origin: place.origin,
            given: None,
            reason: "is not a setting".to_owned(),
        });
    }
}

/// A typed value, cut where it would fill the screen.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut cut: String = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        cut.push('…');
    }
    cut
}

/// The advice for a path that no key has: a sibling, the same word elsewhere, a section, or the list.
fn suggest_key(path: &str) -> String {
    let sections = key::sections();
    let Some((section, word)) = path.split_once('.') else {
        let root = sections.iter().copied().chain(["preset"]);
        return match (closest(path, root.clone()), section_of(path)) {
            (Some(known), _) => format!("did you mean `{known}`?"),
            (None, Some(known)) => format!("did you mean `{known}`?"),
            (None, None) => format!("a file has: {}", root.collect::<Vec<_>>().join(", ")),
        };
    };
    let siblings: Vec<&str> = key::file_keys()
        .filter_map(|key| key.path.split_once('.'))
        .filter_map(|(found, word)| (found == section).then_some(word))
        .collect();
    if let Some(known) = closest(word, siblings.iter().copied()) {
        format!("did you mean `{known}`?")
    } else if let Some(known) = section_of(word) {
        format!("did you mean `{known}`?")
    } else if !sections.contains(&section) {
        match closest(section, sections.iter().copied()) {
            Some(known) => format!("did you mean the section `{known}`?"),
            None => format!("the sections are: {}", sections.join(", ")),
        }
    } else if siblings.is_empty() {
        "a service has `share_group`, `strategy` and `error_max`".to_owned()
    } else {
        format!("`{section}` has: {}", siblings.join(", "))
    }
}

/// The first key of any section whose last word is `word`.
fn section_of(word: &str) -> Option<&'static str> {
    key::file_keys()
        .find(|key| {
            key.path
                .split_once('.')
                .is_some_and(|(_, found)| found == word)
        })
        .map(|key| key.path)
}
