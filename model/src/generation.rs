//! One answer in the making: restore, prefill, then token by token.
//!
//! ```text
//! begin -> restore (maybe) -> prefill, prefill, ... Done -> step, step, ... finish
//!                                \-- take_sealed at any time --/
//! ```
//!
//! Responsible for the order of these calls, for whole blocks, and for when an answer ends. Synchronous:
//! every call computes on the engine's threads and returns. Callers may drop a generation between any
//! two calls. Must never know where blocks go.

mod error;

pub use error::{BeginError, ComputeError, RestoreError};

use crate::decoder::KvBlocks;
use crate::engine::Engine;
use crate::options::SamplingOptions;
use crate::sampling::Sampler;
use crate::text::{Guide, TextStream};

/// Rows that a prefill chunk has at least, if the prompt has them: fewer would read all weights more
/// often than needed. Chunks are whole blocks, so they are the next multiple of the block size.
const CHUNK_TOKENS_MIN: usize = 64;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop text came.
    Stop,
    /// It has as many tokens as asked for, or the context is full.
    Length,
}

/// What one call of [`Generation::prefill`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefillStep {
    /// Computed one block-aligned chunk; there are more.
    Chunk {
        /// Tokens of the prompt whose keys and values are known now.
        tokens_done: usize,
    },
    /// The whole prompt is computed and its logits are there.
    Done,
}

/// One token of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The token.
    pub token: u32,
    /// Text that it completed: valid UTF-8, maybe empty, never part of a stop text.
    pub text: String,
    /// Set on the answer's last token.
    pub finish: Option<Finish>,
}

/// A whole block of this sequence, ready to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBlock {
    /// Which block of the sequence: it covers tokens `index * block_tokens` and on.
    pub index: usize,
    /// Its keys and values.
    ///
    /// # Shape
    /// `[layer][keys, values][head][token][head_size]`, little-endian, in the engine's `kv_dtype`. Exact.
    pub payload: Vec<u8>,
}

impl core::fmt::Debug for SealedBlock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SealedBlock")
            .field("index", &self.index)
            .field("bytes", &self.payload.len())
            .finish()
    }
}

/// An answer in the making.
pub struct Generation {
    engine: Engine,
    tokens: Vec<u32>,
    prompt_tokens: usize,
    /// The answer may not go beyond this many tokens, prompt included.
    tokens_end: usize,
    kv: KvBlocks,
    /// Tokens whose keys and values are in `kv`.
    filled: usize,
    /// Blocks before this one were restored or taken.
    next_sealed: usize,
    logits: Vec<f32>,
    sampler: Sampler,
    guide: Guide,
    stream: TextStream,
    finish: Option<Finish>,
}

impl core::fmt::Debug for Generation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Generation")
            .field("prompt_tokens", &self.prompt_tokens)
            .field("tokens", &self.tokens.len())
            .field("filled", &self.filled)
            .field("finish", &self.finish)
            .finish_non_exhaustive()
    }
}

impl Generation {
    pub(crate) fn new(
        engine: Engine,
        prompt: &[u32],
        options: SamplingOptions,
    ) -> Result<Self, BeginError> {
        error::check_options(&options)?;
        let context = engine.info().context_tokens;
        if prompt.is_empty() {
            return Err(BeginError::Empty);
        }
        if prompt.len() >= context {
            return Err(BeginError::PromptTooLong {
                tokens: prompt.len(),
                context,
            });
        }
        engine.check_tokens(prompt)?;
        let tokens_max = options.tokens_max.min(context - prompt.len());
        Ok(Self {
            tokens: prompt.to_vec(),
            prompt_tokens: prompt.len(),
            tokens_end: prompt.len() + tokens_max,
            kv: KvBlocks::new(engine.shared.geometry),
            filled: 0,
            next_sealed: 0,
            logits: Vec::new(),
            sampler: Sampler::new(&options),
            guide: engine.shared.text.guide(tokens_max),
            stream: TextStream::new(prompt, options.stop),
            finish: None,
            engine,
        })
    }

    /// Takes the leading blocks of the prompt from a cache, in order, and returns how many tokens they
    /// spare. At most the whole blocks within all but the last token of the prompt are used, because that
    /// one is computed for its logits; more may be given.
    ///
    /// # Errors
    /// [`RestoreError`] if something is computed already or a payload has the wrong size. Nothing is
    /// restored then.
    pub fn restore(&mut self, blocks: &[impl AsRef<[u8]>]) -> Result<usize, RestoreError> {
        if self.filled > 0 {
            return Err(RestoreError::Late);
        }
        let geometry = self.engine.shared.geometry;
        let count = blocks
            .len()
            .min((self.prompt_tokens - 1) / geometry.block_tokens);
        let usable: Vec<&[u8]> = blocks.iter().map(AsRef::as_ref).take(count).collect();
        let expected = geometry.block_bytes();
        let wrong = |block: &&[u8]| block.len() != expected;
        if let Some((index, block)) = usable.iter().enumerate().find(|(_, block)| wrong(block)) {
            return Err(RestoreError::WrongSize {
                index,
                bytes: block.len(),
                expected,
            });
        }
        self.engine.shared.pool.install(|| self.kv.restore(&usable));
        self.filled = count * geometry.block_tokens;
        self.next_sealed = count;
        Ok(self.filled)
    }

    /// Computes the next chunk of the prompt: whole blocks of at least 64 tokens together, the last chunk
    /// as far as the prompt goes. Once it is done, further calls do nothing.
    ///
    /// # Errors
    /// [`ComputeError`] if the tensor library fails; the generation is of no more use then.
    pub fn prefill(&mut self) -> Result<PrefillStep, ComputeError> {
        let rest = self.prompt_tokens - self.filled.min(self.prompt_tokens);
        if rest > 0 {
            let chunk = CHUNK_TOKENS_MIN.next_multiple_of(self.engine.shared.geometry.block_tokens);
            // A short end comes along: alone it would read all weights once more.
            let rows = if rest < chunk + chunk / 2 {
                rest
            } else {
                chunk
            };
            self.compute(self.filled + rows, self.prompt_tokens)?;
        }
        if self.filled < self.prompt_tokens {
            return Ok(PrefillStep::Chunk {
                tokens_done: self.filled,
            });
        }
        Ok(PrefillStep::Done)
    }

    /// Computes keys and values up to `end`, with logits if that is `last`.
    fn compute(&mut self, end: usize, last: usize) -> Result<(), ComputeError> {
        let shared = &self.engine.shared;
        let (kv, first) = (&mut self.kv, self.filled);
        let tokens = self.tokens.get(first..end).unwrap_or_default();
        let logits = shared
            .pool
            .install(|| shared.decoder.forward(kv, tokens, first, end == last))?;
        self.filled = end;
        if let Some(logits) = logits {
            self.logits = logits;
        }
        Ok(())
    }

    /// Chooses the next token.
    ///
    /// # Errors
    /// [`ComputeError::NotReady`] before the prompt is computed, [`ComputeError::Finished`] after the
    /// answer's end, [`ComputeError::Tensors`] if the tensor library fails.
    pub fn step(&mut self) -> Result<Step, ComputeError> {
        if self.finish.is_some() {
            return Err(ComputeError::Finished);
        }
        if self.filled < self.prompt_tokens {
            return Err(ComputeError::NotReady);
        }
        if self.filled < self.tokens.len() {
            // The token of the step before. Computed only now, so that an answer's last token, which
            // nothing follows, is never computed.
            self.compute(self.tokens.len(), self.tokens.len())?;
        }
        let token = self
            .sampler
            .draw(&self.logits, &self.guide)
            .ok_or(ComputeError::NoToken)?;
        self.tokens.push(token);
        self.guide.advance(token);
        let text = &self.engine.shared.text;
        let mut out = String::new();
        if text.ends(token) {
            self.finish = Some(Finish::Stop);
        } else {
            let piece = self.stream.push(text, token)?;
            out = piece.text;
            if piece.stopped {
                self.finish = Some(Finish::Stop);
                return Ok(Step {
                    token,
                    text: out,
                    finish: self.finish,
                });
            }
        }
        if self.finish.is_none() && self.tokens.len() == self.tokens_end {
            self.finish = Some(Finish::Length);
        }
        if self.finish.is_some() {
            let rest = self.stream.finish(text)?;
            out.push_str(&rest.text);
            if rest.stopped {
                self.finish = Some(Finish::Stop);
            }
        }
        Ok(Step {
            token,
            text: out,
            finish: self.finish,
        })
    }

    /// The whole blocks that were computed since the last call, prompt and answer alike.
    ///
    /// A block that decoding filled has the same bytes as one computed as a chunk of a prompt, so it is
    /// sealed as it is. Tokens after the last whole block stay private to the generation.
    pub fn take_sealed(&mut self) -> Vec<SealedBlock> {
        let whole = self.filled / self.engine.shared.geometry.block_tokens;
        let first = self.next_sealed;
        self.next_sealed = whole.max(first);
        (first..whole)
            .map(|index| SealedBlock {
                index,
                payload: self.kv.payload(index),
            })
            .collect()
    }

    /// The logits that the last token was chosen from, or the next one will be if none was chosen since.
    /// Empty before the prompt is computed.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The prompt's tokens and, after them, the answer's.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many of [`tokens`](Self::tokens) are the prompt.
    #[must_use]
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Why the answer ended, once it has.
    #[must_use]
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }
}
