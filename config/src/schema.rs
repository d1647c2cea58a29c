//! The JSON schema of a settings file, for editors and charts: the key table, written another way.
//!
//! Types here say what YAML shows (a number, a string, a truth value); where a spelling is richer than the schema can
//! say, such as `512MiB`, the schema allows the string and the reader decides.

use schemars::{Schema, json_schema};
use serde_json::{Map, Value as Json, json};

use crate::key::{self, Key, SERVICES_SECTION};
use crate::source::ERROR_MAX;
use crate::value::Kind;

/// The schema of a settings file.
#[must_use]
pub fn schema() -> Schema {
    let mut root = Map::new();
    let mut sections: Map<String, Json> = Map::new();
    for key in key::file_keys() {
        match key.path.split_once('.') {
            None => {
                root.insert(key.path.to_owned(), property(key));
            }
            Some((section, word)) => {
                let section = sections
                    .entry(section)
                    .or_insert_with(|| json!({"type": ["object", "null"], "additionalProperties": false, "properties": {}}));
                if let Some(words) = section.get_mut("properties").and_then(Json::as_object_mut) {
                    words.insert(word.to_owned(), property(key));
                }
            }
        }
    }
    root.append(&mut sections);
    root.insert(
        SERVICES_SECTION.to_owned(),
        json!({
            "type": ["object", "null"],
            "description": "The configured callers, by name.",
            "propertyNames": kind(Kind::Name),
            "additionalProperties": {
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": {
                    "share_group": {
                        "anyOf": [kind(Kind::Name), {"type": "null"}],
                        "description": "Services of one share group reuse each other's blocks.",
                    },
                    "strategy": {
                        "anyOf": [kind(key::STRATEGY), {"type": "null"}],
                        "description": "How the service's blocks are stored; its order of eviction is the node's.",
                    },
                    "error_max": {
                        "anyOf": [kind(ERROR_MAX), {"type": "null"}],
                        "description": "The relative error of the attention output that the service accepts where blocks are quantized; 0 for none.",
                    },
                },
            },
        }),
    );
    json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "UltraKV settings",
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": root,
    })
}

fn property(key: &Key) -> Json {
    // Nothing written and `null` both leave a setting as it is.
    json!({ "description": key.doc, "anyOf": [kind(key.kind), {"type": "null"}] })
}

fn kind(kind: Kind) -> Json {
    match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Count { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Bytes { min, max } => json!({"anyOf": [
            {"type": "integer", "minimum": min, "maximum": max},
            {"type": "string", "pattern": "^[0-9][0-9.]* ?([kKmMgGtTpP][iI]?)?[bB]?$"},
        ]}),
        Kind::Ratio { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Time { .. } => {
            json!({"type": "string", "pattern": "^[0-9]+ ?[a-z]+( ?[0-9]+ ?[a-z]+)*$"})
        }
        Kind::Address | Kind::Host | Kind::Endpoint | Kind::Path | Kind::Text => {
            json!({"type": "string", "minLength": 1})
        }
        Kind::Endpoints => json!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string", "minLength": 1}},
        ]}),
        Kind::Name => json!({"type": "string", "pattern": "^[a-z0-9._-]{1,63}$"}),
        Kind::Choice(names) => json!({"enum": names}),
        Kind::Devices => json!({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
    }
}
