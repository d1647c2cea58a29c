//! Responsible for how long loading and computing take, as measured. It must never decide between them.
//!
//! # Formula
//! Loading `b` bytes over a link takes `latency + b / bandwidth`, the two fitted by least squares to what was measured, older
//! measurements fading. Bytes already on their way over the link count as if they were part of the load. Over several links
//! at once it takes as long as over the slowest.
//!
//! Computing `n` tokens behind `p` others takes `unit × n (1 + (p + n / 2) / 53 000)`: the prefill's linear and quadratic
//! parts as in [`price`], the unit measured.

use std::collections::BTreeMap;

use super::event::LinkId;
use crate::policy::{as_f64, price};
use crate::time::Now;

/// Links remembered; a further one is judged by what is taken for granted.
const LINKS_MAX: usize = 256;

/// A link over which nothing was loaded for so long is tried again, whatever was measured before: a link that is never loaded is
/// never measured.
const TRIAL_AFTER_MS: u64 = 30_000;

/// What a measurement still counts when the next one comes.
const FADE: f64 = 0.95;

/// Microseconds that a small load takes before any was measured: a round trip between two machines and a little work.
const LATENCY_US: f64 = 300.0;

/// Bytes a microsecond that come before any were measured: 1 GB/s.
const BANDWIDTH: f64 = 1_000.0;

/// Weight of what is taken for granted, against one measurement.
const PRIOR_WEIGHT: f64 = 0.02;

/// Size of the larger of the two loads that are taken for granted.
const PRIOR_BYTES: f64 = 1_048_576.0;

/// Microseconds to compute a token before any was measured: a model of some thousand million parameters on an accelerator.
const TOKEN_US: f64 = 100.0;

/// Tokens that this is taken to have been measured on.
const PRIOR_TOKENS: f64 = 64.0;

/// A straight line through measurements, by weighted least squares.
#[derive(Clone, Copy, Debug)]
struct Line {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Line {
    /// A line through the two loads that are taken for granted.
    fn prior() -> Self {
        let mut line = Self {
            weight: 0.0,
            x: 0.0,
            y: 0.0,
            xx: 0.0,
            xy: 0.0,
        };
        line.add(0.0, LATENCY_US, PRIOR_WEIGHT);
        let large_us = LATENCY_US + PRIOR_BYTES / BANDWIDTH;
        line.add(PRIOR_BYTES, large_us, PRIOR_WEIGHT);
        line
    }

    fn add(&mut self, x: f64, y: f64, weight: f64) {
        self.weight += weight;
        self.x += weight * x;
        self.y += weight * y;
        self.xx += weight * x * x;
        self.xy += weight * x * y;
    }

    /// Adds a measurement. What is taken for granted does not fade, so that the line stays one when all loads are alike.
    fn note(&mut self, x: f64, y: f64) {
        let prior = Self::prior();
        let fade = |sum: &mut f64, prior: f64| *sum = (*sum - prior).max(0.0) * FADE + prior;
        fade(&mut self.weight, prior.weight);
        fade(&mut self.x, prior.x);
        fade(&mut self.y, prior.y);
        fade(&mut self.xx, prior.xx);
        fade(&mut self.xy, prior.xy);
        self.add(x, y, 1.0);
    }

    /// What the line says at `x`. It neither falls nor begins below nothing: where the best one would, the best that does
    /// not is taken.
    fn at(&self, x: f64) -> f64 {
        let spread = self.weight * self.xx - self.x * self.x;
        let slope = if spread > 0.0 {
            (self.weight * self.xy - self.x * self.y) / spread
        } else {
            0.0
        };
        let start = (self.y - slope * self.x) / self.weight;
        if slope < 0.0 {
            self.y / self.weight
        } else if start < 0.0 {
            self.xy / self.xx * x
        } else {
            start + slope * x
        }
    }
}

/// One way to other holders.
#[derive(Clone, Copy, Debug)]
struct Link {
    line: Line,
    queued_bytes: u64,
    /// When it was last measured, or a trial of it begun.
    tried: Option<Now>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<LinkId, Link>,
}

impl Links {
    /// So many bytes are asked for over a link.
    pub(super) fn send(&mut self, link: LinkId, bytes: u64) {
        if let Some(link) = self.link(link) {
            link.queued_bytes += bytes;
        }
    }

    /// So many bytes that were asked for are on their way no more.
    pub(super) fn done(&mut self, link: LinkId, bytes: u64) {
        if let Some(link) = self.links.get_mut(&link) {
            link.queued_bytes = link.queued_bytes.saturating_sub(bytes);
        }
    }

    /// So many bytes, those before them included, took so long.
    pub(super) fn measured(&mut self, link: LinkId, bytes: u64, elapsed_us: u64, now: Now) {
        if let Some(link) = self.link(link) {
            link.tried = Some(now);
            link.line.note(as_f64(bytes), as_f64(elapsed_us));
        }
    }

    /// Whether what is known of a link is too old to turn a load down by; the load is then a trial, which this begins.
    pub(super) fn begin_trial(&mut self, link: LinkId, now: Now) -> bool {
        let Some(link) = self.link(link) else {
            return false;
        };
        let is_stale = |tried: Now| now.since_ms(tried) >= TRIAL_AFTER_MS;
        let begins = link.tried.is_none_or(is_stale);
        if begins {
            link.tried = Some(now);
        }
        begins
    }

    /// Bytes on their way over a link.
    pub(super) fn queued_bytes(&self, link: LinkId) -> u64 {
        self.links.get(&link).map_or(0, |link| link.queued_bytes)
    }

    /// Microseconds until so many more bytes are here.
    pub(super) fn load_us(&self, link: LinkId, bytes: u64) -> f64 {
        let known = self.links.get(&link);
        let queued = known.map_or(0, |link| link.queued_bytes);
        let line = known.map_or_else(Line::prior, |link| link.line);
        line.at(as_f64(queued.saturating_add(bytes)))
    }

    fn link(&mut self, link: LinkId) -> Option<&mut Link> {
        if self.links.len() >= LINKS_MAX && !self.links.contains_key(&link) {
            return None;
        }
        let new = || Link {
            line: Line::prior(),
            queued_bytes: 0,
            tried: None,
        };
        Some(self.links.entry(link).or_insert_with(new))
    }
}

/// How fast this node's model computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefill {
    us: f64,
    units: f64,
}

impl Default for Prefill {
    fn default() -> Self {
        Self {
            us: TOKEN_US * PRIOR_TOKENS,
            units: PRIOR_TOKENS,
        }
    }
}

impl Prefill {
    /// So many tokens behind so many others took so long.
    pub(super) fn measured(&mut self, tokens: u32, before: u64, elapsed_us: u64) {
        if tokens > 0 {
            self.us = self.us * FADE + as_f64(elapsed_us);
            self.units = self.units * FADE + f64::from(price::recompute_cost(tokens, before));
        }
    }

    /// Microseconds to compute so many tokens behind so many others.
    pub(super) fn compute_us(&self, tokens: u32, before: u64) -> f64 {
        f64::from(price::recompute_cost(tokens, before)) * self.us / self.units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    #[test]
    fn a_link_is_known_by_its_latency_and_bandwidth_after_some_loads() {
        let mut links = Links::default();
        // 2 ms and 100 bytes a microsecond.
        for bytes in [100_000_u64, 4_000_000, 1_000_000, 2_000_000].repeat(20) {
            links.measured(LINK, bytes, 2_000 + bytes / 100, Now(0));
        }
        for bytes in [10_000_u64, 1_000_000, 10_000_000] {
            let (want, got) = (as_f64(2_000 + bytes / 100), links.load_us(LINK, bytes));
            assert!((got / want - 1.0).abs() < 0.05, "{bytes}: {got} for {want}");
        }
    }

    #[test]
    fn loads_of_one_size_still_make_a_line_and_it_follows_a_change() {
        let mut links = Links::default();
        (0..100).for_each(|_| links.measured(LINK, 2 << 20, 4_000, Now(0)));
        let fast = links.load_us(LINK, 2 << 20);
        assert!((fast / 4_000.0 - 1.0).abs() < 0.05, "{fast}");
        (0..100).for_each(|_| links.measured(LINK, 2 << 20, 40_000, Now(0)));
        let slow = links.load_us(LINK, 2 << 20);
        assert!((slow / 40_000.0 - 1.0).abs() < 0.05, "{slow}");
        assert!(links.load_us(LINK, 4 << 20) > slow);
    }

    #[test]
    fn what_is_on_its_way_comes_first() {
        let mut links = Links::default();
        let alone = links.load_us(LINK, 1 << 20);
        links.send(LINK, 8 << 20);
        assert!(links.load_us(LINK, 1 << 20) > 5.0 * alone);
        links.done(LINK, 8 << 20);
        assert!((links.load_us(LINK, 1 << 20) - alone).abs() < 1e-6);
    }

    #[test]
    fn links_without_end_are_judged_by_what_is_taken_for_granted() {
        let mut links = Links::default();
        (0..1_000).for_each(|link| links.measured(LinkId(link), 1 << 20, 1, Now(0)));
        assert_eq!(links.links.len(), LINKS_MAX);
        assert!(links.load_us(LinkId(999), 0) > links.load_us(LinkId(1), 0));
    }

    #[test]
    fn the_prefill_is_known_by_what_was_computed() {
        let mut prefill = Prefill::default();
        (0..100).for_each(|_| prefill.measured(1_000, 0, 500_000));
        let us = prefill.compute_us(1_000, 0);
        assert!((us / 500_000.0 - 1.0).abs() < 0.02, "{us}");
        assert!(prefill.compute_us(1_000, 53_000) > 1.9 * us);
    }
    #[test]
    fn a_link_that_is_not_loaded_is_tried_now_and_then() {
        let mut links = Links::default();
        let begun = |links: &mut Links, ms| links.begin_trial(LINK, Now(ms));
        assert!(begun(&mut links, 10), "never measured");
        assert!(!begun(&mut links, 11), "one at a time");
        links.measured(LINK, 1, 1, Now(20_000));
        assert!(!begun(&mut links, 49_999));
        assert!(begun(&mut links, 50_000));
    }
}
