//! From everything that was typed to what it means: who is heard, what follows from it, what cannot be.
//!
//! It reads no file and no variable; given the same words it settles on the same settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::key::{self, Meaning, PRESETS};
use crate::plain::Plain;
use crate::preset;
use crate::problem::{ConfigError, Origin, Problem, Warning};
use crate::settings::{Settings, Strategy};
use crate::source::{Given, Heard, Layer, Named, Place, Target};
use crate::value::Value;

/// Settings, and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What the node is told.
    pub settings: Settings,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
    /// Where each setting that is not a default was typed, by its path.
    pub origins: BTreeMap<String, Origin>,
    /// The documented numbers of the model's shape, for `config plan`.
    pub shape: ShapeHints,
}

/// The documented numbers of the model's shape; a loaded model has its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShapeHints {
    /// `kv_cache.num_heads`.
    pub kv_heads: Option<u16>,
    /// `kv_cache.head_dim`.
    pub head_size: Option<u16>,
}

/// Settles everything that was heard.
pub(crate) fn settle(mut heard: Heard) -> Result<Loaded, ConfigError> {
    refuse_conflicts(&mut heard);
    add_preset(&mut heard);
    // Stable: within one layer the order of typing is kept, and the greater layer is applied last.
    heard.given.sort_by_key(|given| given.layer);
    let mut loaded = Loaded {
        settings: Settings::default(),
        warnings: std::mem::take(&mut heard.warnings),
        origins: BTreeMap::new(),
        shape: ShapeHints::default(),
    };
    for given in &heard.given {
        apply(&mut loaded, given);
    }
    let untold: Vec<&Given> = winners(&heard.given);
    loaded.warnings.extend(untold.into_iter().filter_map(warn));
    derive(&mut loaded);
    let advice = crate::check::advise(&loaded);
    loaded.warnings.extend(advice);
    if heard.problems.is_empty() {
        heard.problems = crate::check::check(&loaded, &heard.policies);
    }
    if heard.problems.is_empty() {
        Ok(loaded)
    } else {
        Err(ConfigError {
            problems: heard.problems,
            warnings: loaded.warnings,
        })
    }
}

/// Two different values for one setting in the same file, or among the variables, leave nothing to choose by.
fn refuse_conflicts(heard: &mut Heard) {
    let mut first: BTreeMap<(String, Layer), &Given> = BTreeMap::new();
    let mut problems = Vec::new();
    for given in &heard.given {
        if part_of_address(given).is_some() {
            continue;
        }
        let earlier = first
            .entry((given.target.path(), given.layer))
            .or_insert(given);
        // A flag given twice follows the habit of command lines: the last one counts.
        if given.layer == Layer::Flag || meant(earlier) == meant(given) {
            continue;
        }
        problems.push(Problem {
            code: "config.conflict",
            key: given.written.clone(),
            origin: given.origin.clone(),
            given: given.value.text(),
            reason: format!(
                "says something else than {} ({}), and both mean {}",
                earlier.written,
                earlier.origin,
                given.target.path()
            ),
            hint: Some("keep one of the two".to_owned()),
        });
    }
    heard.problems.extend(problems);
}

/// The value in the unit of the setting it stands for.
fn meant(given: &Given) -> Value {
    match given.target.named {
        Named::Key(key::Key {
            meaning: Meaning::Alias { convert, .. },
            ..
        }) => convert(given.value.clone()),
        _ => given.value.clone(),
    }
}

/// `HOST` and `PORT` each set a part of `http.bind`.
fn part_of_address(given: &Given) -> Option<&Value> {
    match (given.target.named, &given.value) {
        (Named::Key(found), Value::Host(_) | Value::Count(_))
            if matches!(found.path, "HOST" | "PORT") =>
        {
            Some(&given.value)
        }
        _ => None,
    }
}

fn add_preset(heard: &mut Heard) {
    let chosen = heard
        .given
        .iter()
        .filter(|given| {
            matches!(
                given.target.named,
                Named::Key(key::Key {
                    meaning: Meaning::Preset,
                    ..
                })
            )
        })
        .max_by_key(|given| given.layer)
        .and_then(|given| given.value.text());
    let Some(chosen) = chosen else { return };
    let name = PRESETS
        .iter()
        .find(|preset| **preset == chosen)
        .copied()
        .unwrap_or_default();
    for (path, text) in preset::values(name) {
        if let Some(target) = Target::find(path) {
            let origin = Origin::Preset {
                name: name.to_owned(),
            };
            heard.hear(
                target,
                text,
                Place {
                    written: (*path).to_owned(),
                    origin,
                    layer: Layer::Preset,
                },
            );
        }
    }
}

fn apply(loaded: &mut Loaded, given: &Given) {
    let settings = &mut loaded.settings;
    let path = given.target.path();
    let set = match given.target.named {
        Named::Service => {
            settings
                .services
                .entry(given.target.service.clone())
                .or_default();
            Some(())
        }
        Named::ShareGroup => {
            settings
                .services
                .entry(given.target.service.clone())
                .or_default()
                .share_group = given.value.text();
            Some(())
        }
        Named::ServiceStrategy => {
            let service = settings.services.entry(given.target.service.clone());
            service.or_default().strategy = Plain::from_value(&given.value);
            Some(())
        }
        Named::ErrorMax => {
            let service = settings.services.entry(given.target.service.clone());
            service.or_default().error_ppm = millionths(&given.value);
            Some(())
        }
        Named::Key(key) => match &key.meaning {
            Meaning::Setting { set, .. } => set(settings, &given.value),
            Meaning::Alias { .. } if part_of_address(given).is_some() => {
                settings.http.bind = with_part(settings.http.bind, &given.value);
                Some(())
            }
            Meaning::Alias { .. } => match key::find(&path).map(|key| &key.meaning) {
                Some(Meaning::Setting { set, .. }) => set(settings, &meant(given)),
                _ => None,
            },
            Meaning::Preset => Some(()),
            Meaning::Shape => {
                let number = given.value.text().and_then(|text| text.parse().ok());
                let heads = key.path == "kv_cache.num_heads";
                let place = if heads {
                    &mut loaded.shape.kv_heads
                } else {
                    &mut loaded.shape.head_size
                };
                *place = number;
                None
            }
            Meaning::NotYet { .. } | Meaning::Always { .. } => None,
        },
    };
    if set.is_some() {
        loaded.origins.insert(path, given.origin.clone());
    }
}

/// A share in millionths, rounded: finer than anybody measures an error.
fn millionths(share: &Value) -> Option<u32> {
    let Value::Ratio(share) = share else {
        return None;
    };
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the kind holds it between 0 and 1"
    )]
    Some((share * 1e6).round() as u32)
}

fn with_part(address: SocketAddr, part: &Value) -> SocketAddr {
    match part {
        Value::Host(ip) => SocketAddr::new(*ip, address.port()),
        Value::Count(port) => {
            SocketAddr::new(address.ip(), u16::try_from(*port).unwrap_or(address.port()))
        }
        _ => address,
    }
}

/// Of several values for one thing, only the one that counts is worth a warning.
fn winners(given: &[Given]) -> Vec<&Given> {
    let mut last: BTreeMap<String, &Given> = BTreeMap::new();
    for given in given {
        last.insert(given.target.path(), given);
    }
    let mut winners: Vec<&Given> = last.into_values().collect();
    winners.sort_by(|a, b| a.origin.cmp(&b.origin));
    winners
}

/// What the operator should know about this value.
fn warn(given: &Given) -> Option<Warning> {
    let Named::Key(key) = given.target.named else {
        return None;
    };
    let (code, message, hint) = match &key.meaning {
        Meaning::NotYet { .. } if given.value == Value::Flag(false) => return None,
        Meaning::NotYet { instead } => (
            "config.not_yet",
            format!("is documented but not built yet: {instead}"),
            None,
        ),
        Meaning::Always {
            only: Some(only),
            because,
        } if given.value.text().as_deref() != Some(only) => (
            "config.not_possible",
            format!("only `{only}` exists: {because}"),
            None,
        ),
        Meaning::Alias {
            of: "cache.tokens_max",
            ..
        } => match given.value {
            Value::Count(tokens) if tokens < TOKENS_USEFUL_MIN => (
                "config.small",
                format!(
                    "fewer than {TOKENS_USEFUL_MIN} tokens hardly ever hold a prefix worth reusing"
                ),
                Some("`ultrakv config plan` shows what each budget costs".to_owned()),
            ),
            _ if key.path == "kv_cache.cache_size" => (
                "config.old_name",
                "is the first version's name of max_tokens; it is obeyed".to_owned(),
                Some("write `max_tokens` (KV_CACHE_MAX_TOKENS)".to_owned()),
            ),
            _ => return None,
        },
        _ => return None,
    };
    Some(warning(given, code, message, hint))
}

fn warning(given: &Given, code: &'static str, message: String, hint: Option<String>) -> Warning {
    Warning {
        code,
        key: given.written.clone(),
        origin: given.origin.clone(),
        message,
        hint,
    }
}

/// The documented bound below which `max_tokens` is warned about.
const TOKENS_USEFUL_MIN: u64 = 512;

/// The page of the strategy `paged`: a block that is no multiple of a page wastes an eighth of a default page on the mean, where
/// arenas can bear four times as many pages.
const PAGED_PAGE_BYTES: u32 = 16 << 10;

/// Settings that nobody typed follow those that somebody did.
fn derive(loaded: &mut Loaded) {
    let cache = &mut loaded.settings.cache;
    let typed = |path: &str| loaded.origins.contains_key(path);
    if !typed("cache.watermark_low") && cache.watermark_low >= cache.watermark_high {
        // Eviction that stops ten points below where it starts frees a batch, not a block at a time.
        cache.watermark_low = (cache.watermark_high - 0.1).max(0.0);
    }
    if !typed("cache.page_bytes") && cache.strategy == Strategy::Paged {
        cache.page_bytes = PAGED_PAGE_BYTES;
    }
    if !typed("cache.entry_bytes_max") {
        cache.entry_bytes_max = cache.entry_bytes_max.min(cache.bytes_max / 8);
    }
}
