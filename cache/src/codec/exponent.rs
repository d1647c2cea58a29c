//! Responsible for rung L1a: the sixteen most frequent exponents of a tensor in four bits each, other exponents aside. It must
//! never know frames or other rungs.
//!
//! Fixed widths cost a little room and buy speed: a decoder looks 32 exponents up at once and meets no branch but for the
//! escapes, which are written over the result.
//!
//! # Shape
//! `table u8[16]` ascending, `escapes LE32`; for every 64 numbers, the last ones filled up with the table's first exponent: 32
//! bytes of codes (number `i` in the low half of byte `i`, number `i + 32` in its high half), then 64 bytes of each lower byte of the turned
//! numbers; then for every escape `position LE32, exponent u8`.
//!
//! # Source
//! SplitZip (arXiv 2605.01708): top-16 exponents in four bits, escapes aside.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::isa::{Isa, Kernel, LOOKUPS, RANKS, Simd};
use super::room::Room;

/// Numbers that share a stretch of the stream.
const GROUP: usize = 64;
const _: () = assert!(GROUP == 2 * LOOKUPS && GROUP == RANKS);
const TABLE: usize = 16;
/// The low halves of eight bytes.
const LOW_HALVES: u64 = 0x0f0f_0f0f_0f0f_0f0f;
/// Bytes of an escape.
const ESCAPE_BYTES: usize = 5;
/// Every how manieth number is counted, where there are many: odd, so that every channel is.
const SAMPLE_EVERY: usize = 5;
/// Where fewer numbers are, all are counted.
const SAMPLE_ABOVE: usize = 4096;

/// The exponents that get codes, ascending; the last one repeated when there are fewer.
fn table_of<E: Element>(numbers: &[E::Bytes]) -> [u8; TABLE] {
    let counts = count::<E>(numbers);
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

/// How often each exponent occurs, in a sample where there are many numbers; four counters side by side, so that equal
/// exponents do not wait for one another.
fn count<E: Element>(numbers: &[E::Bytes]) -> [u32; 256] {
    let mut counts = [[0_u32; 256]; 4];
    let one = |counts: &mut [u32; 256], number: E::Bytes| {
        if let Some(count) = counts.get_mut(usize::from(top::<E>(number))) {
            *count += 1;
        }
    };
    let [a, b, c, d] = &mut counts;
    if numbers.len() < SAMPLE_ABOVE {
        numbers.iter().for_each(|number| one(a, *number));
        return *a;
    }
    let (parts, rest) = numbers.as_chunks::<{ 4 * SAMPLE_EVERY }>();
    for part in parts {
        let mut sample = part.iter().step_by(SAMPLE_EVERY);
        for counts in [&mut *a, &mut *b, &mut *c, &mut *d] {
            if let Some(number) = sample.next() {
                one(counts, *number);
            }
        }
    }
    for number in rest.iter().step_by(SAMPLE_EVERY) {
        one(a, *number);
    }
    let [mut total, others @ ..] = counts;
    for other in others {
        for (total, count) in total.iter_mut().zip(other) {
            *total += count;
        }
    }
    total
}

#[inline(always)]
fn top<E: Element>(number: E::Bytes) -> u8 {
    let [_, b, _, d] = E::turned(number).to_le_bytes();
    if E::BYTES == 2 { b } else { d }
}

/// The number of these turned bits, with another exponent.
#[inline(always)]
fn with_top<E: Element>(turned: u32, exponent: u8) -> E::Bytes {
    let shift = 8 * (E::BYTES - 1);
    E::of_turned(turned & !(255 << shift) | u32::from(exponent) << shift)
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
        let (groups, rest) = self.numbers.as_chunks::<GROUP>();
        let mut places = self.groups.chunks_exact_mut(group_bytes::<E>());
        for ((numbers, out), at) in groups.iter().zip(&mut places).zip((0..).step_by(GROUP)) {
            group::<E, S>(numbers, &self.table, out, at, self.escapes);
        }
        if let Some(out) = places.next() {
            let [first, ..] = self.table;
            let mut filled = [with_top::<E>(0, first); GROUP];
            for (place, number) in filled.iter_mut().zip(rest) {
                *place = *number;
            }
            let at = self.numbers.len() - rest.len();
            group::<E, S>(&filled, &self.table, out, at, self.escapes);
        }
    }
}

const fn group_bytes<E: Element>() -> usize {
    GROUP / 2 + GROUP * (E::BYTES - 1)
}

/// Writes a group whose first number is the tensor's number `at`.
///
/// Loops are over whole groups: shorter ones would be unrolled before they could become vector code.
#[inline(always)]
fn group<E: Element, S: Simd>(
    numbers: &[E::Bytes; GROUP],
    table: &[u8; TABLE],
    out: &mut [u8],
    at: usize,
    escapes: &mut Vec<u8>,
) {
    let mut exponents = [0_u8; GROUP];
    for (exponent, number) in exponents.iter_mut().zip(numbers) {
        *exponent = top::<E>(*number);
    }
    let mut codes = exponents;
    S::rank(table, &mut codes);
    let (places, mut rest) = out.split_at_mut(GROUP / 2);
    let (low, high) = codes.split_at(LOOKUPS);
    let words = low.as_chunks().0.iter().zip(high.as_chunks().0);
    for (place, (low, high)) in places.as_chunks_mut().0.iter_mut().zip(words) {
        // Eight codes at once, none of which reaches its neighbour.
        *place = (u64::from_le_bytes(*low) | u64::from_le_bytes(*high) << 4).to_le_bytes();
    }
    for plane in 0..E::BYTES - 1 {
        let (places, after) = rest.split_at_mut(GROUP);
        rest = after;
        for (place, number) in places.iter_mut().zip(numbers) {
            let [byte, ..] = (E::turned(*number) >> (plane * 8)).to_le_bytes();
            *place = byte;
        }
    }
    let mut found = codes;
    for half in found.as_chunks_mut::<LOOKUPS>().0 {
        S::look_up(table, half);
    }
    let differ = found
        .iter()
        .zip(&exponents)
        .fold(0, |differ, (found, exponent)| differ | (found ^ exponent));
    if differ != 0 {
        escape(&exponents, &found, at, escapes);
    }
}

/// Appends the exponents that are not what their codes say.
#[cold]
fn escape(exponents: &[u8; GROUP], found: &[u8; GROUP], at: usize, escapes: &mut Vec<u8>) {
    for (position, (exponent, found)) in (at..).zip(exponents.iter().zip(found)) {
        if found != exponent {
            escapes.extend_from_slice(&u32::try_from(position).unwrap_or(u32::MAX).to_le_bytes());
            escapes.push(*exponent);
        }
    }
}

/// Appends a tensor.
pub(super) fn encode<E: Element>(
    isa: Isa,
    plain: &[u8],
    escapes: &mut Vec<u8>,
    out: &mut Room<'_>,
) {
    let numbers = E::split(plain);
    let table = table_of::<E>(numbers);
    out.extend(&table);
    let count_at = out.len();
    out.take(4);
    escapes.clear();
    isa.run(Encode::<E> {
        numbers,
        table,
        groups: out.take(numbers.len().div_ceil(GROUP) * group_bytes::<E>()),
        escapes: &mut *escapes,
    });
    let count = u32::try_from(escapes.len() / ESCAPE_BYTES).unwrap_or(u32::MAX);
    if let Some(place) = out.written_mut().get_mut(count_at..count_at + 4) {
        place.copy_from_slice(&count.to_le_bytes());
    }
    out.extend(escapes);
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
        let (groups, rest) = self.numbers.as_chunks_mut::<GROUP>();
        let mut bytes = self.groups.chunks_exact(group_bytes::<E>());
        for (numbers, bytes) in groups.iter_mut().zip(&mut bytes) {
            expand::<E, S>(bytes, self.table, numbers);
        }
        if let Some(bytes) = bytes.next() {
            let mut numbers = [E::of_turned(0); GROUP];
            expand::<E, S>(bytes, self.table, &mut numbers);
            for (place, number) in rest.iter_mut().zip(&numbers) {
                *place = *number;
            }
        }
    }
}

/// Reads a group.
#[inline(always)]
fn expand<E: Element, S: Simd>(bytes: &[u8], table: &[u8; TABLE], numbers: &mut [E::Bytes; GROUP]) {
    let (codes, rest) = bytes.split_at(GROUP / 2);
    let mut exponents = [0_u8; GROUP];
    let (low, high) = exponents.split_at_mut(LOOKUPS);
    let words = low.as_chunks_mut().0.iter_mut().zip(high.as_chunks_mut().0);
    for ((low, high), codes) in words.zip(codes.as_chunks().0) {
        let codes = u64::from_le_bytes(*codes);
        *low = (codes & LOW_HALVES).to_le_bytes();
        *high = (codes >> 4 & LOW_HALVES).to_le_bytes();
    }
    for half in exponents.as_chunks_mut::<LOOKUPS>().0 {
        S::look_up(table, half);
    }
    let planes = rest.as_chunks::<GROUP>().0;
    if E::BYTES == 2 {
        let [low, ..] = planes else { return };
        for ((number, exponent), low) in numbers.iter_mut().zip(&exponents).zip(low) {
            *number = E::of_turned(u32::from(*exponent) << 8 | u32::from(*low));
        }
        return;
    }
    let [a, b, c, ..] = planes else { return };
    let planes = a.iter().zip(b).zip(c);
    for ((number, exponent), ((a, b), c)) in numbers.iter_mut().zip(&exponents).zip(planes) {
        *number = E::of_turned(u32::from_le_bytes([*a, *b, *c, *exponent]));
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
    let escapes = escapes
        .checked_mul(ESCAPE_BYTES)
        .ok_or(DecodeError::Short)?;
    for escape in body.take(escapes)?.as_chunks::<ESCAPE_BYTES>().0 {
        let [a, b, c, d, exponent] = *escape;
        let position = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok();
        let place = position
            .and_then(|position| numbers.get_mut(position))
            .ok_or(DecodeError::Escape)?;
        *place = with_top::<E>(E::turned(*place), exponent);
    }
    Ok(())
}
