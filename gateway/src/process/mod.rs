//! The process path: request → canonical form → response entry (hit: answer) → tokens → block keys
//! → longest cached prefix → the model continues from there → new blocks and the response are
//! stored.
//!
//! [`Processor`] is the only door into it, for every protocol. It knows no protocol and no JSON;
//! blocks and entries it reaches through the cluster's handle, the model through a back end, a slot
//! to compute in through admission.
//!
//! ```text
//! open ── response entry? ── yes ──────────────────────────────────────────► answer
//!              │ no
//!              ├─ an equal request in the air ── follow it ────────────────► its answer
//!              └─ take off: slot ─ tokens ─ prefix ─ prefill ─ decode ─ store ─► answer
//! ```

mod answer;
mod canonical;
mod chain;
mod compute;
mod error;
mod flight;
mod generate;
mod request;
mod response;
mod stats;
mod store;
mod store_cluster;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{Node, StartError};
use ultrakv_cache::{KeyInputs, opaque_key};
use ultrakv_cluster::ClusterHandle;
use ultrakv_config::Settings;
use ultrakv_model::Engine;

use crate::admission::Admission;
use crate::auth::Caller;
use crate::backend::{Backend, ChatMessage, EmbeddedBackend, ModelCard};
use crate::gateway_actor;
use crate::process::canonical::RequestKey;
use crate::process::compute::Journey;
use crate::process::flight::{Flights, Joined};
use crate::process::stats::Recorder;
use crate::process::store::Store;
use crate::service_actor::Services;

pub use answer::{Answer, CacheUse, Finish, ProcessOutcome};
pub use error::{Fault, ProcessError};
pub use request::{CacheControl, Door, Priority, ProcessRequest, Prompt, Sampling};
pub use stats::{LATENCY_BOUNDS_US, LatencyStats, ProcessStats, THROUGHPUT_WINDOW_S};
pub(crate) use stats::{ms, seconds};
pub use stream::{ProcessEvent, ProcessStream};

/// What the settings say about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Whether anything is read from or written to the cache; without it every request is computed,
    /// equal ones at the same time still once.
    pub cache: bool,
    /// Whether answers are stored and found again.
    pub response_cache: bool,
    /// How long a stored answer is found.
    pub response_ttl: Duration,
    /// `max_length` where a request of `process` gives none.
    pub max_length_default: u32,
    /// The largest `max_length`.
    pub max_length_max: u32,
    /// Characters of a request's text.
    pub text_chars_max: u32,
}

impl ProcessLimits {
    /// Those of the settings.
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Self {
        let Settings {
            cache,
            process: settings,
            ..
        } = settings;
        Self {
            cache: cache.enabled,
            response_cache: settings.response_cache,
            response_ttl: settings.response_ttl,
            max_length_default: settings.default_max_length,
            max_length_max: settings.max_length_max,
            text_chars_max: settings.text_chars_max,
        }
    }
}

/// The process path's handle. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Processor {
    inner: Arc<Inner>,
}

/// What all clones share.
struct Inner {
    store: Arc<dyn Store>,
    backend: Arc<dyn Backend>,
    model_identity: Vec<u8>,
    admission: Admission,
    services: Services,
    flights: Flights,
    recorder: Recorder,
    limits: ProcessLimits,
    clock: Clock,
    started_unix_s: u64,
}

impl Processor {
    /// Starts the path on a node: its actors join the node's tree.
    ///
    /// # Errors
    /// When an actor does not start.
    pub async fn start(
        node: &Node,
        cluster: ClusterHandle,
        engine: Engine,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let process = &settings.process;
        let admission = Admission::new(
            size(process.generations_concurrent_max),
            size(process.queue_max),
        );
        let services = Services::default();
        let names: Vec<String> = settings.services.keys().cloned().collect();
        node.attach(gateway_actor::branch(&admission, &services, &names))
            .await?;
        let name = settings.model.name.clone();
        let backend = EmbeddedBackend::new(engine, name, node.entropy().clone());
        let limits = ProcessLimits::from_settings(settings);
        let around = (limits, node.clock().clone());
        Ok(Self::over(
            Arc::new(cluster),
            Arc::new(backend),
            (admission, services),
            around,
        ))
    }

    /// A path over any store and any model.
    fn over(
        store: Arc<dyn Store>,
        backend: Arc<dyn Backend>,
        (admission, services): (Admission, Services),
        (limits, clock): (ProcessLimits, Clock),
    ) -> Self {
        let inner = Inner {
            store,
            model_identity: identity(&backend.card().name, backend.key_inputs()),
            backend,
            admission,
            services,
            flights: Flights::default(),
            recorder: Recorder::new(),
            limits,
            started_unix_s: clock.unix().seconds(),
            clock,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Answers a request of a service, whole.
    ///
    /// # Errors
    /// Every [`ProcessError`]. Dropping the future is going away: unless somebody else waits for the
    /// same answer its generation stops within one chunk or token.
    pub async fn run(
        &self,
        caller: &Caller,
        request: ProcessRequest,
        deadline: Deadline,
    ) -> Result<ProcessOutcome, ProcessError> {
        let mut stream = self.open(caller, request, deadline).await?;
        loop {
            if let ProcessEvent::Done(outcome) = stream.next().await? {
                return Ok(outcome);
            }
        }
    }

    /// Starts to answer a request of a service; the answer comes piece by piece.
    ///
    /// # Errors
    /// [`ProcessError::UnknownService`]; everything else comes out of the stream.
    pub async fn open(
        &self,
        caller: &Caller,
        request: ProcessRequest,
        deadline: Deadline,
    ) -> Result<ProcessStream, ProcessError> {
        let inner = &self.inner;
        let stopwatch = inner.clock.stopwatch();
        let domain = inner
            .store
            .domain(&caller.service, request.cache_salt.as_deref());
        let domain = domain.inspect_err(|error| inner.recorder.failed(error))?;
        let key = RequestKey::new(&inner.model_identity, &request);
        let mut stream =
            ProcessStream::new(Arc::clone(inner), &caller.service, deadline, stopwatch);
        if let Some(answer) = inner.cached_answer(&request, domain, &key).await {
            stream.answer_is(answer);
            return Ok(stream);
        }
        let joins = request.is_shareable() && request.cache == CacheControl::Normal;
        let joined = if joins {
            // Under the domain: a follower must be entitled to what it follows.
            let flight = *opaque_key(&domain.effective, key.as_bytes()).as_bytes();
            inner.flights.join(flight)
        } else {
            let (lead, subscription) = inner.flights.alone();
            Joined::Lead(lead, subscription)
        };
        match joined {
            Joined::Follow(subscription) => stream.follow(subscription),
            Joined::Lead(lead, subscription) => {
                stream.wait_for(subscription);
                let inner = Arc::clone(inner);
                let journey = Journey {
                    inner,
                    request,
                    domain,
                    key,
                    deadline,
                    stopwatch,
                };
                tokio::spawn(journey.fly(lead));
            }
        }
        Ok(stream)
    }

    /// A conversation as the model's own text.
    ///
    /// # Errors
    /// [`ProcessError::Unsuitable`] when the model's template refuses it.
    pub fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, ProcessError> {
        self.inner.backend.render_chat(messages)
    }

    /// The model behind the path.
    #[must_use]
    pub fn model(&self) -> &ModelCard {
        self.inner.backend.card()
    }

    /// A short name for weights and numerics together; equal names answer equally.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = blake3::hash(&self.inner.model_identity).to_hex();
        format!(
            "fp_{}",
            digest.as_str().chars().take(12).collect::<String>()
        )
    }

    /// When the path came to life, in Unix seconds.
    #[must_use]
    pub fn started_unix_s(&self) -> u64 {
        self.inner.started_unix_s
    }

    /// The time now, in Unix seconds, for answers that carry it.
    #[must_use]
    pub fn unix_s(&self) -> u64 {
        self.inner.clock.unix().seconds()
    }

    /// What the settings say.
    #[must_use]
    pub fn limits(&self) -> ProcessLimits {
        self.inner.limits
    }

    /// The services' own figures.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.inner.services
    }

    /// The path's figures now.
    #[must_use]
    pub fn stats(&self) -> ProcessStats {
        let inner = &self.inner;
        let mut stats = inner.recorder.snapshot(inner.clock.now());
        stats.generations_active = inner.admission.running();
        stats.generations_queued = inner.admission.queued();
        stats
    }
}

/// A limit of the settings as a size; no machine has more than `usize::MAX` of anything.
fn size(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Everything about a model that changes its answers, as bytes: its served name, and what decides the
/// contents of its blocks.
fn identity(name: &str, inputs: &KeyInputs) -> Vec<u8> {
    let KeyInputs {
        weights,
        adapter,
        rope,
        layout,
        block_tokens,
    } = inputs;
    let mut identity = Vec::new();
    for fixed in [weights, adapter, rope] {
        identity.extend_from_slice(fixed);
    }
    identity.extend_from_slice(&layout.encode());
    identity.extend_from_slice(&block_tokens.to_le_bytes());
    // Last, because it alone has no fixed length.
    identity.extend_from_slice(name.as_bytes());
    identity
}
