//! Everything that can be wrong with a folder is an error that names it, and never a panic.

use std::path::{Path, PathBuf};

use crate::{Engine, EngineOptions, LoadError, ModelSource, ReferenceConfig};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A copy of a fixture that a test may damage.
struct Folder(TempDir);

impl Folder {
    fn copy(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures")
            .join(name);
        for file in std::fs::read_dir(fixture).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        Self(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn load(&self) -> Result<Engine, LoadError> {
        Engine::load(
            &ModelSource::Folder(self.0.path().to_path_buf()),
            &EngineOptions::default(),
        )
    }

    /// The error of loading, which must have a code, a hint and a text that fits one line.
    fn error(&self) -> LoadError {
        let error = self.load().unwrap_err();
        assert!(error.code().starts_with("model_") && !error.hint().is_empty());
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    }

    fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&std::fs::read(self.path(file)).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(self.path(file), value.to_string()).unwrap();
    }

    /// Replaces the safetensors header, keeping the data.
    fn edit_header(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let bytes = std::fs::read(self.path(file)).unwrap();
        let (length, rest) = bytes.split_at(8);
        let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
        let (header, data) = rest.split_at(length);
        let mut header: Value = serde_json::from_slice(header).unwrap();
        change(&mut header);
        let header = header.to_string();
        let length = u64::try_from(header.len()).unwrap().to_le_bytes();
        std::fs::write(self.path(file), [&length, header.as_bytes(), data].concat()).unwrap();
    }
}

/// Field of `config.json`, its wrong value as JSON, and the code of the error.
type Case = (&'static str, &'static str, &'static str);

const WRONG_SHAPES: &[Case] = &[
    ("num_attention_heads", "0", "model_bad_field"),
    ("num_attention_heads", "null", "model_missing_field"),
    ("num_key_value_heads", "3", "model_bad_field"),
    ("num_key_value_heads", "0", "model_bad_field"),
    ("hidden_size", "18446744073709551615", "model_bad_field"),
    ("hidden_size", "-1", "model_bad_json"),
    ("hidden_size", "\"32\"", "model_bad_json"),
    ("hidden_size", "33", "model_wrong_shape"),
    ("num_hidden_layers", "0", "model_bad_field"),
    ("num_hidden_layers", "1000000000", "model_bad_field"),
    ("num_hidden_layers", "3", "model_missing_tensor"),
    ("intermediate_size", "0", "model_bad_field"),
    ("vocab_size", "1", "model_bad_tokenizer"),
    ("vocab_size", "321", "model_wrong_shape"),
    ("max_position_embeddings", "0", "model_bad_field"),
    (
        "max_position_embeddings",
        "18446744073709551615",
        "model_bad_field",
    ),
    ("head_dim", "7", "model_bad_field"),
    ("head_dim", "1048576", "model_bad_field"),
    ("rms_norm_eps", "0.0", "model_bad_field"),
    ("rms_norm_eps", "-1e-6", "model_bad_field"),
    ("hidden_act", "\"gelu\"", "model_bad_field"),
    ("quantization_config", "{\"bits\": 4}", "model_bad_field"),
    ("model_type", "\"gpt2\"", "model_unsupported_architecture"),
    ("model_type", "null", "model_missing_field"),
];

const WRONG_ROPES: &[Case] = &[
    (
        "rope_type",
        r#"{"rope_type": "longrope"}"#,
        "model_unsupported_rope",
    ),
    (
        "rope_type",
        r#"{"rope_type": "dynamic", "factor": 2.0}"#,
        "model_unsupported_rope",
    ),
    ("rope_theta", r#"{"rope_theta": 1e39}"#, "model_bad_field"),
    ("rope_theta", r#"{"rope_theta": 0.0}"#, "model_bad_field"),
    ("rope_theta", r#"{"rope_theta": -5}"#, "model_bad_field"),
    ("rope_theta", r#"{"rope_theta": 1e999}"#, "model_bad_json"),
    (
        "factor",
        r#"{"rope_type": "linear"}"#,
        "model_missing_field",
    ),
    (
        "factor",
        r#"{"rope_type": "linear", "factor": 0}"#,
        "model_bad_field",
    ),
    (
        "factor",
        r#"{"rope_type": "yarn", "factor": 1e308}"#,
        "model_bad_field",
    ),
    (
        "partial_rotary_factor",
        r#"{"partial_rotary_factor": 0.5}"#,
        "model_bad_field",
    ),
    (
        "high_freq_factor",
        r#"{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}"#,
        "model_bad_field",
    ),
];

/// Sets `key` of `config.json` to the text of a JSON value and returns the error.
fn error_with(key: &str, value: &str) -> LoadError {
    let folder = Folder::copy("llama");
    folder.edit("config.json", |config| config[key] = json!("PLACEHOLDER"));
    let config = std::fs::read_to_string(folder.path("config.json")).unwrap();
    std::fs::write(
        folder.path("config.json"),
        config.replace("\"PLACEHOLDER\"", value),
    )
    .unwrap();
    folder.error()
}

#[test]
fn impossible_and_unsupported_shapes_are_named_by_field() {
    for (field, value, code) in WRONG_SHAPES {
        let error = error_with(field, value);
        assert_eq!(error.code(), *code, "{field} = {value}: {error}");
        if *code == "model_bad_field" {
            assert!(error.to_string().contains(field), "{error}");
            assert!(error.to_string().contains("config.json"), "{error}");
        }
    }
}

#[test]
fn impossible_and_unsupported_ropes_are_named_by_field() {
    for (field, value, code) in WRONG_ROPES {
        let error = error_with("rope_parameters", value);
        assert_eq!(error.code(), *code, "{value}: {error}");
        if *code == "model_bad_field" || *code == "model_missing_field" {
            assert!(error.to_string().contains(field), "{error}");
        }
    }
}

#[test]
fn windows_are_checked_layer_by_layer() {
    for (types, code) in [
        (json!(["full_attention"]), "model_bad_field"),
        (
            json!(["full_attention", "chunked_attention"]),
            "model_bad_field",
        ),
    ] {
        let folder = Folder::copy("qwen2");
        folder.edit("config.json", |config| {
            config["layer_types"] = types.clone()
        });
        assert_eq!(folder.error().code(), code, "{types}");
    }
    let folder = Folder::copy("qwen2");
    folder.edit("config.json", |config| {
        config["use_sliding_window"] = json!(false)
    });
    assert_eq!(folder.error().code(), "model_missing_field");
    let folder = Folder::copy("mistral");
    folder.edit("config.json", |config| config["sliding_window"] = json!(0));
    assert_eq!(folder.error().code(), "model_bad_field");
}

#[test]
fn missing_and_broken_files_are_named() {
    for (file, code) in [
        ("config.json", "model_unreadable"),
        ("tokenizer.json", "model_unreadable"),
        ("model.safetensors", "model_no_weights"),
    ] {
        let folder = Folder::copy("mistral");
        std::fs::remove_file(folder.path(file)).unwrap();
        let error = folder.error();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(file), "{error}");
    }
    for (file, code) in [
        ("config.json", "model_bad_json"),
        ("generation_config.json", "model_bad_json"),
        ("tokenizer_config.json", "model_bad_json"),
        ("tokenizer.json", "model_bad_tokenizer"),
        ("model.safetensors", "model_bad_weights"),
    ] {
        for content in [&b""[..], b"{", b"\xFF\xFE\x00", b"{\"a\": [}"] {
            let folder = Folder::copy("mistral");
            std::fs::write(folder.path(file), content).unwrap();
            let error = folder.error();
            assert_eq!(error.code(), code, "{file} {content:?}: {error}");
            assert!(error.to_string().contains(file), "{error}");
        }
    }
    for file in ["config.json", "model.safetensors"] {
        let folder = Folder::copy("mistral");
        std::fs::remove_file(folder.path(file)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path(file)).unwrap();
        let error = folder.error();
        assert_eq!(error.code(), "model_unreadable");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("not a regular file"), "{cause}");
    }
    let folder = Folder::copy("mistral");
    std::fs::write(folder.path("chat_template.jinja"), "{% for %}").unwrap();
    assert_eq!(folder.error().code(), "model_bad_template");
    let nowhere = Engine::load(
        &ModelSource::Folder("/nowhere/at/all".into()),
        &EngineOptions::default(),
    );
    assert_eq!(nowhere.unwrap_err().code(), "model_unreadable");
}

#[test]
fn lies_in_a_safetensors_header_are_found() {
    type Change = fn(&mut Value);
    let embed = "model.embed_tokens.weight";
    let cases: [(Change, &str); 6] = [
        (
            |header| header["model.embed_tokens.weight"]["data_offsets"] = json!([0, 1_u64 << 60]),
            "model_bad_weights",
        ),
        (
            |header| header["model.embed_tokens.weight"]["data_offsets"] = json!([8, 4]),
            "model_bad_weights",
        ),
        (
            |header| header["model.embed_tokens.weight"]["shape"] = json!([u64::MAX, 2]),
            "model_bad_weights",
        ),
        (
            |header| header["model.embed_tokens.weight"]["dtype"] = json!("F9"),
            "model_bad_weights",
        ),
        (
            |header| header["model.embed_tokens.weight"]["dtype"] = json!("I16"),
            "model_wrong_dtype",
        ),
        (
            |header| header["model.embed_tokens.weight"]["shape"] = json!([40, 320]),
            "model_wrong_shape",
        ),
    ];
    for (change, code) in cases {
        let folder = Folder::copy("mistral");
        folder.edit_header("model.safetensors", change);
        let error = folder.error();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        if code != "model_bad_weights" {
            assert!(error.to_string().contains(embed), "{error}");
        }
    }
    for length in [0, 7, 1 << 20, u64::MAX, u64::MAX / 2] {
        let folder = Folder::copy("mistral");
        let mut bytes = std::fs::read(folder.path("model.safetensors")).unwrap();
        bytes[..8].copy_from_slice(&u64::to_le_bytes(length));
        std::fs::write(folder.path("model.safetensors"), bytes).unwrap();
        assert_eq!(
            folder.error().code(),
            "model_bad_weights",
            "header of {length}"
        );
    }
}

#[test]
fn shards_must_be_plain_files_that_hold_what_the_index_says() {
    let index = "model.safetensors.index.json";
    let tensor = "model.norm.weight";
    for (place, code) in [
        ("../config.json", "model_bad_index"),
        ("/etc/passwd", "model_bad_index"),
        ("..", "model_bad_index"),
        ("model-00009-of-00003.safetensors", "model_unreadable"),
        ("config.json", "model_bad_weights"),
    ] {
        let folder = Folder::copy("llama");
        folder.edit(index, |index| index["weight_map"][tensor] = json!(place));
        assert_eq!(folder.error().code(), code, "{place}");
    }
    let folder = Folder::copy("llama");
    folder.edit(index, |index| {
        drop(index["weight_map"].as_object_mut().unwrap().remove(tensor))
    });
    assert!(folder.error().to_string().contains(tensor));
    let folder = Folder::copy("llama");
    folder.edit(index, |index| {
        let map = index["weight_map"].as_object_mut().unwrap();
        let other = map
            .values()
            .find(|place| **place != map[tensor])
            .unwrap()
            .clone();
        map[tensor] = other;
    });
    let error = folder.error();
    assert_eq!(error.code(), "model_missing_tensor");
    assert!(
        error.to_string().contains(".safetensors"),
        "names the shard: {error}"
    );
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let folder = Folder::copy("qwen3");
    let mut bytes = std::fs::read(folder.path("model.safetensors")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(folder.path("model.safetensors"), bytes).unwrap();
    assert_eq!(folder.error().code(), "model_not_finite");
}

#[test]
fn options_out_of_range_are_refused() {
    let default = EngineOptions::default();
    for options in [
        EngineOptions {
            block_tokens: 0,
            ..default.clone()
        },
        EngineOptions {
            block_tokens: 1 << 20,
            ..default.clone()
        },
        EngineOptions {
            threads: Some(0),
            ..default.clone()
        },
        EngineOptions {
            threads: Some(1 << 20),
            ..default.clone()
        },
        EngineOptions {
            context_tokens_max: Some(0),
            ..default
        },
    ] {
        let error = Engine::load_reference(&ReferenceConfig::tiny(0), &options).unwrap_err();
        assert_eq!(error.code(), "model_bad_option", "{error}");
    }
}

#[test]
fn the_digest_covers_every_byte_of_configuration_and_weights() {
    let digest = |folder: &Folder| folder.load().unwrap().info().weights_digest;
    let folder = Folder::copy("mistral");
    let original = digest(&folder);
    assert_eq!(digest(&Folder::copy("mistral")), original);
    let mut bytes = std::fs::read(folder.path("model.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(folder.path("model.safetensors"), bytes).unwrap();
    assert_ne!(digest(&folder), original);
    let reference = |seed| {
        let engine =
            Engine::load_reference(&ReferenceConfig::tiny(seed), &EngineOptions::default());
        engine.unwrap().info().weights_digest
    };
    assert_eq!(reference(1), reference(1));
    assert_ne!(reference(1), reference(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_weights_file_cut_anywhere_is_an_error(cut in any::<prop::sample::Index>()) {
        let folder = Folder::copy("mistral");
        let bytes = std::fs::read(folder.path("model.safetensors")).unwrap();
        let cut = cut.index(bytes.len());
        std::fs::write(folder.path("model.safetensors"), &bytes[..cut]).unwrap();
        prop_assert_eq!(folder.error().code(), "model_bad_weights");
    }

    #[test]
    fn damage_anywhere_in_the_small_files_is_an_error_or_harmless(
        file in prop::sample::select(vec!["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let folder = Folder::copy("qwen2");
        let mut bytes = std::fs::read(folder.path(file)).unwrap();
        // In weights only the header is interesting.
        let end = if file == "model.safetensors" { 2048 } else { bytes.len() };
        bytes[at.index(end)] = byte;
        std::fs::write(folder.path(file), bytes).unwrap();
        match folder.load() {
            Err(error) => prop_assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
            Ok(engine) => {
                drop(engine.encode("Gr\u{f6}\u{df}e <s>").map(|tokens| engine.decode(&tokens)));
            }
        }
    }
}
