//! One generation on one blocking thread: restore, prefill chunk by chunk, decode token by token.
//!
//! Text goes straight into the flight, which never blocks; blocks and the end go through a bounded
//! channel, in that order, so that whoever sees the end knows that every earlier block was handed to
//! the cache. Between two chunks or tokens the thread looks whether anybody still waits, so that an
//! abandoned generation ends within one of them. It knows no cache, no clock but a stopwatch and no
//! door.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use ultrakv_actors::clock::Stopwatch;

use crate::backend::{Generation, Prefill};
use crate::process::answer::{Answer, Finish};
use crate::process::chain::Chain;
use crate::process::error::ProcessError;
use crate::process::flight::Lead;
use crate::process::store::{CachedBlock, NewBlock};

/// Blocks on their way to the cache. Few, because a generation makes them slower than the cache takes
/// them; when the cache is slower after all, the generation waits rather than memory grows.
pub(super) const BLOCKS_IN_FLIGHT_MAX: usize = 4;

/// What a generation hands over, in order.
#[derive(Debug)]
pub(super) enum Made {
    /// A whole block.
    Block(NewBlock),
    /// The prompt is computed, so many tokens behind so many that were restored, in so long.
    Prefilled {
        tokens: u32,
        before: u32,
        elapsed_us: u64,
    },
    /// The end: the answer, and when its first token was there.
    Answer { answer: Answer, first_token_us: u64 },
    /// The end: an error.
    Failed(ProcessError),
    /// The end: nobody waits.
    Abandoned,
}

/// Everything a generation needs.
pub(super) struct Job {
    pub(super) generation: Box<dyn Generation>,
    pub(super) chain: Chain,
    pub(super) restored: Vec<CachedBlock>,
    pub(super) lead: Arc<Lead>,
    pub(super) made: mpsc::Sender<Made>,
    /// Cancelled when the cache takes no more blocks of this generation.
    pub(super) blocks_unwanted: CancellationToken,
    /// Runs since the request arrived.
    pub(super) stopwatch: Stopwatch,
}

/// Why a generation ends early.
enum Halt {
    Abandoned,
    Failed(ProcessError),
}

impl From<ProcessError> for Halt {
    fn from(error: ProcessError) -> Self {
        Self::Failed(error)
    }
}

/// Runs a generation to its end. For a thread that may block.
pub(super) fn generate(mut job: Job) {
    let end = match job.run() {
        Ok((answer, first_token_us)) => Made::Answer {
            answer,
            first_token_us,
        },
        Err(Halt::Abandoned) => Made::Abandoned,
        Err(Halt::Failed(error)) => Made::Failed(error),
    };
    // Nobody listening means that the node shuts down; there is nobody left to tell.
    let _shutting_down = job.made.blocking_send(end);
}

impl Job {
    fn run(&mut self) -> Result<(Answer, u64), Halt> {
        let prompt_tokens = self.generation.tokens().len();
        let reused_tokens = self.restore()?;
        let begun_us = elapsed_us(&self.stopwatch);
        self.prefill()?;
        let elapsed_us = elapsed_us(&self.stopwatch).saturating_sub(begun_us);
        let prefilled = Made::Prefilled {
            tokens: count(prompt_tokens.saturating_sub(reused_tokens)),
            before: count(reused_tokens),
            elapsed_us,
        };
        let sent = self.made.blocking_send(prefilled);
        sent.map_err(|_shutting_down| Halt::Abandoned)?;
        let (text, finish, first_token_us) = self.decode()?;
        let completion_tokens = self.generation.tokens().len().saturating_sub(prompt_tokens);
        let answer = Answer {
            text,
            prompt_tokens: count(prompt_tokens),
            completion_tokens: count(completion_tokens),
            finish,
            reused_tokens: count(reused_tokens),
        };
        Ok((answer, first_token_us))
    }

    fn restore(&mut self) -> Result<usize, Halt> {
        self.check()?;
        if self.restored.is_empty() {
            return Ok(0);
        }
        let payloads: Vec<_> = self
            .restored
            .iter()
            .map(|block| block.payload.clone())
            .collect();
        let tokens = self.generation.restore(&payloads)?;
        // The leases end here: the generation has its own copy.
        self.restored.clear();
        Ok(tokens)
    }

    fn prefill(&mut self) -> Result<(), Halt> {
        loop {
            self.check()?;
            let prefill = self.generation.prefill()?;
            // At once, so that requests with the same prefix profit while we decode.
            self.hand_over_blocks()?;
            if prefill == Prefill::Done {
                return Ok(());
            }
        }
    }

    fn decode(&mut self) -> Result<(String, Finish, u64), Halt> {
        let mut text = String::new();
        let mut first_token_us = None;
        loop {
            self.check()?;
            let step = self.generation.step()?;
            first_token_us.get_or_insert_with(|| elapsed_us(&self.stopwatch));
            self.lead.push(&step.text);
            text.push_str(&step.text);
            self.hand_over_blocks()?;
            if let Some(finish) = step.finish {
                return Ok((text, finish, first_token_us.unwrap_or_default()));
            }
        }
    }

    fn check(&self) -> Result<(), Halt> {
        if self.lead.is_abandoned() {
            Err(Halt::Abandoned)
        } else {
            Ok(())
        }
    }

    /// Sends completed blocks off. Waits while too many are on their way.
    fn hand_over_blocks(&mut self) -> Result<(), Halt> {
        let sealed = self.generation.take_sealed();
        if sealed.is_empty() || self.blocks_unwanted.is_cancelled() {
            return Ok(());
        }
        for block in sealed {
            let Some(block) = self.chain.seal(block, self.generation.tokens()) else {
                continue;
            };
            let sent = self.made.blocking_send(Made::Block(block));
            sent.map_err(|_shutting_down| Halt::Abandoned)?;
        }
        Ok(())
    }
}

/// Microseconds since the stopwatch was started.
pub(super) fn elapsed_us(stopwatch: &Stopwatch) -> u64 {
    u64::try_from(stopwatch.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A count of tokens; no context is longer than `u32::MAX`.
fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
