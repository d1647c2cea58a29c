//! What encoding costs and saves, as figures. It must never be read to decide something.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use ultrakv_cache::Codec;

use super::worker::Reason;
use crate::telemetry;

/// The coder's figures.
pub(super) struct Meters {
    encode: Side,
    decode: Side,
    ratio: Gauge,
    refused: Counter,
    plain_bytes: AtomicU64,
    stored_bytes: AtomicU64,
}

struct Side {
    plain: Counter,
    stored: Counter,
    seconds: Histogram,
}

impl Side {
    fn of(operation: &'static str) -> Self {
        let bytes = |form: &'static str| counter!(telemetry::CODEC_BYTES, "operation" => operation, "form" => form);
        Self {
            plain: bytes("plain"),
            stored: bytes("stored"),
            seconds: histogram!(telemetry::CODEC_SECONDS, "operation" => operation),
        }
    }

    fn note(&self, plain: u64, stored: u64, took: Duration) {
        self.plain.increment(plain);
        self.stored.increment(stored);
        self.seconds.record(took);
    }
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            encode: Side::of("encode"),
            decode: Side::of("decode"),
            ratio: gauge!(telemetry::CODEC_RATIO),
            refused: counter!(telemetry::CODEC_REFUSED),
            plain_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
        }
    }

    /// A block went in.
    pub(super) fn chosen(&self, codec: Codec, reason: Reason) {
        counter!(telemetry::CODEC_BLOCKS, "codec" => codec.name(), "reason" => reason.name())
            .increment(1);
    }

    /// A block was looked at, and so many bytes of it are stored.
    pub(super) fn encoded(&self, plain: u64, stored: u64, took: Duration) {
        self.encode.note(plain, stored, took);
        let plain = self.plain_bytes.fetch_add(plain, Ordering::Relaxed) + plain;
        let stored = self.stored_bytes.fetch_add(stored, Ordering::Relaxed) + stored;
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "a ratio for people"
        )]
        self.ratio.set(stored as f64 / plain.max(1) as f64);
    }

    /// Blocks were decoded.
    pub(super) fn decoded(&self, plain: u64, stored: u64, took: Duration) {
        self.decode.note(plain, stored, took);
    }

    /// A block was coarser than its reader takes.
    pub(super) fn refused(&self) {
        self.refused.increment(1);
    }

    /// A block could not be decoded.
    pub(super) fn failed(&self, code: &'static str) {
        counter!(telemetry::CODEC_FAILURES, "code" => code).increment(1);
    }
}
