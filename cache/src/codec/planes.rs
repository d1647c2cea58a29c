//! Responsible for rung L1b: one plane a byte of the element, each compressed by zstd where it pays. It must never know frames
//! or other rungs.
//!
//! Numbers are turned left by one bit first, so that the last plane of bf16 and f32 holds whole exponents, which repeat,
//! and the sign goes with the mantissa, which does not.
//!
//! # Shape
//! A plane at a time, lowest byte first: `length LE32`, then that many bytes: the plane itself when the length is the number of
//! its bytes, else a zstd frame.
//!
//! # Source
//! Hershcovitch et al., ZipNN (arXiv 2411.05239): exponents of bf16 take 2.6 bits, mantissas do not compress.

use zstd_safe::{CCtx, DCtx};

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::isa::{Isa, Kernel, Simd};
use super::room::Room;
use super::scratch::{Scratch, sized};

/// The fast level: exponents gain by their frequencies, not by long matches.
const LEVEL: i32 = 1;
/// Bytes that are looked at before a plane is given to zstd, in this many pieces.
const PROBE_BYTES: usize = 4096;
const PROBE_PIECES: usize = 8;
/// A plane is compressed when equal bytes meet this many times as often as among random ones. At 1.15 zstd saves about
/// two hundredths of the plane.
const MEETINGS_MIN: f64 = 1.15;

/// One plane out of numbers.
struct Part<'a, E: Element> {
    numbers: &'a [E::Bytes],
    plane: usize,
    out: &'a mut [u8],
}

impl<E: Element> Kernel for Part<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let shift = self.plane * 8;
        for (number, place) in self.numbers.iter().zip(self.out) {
            let [low, ..] = (E::turned(*number) >> shift).to_le_bytes();
            *place = low;
        }
    }
}

/// Numbers out of two or four planes.
struct Join<'a, E: Element> {
    planes: [&'a [u8]; 4],
    numbers: &'a mut [E::Bytes],
}

impl<E: Element> Kernel for Join<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let [a, b, c, d] = self.planes;
        if E::BYTES == 2 {
            for ((place, a), b) in self.numbers.iter_mut().zip(a).zip(b) {
                *place = E::of_turned(u32::from(*a) | u32::from(*b) << 8);
            }
            return;
        }
        for ((((place, a), b), c), d) in self.numbers.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *place = E::of_turned(u32::from_le_bytes([*a, *b, *c, *d]));
        }
    }
}

/// Writes planes; keeps zstd's tables from block to block.
pub(super) struct Pack(CCtx<'static>);

impl Pack {
    pub(super) fn new() -> Self {
        Self(CCtx::create())
    }

    /// Appends the planes of `plain`, whose length is a whole number of elements.
    pub(super) fn encode<E: Element>(
        &mut self,
        isa: Isa,
        plain: &[u8],
        scratch: &mut Scratch,
        out: &mut Room<'_>,
    ) {
        let numbers = E::split(plain);
        for plane in 0..E::BYTES {
            let bytes = sized(&mut scratch.plane, numbers.len(), 0);
            isa.run(Part::<E> {
                numbers,
                plane,
                out: bytes,
            });
            self.plane(bytes, &mut scratch.packed, out);
        }
    }

    /// Appends one plane of bytes.
    pub(super) fn plane(&mut self, bytes: &[u8], packed: &mut Vec<u8>, out: &mut Room<'_>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        if is_promising(bytes) {
            // A result that is not shorter is of no use, so there need be no room for it.
            let room = sized(packed, bytes.len(), 0);
            if let Ok(count) = self.0.compress(room, bytes, LEVEL)
                && let Some(packed) = room.get(..count)
                && count < bytes.len()
            {
                out.extend(&length(packed));
                out.extend(packed);
                return;
            }
        }
        out.extend(&length(bytes));
        out.extend(bytes);
    }
}

/// Whether a sample of the bytes says that zstd will gain: equal bytes meet more often than among random ones.
fn is_promising(bytes: &[u8]) -> bool {
    if bytes.len() < PROBE_BYTES {
        return bytes.len() > 16;
    }
    let mut counts = [0_u32; 256];
    let (mut seen, mut matches) = (0_u32, 0_u32);
    for piece in bytes.chunks(bytes.len() / PROBE_PIECES) {
        let mut before = [0_u8; 8];
        for eight in piece
            .as_chunks::<8>()
            .0
            .iter()
            .take(PROBE_BYTES / PROBE_PIECES / 8)
        {
            matches += u32::from(*eight == before);
            before = *eight;
            for byte in eight {
                seen += 1;
                if let Some(count) = counts.get_mut(usize::from(*byte)) {
                    *count += 1;
                }
            }
        }
    }
    let pairs: f64 = counts
        .iter()
        .map(|count| f64::from(*count) * f64::from(count.saturating_sub(1)))
        .sum();
    let seen = f64::from(seen);
    pairs * 256.0 > MEETINGS_MIN * seen * (seen - 1.0) || f64::from(matches) * 64.0 > seen
}

/// Reads planes; keeps zstd's tables from block to block.
pub(super) struct Unpack(DCtx<'static>);

impl Unpack {
    pub(super) fn new() -> Self {
        Self(DCtx::create())
    }

    /// Reads planes into `plain`, whose length is a whole number of elements.
    pub(super) fn decode<E: Element>(
        &mut self,
        isa: Isa,
        body: &mut Cursor<'_>,
        scratch: &mut Scratch,
        plain: &mut [u8],
    ) -> Result<(), DecodeError> {
        let numbers = E::split_mut(plain);
        let count = numbers.len();
        let mut rooms =
            sized(&mut scratch.plane, count * E::BYTES, 0).chunks_exact_mut(count.max(1));
        let mut planes: [&[u8]; 4] = [&[]; 4];
        for plane in planes.iter_mut().take(E::BYTES) {
            let length = body.length()?;
            let bytes = body.take(length)?;
            *plane = if length == count {
                bytes
            } else {
                let room = rooms.next().ok_or(DecodeError::Plane)?;
                self.plane(bytes, room)?;
                room
            };
        }
        isa.run(Join::<E> { planes, numbers });
        Ok(())
    }

    /// Reads one plane that was compressed; it must fill `room`.
    pub(super) fn plane(&mut self, bytes: &[u8], room: &mut [u8]) -> Result<(), DecodeError> {
        match self.0.decompress(room, bytes) {
            Ok(count) if count == room.len() => Ok(()),
            _ => Err(DecodeError::Plane),
        }
    }
}
