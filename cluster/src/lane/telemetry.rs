//! The names of the lanes' metrics. It must never decide anything: a node without a recorder behaves the same.

use std::sync::Once;

use metrics::{Counter, Gauge, Unit};

/// Counter: requests sent or answered. Labels: `lane`, `direction` (`out`, `in`).
const REQUESTS: &str = "ultrakv_lane_requests_total";
/// Counter: requests that ended without an answer. Labels: `lane`, `direction`, `code`.
const REQUESTS_FAILED: &str = "ultrakv_lane_requests_failed_total";
/// Counter: frames that were refused. Labels: `lane`, `code`.
const FRAMES_REFUSED: &str = "ultrakv_lane_frames_refused_total";
/// Counter: connections that were refused or never finished. Labels: `lane`, `code`.
const HANDSHAKES_FAILED: &str = "ultrakv_lane_handshakes_failed_total";
/// Gauge: connections that stand. Labels: `lane`, `direction`.
const CONNECTIONS: &str = "ultrakv_lane_connections";
/// Counter: messages that need no answer and were dropped. Labels: `lane`.
const POSTS_DROPPED: &str = "ultrakv_lane_posts_dropped_total";
/// Counter: payload and header bytes of whole frames. Labels: `lane`, `direction`.
const BYTES: &str = "ultrakv_lane_bytes_total";

/// Tells the recorder what the metrics mean; once a process.
fn describe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, text) in [
            (REQUESTS, "Requests sent to peers or answered for them"),
            (
                REQUESTS_FAILED,
                "Requests between nodes that ended without an answer",
            ),
            (FRAMES_REFUSED, "Frames of peers that were refused"),
            (
                HANDSHAKES_FAILED,
                "Connections that were refused or never finished",
            ),
            (
                POSTS_DROPPED,
                "Messages to peers that were dropped for want of room or connection",
            ),
        ] {
            metrics::describe_counter!(name, text);
        }
        metrics::describe_counter!(BYTES, Unit::Bytes, "Bytes of whole frames between nodes");
        metrics::describe_gauge!(CONNECTIONS, "Connections between nodes that stand");
    });
}

/// The metrics of one lane, looked up once.
pub(super) struct Meters {
    lane: &'static str,
    pub(super) asked: Counter,
    pub(super) answered: Counter,
    pub(super) posts_dropped: Counter,
    pub(super) connections_out: Gauge,
    pub(super) connections_in: Gauge,
    pub(super) bytes_out: Counter,
    pub(super) bytes_in: Counter,
}

impl Meters {
    pub(super) fn new(lane: &'static str) -> Self {
        describe();
        Self {
            lane,
            asked: metrics::counter!(REQUESTS, "lane" => lane, "direction" => "out"),
            answered: metrics::counter!(REQUESTS, "lane" => lane, "direction" => "in"),
            posts_dropped: metrics::counter!(POSTS_DROPPED, "lane" => lane),
            connections_out: metrics::gauge!(CONNECTIONS, "lane" => lane, "direction" => "out"),
            connections_in: metrics::gauge!(CONNECTIONS, "lane" => lane, "direction" => "in"),
            bytes_out: metrics::counter!(BYTES, "lane" => lane, "direction" => "out"),
            bytes_in: metrics::counter!(BYTES, "lane" => lane, "direction" => "in"),
        }
    }

    /// A request of ours got no answer.
    pub(super) fn call_failed(&self, code: &'static str) {
        metrics::counter!(REQUESTS_FAILED, "lane" => self.lane, "direction" => "out", "code" => code)
            .increment(1);
    }

    /// A peer's request got no answer of its responder.
    pub(super) fn answer_failed(&self, code: &'static str) {
        metrics::counter!(REQUESTS_FAILED, "lane" => self.lane, "direction" => "in", "code" => code)
            .increment(1);
    }

    /// A frame was refused.
    pub(super) fn frame_refused(&self, code: &'static str) {
        metrics::counter!(FRAMES_REFUSED, "lane" => self.lane, "code" => code).increment(1);
    }

    /// A connection was refused, or never finished.
    pub(super) fn handshake_failed(&self, code: &'static str) {
        metrics::counter!(HANDSHAKES_FAILED, "lane" => self.lane, "code" => code).increment(1);
    }
}

/// A count as the recorder takes it.
pub(super) fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
