//! The engine: one loaded model, shared by every generation.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use ultrakv_cache::{BlockKind, BlockLayout, KeyInputs};

use crate::config::DecoderConfig;
use crate::decoder::{Decoder, KvGeometry};
use crate::generation::{BeginError, Generation};
use crate::info::ModelInfo;
use crate::load::{LoadError, Loaded, ReferenceConfig, load_folder, load_reference};
use crate::options::{EngineOptions, ModelSource, SamplingOptions};
use crate::text::{ChatError, ChatMessage, ChatOptions, Text, TokenizeError};

/// Names the arithmetic: summation orders, our exponential function, the order of operations. Blocks of
/// one arithmetic are not offered to another; change it when any bit of a key or value changes.
const ARITHMETIC: &str = "ultrakv 2026 model arithmetic v1";
/// Most tokens in a block.
const BLOCK_TOKENS_MAX: usize = 4096;
/// Most compute threads.
const THREADS_MAX: usize = 1024;

/// A loaded model. Cheap to clone; all clones share weights and compute threads.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What all clones of an engine share.
pub(crate) struct Shared {
    pub(crate) decoder: Decoder,
    pub(crate) text: Text,
    pub(crate) geometry: KvGeometry,
    pub(crate) pool: ThreadPool,
    info: ModelInfo,
    rope: [u8; 32],
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("info", &self.shared.info)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads a model.
    ///
    /// # Errors
    /// [`LoadError`] names the file, field, tensor or option that is wrong.
    pub fn load(source: &ModelSource, options: &EngineOptions) -> Result<Self, LoadError> {
        match source {
            ModelSource::Reference { seed } => {
                Self::load_reference(&ReferenceConfig::standard(*seed), options)
            }
            ModelSource::Folder(folder) => Self::start(options, || load_folder(folder)),
        }
    }

    /// Makes a reference model of other dimensions, mostly for tests.
    ///
    /// # Errors
    /// [`LoadError::BadOption`] for impossible dimensions or options.
    pub fn load_reference(
        config: &ReferenceConfig,
        options: &EngineOptions,
    ) -> Result<Self, LoadError> {
        Self::start(options, || load_reference(config))
    }

    fn start(
        options: &EngineOptions,
        load: impl FnOnce() -> Result<Loaded, LoadError> + Send,
    ) -> Result<Self, LoadError> {
        within("block_tokens", options.block_tokens, BLOCK_TOKENS_MAX)?;
        within(
            "context_tokens_max",
            options.context_tokens_max.unwrap_or(1),
            usize::MAX,
        )?;
        within("threads", options.threads.unwrap_or(1), THREADS_MAX)?;
        let available = || std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        let pool = ThreadPoolBuilder::new()
            .num_threads(options.threads.unwrap_or_else(available))
            .thread_name(|index| format!("ultrakv-model-{index}"))
            .build()
            .map_err(|error| LoadError::Threads {
                why: error.to_string(),
            })?;
        let loaded = pool.install(load)?;
        let config = loaded.decoder.config();
        let geometry = KvGeometry {
            layers: config.layers(),
            kv_heads: config.kv_heads,
            head_size: config.head_size,
            block_tokens: options.block_tokens,
            dtype: options.kv_dtype,
        };
        let info = describe(&loaded, &geometry, options, pool.current_num_threads())?;
        let rope = config.rope.fingerprint(config.head_size);
        let Loaded { decoder, text, .. } = loaded;
        Ok(Self {
            shared: Arc::new(Shared {
                decoder,
                text,
                geometry,
                pool,
                info,
                rope,
            }),
        })
    }

    /// Facts about the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// What names this engine's blocks: equal inputs mean equal bytes.
    #[must_use]
    pub fn key_inputs(&self) -> KeyInputs {
        let info = self.info();
        KeyInputs {
            weights: blake3::derive_key(ARITHMETIC, &info.weights_digest),
            adapter: [0; 32],
            rope: self.shared.rope,
            layout: info.layout,
            block_tokens: u32::try_from(info.block_tokens).unwrap_or(u32::MAX),
        }
    }

    /// The tokens of a plain prompt, with the special tokens that the model's tokenizer puts around every
    /// text.
    ///
    /// # Errors
    /// [`TokenizeError`] if the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        self.shared.text.encode(text, true)
    }

    /// The tokens of a text that [`render_chat`](Self::render_chat) made. Special tokens that the template
    /// wrote are not added a second time.
    ///
    /// # Errors
    /// [`TokenizeError`] if the tokenizer fails.
    pub fn encode_chat(&self, rendered: &str) -> Result<Vec<u32>, TokenizeError> {
        self.shared
            .text
            .encode(rendered, !self.shared.text.chat_has_special_tokens())
    }

    /// The text of tokens, without special ones.
    ///
    /// # Errors
    /// [`TokenizeError`] if a token is not in the vocabulary or the tokenizer fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizeError> {
        self.check_tokens(tokens)?;
        self.shared.text.decode(tokens)
    }

    /// A conversation as text: by the model's own chat template, or, for the reference model, each message
    /// as `role: content` on a line of its own.
    ///
    /// # Errors
    /// [`ChatError`] if there is nothing to render, no template, or the template refuses.
    pub fn render_chat(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        self.shared.text.render_chat(messages, options)
    }

    /// Prepares an answer to a prompt. Computes nothing yet.
    ///
    /// # Errors
    /// [`BeginError`] if the prompt is empty, leaves no room in the context or has unknown tokens, or an
    /// option is impossible. Prompts are never shortened.
    pub fn begin(
        &self,
        prompt: &[u32],
        options: SamplingOptions,
    ) -> Result<Generation, BeginError> {
        Generation::new(self.clone(), prompt, options)
    }

    /// Are all tokens in the vocabulary?
    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<(), TokenizeError> {
        let vocab = self.info().vocab;
        let known = |token: u32| usize::try_from(token).is_ok_and(|token| token < vocab);
        match tokens.iter().find(|token| !known(**token)) {
            None => Ok(()),
            Some(token) => Err(TokenizeError::UnknownToken {
                token: *token,
                vocab,
            }),
        }
    }
}

fn within(option: &'static str, value: usize, max: usize) -> Result<(), LoadError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(LoadError::BadOption {
        option,
        value: value.to_string(),
        why: format!("it must be from 1 to {max}"),
    })
}

fn describe(
    loaded: &Loaded,
    geometry: &KvGeometry,
    options: &EngineOptions,
    threads: usize,
) -> Result<ModelInfo, LoadError> {
    let config: &DecoderConfig = loaded.decoder.config();
    let small = |option, value: usize| {
        u16::try_from(value).map_err(|_| LoadError::BadOption {
            option,
            value: value.to_string(),
            why: "a block's layout holds it in 16 bits".to_owned(),
        })
    };
    let context = options
        .context_tokens_max
        .unwrap_or(usize::MAX)
        .min(config.context_tokens);
    Ok(ModelInfo {
        name: loaded.name.clone(),
        architecture: config.architecture,
        parameters: loaded.decoder.parameters(),
        hidden: config.hidden,
        intermediate: config.intermediate,
        layers: config.layers(),
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_size: config.head_size,
        context_tokens: context,
        vocab: config.vocab,
        block_tokens: options.block_tokens,
        weights_digest: loaded.weights_digest,
        layout: BlockLayout {
            kind: BlockKind::Kv,
            dtype: options.kv_dtype,
            layers: small("layers", config.layers())?,
            kv_heads: small("kv_heads", config.kv_heads)?,
            head_size: small("head_size", config.head_size)?,
        },
        block_bytes: u64::try_from(geometry.block_bytes()).unwrap_or(u64::MAX),
        reference: loaded.reference,
        threads,
    })
}
