//! The embedded engine: a Llama-family decoder whose keys and values live in our blocks.
//!
//! Responsible for turning text into tokens, tokens into keys and values and logits, and logits into
//! text. Keys and values enter and leave as whole blocks in the payload order of
//! [`ultrakv_cache::BlockLayout`]. Must never know who stores a block, under which key, for which
//! service, or what time it is.
//!
//! # One summation order
//!
//! Every number of a row (a hidden state, a key, a value, a logit) is a function of that row's token,
//! its position and the keys and values before it, and of nothing else. The kernels
//! add the products of one output in one fixed order with fused multiply-adds, for
//! one row as for sixty-four, on one thread as on eight, with AVX-512, AVX2, NEON or none of them.
//! Therefore a prefix restored from blocks, recomputed in chunks or decoded token by token gives the
//! same bits, and a block that decoding filled is sealed as it is: recomputing it would give the same
//! bytes, which the tests check. The guaranteed error of a sealed block is 0.
//!
//! What this does not promise: equal bits on systems whose `sin`, `cos` or `pow` differ (they make the
//! rotary angles), or between this engine and another one. A block restored on such a machine is still
//! the block that was stored; only recomputing it there may differ in a last bit.
//!
//! ```no_run
//! use ultrakv_model::{Engine, EngineOptions, ModelSource, PrefillStep, SamplingOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::load(&ModelSource::Reference { seed: 0 }, &EngineOptions::default())?;
//! let prompt = engine.encode("A prefix worth keeping")?;
//! let mut generation = engine.begin(&prompt, SamplingOptions::default())?;
//! while let PrefillStep::Chunk { .. } = generation.prefill()? {}
//! let first = generation.step()?;
//! # let _ = first; Ok(()) }
//! ```

mod config;
mod decoder;
mod engine;
mod generation;
mod info;
mod kernel;
mod load;
mod options;
mod sampling;
#[cfg(test)]
mod tests;
mod text;

pub use engine::Engine;
pub use generation::{
    BeginError, ComputeError, Finish, Generation, PrefillStep, RestoreError, SealedBlock, Step,
};
pub use info::{Architecture, ModelInfo};
pub use load::{LoadError, ReferenceConfig};
pub use options::{EngineOptions, ModelSource, SamplingOptions};
pub use text::{ChatError, ChatMessage, ChatOptions, TokenizeError};
