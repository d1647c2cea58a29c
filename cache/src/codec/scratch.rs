//! Responsible for the buffers that encoders and decoders keep from block to block, so that a block costs no allocation. It
//! must never know what the numbers mean. Each grows to the largest tensor that was seen.

use super::isa::LANES;

/// Buffers of one encoder or decoder.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// A number a channel or token.
    pub(super) low: Vec<f32>,
    /// A number a channel or token.
    pub(super) high: Vec<f32>,
    /// A number a channel or token.
    pub(super) factor: Vec<f32>,
    /// One row of numbers.
    pub(super) row: Vec<f32>,
    /// Sixteen tokens on their side: a row a dimension.
    pub(super) grid: Vec<[f32; LANES]>,
    /// The same as small integers.
    pub(super) codes: Vec<[i16; LANES]>,
    /// A tensor as symbols.
    pub(super) symbols: Vec<u8>,
    /// A stream of the entropy coder.
    pub(super) words: Vec<u16>,
    /// Escaped exponents.
    pub(super) escapes: Vec<u8>,
    /// Bytes of a plane.
    pub(super) plane: Vec<u8>,
    /// Bytes of a plane, compressed.
    pub(super) packed: Vec<u8>,
}

/// A buffer of exactly `count` places, whatever they hold.
pub(super) fn sized<T: Copy>(buffer: &mut Vec<T>, count: usize, fill: T) -> &mut [T] {
    if buffer.len() < count {
        buffer.resize(count, fill);
    }
    buffer.get_mut(..count).unwrap_or_default()
}
