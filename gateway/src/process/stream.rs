//! One request's view of its answer: pieces of text, then the whole with how it came about.
//!
//! Here a request's own deadline is kept and its figures are counted, once, whichever way its answer
//! came. Dropping the stream is going away.

use std::sync::Arc;

use ultrakv_actors::clock::{Deadline, Stopwatch};

use crate::process::Inner;
use crate::process::answer::{Answer, CacheUse, ProcessOutcome};
use crate::process::error::ProcessError;
use crate::process::flight::{Landing, Progress, Subscription};
use crate::process::generate::elapsed_us;
use crate::service_actor::Ended;

/// What comes out of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// More text; never empty.
    Delta(String),
    /// The end.
    Done(ProcessOutcome),
}

/// An answer on its way to one request.
pub struct ProcessStream {
    inner: Arc<Inner>,
    service: String,
    deadline: Deadline,
    stopwatch: Stopwatch,
    source: Source,
    first_us: Option<u64>,
}

/// Where the answer comes from.
enum Source {
    /// It was stored.
    Stored(Arc<Answer>),
    /// It was stored, and its text has been handed out.
    Told(Arc<Answer>),
    /// It is being computed.
    Flight {
        subscription: Subscription,
        follows: bool,
    },
    /// It, or an error, has been handed out.
    Ended,
}

impl ProcessStream {
    /// A stream that waits for nothing yet.
    pub(super) fn new(
        inner: Arc<Inner>,
        service: &str,
        deadline: Deadline,
        stopwatch: Stopwatch,
    ) -> Self {
        let service = service.to_owned();
        Self {
            inner,
            service,
            deadline,
            stopwatch,
            source: Source::Ended,
            first_us: None,
        }
    }

    pub(super) fn answer_is(&mut self, answer: Answer) {
        self.source = Source::Stored(Arc::new(answer));
    }

    pub(super) fn follow(&mut self, subscription: Subscription) {
        self.source = Source::Flight {
            subscription,
            follows: true,
        };
    }

    pub(super) fn wait_for(&mut self, subscription: Subscription) {
        self.source = Source::Flight {
            subscription,
            follows: false,
        };
    }

    /// The next piece, or the end.
    ///
    /// # Errors
    /// What the computation failed with, or [`ProcessError::Deadline`]. After the end or an error
    /// there is nothing more: [`ProcessError::Lost`].
    pub async fn next(&mut self) -> Result<ProcessEvent, ProcessError> {
        let next = self.advance().await;
        match &next {
            Ok(ProcessEvent::Delta(_)) => {
                let stopwatch = self.stopwatch;
                self.first_us.get_or_insert_with(|| elapsed_us(&stopwatch));
            }
            Ok(ProcessEvent::Done(outcome)) => self.count_answer(outcome),
            Err(error) => self.count_failure(error),
        }
        next
    }

    async fn advance(&mut self) -> Result<ProcessEvent, ProcessError> {
        match &mut self.source {
            Source::Ended => Err(ProcessError::Lost),
            Source::Stored(answer) => {
                let answer = Arc::clone(answer);
                self.source = Source::Told(Arc::clone(&answer));
                if answer.text.is_empty() {
                    return Ok(self.done_from_stored(answer));
                }
                Ok(ProcessEvent::Delta(answer.text.clone()))
            }
            Source::Told(answer) => {
                let answer = Arc::clone(answer);
                Ok(self.done_from_stored(answer))
            }
            Source::Flight {
                subscription,
                follows,
            } => {
                let follows = *follows;
                let remaining = self.inner.clock.remaining(self.deadline);
                match tokio::time::timeout(remaining, subscription.next()).await {
                    Err(_elapsed) => Err(ProcessError::Deadline),
                    Ok(Err(error)) => Err(error),
                    Ok(Ok(Progress::Delta(text))) => Ok(ProcessEvent::Delta(text)),
                    Ok(Ok(Progress::Done(landing))) => Ok(self.done_from_flight(landing, follows)),
                }
            }
        }
    }

    fn done_from_stored(&self, answer: Arc<Answer>) -> ProcessEvent {
        let latency_us = elapsed_us(&self.stopwatch);
        ProcessEvent::Done(ProcessOutcome {
            cache: CacheUse::Response,
            coalesced: false,
            reused_tokens: answer.prompt_tokens,
            computed_tokens: 0,
            first_token_us: self.first_us.unwrap_or(latency_us),
            latency_us,
            answer,
        })
    }

    /// For whoever took off, what the flight did; for a follower, an answer it did not compute.
    fn done_from_flight(&self, landing: Landing, follows: bool) -> ProcessEvent {
        let Landing {
            answer,
            cache,
            first_token_us,
        } = landing;
        let latency_us = elapsed_us(&self.stopwatch);
        let prompt_tokens = answer.prompt_tokens;
        let found = follows || cache == CacheUse::Response;
        let reused_tokens = if found {
            prompt_tokens
        } else {
            answer.reused_tokens
        };
        let first_us = self.first_us.unwrap_or(latency_us);
        ProcessEvent::Done(ProcessOutcome {
            cache: if found { CacheUse::Response } else { cache },
            coalesced: follows,
            reused_tokens,
            computed_tokens: prompt_tokens.saturating_sub(reused_tokens),
            // The first token may have no text yet; the thread that made it knows best.
            first_token_us: if follows {
                first_us
            } else {
                first_token_us.min(first_us)
            },
            latency_us,
            answer,
        })
    }

    fn count_answer(&mut self, outcome: &ProcessOutcome) {
        self.source = Source::Ended;
        self.inner
            .recorder
            .answered(outcome, self.inner.clock.now());
        let ended = Ended::Answered {
            cache: outcome.cache,
            reused: outcome.reused_tokens,
            computed: outcome.computed_tokens,
            generated: outcome.answer.completion_tokens,
        };
        self.inner.services.ended(&self.service, ended);
    }

    fn count_failure(&mut self, error: &ProcessError) {
        if matches!(self.source, Source::Ended) {
            return;
        }
        // Going away from the flight too: after its deadline nobody reads this stream any more.
        self.source = Source::Ended;
        self.inner.recorder.failed(error);
        self.inner.services.ended(&self.service, Ended::Failed);
    }
}

impl Drop for ProcessStream {
    fn drop(&mut self) {
        if !matches!(self.source, Source::Ended) {
            self.inner.recorder.left();
            self.inner.services.ended(&self.service, Ended::Failed);
        }
    }
}
