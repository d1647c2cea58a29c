//! One flight from take-off to landing: the response entry once more, a slot, the longest cached
//! prefix, the generation, and what it leaves in the cache.
//!
//! Runs as a task of its own, so that it belongs to everybody who waits and ends when nobody does. It
//! never fails because of the cache: a lookup in doubt is a miss, a store that does not take a block
//! is not offered the ones after it, which nobody could reach.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::poll_immediate;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use ultrakv_actors::Domain;
use ultrakv_actors::clock::{Deadline, Stopwatch};
use ultrakv_cache::KeySpace;

use crate::admission::GenerationPermit;
use crate::backend::Generation;
use crate::process::Inner;
use crate::process::answer::{Answer, CacheUse};
use crate::process::canonical::RequestKey;
use crate::process::chain::Chain;
use crate::process::error::ProcessError;
use crate::process::flight::{Landing, Lead};
use crate::process::generate::{BLOCKS_IN_FLIGHT_MAX, Job, Made, elapsed_us, generate};
use crate::process::request::{CacheControl, ProcessRequest};
use crate::process::response;
use crate::process::store::{CachedBlock, Coming, InDoubt, NewBlock, NewEntry};

/// How long a lookup may take before we compute instead.
const LOOKUP_WITHIN: Duration = Duration::from_secs(2);
/// How long storing one block or one response may take before it is given up.
const STORE_WITHIN: Duration = Duration::from_secs(2);

/// A request on its way.
pub(super) struct Journey {
    pub(super) inner: Arc<Inner>,
    pub(super) request: ProcessRequest,
    pub(super) domain: Domain,
    pub(super) key: RequestKey,
    pub(super) deadline: Deadline,
    /// Runs since the request arrived.
    pub(super) stopwatch: Stopwatch,
}

/// A prompt as the model reads it.
struct Prompted {
    tokens: Vec<u32>,
    chain: Chain,
}

/// A prompt ready to be computed.
struct Prepared {
    generation: Box<dyn Generation>,
    chain: Chain,
    permit: GenerationPermit,
}

impl Journey {
    /// Flies. Whatever happens, `lead` is settled when this returns or is dropped.
    pub(super) async fn fly(self, lead: Lead) {
        let lead = Arc::new(lead);
        let abandoned = lead.abandoned();
        let landed = tokio::select! {
            biased;
            () = abandoned.cancelled() => return self.inner.recorder.cancelled(),
            prepared = self.prepare(&lead) => prepared,
        };
        match landed {
            Ok(Some((prepared, restored))) => self.run(prepared, restored, &lead).await,
            Ok(None) => {}
            Err(error) => lead.finish(Err(error)),
        }
    }

    /// Everything up to the first chunk. `None`: an equal request's answer was found after all.
    async fn prepare(
        &self,
        lead: &Lead,
    ) -> Result<Option<(Prepared, Vec<CachedBlock>)>, ProcessError> {
        // Between our first look and the start of this flight an equal one may have landed.
        if let Some(answer) = self
            .inner
            .cached_answer(&self.request, self.domain, &self.key)
            .await
        {
            let first_token_us = elapsed_us(&self.stopwatch);
            let landing = Landing {
                answer: Arc::new(answer),
                cache: CacheUse::Response,
                first_token_us,
            };
            lead.finish(Ok(landing));
            return Ok(None);
        }
        let (permit, prompt) = self.wait_for_turn().await?;
        let prepared = self.begin(permit, prompt).await?;
        let restored = self.longest_prefix(&prepared.chain).await;
        Ok(Some((prepared, restored)))
    }

    /// Waits for a slot. A request that has to wait is tokenized meanwhile, so that its blocks can be on their way here
    /// before its turn comes; one that need not gains nothing by that.
    async fn wait_for_turn(&self) -> Result<(GenerationPermit, Prompted), ProcessError> {
        let turn = self.inner.admission.admit(self.request.priority);
        let mut turn = std::pin::pin!(turn);
        if let Some(permit) = poll_immediate(&mut turn).await {
            return Ok((permit?, self.encode().await?));
        }
        let (permit, prompt) = futures::try_join!(turn, self.encode())?;
        Ok((permit, prompt))
    }

    /// Tokenizes, on a thread that may block, and tells whoever fetches ahead.
    async fn encode(&self) -> Result<Prompted, ProcessError> {
        let backend = Arc::clone(&self.inner.backend);
        let domain = self.domain;
        let prompt = self.request.prompt.clone();
        let encoded = tokio::task::spawn_blocking(move || {
            let tokens = backend.encode(&prompt)?;
            let inputs = *backend.key_inputs();
            let space = KeySpace::new(&domain.effective, &inputs);
            let chain = Chain::new(space, inputs, &tokens);
            Ok(Prompted { tokens, chain })
        });
        let prompted = encoded.await.unwrap_or_else(|panicked| {
            tracing::error!(%panicked, "tokenizing a prompt panicked");
            Err(ProcessError::Lost)
        })?;
        let chain = prompted.chain.matchable();
        if self.inner.limits.cache && !chain.is_empty() {
            let session = self.request.session_id.as_ref();
            let coming = Coming {
                chain,
                block_tokens: self.inner.backend.key_inputs().block_tokens,
                session: session.map(|session| digest(session)),
            };
            self.inner.store.arriving(self.domain, coming);
        }
        Ok(prompted)
    }

    /// Starts the generation, on a thread that may block.
    async fn begin(
        &self,
        permit: GenerationPermit,
        Prompted { tokens, chain }: Prompted,
    ) -> Result<Prepared, ProcessError> {
        let backend = Arc::clone(&self.inner.backend);
        let sampling = self.request.sampling.clone();
        let begun = tokio::task::spawn_blocking(move || {
            let generation = backend.begin(&tokens, &sampling)?;
            Ok(Prepared {
                generation,
                chain,
                permit,
            })
        });
        begun.await.unwrap_or_else(|panicked| {
            tracing::error!(%panicked, "starting a generation panicked");
            Err(ProcessError::Lost)
        })
    }

    async fn longest_prefix(&self, chain: &Chain) -> Vec<CachedBlock> {
        let matchable = chain.matchable();
        if matchable.is_empty() || !self.inner.limits.cache {
            return Vec::new();
        }
        let inner = &self.inner;
        let deadline = inner.clock.deadline(LOOKUP_WITHIN).min(self.deadline);
        match inner.store.prefix(self.domain, matchable, deadline).await {
            Ok(blocks) => chain.usable(blocks, self.domain.encoding().takes_loss()),
            Err(doubt) => {
                inner.doubted("prefix", doubt);
                Vec::new()
            }
        }
    }

    /// Runs the generation and takes what it makes.
    async fn run(&self, prepared: Prepared, restored: Vec<CachedBlock>, lead: &Arc<Lead>) {
        let Prepared {
            generation,
            chain,
            permit,
        } = prepared;
        let (made, mut makes) = mpsc::channel(BLOCKS_IN_FLIGHT_MAX);
        let blocks_unwanted = CancellationToken::new();
        if self.request.cache == CacheControl::NoStore || !self.inner.limits.cache {
            blocks_unwanted.cancel();
        }
        let job = Job {
            generation,
            chain,
            restored,
            lead: Arc::clone(lead),
            made,
            blocks_unwanted: blocks_unwanted.clone(),
            stopwatch: self.stopwatch,
        };
        self.inner
            .recorder
            .generations_started
            .fetch_add(1, Ordering::Relaxed);
        let thread = tokio::task::spawn_blocking(move || {
            generate(job);
            // Only now is the slot free: the permit outlives the computation, not the other way.
            drop(permit);
        });
        while let Some(made) = makes.recv().await {
            match made {
                Made::Block(block) => self.put(block, &blocks_unwanted).await,
                Made::Answer {
                    answer,
                    first_token_us,
                } => {
                    self.land(answer, first_token_us, lead).await;
                }
                Made::Prefilled {
                    tokens,
                    before,
                    elapsed_us,
                } => self.inner.store.computed(tokens, before, elapsed_us),
                Made::Failed(error) => lead.finish(Err(error)),
                Made::Abandoned => {
                    self.inner.recorder.cancelled();
                }
            }
        }
        if let Err(panicked) = thread.await {
            tracing::error!(%panicked, "a generation panicked");
            lead.finish(Err(ProcessError::Lost));
        }
    }

    async fn put(&self, block: NewBlock, unwanted: &CancellationToken) {
        let inner = &self.inner;
        if unwanted.is_cancelled() {
            return;
        }
        let deadline = inner.clock.deadline(STORE_WITHIN);
        match inner.store.put(self.domain, block, deadline).await {
            Ok(true) => {
                inner.recorder.blocks_stored.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(false) => tracing::debug!("the cache did not take a block"),
            Err(InDoubt(code)) => tracing::warn!(code, "a block could not be stored"),
        }
        inner
            .recorder
            .blocks_refused
            .fetch_add(1, Ordering::Relaxed);
        // Without this block those after it are out of reach.
        unwanted.cancel();
    }

    /// Stores the response, so that whoever asks after the landing finds it, and lands.
    async fn land(&self, answer: Answer, first_token_us: u64, lead: &Lead) {
        let inner = &self.inner;
        if inner.writes_response(&self.request)
            && let Some(value) = response::encode(&answer)
        {
            let entry = NewEntry {
                key: response::entry_key(&self.key),
                value,
                ttl: inner.limits.response_ttl,
            };
            let deadline = inner.clock.deadline(STORE_WITHIN);
            if let Err(InDoubt(code)) = inner.store.put_entry(self.domain, entry, deadline).await {
                tracing::warn!(code, "a response could not be stored");
            }
        }
        let cache = if answer.reused_tokens > 0 {
            CacheUse::Prefix
        } else {
            CacheUse::None
        };
        lead.finish(Ok(Landing {
            answer: Arc::new(answer),
            cache,
            first_token_us,
        }));
    }
}

impl Inner {
    /// The stored answer to a request, when it may be read and there is one.
    pub(super) async fn cached_answer(
        &self,
        request: &ProcessRequest,
        domain: Domain,
        key: &RequestKey,
    ) -> Option<Answer> {
        let reads = self.keeps_responses()
            && request.is_shareable()
            && request.cache == CacheControl::Normal;
        if !reads {
            return None;
        }
        let deadline = self.clock.deadline(LOOKUP_WITHIN);
        match self
            .store
            .entry(domain, response::entry_key(key), deadline)
            .await
        {
            Ok(value) => response::decode(&value?),
            Err(doubt) => {
                self.doubted("response", doubt);
                None
            }
        }
    }

    fn writes_response(&self, request: &ProcessRequest) -> bool {
        self.keeps_responses() && request.is_shareable() && request.cache != CacheControl::NoStore
    }

    fn keeps_responses(&self) -> bool {
        self.limits.cache && self.limits.response_cache
    }

    fn doubted(&self, what: &'static str, InDoubt(code): InDoubt) {
        self.recorder
            .lookups_in_doubt
            .fetch_add(1, Ordering::Relaxed);
        tracing::warn!(what, code, "a lookup is in doubt and counts as a miss");
    }
}

/// A conversation's name in eight bytes; two that meet in them are fetched ahead as one, and nothing else.
fn digest(session: &str) -> u64 {
    let digest = blake3::hash(session.as_bytes());
    let (low, _) = digest.as_bytes().split_at(8);
    low.iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
