//! What a loaded model is. Plain values; must never hold weights.

use ultrakv_cache::BlockLayout;

/// The families of decoders the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2 and 3, and everything that calls itself `LlamaForCausalLM`.
    Llama,
    /// Mistral, with its sliding window when configured.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on query, key and value.
    Qwen2,
    /// Qwen3: normalised queries and keys.
    Qwen3,
}

impl Architecture {
    /// The name that `config.json` uses in `model_type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// Facts about a loaded model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The folder's name, or `ultrakv-reference`.
    pub name: String,
    /// Family of the decoder.
    pub architecture: Architecture,
    /// Count of distinct weights; tied matrices count once.
    pub parameters: u64,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Width of the MLP.
    pub intermediate: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Numbers in one head.
    pub head_size: usize,
    /// Most tokens of prompt and answer together.
    pub context_tokens: usize,
    /// Token ids are below this.
    pub vocab: usize,
    /// Tokens in a block.
    pub block_tokens: usize,
    /// BLAKE3 over configuration and weights.
    pub weights_digest: [u8; 32],
    /// Shape of one token's keys and values in a block.
    pub layout: BlockLayout,
    /// Bytes of one block's payload.
    pub block_bytes: u64,
    /// True for the seeded reference model, whose text has no meaning.
    pub reference: bool,
    /// Compute threads of the engine.
    pub threads: usize,
}
