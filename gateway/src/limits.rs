//! What one request may cost a door: places, bytes and time, each with a name and a bound.
//!
//! The layer here counts requests in progress, refuses bodies that say they are too large, puts an end to requests that take
//! too long, and hands the bounds of the body to whoever reads it. It knows nothing about what is asked.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ultrakv_actors::clock::{Clock, Deadline};

use crate::auth::Door;
use crate::problem::Problem;

/// Bodies that a door holds in memory at the same time, in units of the largest body.
const BODIES_IN_MEMORY: u64 = 16;

/// Descriptors that are kept for everything that is not a connection of the main door: the other door, arenas, files.
const DESCRIPTORS_KEPT: usize = 512;

/// The unit in which body memory is counted: permits are 32-bit numbers, and a KiB each lets them count 4 TiB.
const BODY_UNIT_BYTES: usize = 1_024;

/// How long the rest of a refused body is read and thrown away, so that its sender gets to read the refusal.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// How much later than the request's deadline the layer steps in. The handlers know the deadline and say more about it.
const HANDLER_LEAD: Duration = Duration::from_millis(100);

/// The bounds of one door.
#[derive(Debug, Clone)]
pub struct Limits {
    door: Door,
    clock: Clock,
    request_timeout: Duration,
    body_bytes_max: u64,
    requests: Arc<Semaphore>,
    requests_max: usize,
    body_memory: Arc<Semaphore>,
}

/// The bounds of one request's body, left in the request for the extractor that reads it.
#[derive(Debug, Clone)]
pub(crate) struct BodyGate {
    /// The most bytes the body may have.
    pub(crate) bytes_max: u64,
    memory: Arc<Semaphore>,
}

/// Room in memory that a body takes; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct BodyRoom {
    gate: BodyGate,
    permit: Option<OwnedSemaphorePermit>,
    units_held: usize,
}

/// When the answer must be out: computed once, when the request's head arrived.
#[derive(Debug, Clone, Copy)]
pub struct AnswerBy(pub Deadline);

impl<S: Send + Sync> FromRequestParts<S> for AnswerBy {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let deadline = parts.extensions.get::<Deadline>().copied();
        deadline
            .map(Self)
            .ok_or_else(|| Problem::internal("deadline_unknown"))
    }
}

impl Limits {
    /// The bounds of `door` as the settings ask for them.
    #[must_use]
    pub fn new(door: Door, clock: Clock, settings: &ultrakv_config::LimitSettings) -> Self {
        let requests_max = usize::try_from(settings.requests_concurrent_max).unwrap_or(usize::MAX);
        let memory = settings.body_bytes_max.saturating_mul(BODIES_IN_MEMORY);
        let units = usize::try_from(memory).unwrap_or(usize::MAX) / BODY_UNIT_BYTES;
        Self {
            door,
            clock,
            request_timeout: settings.request_timeout,
            body_bytes_max: settings.body_bytes_max,
            requests: Arc::new(Semaphore::new(requests_max.min(Semaphore::MAX_PERMITS))),
            requests_max,
            body_memory: Arc::new(Semaphore::new(units.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// Requests in progress.
    #[must_use]
    pub fn requests_in_progress(&self) -> usize {
        self.requests_max
            .saturating_sub(self.requests.available_permits())
    }
}

/// The connections that a door really keeps: what the settings ask for, and never so many that the process would run out of
/// descriptors for everything else.
#[must_use]
pub(crate) fn connections_max(door: Door, asked: u32) -> usize {
    let asked = usize::try_from(asked).unwrap_or(usize::MAX);
    let Some(descriptors) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current
    else {
        return asked;
    };
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let possible = descriptors.saturating_sub(DESCRIPTORS_KEPT).max(1);
    if possible < asked {
        tracing::warn!(
            door = door.name(),
            asked,
            possible,
            "fewer connections than asked for: raise the limit of open files"
        );
    }
    asked.min(possible)
}

/// The layer that holds a door to its bounds.
pub(crate) async fn hold(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let place = if limits.door.is_public(request.uri().path()) {
        None
    } else if let Ok(place) = Arc::clone(&limits.requests).try_acquire_owned() {
        Some(place)
    } else {
        let told = format!(
            "the door works on {} requests, as many as it may",
            limits.requests_max
        );
        return Problem::busy(told).into_response();
    };
    if declared_length(request.headers()).is_some_and(|length| length > limits.body_bytes_max) {
        discard(request.into_body());
        return body_too_large(limits.body_bytes_max).into_response();
    }
    let within = limits.request_timeout;
    let (mut parts, body) = request.into_parts();
    let deadline = parts.extensions.get::<Deadline>().copied();
    let deadline = deadline.unwrap_or_else(|| limits.clock.deadline(within));
    let gate = BodyGate {
        bytes_max: limits.body_bytes_max,
        memory: Arc::clone(&limits.body_memory),
    };
    parts.extensions.insert(deadline);
    parts.extensions.insert(gate);
    let received = Arc::new(AtomicBool::new(body.is_end_stream()));
    let body = Body::new(WatchedBody {
        body,
        received: Arc::clone(&received),
    });
    let answer = next.run(Request::from_parts(parts, body));

    let left = limits.clock.remaining(deadline) + HANDLER_LEAD;
    let response = match tokio::time::timeout(left, answer).await {
        Ok(response) => response,
        Err(_) if received.load(Ordering::Acquire) => Problem::deadline().into_response(),
        Err(_) => body_too_slow().into_response(),
    };
    response.map(|body| {
        Body::new(PlacedBody {
            body,
            _place: place,
        })
    })
}

impl BodyGate {
    /// Room for a body that is about to be read.
    pub(crate) const fn room(self) -> BodyRoom {
        BodyRoom {
            gate: self,
            permit: None,
            units_held: 0,
        }
    }
}

impl BodyRoom {
    /// Makes room for a body that has grown to `bytes`.
    ///
    /// # Errors
    /// 413 beyond the body's own bound, 429 when the door's memory for bodies is used up.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        if u64::try_from(bytes).unwrap_or(u64::MAX) > self.gate.bytes_max {
            return Err(body_too_large(self.gate.bytes_max));
        }
        let missing = bytes
            .div_ceil(BODY_UNIT_BYTES)
            .saturating_sub(self.units_held);
        if missing == 0 {
            return Ok(());
        }
        let permits = u32::try_from(missing).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.gate.memory).try_acquire_many_owned(permits) else {
            return Err(Problem::busy("the memory for request bodies is used up"));
        };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        self.units_held += missing;
        Ok(())
    }
}

/// Reads the rest of a refused body and throws it away, for a short while: closing a connection with unread bytes resets it,
/// and the reset could overtake the answer.
pub(crate) fn discard(body: Body) {
    let mut rest = body.into_data_stream();
    let drained = async move { while let Some(Ok(_)) = rest.next().await {} };
    // The connection's task ends this one: without the connection the body ends.
    drop(tokio::spawn(tokio::time::timeout(DISCARD_TIME, drained)));
}

/// 413, with the bound.
pub(crate) fn body_too_large(bytes_max: u64) -> Problem {
    let detail = format!("the body is larger than {bytes_max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        .hint("send less at once, or raise limits.body_bytes_max")
        .header(header::CONNECTION, HeaderValue::from_static("close"))
}

/// 408: the sender took too long.
fn body_too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        "the body did not arrive in time",
    )
    .hint("send the body faster, or raise limits.request_timeout")
    .header(header::CONNECTION, HeaderValue::from_static("close"))
}

/// The length a request says its body has.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// A request's body that remembers whether it arrived completely.
struct WatchedBody {
    body: Body,
    received: Arc<AtomicBool>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.received.store(true, Ordering::Release);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that holds its request's place until it is sent.
struct PlacedBody {
    body: Body,
    _place: Option<OwnedSemaphorePermit>,
}

impl HttpBody for PlacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(bytes_max: u64, units: usize) -> BodyGate {
        BodyGate {
            bytes_max,
            memory: Arc::new(Semaphore::new(units)),
        }
    }

    #[test]
    fn a_body_has_its_own_bound_and_shares_the_doors() {
        let gate = gate(4_096, 4);
        let mut first = gate.clone().room();
        assert!(first.grow_to(1).is_ok());
        assert!(first.grow_to(3_000).is_ok(), "three units of four");
        assert_eq!(
            first.grow_to(4_097).expect_err("too large").code(),
            "body_too_large"
        );
        let mut second = gate.clone().room();
        assert!(second.grow_to(1_024).is_ok(), "the last unit");
        assert_eq!(second.grow_to(1_025).expect_err("no memory").code(), "busy");
        drop(first);
        assert!(
            second.grow_to(4_096).is_ok(),
            "the first body gave its room back"
        );
        drop(second);
        assert_eq!(gate.memory.available_permits(), 4);
    }
}
