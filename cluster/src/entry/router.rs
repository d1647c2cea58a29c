//! The entry router: brings a question about a key to the owner of its slot, wherever that is.
//!
//! Responsible for whom to ask, for asking again, and for never asking again what may have been done. It must never know what
//! a replica decides, nor what a value means.
//!
//! A question ends with an answer, with an error that says that nothing was carried out, or with "outcome unknown". What was
//! certainly not done, and every read, is asked again: at once at the owner that an answer named, when the slot's record
//! changes, or after a short while.

mod ask;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Histogram, counter, histogram};
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{Domain, RequestError, telemetry};
use ultrakv_cache::entry_slot;
use xxhash_rust::xxh3::xxh3_64;

pub use ask::{EntryError, EntryFound, EntryOptions, EntryRefusal};

use super::host::{EntryHost, Shared, SlotWord, Unasked};
use super::request::{Answer, Delay, Found, OnlyIf, Op, Refusal, Request};
use super::types::{Key, Ownership, Version};
use crate::peer::{Parcel, PeerError, Refused};
use crate::{Epoch, Incarnation, NodeId};

/// Counter: questions about entries that were asked again. Labels: `cause`.
const RETRIES: &str = "ultrakv_entry_retries_total";

/// The shortest and the longest wait before a question is asked again.
const WAIT_MS_MIN: u64 = 2;
const WAIT_MS_MAX: u64 = 50;

/// How long the answer to a write is still waited for when its owner holds the slot no more. An owner that gives a slot away
/// answers first.
const LATE_MS_MAX: u64 = 50;

/// Redirections followed at once; after that there is a wait before each.
const REDIRECTS_MAX: u32 = 4;

/// Refusals that say that nothing was carried out.
const BUSY: &str = "busy";
const MALFORMED: &str = "entry_malformed";

/// The way to every entry of the cluster; clones are the same.
#[derive(Clone)]
pub struct EntryRouter {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    clock: Clock,
    me: NodeId,
    seconds: Seconds,
    jitter: AtomicU64,
}

/// Time from call to answer, by operation.
struct Seconds {
    get: Histogram,
    put: Histogram,
    delete: Histogram,
    touch: Histogram,
}

/// How one attempt ended.
enum Attempt {
    Answered(Answer),
    /// Certainly not carried out; asking again may help.
    Again(Cause),
    /// Nothing was carried out, and that is the answer.
    Failed(EntryError),
    /// It may have been carried out.
    InDoubt(RequestError),
}

/// Why a question is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Another owner was named.
    Moved,
    /// Nobody serves the slot.
    Unserved,
    /// The owner is not reached.
    Unreached,
    /// The owner has as much under way as may be.
    Busy,
}

impl Cause {
    const fn label(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Unserved => "unserved",
            Self::Unreached => "unreached",
            Self::Busy => "busy",
        }
    }

    const fn error(self) -> EntryError {
        match self {
            Self::Moved | Self::Unserved | Self::Unreached => EntryError::Unavailable,
            Self::Busy => EntryError::Request(RequestError::Busy),
        }
    }
}

impl EntryRouter {
    /// A router over a node's own replicas and its way to others.
    #[must_use]
    pub fn new(host: &EntryHost) -> Self {
        let seconds = |operation: &'static str| histogram!(telemetry::REQUEST_SECONDS, "operation" => operation);
        let shared = Arc::clone(host.shared());
        metrics::describe_counter!(RETRIES, "Questions about entries that were asked again");
        Self {
            inner: Arc::new(Inner {
                clock: shared.links.clock.clone(),
                me: shared.plan.me,
                shared,
                seconds: Seconds {
                    get: seconds("entry_get"),
                    put: seconds("entry_put"),
                    delete: seconds("entry_delete"),
                    touch: seconds("entry_touch"),
                },
                jitter: AtomicU64::new(0),
            }),
        }
    }

    /// An entry.
    ///
    /// # Errors
    /// When no answer came; never to be taken for "absent".
    pub async fn get(
        &self,
        domain: &Domain,
        name: &[u8],
        deadline: Deadline,
    ) -> Result<Option<EntryFound>, EntryError> {
        let watch = self.inner.clock.stopwatch();
        let found = match self.ask(Key::of(domain, name), Op::Get, deadline).await? {
            Outcome::Found(found) => found.map(EntryFound::from),
            Outcome::Done { .. } => return Err(EntryError::Unavailable), // No replica says so to a read.
        };
        self.inner.seconds.get.record(watch.elapsed());
        Ok(found)
    }

    /// Writes an entry; answers its version.
    ///
    /// # Errors
    /// When it was refused, or when it is not known whether it was carried out.
    pub async fn put(
        &self,
        domain: &Domain,
        name: &[u8],
        value: Bytes,
        options: EntryOptions,
        deadline: Deadline,
    ) -> Result<u64, EntryError> {
        let op = Op::Put {
            // The one copy of an entry: the caller's buffer may be part of something larger.
            value: Arc::from(&*value),
            class: options.class,
            ttl_ms: options.ttl_ms,
            only_if: options.only_if,
        };
        let watch = self.inner.clock.stopwatch();
        let (version, _) = self.write(Key::of(domain, name), op, deadline).await?;
        self.inner.seconds.put.record(watch.elapsed());
        Ok(version.0)
    }

    /// Deletes an entry; answers whether there was one.
    ///
    /// # Errors
    /// When its condition does not hold, or when it is not known whether it was carried out.
    pub async fn delete(
        &self,
        domain: &Domain,
        name: &[u8],
        only_if: OnlyIf,
        deadline: Deadline,
    ) -> Result<bool, EntryError> {
        let watch = self.inner.clock.stopwatch();
        let op = Op::Delete { only_if };
        let (_, existed) = self.write(Key::of(domain, name), op, deadline).await?;
        self.inner.seconds.delete.record(watch.elapsed());
        Ok(existed)
    }

    /// Gives an entry another time to live; answers its version, which stays.
    ///
    /// # Errors
    /// When there is none or its condition does not hold, or when it is not known whether it was carried out.
    pub async fn touch(
        &self,
        domain: &Domain,
        name: &[u8],
        ttl_ms: Option<u64>,
        only_if: OnlyIf,
        deadline: Deadline,
    ) -> Result<u64, EntryError> {
        let watch = self.inner.clock.stopwatch();
        let op = Op::Touch { ttl_ms, only_if };
        let (version, _) = self.write(Key::of(domain, name), op, deadline).await?;
        self.inner.seconds.touch.record(watch.elapsed());
        Ok(version.0)
    }

    /// Answers a peer's question from this node's replicas; never asks a third node.
    ///
    /// # Errors
    /// When the question is malformed, or as much is under way here as may be. Nothing was carried out then.
    pub async fn serve_entry(&self, peer: NodeId, parcel: Parcel) -> Result<Parcel, Refused> {
        let refused = |code: &str, message: String, hint: &str| Refused {
            code: code.to_owned(),
            message,
            hint: hint.to_owned(),
        };
        let (slot, wait_ms, request) = wire::read_ask(&parcel).map_err(|error| {
            tracing::warn!(%peer, %error, "a peer's question about an entry is refused");
            refused(
                MALFORMED,
                error.to_string(),
                "compare the versions of both nodes",
            )
        })?;
        let is_read = request.op == Op::Get;
        let deadline = self.inner.clock.deadline(Duration::from_millis(wait_ms));
        let bytes = parcel.payload.len();
        let asked = self.inner.shared.ask(slot, request, bytes, deadline).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(Unasked::Unsent(RequestError::Busy)) => {
                let message = RequestError::Busy.to_string();
                return Err(refused(BUSY, message, RequestError::Busy.hint()));
            }
            Err(Unasked::InDoubt(_)) if !is_read => Answer::Unknown,
            Err(_) => Answer::Retry(Delay::Ownerless),
        };
        wire::answer(slot, &answer)
            .map_err(|error| refused("entry_answer", error.to_string(), "report this as a fault"))
    }

    async fn write(
        &self,
        key: Key,
        op: Op,
        deadline: Deadline,
    ) -> Result<(Version, bool), EntryError> {
        match self.ask(key, op, deadline).await? {
            Outcome::Done { version, existed } => Ok((version, existed)),
            // No replica says so to a write; if one did, nobody could tell what it had done.
            Outcome::Found(_) => Err(EntryError::OutcomeUnknown(RequestError::Stopped)),
        }
    }

    /// Asks until there is an answer, or no more time.
    async fn ask(&self, key: Key, op: Op, deadline: Deadline) -> Result<Outcome, EntryError> {
        let inner = &self.inner;
        let slot = entry_slot(&key.name);
        let is_read = op == Op::Get;
        let patience = Duration::from_millis(inner.shared.plan.unserved_ms_max);
        let give_up = deadline.min(inner.clock.deadline(patience));
        for attempt in 0_u32.. {
            let word = inner.shared.words.get(slot);
            let request = Request {
                ticket: 0,
                epoch: word.as_ref().map_or(Epoch(0), |word| word.ownership.epoch),
                key: key.clone(),
                op: op.clone(),
            };
            let cause = match inner
                .attempt(slot, word.as_deref(), request, deadline)
                .await
            {
                Attempt::Answered(answer) => match concluded(answer) {
                    Concluded::Yes(outcome) => return outcome,
                    Concluded::Moved(ownership) => {
                        inner.shared.learn_ownership(slot, ownership);
                        Cause::Moved
                    }
                    Concluded::Again(cause) => cause,
                },
                Attempt::Again(cause) => cause,
                Attempt::Failed(error) => return Err(error),
                Attempt::InDoubt(RequestError::Deadline) if is_read => {
                    return Err(RequestError::Deadline.into());
                }
                Attempt::InDoubt(_) if is_read => Cause::Unreached,
                Attempt::InDoubt(error) => return Err(EntryError::OutcomeUnknown(error)),
            };
            counter!(RETRIES, "cause" => cause.label()).increment(1);
            inner
                .wait(slot, word.as_deref(), (cause, attempt), give_up)
                .await;
            if give_up.passed(inner.clock.now()) {
                return Err(cause.error());
            }
        }
        Err(EntryError::Unavailable)
    }
}

impl Inner {
    async fn attempt(
        &self,
        slot: u16,
        word: Option<&SlotWord>,
        request: Request,
        deadline: Deadline,
    ) -> Attempt {
        match word.and_then(|word| word.ownership.owner()) {
            Some(owner) if owner.node == self.me => self.here(slot, request, deadline).await,
            Some(owner) => self.there(slot, owner, &request, deadline).await,
            None => Attempt::Again(Cause::Unserved),
        }
    }

    async fn here(&self, slot: u16, request: Request, deadline: Deadline) -> Attempt {
        let payload_bytes = match &request.op {
            Op::Put { value, .. } => value.len(),
            Op::Get | Op::Delete { .. } | Op::Touch { .. } => 0,
        };
        match self
            .shared
            .ask(slot, request, payload_bytes, deadline)
            .await
        {
            Ok(answer) => Attempt::Answered(answer),
            Err(Unasked::Unsent(RequestError::Stopped)) => Attempt::Again(Cause::Unserved),
            Err(Unasked::Unsent(error)) => Attempt::Failed(error.into()),
            Err(Unasked::InDoubt(error)) => Attempt::InDoubt(error),
        }
    }

    async fn there(
        &self,
        slot: u16,
        owner: Incarnation,
        request: &Request,
        deadline: Deadline,
    ) -> Attempt {
        let left = self.clock.remaining(deadline);
        if left.is_zero() {
            return Attempt::Failed(RequestError::Deadline.into());
        }
        let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let Ok(parcel) = wire::ask(slot, wait_ms, request) else {
            return Attempt::Failed(EntryError::Unavailable);
        };
        let call = self.shared.links.callers.call(owner.node, parcel, deadline);
        let called = if request.op == Op::Get {
            // A read need not wait for an owner that is one no more.
            tokio::select! {
                biased;
                called = call => called,
                () = self.replaced(slot, |word| word.owner() == Some(owner)) => {
                    return Attempt::Again(Cause::Moved);
                }
            }
        } else {
            // Nor need a write wait for one that was declared down, but its outcome is known no more.
            tokio::select! {
                biased;
                called = call => called,
                () = self.lost(slot, owner) => return Attempt::InDoubt(RequestError::Stopped),
            }
        };
        match called {
            Ok(parcel) => match wire::read_answer(slot, &parcel) {
                Ok(answer) => Attempt::Answered(answer),
                Err(error) => {
                    tracing::warn!(node = %owner.node, %error, "an owner's answer is not understood");
                    Attempt::InDoubt(RequestError::Stopped)
                }
            },
            Err(PeerError::Refused { refused, .. }) if refused.code == BUSY => {
                Attempt::Again(Cause::Busy)
            }
            Err(PeerError::Refused { refused, .. }) if refused.code == MALFORMED => {
                Attempt::Again(Cause::Unreached)
            }
            Err(PeerError::Busy { .. }) => Attempt::Again(Cause::Busy),
            Err(PeerError::Unreachable { .. }) => Attempt::Again(Cause::Unreached),
            Err(PeerError::Deadline { .. }) => Attempt::InDoubt(RequestError::Deadline),
            // Nor is it known what a lane had done before it refused for reasons of its own.
            Err(
                PeerError::Lost { .. } | PeerError::Protocol { .. } | PeerError::Refused { .. },
            ) => Attempt::InDoubt(RequestError::Stopped),
        }
    }

    /// Waits until what is said of a slot's entries is so no more.
    async fn replaced(&self, slot: u16, is_so: impl Fn(&Ownership) -> bool) {
        let mut changes = self.shared.words.changes();
        loop {
            let word = self.shared.words.get(slot);
            if word.is_some_and(|word| !is_so(&word.ownership)) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until an owner has nothing of a slot any more, and is late with its answer.
    async fn lost(&self, slot: u16, owner: Incarnation) {
        self.replaced(slot, |word| word.in_sync.contains(&owner))
            .await;
        tokio::time::sleep(Duration::from_millis(LATE_MS_MAX)).await;
    }

    /// Waits a moment before a question is asked again: until the slot's record is another one, or longer each time.
    async fn wait(
        &self,
        slot: u16,
        word: Option<&SlotWord>,
        (cause, attempt): (Cause, u32),
        give_up: Deadline,
    ) {
        let epoch = |word: Option<&SlotWord>| word.map(|word| word.ownership.epoch);
        let known = epoch(word);
        let has_changed = || epoch(self.shared.words.get(slot).as_deref()) != known;
        if cause == Cause::Moved && attempt < REDIRECTS_MAX && has_changed() {
            return;
        }
        let longest_ms = (WAIT_MS_MIN << attempt.min(8)).min(WAIT_MS_MAX);
        let turn = self.jitter.fetch_add(1, Ordering::Relaxed);
        let wait_ms = WAIT_MS_MIN / 2 + xxh3_64(&turn.to_le_bytes()) % longest_ms;
        let wait = Duration::from_millis(wait_ms).min(self.clock.remaining(give_up));
        let mut changes = self.shared.words.changes();
        let change = async {
            while !has_changed() || attempt >= REDIRECTS_MAX {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        // Either way it is asked again.
        let _ = tokio::time::timeout(wait, change).await;
    }
}

impl std::fmt::Debug for EntryRouter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EntryRouter")
    }
}

/// What was carried out.
enum Outcome {
    Found(Option<Found>),
    Done { version: Version, existed: bool },
}

/// Whether an answer ends a question.
enum Concluded {
    Yes(Result<Outcome, EntryError>),
    Moved(Ownership),
    Again(Cause),
}

fn concluded(answer: Answer) -> Concluded {
    let error = match answer {
        Answer::Found(found) => return Concluded::Yes(Ok(Outcome::Found(found))),
        Answer::Done { version, existed } => {
            return Concluded::Yes(Ok(Outcome::Done { version, existed }));
        }
        Answer::Moved(ownership) => return Concluded::Moved(ownership),
        Answer::Retry(Delay::Busy) => return Concluded::Again(Cause::Busy),
        Answer::Retry(
            Delay::NoTenure
            | Delay::Reconciling
            | Delay::HandingOver
            | Delay::Behind
            | Delay::Ownerless,
        ) => return Concluded::Again(Cause::Unserved),
        Answer::Unknown => EntryError::OutcomeUnknown(RequestError::Stopped),
        Answer::Refused(refusal) => match refusal {
            Refusal::Condition { version } => EntryError::Conflict {
                version: version.map(|version| version.0),
            },
            Refusal::Full => EntryRefusal::Full.into(),
            Refusal::TooLarge => EntryRefusal::TooLarge.into(),
            Refusal::Exhausted => EntryRefusal::Exhausted.into(),
            Refusal::Purged => EntryError::DomainPurged,
        },
    };
    Concluded::Yes(Err(error))
}
