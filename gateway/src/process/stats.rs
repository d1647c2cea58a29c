//! What the process path counts: requests, hits, tokens, latencies, throughput.
//!
//! One set of figures, seen under several names (`/stats`, `/metrics`, the demo's table); rendering
//! is the doors' business. `now` is an argument. Memory is fixed: counters, four histograms of two
//! significant digits, and one number for each second of the throughput window.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use ultrakv_cache::Now;

use crate::process::answer::{CacheUse, ProcessOutcome};
use crate::process::error::ProcessError;

/// Seconds over which throughput is averaged.
pub const THROUGHPUT_WINDOW_S: usize = 60;
/// The longest latency told apart; longer ones count as this.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Upper ends of the buckets that [`LatencyStats::buckets`] counts in, in microseconds: from a stored answer on a fast machine to
/// a long prompt on a slow one, and through the limits that the documented rules name (0.1, 0.5, 1, 2 and 5 seconds).
pub const LATENCY_BOUNDS_US: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Percentiles of one kind of latency.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LatencyStats {
    /// Requests measured.
    pub count: u64,
    /// Mean, in milliseconds.
    pub mean_ms: f64,
    /// Half of the requests took at most this, in milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 requests took at most this, in milliseconds.
    pub p95_ms: f64,
    /// 99 of 100 requests took at most this, in milliseconds.
    pub p99_ms: f64,
    /// All of them together, in microseconds.
    pub sum_us: u64,
    /// Requests that took at most the bound of the same place in [`LATENCY_BOUNDS_US`].
    pub buckets: [u64; LATENCY_BOUNDS_US.len()],
}

/// The process path's figures since the node started, except where said otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ProcessStats {
    /// Requests that ended, with or without an answer.
    pub total_requests: u64,
    /// Requests answered by a whole cached answer, `coalesced_requests` included.
    pub cached_requests: u64,
    /// Requests that shared the answer of an equal request already running.
    pub coalesced_requests: u64,
    /// Requests that computed, but continued from a cached prefix.
    pub prefix_hits: u64,
    /// Requests that found nothing cached.
    pub misses: u64,
    /// Requests that ended without an answer, by the error's code.
    pub errors: u64,
    /// Requests whose caller went away before the end; neither answered nor errors.
    pub abandoned: u64,
    /// Requests refused because the queue was full; part of `errors`.
    pub busy: u64,
    /// Requests whose deadline passed; part of `errors`.
    pub deadline_exceeded: u64,
    /// (cached requests + prefix hits) / answered requests; 0 before the first answer.
    pub hit_rate: f64,
    /// 1 - `hit_rate`; 0 before the first answer.
    pub miss_rate: f64,
    /// Prompt tokens that did not have to be computed.
    pub tokens_reused: u64,
    /// Prompt tokens that had to be.
    pub tokens_computed: u64,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// Whole answers: from arrival to the last byte being ready.
    pub latency: LatencyStats,
    /// The same for requests answered by a whole cached answer.
    pub latency_response_hit: LatencyStats,
    /// Time to first token of requests that continued from a cached prefix.
    pub first_token_warm: LatencyStats,
    /// Time to first token of requests that computed everything.
    pub first_token_cold: LatencyStats,
    /// Answers a second over the last [`THROUGHPUT_WINDOW_S`] whole seconds.
    pub throughput_rps: f64,
    /// Generations running now.
    pub generations_active: usize,
    /// Requests waiting for a generation slot now.
    pub generations_queued: usize,
    /// Generations started.
    pub generations_started: u64,
    /// Generations given up because nobody waited for them any more, running or about to.
    pub generations_cancelled: u64,
    /// Blocks handed to the cache and stored or known there.
    pub blocks_stored: u64,
    /// Blocks the cache did not take; the request itself is unharmed.
    pub blocks_refused: u64,
    /// Cache lookups that failed and were treated as misses.
    pub lookups_in_doubt: u64,
}

/// The counters behind [`ProcessStats`].
#[derive(Debug)]
pub(crate) struct Recorder {
    totals: Mutex<Totals>,
    pub(crate) generations_started: AtomicU64,
    generations_cancelled: AtomicU64,
    pub(crate) blocks_stored: AtomicU64,
    pub(crate) blocks_refused: AtomicU64,
    pub(crate) lookups_in_doubt: AtomicU64,
}

/// What one finished request changes, together.
#[derive(Debug)]
struct Totals {
    counts: ProcessStats,
    latency: Latencies,
    latency_response_hit: Latencies,
    first_token_warm: Latencies,
    first_token_cold: Latencies,
    throughput: Throughput,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let totals = Totals {
            counts: ProcessStats::default(),
            latency: Latencies::new(),
            latency_response_hit: Latencies::new(),
            first_token_warm: Latencies::new(),
            first_token_cold: Latencies::new(),
            throughput: Throughput::default(),
        };
        Self {
            totals: Mutex::new(totals),
            generations_started: AtomicU64::new(0),
            generations_cancelled: AtomicU64::new(0),
            blocks_stored: AtomicU64::new(0),
            blocks_refused: AtomicU64::new(0),
            lookups_in_doubt: AtomicU64::new(0),
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, outcome: &ProcessOutcome, now: Now) {
        let mut totals = self.totals.lock();
        let totals = &mut *totals;
        totals.counts.total_requests += 1;
        totals.counts.tokens_reused += u64::from(outcome.reused_tokens);
        totals.counts.tokens_computed += u64::from(outcome.computed_tokens);
        totals.latency.record(outcome.latency_us);
        totals.throughput.record(now);
        match outcome.cache {
            CacheUse::Response => {
                totals.counts.cached_requests += 1;
                totals.counts.coalesced_requests += u64::from(outcome.coalesced);
                totals.latency_response_hit.record(outcome.latency_us);
                return;
            }
            CacheUse::Prefix => {
                totals.counts.prefix_hits += 1;
                totals.first_token_warm.record(outcome.first_token_us);
            }
            CacheUse::None => {
                totals.counts.misses += 1;
                totals.first_token_cold.record(outcome.first_token_us);
            }
        }
        totals.counts.tokens_generated += u64::from(outcome.answer.completion_tokens);
    }

    /// Counts a request without an answer.
    pub(crate) fn failed(&self, error: &ProcessError) {
        let mut totals = self.totals.lock();
        totals.counts.total_requests += 1;
        totals.counts.errors += 1;
        match error {
            ProcessError::Busy { .. } => totals.counts.busy += 1,
            ProcessError::Deadline => totals.counts.deadline_exceeded += 1,
            _ => {}
        }
    }

    /// Counts a generation that was given up.
    pub(crate) fn cancelled(&self) {
        self.generations_cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request whose caller went away.
    pub(crate) fn left(&self) {
        let mut totals = self.totals.lock();
        totals.counts.total_requests += 1;
        totals.counts.abandoned += 1;
    }

    /// A consistent copy of everything but the slots' and the queue's use, which admission knows.
    pub(crate) fn snapshot(&self, now: Now) -> ProcessStats {
        let totals = self.totals.lock();
        let mut stats = totals.counts.clone();
        let hits = stats.cached_requests + stats.prefix_hits;
        let answered = hits + stats.misses;
        if answered > 0 {
            stats.hit_rate = ratio(hits, answered);
            stats.miss_rate = ratio(stats.misses, answered);
        }
        stats.latency = totals.latency.stats();
        stats.latency_response_hit = totals.latency_response_hit.stats();
        stats.first_token_warm = totals.first_token_warm.stats();
        stats.first_token_cold = totals.first_token_cold.stats();
        stats.throughput_rps = totals.throughput.per_second(now);
        drop(totals);
        stats.generations_started = self.generations_started.load(Ordering::Relaxed);
        stats.generations_cancelled = self.generations_cancelled.load(Ordering::Relaxed);
        stats.blocks_stored = self.blocks_stored.load(Ordering::Relaxed);
        stats.blocks_refused = self.blocks_refused.load(Ordering::Relaxed);
        stats.lookups_in_doubt = self.lookups_in_doubt.load(Ordering::Relaxed);
        stats
    }
}

/// One latency histogram, with its exact mean.
#[derive(Debug)]
struct Latencies {
    histogram: Option<Histogram<u64>>,
    sum_us: u64,
    /// Each latency in the first bucket whose bound it does not pass.
    buckets: [u64; LATENCY_BOUNDS_US.len()],
}

impl Latencies {
    fn new() -> Self {
        // Two digits: 1 % of error for some 30 KiB, over a microsecond to an hour. The bounds are
        // constants that the library accepts; were they not, we would measure nothing, not fail.
        Self {
            histogram: Histogram::new_with_bounds(1, LATENCY_US_MAX, 2).ok(),
            sum_us: 0,
            buckets: [0; LATENCY_BOUNDS_US.len()],
        }
    }

    fn record(&mut self, us: u64) {
        let us = us.clamp(1, LATENCY_US_MAX);
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(us);
        }
        self.sum_us = self.sum_us.saturating_add(us);
        let place = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
    }

    fn stats(&self) -> LatencyStats {
        let recorded = self.histogram.as_ref();
        let Some(histogram) = recorded.filter(|histogram| !histogram.is_empty()) else {
            return LatencyStats::default();
        };
        let mut buckets = self.buckets;
        let mut below = 0;
        for bucket in &mut buckets {
            below += *bucket;
            *bucket = below;
        }
        let quantile_ms = |quantile| ms(histogram.value_at_quantile(quantile));
        LatencyStats {
            count: histogram.len(),
            mean_ms: ms(self.sum_us / histogram.len()),
            p50_ms: quantile_ms(0.50),
            p95_ms: quantile_ms(0.95),
            p99_ms: quantile_ms(0.99),
            sum_us: self.sum_us,
            buckets,
        }
    }
}

/// Answers in each of the last seconds.
#[derive(Debug)]
struct Throughput {
    /// (second, answers in it), by second modulo the window.
    seconds: [(u64, u64); THROUGHPUT_WINDOW_S],
    first_second: Option<u64>,
}

impl Default for Throughput {
    fn default() -> Self {
        Self {
            seconds: [(0, 0); THROUGHPUT_WINDOW_S],
            first_second: None,
        }
    }
}

impl Throughput {
    fn record(&mut self, now: Now) {
        let second = now.0 / 1_000;
        self.first_second.get_or_insert(second);
        let index = usize::try_from(second).unwrap_or(0) % THROUGHPUT_WINDOW_S;
        if let Some(slot) = self.seconds.get_mut(index) {
            if slot.0 != second {
                *slot = (second, 0);
            }
            slot.1 += 1;
        }
    }

    /// The mean over the window, or over the time since the first answer where that is shorter.
    fn per_second(&self, now: Now) -> f64 {
        let Some(first) = self.first_second else {
            return 0.0;
        };
        let second = now.0 / 1_000;
        let window = u64::try_from(THROUGHPUT_WINDOW_S).unwrap_or(u64::MAX);
        let answers = self
            .seconds
            .iter()
            .filter(|(at, _)| *at <= second && second - at < window)
            .map(|(_, count)| count)
            .sum();
        ratio(answers, (second.saturating_sub(first) + 1).min(window))
    }
}

/// Microseconds as milliseconds: the nearest number to the decimal one, so that no more than three digits are written.
pub(crate) fn ms(us: u64) -> f64 {
    float(us) / 1_000.0
}

/// Microseconds as seconds, likewise with no more than six digits.
pub(crate) fn seconds(us: u64) -> f64 {
    float(us) / 1_000_000.0
}

fn ratio(part: u64, whole: u64) -> f64 {
    float(part) / float(whole)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "statistics: a count above 2^53 loses its last digit, which nobody reads"
)]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::process::answer::{Answer, Finish};

    fn outcome(cache: CacheUse, latency_us: u64) -> ProcessOutcome {
        let answer = Answer {
            text: String::new(),
            prompt_tokens: 100,
            completion_tokens: 5,
            finish: Finish::Length,
            reused_tokens: 0,
        };
        let reused_tokens = match cache {
            CacheUse::Response => 100,
            CacheUse::Prefix => 64,
            CacheUse::None => 0,
        };
        ProcessOutcome {
            answer: Arc::new(answer),
            cache,
            coalesced: false,
            reused_tokens,
            computed_tokens: 100 - reused_tokens,
            first_token_us: latency_us / 2,
            latency_us,
        }
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let stats = Recorder::new().snapshot(Now(5));
        assert_eq!(stats, ProcessStats::default());
    }

    #[test]
    fn rates_and_tokens_add_up() {
        let recorder = Recorder::new();
        recorder.answered(&outcome(CacheUse::None, 8_000), Now(1_000));
        recorder.answered(&outcome(CacheUse::Prefix, 4_000), Now(1_000));
        recorder.answered(&outcome(CacheUse::Response, 200), Now(1_500));
        recorder.answered(&outcome(CacheUse::Response, 200), Now(2_500));
        recorder.failed(&ProcessError::Deadline);
        recorder.failed(&ProcessError::Busy {
            running: 1,
            queued: 1,
        });
        let stats = recorder.snapshot(Now(2_900));
        assert_eq!(
            (
                stats.total_requests,
                stats.cached_requests,
                stats.prefix_hits
            ),
            (6, 2, 1)
        );
        assert_eq!(
            (stats.errors, stats.busy, stats.deadline_exceeded),
            (2, 1, 1)
        );
        assert_eq!((stats.hit_rate, stats.miss_rate), (0.75, 0.25));
        assert_eq!((stats.tokens_reused, stats.tokens_computed), (264, 136));
        assert_eq!(stats.tokens_generated, 10);
        assert_eq!(stats.throughput_rps, 2.0);
        assert_eq!(stats.first_token_warm.count, 1);
        assert!((stats.latency_response_hit.p99_ms - 0.2).abs() < 0.01);
        assert!((stats.first_token_cold.p50_ms - 4.0).abs() < 0.1);
    }

    #[test]
    fn buckets_count_what_took_at_most_their_bound() {
        let recorder = Recorder::new();
        for us in [500, 501, 2_000_000, 2_000_001, LATENCY_US_MAX + 1] {
            recorder.answered(&outcome(CacheUse::Response, us), Now(0));
        }
        let latency = recorder.snapshot(Now(0)).latency;
        let within = |bound| {
            let place = LATENCY_BOUNDS_US.iter().position(|end| *end == bound);
            latency.buckets[place.expect("one of the bounds")]
        };
        assert_eq!((within(500), within(1_000)), (1, 2));
        assert_eq!((within(1_000_000), within(2_000_000)), (2, 3));
        assert_eq!((within(30_000_000), latency.count), (4, 5));
        assert_eq!(latency.sum_us, 4_001_002 + LATENCY_US_MAX);
    }

    #[test]
    fn times_are_written_with_microseconds_and_no_more() {
        for us in [472_259, 109, 99, 26_579, 1_081_343, 679_906] {
            let digits = |shown: String| shown.split('.').nth(1).map_or(0, str::len);
            assert!(digits(ms(us).to_string()) <= 3, "{us}");
            assert!(digits(seconds(us).to_string()) <= 6, "{us}");
        }
    }

    #[test]
    fn throughput_forgets_what_left_the_window() {
        let recorder = Recorder::new();
        for _ in 0..30 {
            recorder.answered(&outcome(CacheUse::None, 1), Now(0));
        }
        assert_eq!(recorder.snapshot(Now(999)).throughput_rps, 30.0);
        assert_eq!(recorder.snapshot(Now(59_000)).throughput_rps, 0.5);
        assert_eq!(recorder.snapshot(Now(60_000)).throughput_rps, 0.0);
        recorder.answered(&outcome(CacheUse::None, 1), Now(60_000));
        assert!(recorder.snapshot(Now(60_500)).throughput_rps > 0.0);
    }
}
