//! The decoder, tokenizer and chat template against what Transformers answered.
//!
//! The folders and their `expected.json` are made by `fixtures/make.py`.

use std::path::{Path, PathBuf};

use crate::{
    ChatMessage, ChatOptions, Engine, EngineOptions, Generation, ModelSource, PrefillStep,
    SamplingOptions,
};
use serde::Deserialize;

/// Greatest difference of a logit, relative to the largest logit.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    prompts: Vec<Prompt>,
    chat: Chat,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    tokens: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
    logits_after: Vec<f32>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Message>,
    rendered: String,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn load(folder: PathBuf) -> Engine {
    let options = EngineOptions {
        block_tokens: 16,
        ..EngineOptions::default()
    };
    Engine::load(&ModelSource::Folder(folder), &options).unwrap()
}

fn expected(name: &str) -> Expected {
    serde_json::from_slice(&std::fs::read(fixture(name).join("expected.json")).unwrap()).unwrap()
}

fn prefilled(engine: &Engine, tokens: &[u32], tokens_max: usize) -> Generation {
    let mut generation = engine
        .begin(
            tokens,
            SamplingOptions {
                tokens_max,
                ..SamplingOptions::default()
            },
        )
        .unwrap();
    while generation.prefill().unwrap() != PrefillStep::Done {}
    generation
}

fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(0.0_f32, |largest, x| largest.max(x.abs()));
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
        / largest
}

fn check(name: &str) {
    let (engine, expected) = (load(fixture(name)), expected(name));
    for prompt in &expected.prompts {
        assert_eq!(
            engine.encode(&prompt.text).unwrap(),
            prompt.tokens,
            "tokens of {:?}",
            prompt.text
        );
        let mut generation = prefilled(&engine, &prompt.tokens, prompt.greedy.len());
        let first = difference(generation.logits(), &prompt.logits);
        let (mut text, mut greedy) = (String::new(), Vec::new());
        while generation.finish().is_none() {
            let step = generation.step().unwrap();
            text.push_str(&step.text);
            greedy.push(step.token);
        }
        assert_eq!(
            greedy,
            prompt.greedy[..greedy.len()],
            "greedy tokens after {:?}",
            prompt.text
        );
        let whole = engine.decode(&greedy).unwrap();
        assert_eq!(
            text.trim_start(),
            whole.trim_end_matches('\u{FFFD}').trim_start(),
            "streamed text"
        );
        let all = [prompt.tokens.as_slice(), &prompt.greedy].concat();
        let after = difference(prefilled(&engine, &all, 1).logits(), &prompt.logits_after);
        println!(
            "{name}: {} tokens, relative differences {first:.1e} and {after:.1e}",
            all.len()
        );
        assert!(first <= TOLERANCE && after <= TOLERANCE, "{first} {after}");
    }
    let message = |m: &Message| ChatMessage {
        role: m.role.clone(),
        content: m.content.clone(),
        name: None,
    };
    let messages: Vec<_> = expected.chat.messages.iter().map(message).collect();
    assert_eq!(
        engine
            .render_chat(&messages, &ChatOptions::default())
            .unwrap(),
        expected.chat.rendered
    );
}

#[test]
fn llama_with_biases_llama3_rope_and_shards_agrees() {
    check("llama");
}

#[test]
fn mistral_in_f16_with_a_sliding_window_and_its_own_head_size_agrees() {
    check("mistral");
}

#[test]
fn qwen2_in_bf16_tied_with_yarn_and_one_windowed_layer_agrees() {
    check("qwen2");
}

#[test]
fn qwen3_with_normalised_heads_and_linear_rope_agrees() {
    check("qwen3");
}

#[test]
fn the_older_form_of_rotary_settings_means_the_same() {
    for name in ["llama", "mistral", "qwen2", "qwen3"] {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(fixture(name)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let fields = config.as_object_mut().unwrap();
        let mut rope = fields.remove("rope_parameters").unwrap();
        fields.insert(
            "rope_theta".into(),
            rope.as_object_mut().unwrap().remove("rope_theta").unwrap(),
        );
        if rope["rope_type"] != "default" {
            let kind = rope.as_object_mut().unwrap().remove("rope_type").unwrap();
            rope["type"] = kind;
            fields.insert("rope_scaling".into(), rope);
        }
        std::fs::write(&path, config.to_string()).unwrap();
        let tokens = &expected(name).prompts[2].tokens;
        let (old, new) = (load(folder.path().to_path_buf()), load(fixture(name)));
        assert_eq!(
            prefilled(&old, tokens, 1).logits(),
            prefilled(&new, tokens, 1).logits()
        );
        assert_eq!(old.key_inputs().rope, new.key_inputs().rope);
        assert_ne!(
            old.info().weights_digest,
            new.info().weights_digest,
            "the digest covers the configuration"
        );
    }
}
