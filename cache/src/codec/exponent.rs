//! Responsible for rung L1a: the sixteen most frequent exponents of a tensor in four bits each, other exponents aside. It must
//! never know frames or other rungs.
//!
//! Fixed widths cost a little room and buy speed: a decoder looks 32 exponents up at once and meets no branch but for the
//! escapes, which are written over the result.
//!
//! # Shape
//! `table u8[16]` ascending, `escapes LE32`; for every 64 numbers, the last ones filled up with zeros: 32 bytes of codes (number
//! `i` in the low half of byte `i`, number `i + 32` in its high half), then 64 bytes of each lower byte of the turned
//! numbers; then for every escape `position LE32, exponent u8`.
//!
//! # Source
//! SplitZip (arXiv 2605.01708): top-16 exponents in four bits, escapes aside.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::isa::{Isa, Kernel, LOOKUPS, Simd};

/// Numbers that share a stretch of the stream.
const GROUP: usize = 64;
const _: () = assert!(GROUP == 2 * LOOKUPS);
const TABLE: usize = 16;
/// Every how manieth number is counted, where there are many: odd, so that every channel is.
const SAMPLE_EVERY: usize = 5;

/// The exponents that get codes, ascending; the last one repeated when there are fewer.
fn table_of<E: Element>(numbers: &[E::Bytes]) -> [u8; TABLE] {
    let mut counts = [0_u32; 256];
    let every = if numbers.len() < 4096 {
        1
    } else {
        SAMPLE_EVERY
    };
    for number in numbers.iter().step_by(every) {
        if let Some(count) = counts.get_mut(usize::from(top::<E>(*number))) {
            *count += 1;
        }
    }
    let mut ranked: Vec<(u32, u8)> = counts
        .iter()
        .zip(0..=255)
        .filter(|(count, _)| **count > 0)
        .map(|(count, exponent)| (*count, exponent))
        .collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.truncate(TABLE);
    ranked.sort_unstable_by_key(|(_, exponent)| *exponent);
    let mut table = [ranked.last().map_or(0, |(_, exponent)| *exponent); TABLE];
    for (place, (_, exponent)) in table.iter_mut().zip(ranked) {
        *place = exponent;
    }
    table
}

#[inline(always)]
fn top<E: Element>(number: E::Bytes) -> u8 {
    let [a, b, c, d] = E::turned(number).to_le_bytes();
    let _ = (a, c);
    if E::BYTES == 2 { b } else { d }
}

struct Encode<'a, E: Element> {
    numbers: &'a [E::Bytes],
    table: [u8; TABLE],
    groups: &'a mut [u8],
    escapes: &'a mut Vec<u8>,
}

impl<E: Element> Kernel for Encode<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let each = group_bytes::<E>();
        for (at, (numbers, out)) in self
            .numbers
            .chunks(GROUP)
            .zip(self.groups.chunks_exact_mut(each))
            .enumerate()
        {
            match <&[E::Bytes; GROUP]>::try_from(numbers) {
                Ok(numbers) => group::<E, S>(numbers, &self.table, out, at, self.escapes),
                Err(_) => {
                    let mut filled = [E::of_turned(0); GROUP];
                    for (place, number) in filled.iter_mut().zip(numbers) {
                        *place = *number;
                    }
                    group::<E, S>(&filled, &self.table, out, at, self.escapes);
                }
            }
        }
    }
}

const fn group_bytes<E: Element>() -> usize {
    GROUP / 2 + GROUP * (E::BYTES - 1)
}

#[inline(always)]
fn group<E: Element, S: Simd>(
    numbers: &[E::Bytes; GROUP],
    table: &[u8; TABLE],
    out: &mut [u8],
    at: usize,
    escapes: &mut Vec<u8>,
) {
    let exponents = numbers.map(top::<E>);
    let mut codes = [0_u8; GROUP];
    let (_, above_first) = table.split_at(1);
    for entry in above_first {
        for (code, exponent) in codes.iter_mut().zip(&exponents) {
            *code += u8::from(*exponent >= *entry);
        }
    }
    let (places, mut rest) = out.split_at_mut(GROUP / 2);
    let (low, high) = codes.split_at(LOOKUPS);
    for ((place, low), high) in places.iter_mut().zip(low).zip(high) {
        *place = low | high << 4;
    }
    for plane in 0..E::BYTES - 1 {
        let (places, after) = rest.split_at_mut(GROUP);
        rest = after;
        for (place, number) in places.iter_mut().zip(numbers) {
            let [byte, ..] = (E::turned(*number) >> (plane * 8)).to_le_bytes();
            *place = byte;
        }
    }
    let found = entries::<S>(table, &codes);
    let differ = found
        .iter()
        .zip(&exponents)
        .fold(0, |differ, (found, exponent)| differ | (found ^ exponent));
    if differ != 0 {
        for (position, (found, exponent)) in (at * GROUP..).zip(found.iter().zip(&exponents)) {
            if found != exponent {
                escapes
                    .extend_from_slice(&u32::try_from(position).unwrap_or(u32::MAX).to_le_bytes());
                escapes.push(*exponent);
            }
        }
    }
}

/// The exponents of 64 codes.
#[inline(always)]
fn entries<S: Simd>(table: &[u8; TABLE], codes: &[u8; GROUP]) -> [u8; GROUP] {
    let mut found = *codes;
    for half in found.as_chunks_mut::<LOOKUPS>().0 {
        S::look_up(table, half);
    }
    found
}

/// Appends a tensor.
pub(super) fn encode<E: Element>(isa: Isa, plain: &[u8], out: &mut Vec<u8>) {
    let numbers = E::split(plain);
    let table = table_of::<E>(numbers);
    out.extend_from_slice(&table);
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let at = out.len();
    out.resize(at + numbers.len().div_ceil(GROUP) * group_bytes::<E>(), 0);
    let mut escapes = Vec::new();
    if let Some(groups) = out.get_mut(at..) {
        isa.run(Encode::<E> {
            numbers,
            table,
            groups,
            escapes: &mut escapes,
        });
    }
    let count = u32::try_from(escapes.len() / 5).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(count_at..count_at + 4) {
        place.copy_from_slice(&count.to_le_bytes());
    }
    out.extend_from_slice(&escapes);
}

struct Decode<'a, E: Element> {
    table: &'a [u8; TABLE],
    groups: &'a [u8],
    numbers: &'a mut [E::Bytes],
}

impl<E: Element> Kernel for Decode<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let groups = self.groups.chunks_exact(group_bytes::<E>());
        for (numbers, bytes) in self.numbers.chunks_mut(GROUP).zip(groups) {
            let (codes, rest) = bytes.split_at(GROUP / 2);
            let mut both = [0_u8; GROUP];
            let (low, high) = both.split_at_mut(LOOKUPS);
            for ((low, high), code) in low.iter_mut().zip(high).zip(codes) {
                *low = code & 15;
                *high = code >> 4;
            }
            let exponents = entries::<S>(self.table, &both);
            if E::BYTES == 2 {
                for ((place, exponent), low) in numbers.iter_mut().zip(exponents).zip(rest) {
                    *place = E::of_turned(u32::from(exponent) << 8 | u32::from(*low));
                }
                continue;
            }
            let (low, rest) = rest.split_at(GROUP);
            let (middle, high) = rest.split_at(GROUP);
            let planes = low.iter().zip(middle).zip(high);
            for ((place, exponent), ((low, middle), high)) in
                numbers.iter_mut().zip(exponents).zip(planes)
            {
                *place = E::of_turned(u32::from_le_bytes([*low, *middle, *high, exponent]));
            }
        }
    }
}

/// Reads a tensor into `plain`.
pub(super) fn decode<E: Element>(
    isa: Isa,
    body: &mut Cursor<'_>,
    plain: &mut [u8],
) -> Result<(), DecodeError> {
    let numbers = E::split_mut(plain);
    let table = body.array::<TABLE>()?;
    let escapes = body.length()?;
    let groups = body.take(numbers.len().div_ceil(GROUP) * group_bytes::<E>())?;
    isa.run(Decode::<E> {
        table: &table,
        groups,
        numbers: &mut *numbers,
    });
    let escapes = body.take(escapes.checked_mul(5).ok_or(DecodeError::Short)?)?;
    for escape in escapes.as_chunks::<5>().0 {
        let [a, b, c, d, exponent] = *escape;
        let position = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok();
        let place = position
            .and_then(|position| numbers.get_mut(position))
            .ok_or(DecodeError::Escape)?;
        let top = 8 * (E::BYTES - 1);
        let rest = E::turned(*place) & !(255 << top);
        *place = E::of_turned(rest | u32::from(exponent) << top);
    }
    Ok(())
}
