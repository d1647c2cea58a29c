//! How an answer begins, streams, stops and ends.

use std::path::Path;

use crate::{
    BeginError, ChatMessage, ChatOptions, ComputeError, Engine, EngineOptions, Finish, ModelSource,
    PrefillStep, ReferenceConfig, RestoreError, SamplingOptions,
};

fn tiny(context_tokens_max: Option<usize>) -> Engine {
    let options = EngineOptions {
        block_tokens: 16,
        context_tokens_max,
        ..EngineOptions::default()
    };
    Engine::load_reference(&ReferenceConfig::tiny(7), &options).unwrap()
}

fn fixture(name: &str) -> Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    Engine::load(&ModelSource::Folder(folder), &EngineOptions::default()).unwrap()
}

/// Pieces of text, tokens of the answer, and why it ended.
fn answer(
    engine: &Engine,
    prompt: &str,
    sampling: SamplingOptions,
) -> (Vec<String>, Vec<u32>, Finish) {
    let prompt = engine.encode(prompt).unwrap();
    let mut generation = engine.begin(&prompt, sampling).unwrap();
    while generation.prefill().unwrap() != PrefillStep::Done {}
    let (mut pieces, mut tokens) = (Vec::new(), Vec::new());
    loop {
        let step = generation.step().unwrap();
        pieces.push(step.text);
        tokens.push(step.token);
        if let Some(finish) = step.finish {
            assert_eq!(generation.finish(), Some(finish));
            assert!(matches!(generation.step(), Err(ComputeError::Finished)));
            assert_eq!(generation.tokens()[generation.prompt_tokens()..], tokens);
            return (pieces, tokens, finish);
        }
    }
}

fn sampled(seed: u64) -> SamplingOptions {
    SamplingOptions {
        tokens_max: 60,
        temperature: 1.0,
        seed,
        ..SamplingOptions::default()
    }
}

#[test]
fn equal_seeds_give_equal_text_and_other_seeds_other_text() {
    let engine = tiny(None);
    let text = |seed| answer(&engine, "A prompt", sampled(seed)).0.concat();
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn the_reference_model_says_what_is_valid_and_exactly_as_long_as_asked() {
    let engine = tiny(None);
    for seed in 0..30 {
        let tokens_max = 1 + usize::try_from(seed).unwrap() * 3;
        let sampling = SamplingOptions {
            tokens_max,
            temperature: 3.0,
            ..sampled(seed)
        };
        let (pieces, tokens, finish) = answer(&engine, "caf\u{e9} ", sampling);
        let text = pieces.concat();
        assert_eq!((tokens.len(), finish), (tokens_max, Finish::Length));
        assert_eq!(
            text.len(),
            tokens_max,
            "every byte of the answer is emitted"
        );
        assert!(!text.contains('\u{FFFD}') && text.chars().all(|c| c == '\n' || !c.is_control()));
    }
}

#[test]
fn a_stop_text_across_tokens_ends_the_answer_and_is_not_emitted() {
    let engine = tiny(None);
    let whole = answer(&engine, "A prompt", sampled(5)).0.concat();
    let stop: String = whole.chars().skip(12).take(4).collect();
    let at = whole.find(&stop).unwrap();
    let sampling = SamplingOptions {
        stop: vec!["never there".into(), stop],
        ..sampled(5)
    };
    let (pieces, tokens, finish) = answer(&engine, "A prompt", sampling);
    assert_eq!(
        (pieces.concat().as_str(), finish),
        (&whole[..at], Finish::Stop)
    );
    assert!(tokens.len() < 60);
    let sampling = SamplingOptions {
        stop: vec![format!("{whole}?")],
        ..sampled(5)
    };
    let (pieces, _, finish) = answer(&engine, "A prompt", sampling);
    assert_eq!(
        (pieces.concat(), finish),
        (whole, Finish::Length),
        "text held back comes at the end"
    );
}

#[test]
fn an_answer_ends_where_the_context_does() {
    let engine = tiny(Some(40));
    assert_eq!(engine.info().context_tokens, 40);
    let prompt = "x".repeat(35);
    let (_, tokens, finish) = answer(&engine, &prompt, sampled(1));
    assert_eq!((tokens.len(), finish), (40 - 36, Finish::Length));
}

#[test]
fn what_cannot_begin_says_why() {
    let engine = tiny(Some(40));
    let begin = |prompt: &[u32], sampling| engine.begin(prompt, sampling).map(drop).unwrap_err();
    let default = SamplingOptions::default();
    for length in [40, 41, 100_000] {
        let error = begin(&vec![65; length], default.clone());
        assert!(
            matches!(error, BeginError::PromptTooLong { tokens, context: 40 } if tokens == length)
        );
    }
    assert!(matches!(begin(&[], default.clone()), BeginError::Empty));
    assert_eq!(begin(&[65, 258], default.clone()).code(), "token_unknown");
    for bad in [
        SamplingOptions {
            tokens_max: 0,
            ..default.clone()
        },
        SamplingOptions {
            temperature: -0.1,
            ..default.clone()
        },
        SamplingOptions {
            temperature: f32::NAN,
            ..default.clone()
        },
        SamplingOptions {
            temperature: f32::INFINITY,
            ..default.clone()
        },
        SamplingOptions {
            top_p: 0.0,
            ..default.clone()
        },
        SamplingOptions {
            top_p: 1.1,
            ..default.clone()
        },
        SamplingOptions {
            top_p: f32::NAN,
            ..default.clone()
        },
        SamplingOptions {
            stop: vec![String::new()],
            ..default.clone()
        },
        SamplingOptions {
            stop: vec!["x".into(); 65],
            ..default.clone()
        },
        SamplingOptions {
            stop: vec!["x".repeat(5000)],
            ..default.clone()
        },
    ] {
        let error = begin(&[65], bad.clone());
        assert_eq!(error.code(), "sampling_bad_option", "{bad:?}");
        assert!(!error.hint().is_empty() && error.to_string().len() < 200);
    }
    let longest = SamplingOptions {
        tokens_max: usize::MAX,
        ..default
    };
    assert!(engine.begin(&[65; 39], longest).is_ok());
}

#[test]
fn calls_out_of_order_say_so() {
    let engine = tiny(None);
    let prompt = engine.encode(&"y".repeat(100)).unwrap();
    let mut generation = engine.begin(&prompt, SamplingOptions::default()).unwrap();
    assert!(matches!(generation.step(), Err(ComputeError::NotReady)));
    assert!(generation.logits().is_empty() && generation.take_sealed().is_empty());
    let bytes = usize::try_from(engine.info().block_bytes).unwrap();
    let short = [vec![0; bytes], vec![0; bytes - 1]];
    assert!(matches!(
        generation.restore(&short),
        Err(RestoreError::WrongSize { index: 1, .. })
    ));
    assert_eq!(
        generation.prefill().unwrap(),
        PrefillStep::Chunk { tokens_done: 64 }
    );
    assert!(matches!(
        generation.restore(&[vec![0; bytes]]),
        Err(RestoreError::Late)
    ));
    let first: Vec<usize> = generation
        .take_sealed()
        .iter()
        .map(|block| block.index)
        .collect();
    assert_eq!(first, [0, 1, 2, 3]);
    assert_eq!(generation.prefill().unwrap(), PrefillStep::Done);
    assert_eq!(
        generation.prefill().unwrap(),
        PrefillStep::Done,
        "prefilling twice is harmless"
    );
    let rest: Vec<usize> = generation
        .take_sealed()
        .iter()
        .map(|block| block.index)
        .collect();
    assert_eq!(rest, [4, 5]);
    assert!(generation.take_sealed().is_empty());
}

#[test]
fn a_folder_model_ends_at_its_end_token_and_streams_what_it_decodes() {
    let engine = fixture("qwen3");
    let mut ended = false;
    for seed in 0..60 {
        let sampling = SamplingOptions {
            tokens_max: 120,
            temperature: 2.0,
            ..sampled(seed)
        };
        let (pieces, mut tokens, finish) = answer(&engine, "Gr\u{f6}\u{df}e ", sampling);
        if finish == Finish::Stop {
            assert_eq!(tokens.pop(), Some(1));
            ended = true;
        }
        let whole = engine.decode(&tokens).unwrap();
        // An incomplete character at the very end is left out of the stream.
        assert_eq!(
            pieces.concat().trim_end_matches('\u{FFFD}'),
            whole.trim_end_matches('\u{FFFD}')
        );
    }
    assert!(ended, "at least one answer ended by itself");
}

#[test]
fn special_tokens_are_added_once() {
    let engine = fixture("llama");
    let user = |content: &str| ChatMessage {
        role: "user".into(),
        content: content.into(),
        name: None,
    };
    let rendered = engine
        .render_chat(&[user("Hi")], &ChatOptions::default())
        .unwrap();
    assert!(rendered.starts_with("<s>"));
    let count = |tokens: Vec<u32>| tokens.iter().filter(|token| **token == 0).count();
    assert_eq!(count(engine.encode_chat(&rendered).unwrap()), 1);
    assert_eq!(count(engine.encode("Hi").unwrap()), 1);
    let refused = engine
        .render_chat(&[user("Hi"), user("again")], &ChatOptions::default())
        .unwrap_err();
    assert_eq!(refused.code(), "chat_refused");
    let reference = tiny(None);
    let rendered = reference
        .render_chat(&[user("Hi")], &ChatOptions::default())
        .unwrap();
    assert_eq!(rendered, "user: Hi\nassistant: ");
    assert_eq!(
        reference.encode_chat(&rendered).unwrap(),
        reference.encode(&rendered).unwrap()
    );
    assert_eq!(
        reference
            .decode(&reference.encode(&rendered).unwrap())
            .unwrap(),
        rendered
    );
}

#[test]
fn generations_of_one_engine_run_side_by_side_without_touching_each_other() {
    let engine = tiny(None);
    let alone: Vec<String> = (0..4)
        .map(|seed| answer(&engine, "shared", sampled(seed)).0.concat())
        .collect();
    let together: Vec<String> = std::thread::scope(|scope| {
        let start = |seed| {
            let engine = engine.clone();
            scope.spawn(move || answer(&engine, "shared", sampled(seed)).0.concat())
        };
        let running: Vec<_> = (0..4).map(start).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(together, alone);
}
