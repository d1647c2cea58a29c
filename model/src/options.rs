//! What a caller says: which model, how its blocks look, how to sample.
//!
//! Plain values with defaults. Must never read files or the environment.

use std::path::PathBuf;

use ultrakv_cache::Dtype;

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// The built-in reference model: seeded random weights and a byte tokenizer. Its text has no
    /// meaning; its arithmetic is that of a real decoder of about 24 million parameters.
    Reference {
        /// Seed of the weights. Equal seeds give equal weights on every machine.
        seed: u64,
    },
    /// A Hugging Face folder: `config.json`, safetensors (one file or an index with shards),
    /// `tokenizer.json` and a chat template.
    Folder(PathBuf),
}

/// How an engine computes and cuts its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Tokens in a block, 1 to 4096.
    pub block_tokens: usize,
    /// Number format of keys and values, in blocks and in the computation: they are rounded to it at
    /// the moment they are produced, so storing them loses nothing.
    pub kv_dtype: Dtype,
    /// Cap on the model's own context; `None` takes the model's.
    pub context_tokens_max: Option<usize>,
    /// Compute threads; `None` takes one per available core. Results do not depend on it.
    pub threads: Option<usize>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            block_tokens: 64,
            kv_dtype: Dtype::F32,
            context_tokens_max: None,
            threads: None,
        }
    }
}

/// How tokens are drawn, and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Most tokens to generate, at least 1. When prompt and answer reach the context's end first,
    /// the generation finishes there with [`Finish::Length`](crate::Finish::Length).
    pub tokens_max: usize,
    /// 0 takes the most likely token; otherwise logits are divided by it. At most 100.
    pub temperature: f32,
    /// Nucleus: draw among the fewest tokens whose probabilities add up to this, in (0, 1].
    pub top_p: f32,
    /// Seed of the draws. Equal seed, prompt and model give equal text.
    pub seed: u64,
    /// Texts that end the generation; none of them is emitted. At most
    /// [`SamplingOptions::STOPS_MAX`], none empty.
    pub stop: Vec<String>,
}

impl SamplingOptions {
    /// Most stop texts in one generation: each is searched for in every piece of new text.
    pub const STOPS_MAX: usize = 64;
    /// Longest stop text, because that much text may have to be held back.
    pub const STOP_BYTES_MAX: usize = 4096;
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            tokens_max: 64,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
        }
    }
}
