//! Responsible for how fast rungs encode and decode on one core, beside memcpy in the same run. It must never know quality.
//!
//! Time is what the thread spent on its core, so that a busy machine, which lets it wait, does not slow the figures down; the rounds of all
//! rungs take turns, and medians are told.
#![expect(
    clippy::as_conversions,
    reason = "nanoseconds and bytes, far below 2^52, become rates"
)]

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use ultrakv_cache::Codec;
use ultrakv_cache::codec::{Decoder, Encoder, Isa};

use super::blocks::{Blocks, decode, encode};

/// One rung's speed, in 10^9 bytes of original numbers a second.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// The rung, or `memcpy`.
    pub codec: &'static str,
    /// Encoding, the checksum of the payload included, of the original too for exact rungs.
    pub encode_gbs: f64,
    /// Decoding.
    pub decode_gbs: f64,
    /// Decoding, and checking the payload's checksum before.
    pub checked_gbs: f64,
}

/// Seconds that this thread has spent on a core.
fn spent() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = spent();
    work();
    spent() - began
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures memcpy, then every rung, `rounds` times in turn.
///
/// # Panics
/// When a payload does not have its checksum: then no figure means anything.
pub fn measure(blocks: &Blocks, codecs: &[Codec], isa: Isa, rounds: usize) -> Vec<Speed> {
    let (mut encoder, mut decoder) = (Encoder::new(isa), Decoder::new(isa));
    let mut places: Vec<Vec<u8>> = blocks
        .plain()
        .iter()
        .map(|plain| vec![0; plain.len()])
        .collect();
    let mut copies = Vec::new();
    let mut stored: Vec<Vec<_>> = Vec::new();
    for codec in codecs {
        stored.push(
            blocks
                .raw()
                .map(|block| encode(&mut encoder, *codec, &block))
                .collect(),
        );
    }
    let mut times = vec![[const { Vec::new() }; 3]; codecs.len()];
    for _ in 0..rounds {
        copies.push(timed(|| {
            for (place, plain) in places.iter_mut().zip(blocks.plain()) {
                place.copy_from_slice(plain);
                black_box(place);
            }
        }));
        for ((codec, stored), [encodes, decodes, checks]) in
            codecs.iter().zip(&mut stored).zip(&mut times)
        {
            encodes.push(timed(|| {
                for (block, stored) in blocks.raw().zip(stored.iter_mut()) {
                    let _ = black_box(encoder.encode(*codec, &block, &mut stored.payload));
                }
            }));
            decodes.push(timed(|| {
                for (stored, place) in stored.iter().zip(&mut places) {
                    decode(&mut decoder, stored, place);
                    black_box(place);
                }
            }));
            checks.push(timed(|| {
                for (stored, place) in stored.iter().zip(&mut places) {
                    assert!(is_whole(stored), "a payload changed under us");
                    decode(&mut decoder, stored, place);
                    black_box(place);
                }
            }));
        }
    }
    let rate = |seconds: Vec<f64>| blocks.plain_bytes() as f64 * 1e-9 / median(seconds);
    let copy = rate(copies);
    let mut speeds = vec![Speed {
        codec: "memcpy",
        encode_gbs: copy,
        decode_gbs: copy,
        checked_gbs: copy,
    }];
    for (codec, [encodes, decodes, checks]) in codecs.iter().zip(times) {
        speeds.push(Speed {
            codec: codec.name(),
            encode_gbs: rate(encodes),
            decode_gbs: rate(decodes),
            checked_gbs: rate(checks),
        });
    }
    speeds
}

/// Whether all bodies have their checksum.
fn is_whole(stored: &super::blocks::Stored) -> bool {
    let Ok(frame) = ultrakv_cache::codec::Frame::parse(&stored.payload) else {
        return stored.encoded.codec == Codec::Raw;
    };
    (0..frame.layers()).all(|layer| {
        let body = frame.body(layer).and_then(|body| stored.payload.get(body));
        body.is_some_and(|body| frame.verify_body(layer, body))
    })
}
