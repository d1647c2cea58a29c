//! The embedded engine as a back end. Translation only: names, numbers, errors.
//!
//! Chat templates are rendered without the date: a prompt that says what day it is shares no prefix
//! with yesterday's.

use bytes::Bytes;
use ultrakv_actors::Entropy;
use ultrakv_cache::KeyInputs;
use ultrakv_model as model;

use super::{Backend, ChatMessage, Generation, ModelCard, Prefill, SealedBlock, Step};
use crate::process::{Fault, Finish, ProcessError, Prompt, Sampling};

/// The embedded engine.
#[derive(Debug)]
pub struct EmbeddedBackend {
    engine: model::Engine,
    card: ModelCard,
    key_inputs: KeyInputs,
    entropy: Entropy,
}

impl EmbeddedBackend {
    /// An engine under the name it is served by: the given one, or its own. `entropy` seeds the
    /// sampling of requests that bring no seed.
    #[must_use]
    pub fn new(engine: model::Engine, name: Option<String>, entropy: Entropy) -> Self {
        let info = engine.info();
        let card = ModelCard {
            name: name.unwrap_or_else(|| info.name.clone()),
            context_tokens: info.context_tokens,
            gpu: false,
        };
        Self {
            key_inputs: engine.key_inputs(),
            card,
            engine,
            entropy,
        }
    }

    /// The request's seed, or one that nobody can foresee. Greedy sampling looks at none.
    fn seed(&self, sampling: &Sampling) -> Result<u64, ProcessError> {
        match sampling.seed {
            Some(seed) => Ok(seed),
            None if sampling.temperature == 0.0 => Ok(0),
            None => {
                let drawn = self.entropy.draw();
                drawn
                    .map(u64::from_le_bytes)
                    .map_err(|error| failed(&error))
            }
        }
    }
}

impl Backend for EmbeddedBackend {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn key_inputs(&self) -> &KeyInputs {
        &self.key_inputs
    }

    fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, ProcessError> {
        let messages: Vec<_> = messages
            .iter()
            .map(|message| model::ChatMessage {
                role: message.role.name().to_owned(),
                content: message.content.clone(),
                name: message.name.clone(),
            })
            .collect();
        let rendered = self
            .engine
            .render_chat(&messages, &model::ChatOptions::default());
        rendered.map_err(|error| unsuitable(Fault::Prompt, &error))
    }

    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, ProcessError> {
        let tokens = match prompt {
            Prompt::Text(text) => self.engine.encode(text),
            // The template has written the markers that `encode` would add.
            Prompt::Rendered(text) => self.engine.encode_chat(text),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
        };
        tokens.map_err(|error| unsuitable(Fault::Prompt, &error))
    }

    fn begin(
        &self,
        tokens: &[u32],
        sampling: &Sampling,
    ) -> Result<Box<dyn Generation>, ProcessError> {
        let tokens_max = sampling.tokens_max.map_or(usize::MAX, |tokens_max| {
            usize::try_from(tokens_max).unwrap_or(usize::MAX)
        });
        let options = model::SamplingOptions {
            tokens_max,
            temperature: single(sampling.temperature),
            top_p: single(sampling.top_p),
            seed: self.seed(sampling)?,
            stop: sampling.stop.clone(),
        };
        let generation = self
            .engine
            .begin(tokens, options)
            .map_err(|error| match error {
                model::BeginError::Empty => ProcessError::PromptEmpty,
                model::BeginError::PromptTooLong { tokens, context } => {
                    ProcessError::PromptTooLong {
                        tokens,
                        context_tokens: context,
                    }
                }
                model::BeginError::BadOption { option, .. } => {
                    unsuitable(Fault::Parameter(option), &error)
                }
                other => unsuitable(Fault::Prompt, &other),
            })?;
        Ok(Box::new(EmbeddedGeneration { generation }))
    }
}

/// One prompt of the embedded engine.
#[derive(Debug)]
struct EmbeddedGeneration {
    generation: model::Generation,
}

impl Generation for EmbeddedGeneration {
    fn restore(&mut self, payloads: &[Bytes]) -> Result<usize, ProcessError> {
        self.generation
            .restore(payloads)
            .map_err(|error| failed(&error))
    }

    fn prefill(&mut self) -> Result<Prefill, ProcessError> {
        match self.generation.prefill().map_err(|error| failed(&error))? {
            model::PrefillStep::Chunk { .. } => Ok(Prefill::More),
            model::PrefillStep::Done => Ok(Prefill::Done),
        }
    }

    fn step(&mut self) -> Result<Step, ProcessError> {
        let step = self.generation.step().map_err(|error| failed(&error))?;
        let finish = step.finish.map(|finish| match finish {
            model::Finish::Stop => Finish::Stop,
            model::Finish::Length => Finish::Length,
        });
        Ok(Step {
            text: step.text,
            finish,
        })
    }

    fn take_sealed(&mut self) -> Vec<SealedBlock> {
        let sealed = self.generation.take_sealed().into_iter();
        sealed
            .map(|block| SealedBlock {
                index: block.index,
                payload: block.payload,
            })
            .collect()
    }

    fn tokens(&self) -> &[u32] {
        self.generation.tokens()
    }
}

fn unsuitable(fault: Fault, error: &dyn std::error::Error) -> ProcessError {
    ProcessError::Unsuitable {
        fault,
        reason: error.to_string(),
    }
}

/// An error of the machine's, with its causes, which the caller is not told.
fn failed(error: &dyn std::error::Error) -> ProcessError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    ProcessError::Model { reason }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "the engine samples in single precision; the doors have checked the range"
)]
const fn single(value: f64) -> f32 {
    value as f32
}
