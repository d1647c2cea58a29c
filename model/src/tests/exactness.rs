//! The promise of the crate: a restored prefix and a computed one give the same bits.
//!
//! Every comparison here is of bit patterns: the greatest difference of any logit is exactly 0.0.

use std::collections::BTreeMap;

use crate::{Engine, EngineOptions, Finish, PrefillStep, ReferenceConfig, SamplingOptions};
use proptest::prelude::*;
use ultrakv_cache::Dtype;

/// Everything that a generation shows.
#[derive(PartialEq)]
struct Seen {
    tokens: Vec<u32>,
    text: String,
    finish: Option<Finish>,
    /// Bits of the logits that each token was chosen from.
    logits: Vec<Vec<u32>>,
}

/// A generation from start to end; also returns the blocks it sealed.
fn generate(
    engine: &Engine,
    prompt: &[u32],
    restored: &[&[u8]],
    sampling: &SamplingOptions,
) -> (Seen, BTreeMap<usize, Vec<u8>>) {
    let mut generation = engine.begin(prompt, sampling.clone()).unwrap();
    let usable = (prompt.len() - 1) / engine.info().block_tokens;
    let expected = restored.len().min(usable) * engine.info().block_tokens;
    assert_eq!(generation.restore(restored).unwrap(), expected);
    while generation.prefill().unwrap() != PrefillStep::Done {}
    let (mut text, mut logits) = (String::new(), Vec::new());
    while generation.finish().is_none() {
        let step = generation.step().unwrap();
        text.push_str(&step.text);
        logits.push(
            generation
                .logits()
                .iter()
                .map(|logit| logit.to_bits())
                .collect(),
        );
    }
    let sealed = generation
        .take_sealed()
        .into_iter()
        .map(|block| (block.index, block.payload));
    let sealed = sealed.collect();
    let seen = Seen {
        tokens: generation.tokens().to_vec(),
        text,
        finish: generation.finish(),
        logits,
    };
    (seen, sealed)
}

fn same(a: &Seen, b: &Seen, what: &str) {
    assert_eq!(a.tokens, b.tokens, "tokens, {what}");
    assert_eq!((&a.text, a.finish), (&b.text, b.finish), "text, {what}");
    assert!(a.logits == b.logits, "logits, {what}");
}

fn leading(sealed: &BTreeMap<usize, Vec<u8>>, count: usize) -> Vec<&[u8]> {
    sealed.values().take(count).map(Vec::as_slice).collect()
}

fn prompt(tokens: usize, salt: u32) -> Vec<u32> {
    (0..u32::try_from(tokens).unwrap())
        .map(|at| u32::from(b'a') + (at * at + at / 7 + salt) % 26)
        .collect()
}

fn tiny(kv_heads: usize, options: EngineOptions) -> Engine {
    Engine::load_reference(
        &ReferenceConfig {
            kv_heads,
            ..ReferenceConfig::tiny(7)
        },
        &options,
    )
    .unwrap()
}

fn sampled() -> SamplingOptions {
    SamplingOptions {
        tokens_max: 20,
        temperature: 0.9,
        top_p: 0.95,
        seed: 11,
        ..SamplingOptions::default()
    }
}

#[test]
fn restored_equals_computed_for_every_block_size_group_and_number_format() {
    for (block_tokens, prompt_tokens) in [(16, 90), (64, 200), (256, 600)] {
        for kv_heads in [4, 2, 1] {
            for kv_dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
                let engine = tiny(
                    kv_heads,
                    EngineOptions {
                        block_tokens,
                        kv_dtype,
                        ..EngineOptions::default()
                    },
                );
                let prompt = prompt(prompt_tokens, 0);
                let (scratch, sealed) = generate(&engine, &prompt, &[], &sampled());
                assert!(
                    sealed
                        .values()
                        .all(|payload| u64::try_from(payload.len()).unwrap()
                            == engine.info().block_bytes)
                );
                let whole = prompt_tokens / block_tokens;
                // All of them, and fewer, as after eviction of the tail.
                for count in (0..=whole).rev() {
                    let (again, resealed) =
                        generate(&engine, &prompt, &leading(&sealed, count), &sampled());
                    let what =
                        format!("{count} blocks of {block_tokens}, {kv_heads} heads, {kv_dtype}");
                    same(&again, &scratch, &what);
                    assert_eq!(resealed.keys().next(), sealed.keys().nth(count), "{what}");
                    assert!(
                        resealed
                            .iter()
                            .all(|(index, payload)| sealed[index] == *payload),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_prefix_that_ends_inside_a_block_is_restored_up_to_its_last_whole_block() {
    for block_tokens in [16, 64, 256] {
        let engine = tiny(
            2,
            EngineOptions {
                block_tokens,
                ..EngineOptions::default()
            },
        );
        let shared = prompt(block_tokens + block_tokens / 2, 0);
        let first = [shared.clone(), prompt(block_tokens, 1)].concat();
        let second = [shared, prompt(block_tokens, 2)].concat();
        let (_, sealed) = generate(&engine, &first, &[], &sampled());
        let (scratch, own) = generate(&engine, &second, &[], &sampled());
        assert_eq!(sealed[&0], own[&0]);
        assert_ne!(sealed[&1], own[&1]);
        same(
            &generate(&engine, &second, &leading(&sealed, 1), &sampled()).0,
            &scratch,
            "one shared block",
        );
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let run = |threads| {
        let engine = tiny(
            2,
            EngineOptions {
                block_tokens: 16,
                threads: Some(threads),
                ..EngineOptions::default()
            },
        );
        generate(&engine, &prompt(150, 0), &[], &sampled())
    };
    let (alone, sealed) = run(1);
    for threads in [2, 4] {
        let (seen, blocks) = run(threads);
        same(&seen, &alone, &format!("{threads} threads"));
        assert!(blocks == sealed, "{threads} threads");
    }
}

#[test]
fn the_standard_model_keeps_the_promise_on_any_count_of_threads() {
    let engine = |threads| {
        let options = EngineOptions {
            threads: Some(threads),
            ..EngineOptions::default()
        };
        Engine::load_reference(&ReferenceConfig::standard(0), &options).unwrap()
    };
    let sampling = SamplingOptions {
        tokens_max: 6,
        ..sampled()
    };
    let (scratch, sealed) = generate(&engine(1), &prompt(170, 0), &[], &sampling);
    for threads in [2, 4] {
        let engine = engine(threads);
        same(
            &generate(&engine, &prompt(170, 0), &[], &sampling).0,
            &scratch,
            "computed",
        );
        same(
            &generate(&engine, &prompt(170, 0), &leading(&sealed, 2), &sampling).0,
            &scratch,
            "restored",
        );
    }
}

#[test]
fn block_size_changes_only_how_keys_and_values_are_cut() {
    let run = |block_tokens| {
        let engine = tiny(
            2,
            EngineOptions {
                block_tokens,
                ..EngineOptions::default()
            },
        );
        generate(&engine, &prompt(150, 0), &[], &sampled()).0
    };
    let expected = run(64);
    for block_tokens in [1, 16, 37, 256] {
        same(
            &run(block_tokens),
            &expected,
            &format!("blocks of {block_tokens}"),
        );
    }
}

#[test]
fn blocks_filled_by_decoding_have_the_bytes_of_computed_ones_and_serve_the_next_turn() {
    for kv_dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        let engine = tiny(
            2,
            EngineOptions {
                block_tokens: 16,
                kv_dtype,
                ..EngineOptions::default()
            },
        );
        let sampling = SamplingOptions {
            tokens_max: 70,
            ..sampled()
        };
        let (turn, sealed) = generate(&engine, &prompt(40, 0), &[], &sampling);
        assert_eq!(
            sealed.len(),
            (40 + 70 - 1) / 16,
            "the last token's keys were never needed"
        );
        let follow_up = [turn.tokens, prompt(25, 3)].concat();
        let (scratch, computed) = generate(&engine, &follow_up, &[], &sampling);
        for (index, payload) in &sealed {
            assert!(computed[index] == *payload, "block {index}, {kv_dtype}");
        }
        let (restored, _) = generate(
            &engine,
            &follow_up,
            &leading(&sealed, usize::MAX),
            &sampling,
        );
        same(&restored, &scratch, "follow-up turn");
    }
}

#[test]
fn a_sliding_window_keeps_the_promise() {
    let config = ReferenceConfig {
        window: Some(21),
        ..ReferenceConfig::tiny(3)
    };
    let options = EngineOptions {
        block_tokens: 16,
        ..EngineOptions::default()
    };
    let engine = Engine::load_reference(&config, &options).unwrap();
    let (scratch, sealed) = generate(&engine, &prompt(100, 0), &[], &sampled());
    for count in 1..=6 {
        let (restored, _) = generate(
            &engine,
            &prompt(100, 0),
            &leading(&sealed, count),
            &sampled(),
        );
        same(&restored, &scratch, &format!("{count} blocks"));
    }
    let wide = generate(&tiny(2, options), &prompt(100, 0), &[], &sampled()).0;
    assert!(wide.logits != scratch.logits, "the window has an effect");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_prompt_any_block_size_any_count_of_blocks(
        tokens in prop::collection::vec(0_u32..256, 1..120),
        block_tokens in 1_usize..40,
        kept in 0_usize..130,
        seed in any::<u64>(),
    ) {
        let engine = tiny(1, EngineOptions { block_tokens, threads: Some(1), ..EngineOptions::default() });
        let sampling = SamplingOptions { tokens_max: 8, seed, ..sampled() };
        let (scratch, sealed) = generate(&engine, &tokens, &[], &sampling);
        let (restored, _) = generate(&engine, &tokens, &leading(&sealed, kept), &sampling);
        same(&restored, &scratch, "property");
    }
}
