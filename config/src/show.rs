//! The effective settings as one list: each with its value and where it was typed.
//!
//! Secrets never reach this list: none of our settings is one, and documented secrets are of features that do not
//! exist, whose values are not kept.

use std::fmt::Write as _;

use serde::Serialize;

use crate::key::{self, Meaning, SERVICES_SECTION};
use crate::problem::Origin;
use crate::settle::Loaded;

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effective {
    /// Section and word.
    pub key: String,
    /// Bytes as a number, time in seconds; null when nothing is set.
    pub value: serde_json::Value,
    /// The spelling that a file takes; none when nothing is set.
    pub text: Option<String>,
    /// Where it was typed.
    pub origin: Origin,
}

/// Every setting, in the order of the table, services last.
#[must_use]
pub fn effective(loaded: &Loaded) -> Vec<Effective> {
    let typed = |path: &str| loaded.origins.get(path).cloned().unwrap_or(Origin::Default);
    let mut list = Vec::new();
    for key in key::settings() {
        let Meaning::Setting { get, .. } = key.meaning else {
            continue;
        };
        let value = get(&loaded.settings);
        list.push(Effective {
            key: key.path.to_owned(),
            value: value.json(),
            text: value.text(),
            origin: typed(key.path),
        });
    }
    for (name, service) in &loaded.settings.services {
        let path = format!("{SERVICES_SECTION}.{name}");
        let strategy = service.strategy.map(|strategy| strategy.name().to_owned());
        let words = [
            ("share_group", service.share_group.clone()),
            ("strategy", strategy),
        ];
        for (word, text) in words {
            let key = format!("{path}.{word}");
            let own = typed(&key);
            let origin = if own == Origin::Default {
                typed(&path)
            } else {
                own
            };
            list.push(Effective {
                key,
                value: text.clone().into(),
                text,
                origin,
            });
        }
        if let Some(error_ppm) = service.error_ppm {
            let error_max = f64::from(error_ppm) / 1e6;
            let key = format!("{path}.error_max");
            list.push(Effective {
                value: error_max.into(),
                text: Some(error_max.to_string()),
                origin: typed(&key),
                key,
            });
        }
    }
    list
}

/// The effective settings as a file that loads to the same settings, each line with its origin as a comment.
#[must_use]
pub fn to_yaml(loaded: &Loaded) -> String {
    let mut yaml = String::new();
    let mut open: Vec<String> = Vec::new();
    for setting in effective(loaded) {
        let mut parts: Vec<&str> = setting.key.split('.').collect();
        if let Some((service, word)) = setting
            .key
            .strip_prefix("services.")
            .and_then(|rest| rest.rsplit_once('.'))
        {
            // A service's name may hold full stops.
            parts = vec![SERVICES_SECTION, service, word];
        }
        let Some((word, sections)) = parts.split_last() else {
            continue;
        };
        let same = open
            .iter()
            .zip(sections)
            .take_while(|(open, section)| open == *section)
            .count();
        open.truncate(same);
        for (depth, section) in sections.iter().enumerate().skip(same) {
            // Writing to a String cannot fail.
            let _ = writeln!(yaml, "{}{}:", "  ".repeat(depth), quoted(section));
            open.push((*section).to_owned());
        }
        let indent = "  ".repeat(sections.len());
        let value = setting
            .text
            .as_deref()
            .map_or_else(|| "null".to_owned(), quoted);
        let _ = writeln!(
            yaml,
            "{indent}{word}: {value}  # {}",
            one_line(&setting.origin)
        );
    }
    yaml
}

/// A scalar that reads back as this text, quoted wherever YAML could see something else in it.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    let truth = matches!(text, "true" | "false");
    if plain || truth {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

fn one_line(origin: &Origin) -> String {
    origin
        .to_string()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
