//! A bounded test of the node by itself, through the very path that requests take.
//!
//! Every run works under a salt of its own inside the caller's domain: it starts cold, disturbs nobody's answers, and what it
//! leaves behind is cached like anything else and evicted first.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use futures::StreamExt;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use ultrakv_actors::clock::Deadline;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Caller;
use crate::extract::JsonOrDefault;
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::process::{
    CacheControl, CacheUse, Door, Priority, ProcessError, ProcessOutcome, ProcessRequest, Prompt,
    Sampling, ms,
};
use crate::state::AppState;

/// The most requests of one test.
const ITERATIONS_MAX: u32 = 200;

/// The most of them at once.
const CONCURRENT_MAX: u32 = 16;

/// The longest latency told apart: an hour, far beyond any request's deadline.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Tokens that each request generates.
const TOKENS_MAX: u32 = 4;

/// What all requests of a test have in common: long enough for whole blocks at every block size up to 256 bytes of text.
const PREFIX: &str = "The self-test sends this beginning with every request, so that all but the first find its blocks in the \
    cache and only the end of each is computed. It says the same thing again, because a prefix is only worth keeping when it is \
    longer than a block: the self-test sends this beginning with every request, so that all but the first find its blocks. ";

/// How large a test is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TestBody {
    /// Requests to send, 1 to 200.
    #[schema(minimum = 1, maximum = 200, default = 10)]
    iterations: u32,
    /// How many of them at once, 1 to 16.
    #[schema(minimum = 1, maximum = 16, default = 2)]
    concurrent: u32,
}

impl Default for TestBody {
    fn default() -> Self {
        Self {
            iterations: 10,
            concurrent: 2,
        }
    }
}

/// What the test found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestAnswer {
    /// Whether every request was answered.
    success: bool,
    /// Requests sent.
    iterations: u32,
    /// How many at once.
    concurrent: u32,
    /// Requests answered.
    answered: u64,
    /// Requests without an answer.
    errors: u64,
    /// The stable code of the first error.
    first_error: Option<&'static str>,
    /// Requests answered by a stored answer.
    response_hits: u64,
    /// Requests that continued from a cached prefix.
    prefix_hits: u64,
    /// Requests that computed everything.
    misses: u64,
    /// Prompt tokens that did not have to be computed.
    tokens_reused: u64,
    /// From the first request to the last answer.
    duration_ms: f64,
    /// Answers a second.
    throughput_rps: f64,
    /// Half of the answers took at most this.
    p50_latency_ms: f64,
    /// 95 of 100 answers took at most this.
    p95_latency_ms: f64,
    /// 99 of 100 answers took at most this.
    p99_latency_ms: f64,
}

/// Sends real requests through the process path and reports how they fared.
///
/// Without a body the test has its default size. The first request is cold; every other one repeats a request before it and should be a response hit, the rest share a prefix.
#[utoipa::path(
    post,
    path = "/api/v1/kv-cache/test",
    tag = "cache",
    request_body = TestBody,
    responses((status = 200, description = "The test ran; `success` says whether every request was answered.", body = TestAnswer)),
)]
pub(super) async fn test(
    State(state): State<AppState>,
    caller: Caller,
    AnswerBy(deadline): AnswerBy,
    JsonOrDefault(body): JsonOrDefault<TestBody>,
) -> Result<Json<TestAnswer>, Problem> {
    in_bounds("iterations", body.iterations, ITERATIONS_MAX)?;
    in_bounds("concurrent", body.concurrent, CONCURRENT_MAX)?;
    let concurrent = usize::try_from(body.concurrent).unwrap_or(1);
    let salt = format!("self-test {}", Uuid::new_v4().simple());
    let stopwatch = state.clock.stopwatch();
    let mut tally = Tally::default();
    // The first request runs alone: it fills the cache for the others.
    tally.count(run(&state, &caller, &salt, 0, deadline).await);
    let rest = futures::stream::iter(1..body.iterations)
        .map(|number| run(&state, &caller, &salt, number / 2, deadline))
        .buffer_unordered(concurrent);
    let tally = rest
        .fold(tally, async |mut tally, outcome| {
            tally.count(outcome);
            tally
        })
        .await;
    Ok(Json(tally.report(&body, stopwatch.elapsed())))
}

fn in_bounds(param: &'static str, value: u32, max: u32) -> Result<(), Problem> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    let told = format!("{param} is 1 to {max}, not {value}");
    Err(Problem::bad_request("value_out_of_range", told)
        .hint("send a smaller test")
        .param(param))
}

/// One request; equal numbers are equal requests.
async fn run(
    state: &AppState,
    caller: &Caller,
    salt: &str,
    number: u32,
    deadline: Deadline,
) -> Result<ProcessOutcome, ProcessError> {
    let request = ProcessRequest {
        door: Door::Process,
        prompt: Prompt::Text(format!("{PREFIX}Request {number}.")),
        sampling: Sampling {
            tokens_max: Some(TOKENS_MAX),
            temperature: 0.0,
            top_p: 1.0,
            seed: None,
            stop: Vec::new(),
        },
        session_id: None,
        priority: Priority::Low,
        cache_salt: Some(salt.to_owned()),
        cache: CacheControl::Normal,
    };
    state.processor.run(caller, request, deadline).await
}

/// The outcomes so far.
#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    errors: u64,
    first_error: Option<&'static str>,
    response_hits: u64,
    prefix_hits: u64,
    misses: u64,
    tokens_reused: u64,
    latencies_us: Vec<u64>,
}

impl Tally {
    fn count(&mut self, outcome: Result<ProcessOutcome, ProcessError>) {
        match outcome {
            Ok(outcome) => {
                self.answered += 1;
                self.tokens_reused += u64::from(outcome.reused_tokens);
                self.latencies_us.push(outcome.latency_us);
                match outcome.cache {
                    CacheUse::Response => self.response_hits += 1,
                    CacheUse::Prefix => self.prefix_hits += 1,
                    CacheUse::None => self.misses += 1,
                }
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error.code());
            }
        }
    }

    fn report(self, body: &TestBody, duration: Duration) -> TestAnswer {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 2).ok();
        for latency_us in &self.latencies_us {
            if let Some(histogram) = &mut histogram {
                histogram.saturating_record(*latency_us);
            }
        }
        let quantile_ms = |quantile| {
            let us = histogram
                .as_ref()
                .map_or(0, |histogram| histogram.value_at_quantile(quantile));
            ms(us)
        };
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let seconds = duration.as_secs_f64();
        TestAnswer {
            success: self.errors == 0,
            iterations: body.iterations,
            concurrent: body.concurrent,
            answered: self.answered,
            errors: self.errors,
            first_error: self.first_error,
            response_hits: self.response_hits,
            prefix_hits: self.prefix_hits,
            misses: self.misses,
            tokens_reused: self.tokens_reused,
            duration_ms: ms(duration_us),
            throughput_rps: if seconds > 0.0 {
                crate::figures::float(self.answered) / seconds
            } else {
                0.0
            },
            p50_latency_ms: quantile_ms(0.50),
            p95_latency_ms: quantile_ms(0.95),
            p99_latency_ms: quantile_ms(0.99),
        }
    }
}
