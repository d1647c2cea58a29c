//! The shape of a decoder: dimensions, biases, windows, rotary embedding.
//!
//! Responsible for turning `config.json` into a [`DecoderConfig`] whose every number has been bounded,
//! so that the rest of the crate can compute with them. Must never read weights.

mod json;
mod rope;

pub(crate) use json::{eos_tokens, read_bounded, read_json};
pub(crate) use rope::{Rope, RopeScaling};

use crate::info::Architecture;

/// Bounds on what a configuration may ask for. Far above any dense model in use, far below what would
/// overflow or exhaust memory before the weights' real sizes are seen.
pub(crate) mod limits {
    /// Decoder layers.
    pub(crate) const LAYERS: usize = 1024;
    /// Width of a hidden state.
    pub(crate) const HIDDEN: usize = 1 << 17;
    /// Width of the MLP.
    pub(crate) const INTERMEDIATE: usize = 1 << 19;
    /// Query or key heads.
    pub(crate) const HEADS: usize = 1024;
    /// Numbers in a head.
    pub(crate) const HEAD_SIZE: usize = 1024;
    /// Tokens of the vocabulary.
    pub(crate) const VOCAB: usize = 1 << 22;
    /// Tokens of prompt and answer.
    pub(crate) const CONTEXT: usize = 1 << 24;
}

/// Everything about a decoder except its weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DecoderConfig {
    pub(crate) architecture: Architecture,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) vocab: usize,
    pub(crate) context_tokens: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) rope: Rope,
    /// The head shares the embedding's matrix.
    pub(crate) tied: bool,
    /// Biases on query, key and value.
    pub(crate) qkv_bias: bool,
    /// Bias on the attention's output.
    pub(crate) output_bias: bool,
    /// Biases in the MLP.
    pub(crate) mlp_bias: bool,
    /// Queries and keys are normalised before they are rotated.
    pub(crate) qk_norm: bool,
    /// One a layer: how many positions, its own included, a query sees. `None`: all.
    pub(crate) windows: Vec<Option<usize>>,
}

impl DecoderConfig {
    /// Decoder layers.
    pub(crate) fn layers(&self) -> usize {
        self.windows.len()
    }

    /// Width of all queries of a row.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Width of all keys of a row, which is that of its values.
    pub(crate) fn key_width(&self) -> usize {
        self.kv_heads * self.head_size
    }
}
