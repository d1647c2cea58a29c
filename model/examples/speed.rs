//! Measures the engine alone: load, time to first token computed and restored, decoding.
//!
//! `cargo run --release -p ultrakv-model --example speed [repetitions]`
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring tool reads the clock and prints"
)]

use std::time::Instant;

use ultrakv_model::{
    Engine, EngineOptions, ModelSource, PrefillStep, SamplingOptions, SealedBlock,
};

/// Prompt of the measurement: 1000 tokens that may be cached and 32 new ones.
const SHARED_TOKENS: usize = 1000;
const PROMPT_TOKENS: usize = 1032;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let repetitions = std::env::args()
        .nth(1)
        .map_or(Ok(20), |count| count.parse())?;
    for block_tokens in [16, 64] {
        let options = EngineOptions {
            block_tokens,
            ..EngineOptions::default()
        };
        let started = Instant::now();
        let engine = Engine::load(&ModelSource::Reference { seed: 0 }, &options)?;
        let load_ms = started.elapsed().as_secs_f64() * 1e3;
        println!(
            "block_tokens {block_tokens}: {} parameters, {} threads, load {load_ms:.0} ms",
            engine.info().parameters,
            engine.info().threads
        );
        let text: String = (0..PROMPT_TOKENS - 1)
            .map(|at| char::from(b'a' + u8::try_from(at * at % 26).unwrap_or(0)))
            .collect();
        let prompt = engine.encode(&text)?;
        let mut whole = Vec::new();
        let mut restored = Vec::new();
        let mut decode = Vec::new();
        for _ in 0..repetitions {
            let (cold_ms, blocks, _) = first_token(&engine, &prompt, &[])?;
            let usable = blocks
                .get(..SHARED_TOKENS / block_tokens)
                .unwrap_or_default();
            let (warm_ms, _, token_ms) = first_token(&engine, &prompt, usable)?;
            whole.push(cold_ms);
            restored.push(warm_ms);
            decode.push(token_ms);
        }
        let (whole, restored, decode) = (median(whole), median(restored), median(decode));
        println!(
            "  {PROMPT_TOKENS} tokens computed {whole:.1} ms, restored {restored:.2} ms, {:.1} times",
            whole / restored
        );
        println!(
            "  decode {decode:.2} ms a token, {:.0} tokens/s",
            1e3 / decode
        );
    }
    Ok(())
}

/// Milliseconds to the first token, the prompt's blocks, and milliseconds a token after it.
fn first_token(
    engine: &Engine,
    prompt: &[u32],
    blocks: &[SealedBlock],
) -> Result<(f64, Vec<SealedBlock>, f64), Box<dyn std::error::Error>> {
    const DECODED: u32 = 32;
    let payloads: Vec<&[u8]> = blocks
        .iter()
        .map(|block| block.payload.as_slice())
        .collect();
    let started = Instant::now();
    let mut generation = engine.begin(prompt, SamplingOptions::default())?;
    generation.restore(&payloads)?;
    while generation.prefill()? != PrefillStep::Done {}
    generation.step()?;
    let first_ms = started.elapsed().as_secs_f64() * 1e3;
    let started = Instant::now();
    for _ in 0..DECODED {
        generation.step()?;
    }
    let token_ms = started.elapsed().as_secs_f64() * 1e3 / f64::from(DECODED);
    Ok((first_ms, generation.take_sealed(), token_ms))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
