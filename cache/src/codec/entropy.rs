//! Responsible for rungs L4 and L5: steps of a fraction of the standard deviation, of a channel for keys and of a token for
//! values, entropy-coded over a whole tensor. It must never know frames or other rungs.
//!
//! At every rate this has the least error: a step's width says what a number may lose, and the coder gives frequent steps
//! fewer bits. It is for tiers that are read seldom, since symbols depend on one another.
//!
//! # Shape
//! A tile a head: the exact tokens' numbers; a tag; planes when kept, else `unit`, then for keys, a segment at a time, `step
//! u8[dims], mean i16[dims]` (`i8` under the tag [`NARROW`]), for values `step u8[tokens]`. Then, when any tile is coded,
//! the table of frequencies and the stream of all coded tiles' symbols.
//!
//! # Source
//! CacheGen (arXiv 2310.07240), section 5: steps by standard deviation and arithmetic coding; means and steps in 8 bits are ours.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::isa::{Isa, Kernel, LANES, Simd};
use super::planes::{Pack, Unpack};
use super::range::{self, ROUND, Unit, extent};
use super::rans::{self, Frequencies, SYMBOLS};
use super::room::Room;
use super::scratch::{Scratch, sized};
use super::shape::{Role, Tensor};
use super::tiles::{CODED, KEPT, Outcome, keep};

/// Tag of a coded tile whose means have eight bits.
const NARROW: u8 = 2;
/// Tokens of keys that share steps at most.
const SEGMENT_MAX: usize = 256;
/// The symbol of the mean.
const MIDDLE: u32 = 64;
/// The largest mean in steps that narrow codes hold.
const NARROW_MAX: f32 = 127.0;
/// The largest mean in steps at all.
const WIDE_MAX: f32 = 32_767.0;
/// The least exponent of a step code, in an `f32` of the step in units.
const STEP_EXPONENT_MIN: u32 = 112;

/// The code of a step width in units, and what it stands for: four bits of exponent, four of mantissa.
#[inline(always)]
fn step_code(step: f32, unit: Unit) -> u8 {
    let rounded = (step * unit.inverse()).to_bits().wrapping_add(1 << 18) >> 19;
    let code = rounded.max(STEP_EXPONENT_MIN << 4) - (STEP_EXPONENT_MIN << 4);
    let [low, ..] = code.min(255).to_le_bytes();
    low
}

#[inline(always)]
fn step_of(code: u8, unit: Unit) -> f32 {
    f32::from_bits((u32::from(code) + (STEP_EXPONENT_MIN << 4)) << 19) * unit.value()
}

struct Encode<'a, 'b, E: Element> {
    tensor: &'a Tensor,
    tile: &'a [E::Bytes],
    /// Steps a deviation.
    fraction: f32,
    scratch: &'a mut Scratch,
    symbols: &'a mut [u8],
    out: &'a mut Room<'b>,
}

impl<E: Element> Kernel for Encode<'_, '_, E> {
    type Output = Option<f32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Option<f32> {
        let (least, greatest) = extent::<E>(self.tile)?;
        let largest = least.abs().max(greatest.abs());
        let unit = Unit::of(largest, 0)?;
        self.out.push(unit.code());
        let step_max = match self.tensor.role {
            Role::Key => self.keys(unit),
            Role::Value => self.values(unit),
        }?;
        Some(range::bound::<E>(largest, step_max))
    }
}

impl<E: Element> Encode<'_, '_, E> {
    #[inline(always)]
    fn keys(self, unit: Unit) -> Option<f32> {
        let dims = self.tensor.dims;
        let Scratch {
            low: sums,
            high: squares,
            factor: inverses,
            ..
        } = self.scratch;
        let (mut step_max, mut mean_max) = (0.0_f32, 0.0_f32);
        let (mut rest, mut symbols) = (self.tile, self.symbols);
        let tag_at = self.out.len().checked_sub(2)?;
        let mut over = 0;
        let mut means_at = Vec::new();
        for tokens in self.tensor.segments(SEGMENT_MAX) {
            let (rows, after) = rest.split_at_checked(tokens * dims)?;
            rest = after;
            let (own, after) = symbols.split_at_mut_checked(tokens * dims)?;
            symbols = after;
            let (sums, squares) = (sized(sums, dims, 0.0), sized(squares, dims, 0.0));
            let count = moments::<E>(rows, sums, squares);
            let inverses = sized(inverses, dims, 0.0);
            let at = self.out.len();
            let (steps, means) = self.out.take(dims * 3).split_at_mut_checked(dims)?;
            let places = steps.iter_mut().zip(means.as_chunks_mut::<2>().0);
            let first = rows.get(..dims)?;
            let channels = sums
                .iter_mut()
                .zip(squares.iter())
                .zip(first)
                .zip(inverses.iter_mut());
            for ((((sum, square), first), inverse), (step_place, mean_place)) in
                channels.zip(places)
            {
                let offset = *sum / count;
                let deviation = (*square / count - offset * offset).max(0.0).sqrt();
                let code = step_code(deviation * self.fraction, unit);
                let step = step_of(code, unit);
                *inverse = 1.0 / step;
                let mean = ((E::load(*first) + offset) * *inverse).clamp(-WIDE_MAX, WIDE_MAX);
                let [low, high, ..] = (mean + ROUND)
                    .to_bits()
                    .wrapping_sub(ROUND.to_bits())
                    .to_le_bytes();
                *step_place = code;
                *mean_place = [low, high];
                *sum = f32::from(i16::from_le_bytes([low, high]));
                step_max = step_max.max(step);
                mean_max = mean_max.max(sum.abs());
            }
            means_at.push(at + dims);
            for (row, symbols) in rows.chunks_exact(dims).zip(own.chunks_exact_mut(dims)) {
                let channels = sums.iter().zip(inverses.iter());
                for ((number, (mean, inverse)), place) in row.iter().zip(channels).zip(symbols) {
                    let symbol = symbol_of(E::load(*number) * *inverse - *mean);
                    over |= symbol;
                    let [low, ..] = symbol.to_le_bytes();
                    *place = low;
                }
            }
        }
        if mean_max <= NARROW_MAX {
            *self.out.written_mut().get_mut(tag_at)? = NARROW;
            narrow(self.out, &means_at, dims)?;
        }
        (over < 128).then_some(step_max)
    }

    #[inline(always)]
    fn values(self, unit: Unit) -> Option<f32> {
        let dims = self.tensor.dims;
        let (mut step_max, mut over) = (0.0_f32, 0);
        let rows = self
            .tile
            .chunks_exact(dims)
            .zip(self.symbols.chunks_exact_mut(dims));
        for (row, symbols) in rows {
            let code = step_code(root_mean_square::<E>(row) * self.fraction, unit);
            let step = step_of(code, unit);
            self.out.push(code);
            step_max = step_max.max(step);
            let inverse = 1.0 / step;
            for (number, place) in row.iter().zip(symbols) {
                let symbol = symbol_of(E::load(*number) * inverse);
                over |= symbol;
                let [low, ..] = symbol.to_le_bytes();
                *place = low;
            }
        }
        (over < 128).then_some(step_max)
    }
}

/// Drops the high bytes of the means that begin at these places, and closes the gaps.
fn narrow(out: &mut Room<'_>, means_at: &[usize], dims: usize) -> Option<()> {
    let written = out.written_mut();
    let (end, mut to) = (written.len(), *means_at.first()?);
    for (at, next) in means_at.iter().zip(means_at.iter().skip(1).chain([&end])) {
        for from in (*at..).step_by(2).take(dims) {
            *written.get_mut(to)? = *written.get(from)?;
            to += 1;
        }
        // The steps of the segment that follows.
        let steps = at + dims * 2..*next;
        let count = steps.len();
        written.copy_within(steps, to);
        to += count;
    }
    out.truncate(to);
    Some(())
}

/// The symbol of a distance from the mean in steps; 128 or more when there is none.
#[inline(always)]
fn symbol_of(distance: f32) -> u32 {
    (distance + ROUND)
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(MIDDLE)
}

/// Sums and sums of squares of each channel's distances from its first number, and the count: small where the mean is large.
#[inline(always)]
fn moments<E: Element>(rows: &[E::Bytes], sums: &mut [f32], squares: &mut [f32]) -> f32 {
    sums.fill(0.0);
    squares.fill(0.0);
    let (first, _) = rows.split_at(sums.len());
    let mut count = 0.0_f32;
    for row in rows.chunks_exact(sums.len()) {
        count += 1.0;
        for (((number, first), sum), square) in row
            .iter()
            .zip(first)
            .zip(sums.iter_mut())
            .zip(squares.iter_mut())
        {
            let distance = E::load(*number) - E::load(*first);
            *sum += distance;
            *square += distance * distance;
        }
    }
    count
}

/// In sixteen lanes, whose sums are added in order: the same on every machine.
#[inline(always)]
fn root_mean_square<E: Element>(row: &[E::Bytes]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let mut count = 0.0_f32;
    for part in row.chunks(LANES) {
        for (lane, number) in lanes.iter_mut().zip(part) {
            let number = E::load(*number);
            *lane += number * number;
        }
    }
    for _ in row {
        count += 1.0;
    }
    (lanes.into_iter().sum::<f32>() / count).sqrt()
}

/// Appends a tensor; `fraction` of a deviation a step.
pub(super) fn encode<E: Element>(
    isa: Isa,
    (tensor, fraction): (&Tensor, f32),
    plain: &[u8],
    (scratch, pack): (&mut Scratch, &mut Pack),
    out: &mut Room<'_>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let (each, exact_bytes) = (
        tensor.coded_numbers(),
        tensor.exact * tensor.dims * E::BYTES,
    );
    let mut symbols = std::mem::take(&mut scratch.symbols);
    sized(&mut symbols, each * tensor.heads, 0);
    let mut coded_tiles = 0;
    for head in plain.chunks_exact(tensor.tokens * tensor.dims * E::BYTES) {
        let (exact, coded) = head.split_at(exact_bytes);
        out.extend(exact);
        let at = out.len();
        out.push(CODED);
        let places = symbols
            .get_mut(coded_tiles * each..(coded_tiles + 1) * each)
            .unwrap_or_default();
        let kernel = Encode::<E> {
            tensor,
            tile: E::split(coded),
            fraction,
            scratch: &mut *scratch,
            symbols: places,
            out: &mut *out,
        };
        match isa.run(kernel).filter(|error| error.is_finite()) {
            Some(error) => {
                outcome.error_max = outcome.error_max.max(error);
                coded_tiles += 1;
            }
            None => {
                keep::<E>(isa, coded, at, (&mut *scratch, &mut *pack), out);
                outcome.kept += 1;
            }
        }
    }
    if let Some(coded) = symbols.get(..coded_tiles * each)
        && coded_tiles > 0
    {
        let frequencies = Frequencies::of(&count(coded));
        frequencies.write(out);
        rans::encode(coded, &frequencies, &mut scratch.words, out);
    }
    scratch.symbols = symbols;
    outcome
}

/// How often each symbol occurs; four counters side by side, so that equal neighbours do not wait for one another.
fn count(symbols: &[u8]) -> [u32; SYMBOLS] {
    let mut counts = [[0_u32; SYMBOLS]; 4];
    let (fours, rest) = symbols.as_chunks::<4>();
    let mut one = |lane: usize, symbol: u8| {
        if let Some(count) = counts
            .get_mut(lane)
            .and_then(|counts| counts.get_mut(usize::from(symbol)))
        {
            *count += 1;
        }
    };
    for [a, b, c, d] in fours {
        one(0, *a);
        one(1, *b);
        one(2, *c);
        one(3, *d);
    }
    for symbol in rest {
        one(0, *symbol);
    }
    let [mut total, others @ ..] = counts;
    for other in others {
        for (total, count) in total.iter_mut().zip(other) {
            *total += count;
        }
    }
    total
}

/// Steps and means of a tile whose symbols come later.
struct Params<'a> {
    unit: Unit,
    narrow: bool,
    bytes: &'a [u8],
}

struct Decode<'a, E: Element> {
    tensor: &'a Tensor,
    params: Params<'a>,
    symbols: &'a [u8],
    scratch: &'a mut Scratch,
    tile: &'a mut [E::Bytes],
}

impl<E: Element> Kernel for Decode<'_, E> {
    type Output = Result<(), DecodeError>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Self::Output {
        let Params {
            unit,
            narrow,
            bytes,
        } = self.params;
        let (dims, mut params) = (self.tensor.dims, Cursor::new(bytes));
        let steps = sized(&mut self.scratch.low, dims, 0.0);
        let middle = f32::from(64_u8);
        if self.tensor.role == Role::Value {
            let rows = self
                .tile
                .chunks_exact_mut(dims)
                .zip(self.symbols.chunks_exact(dims));
            for ((row, symbols), code) in rows.zip(params.take(self.tensor.coded())?) {
                let step = step_of(*code, unit);
                for (place, symbol) in row.iter_mut().zip(symbols) {
                    *place = E::store((f32::from(*symbol) - middle) * step);
                }
            }
            return Ok(());
        }
        let means = sized(&mut self.scratch.high, dims, 0.0);
        let (mut rest, mut symbols) = (self.tile, self.symbols);
        for tokens in self.tensor.segments(SEGMENT_MAX) {
            let (rows, after) = rest
                .split_at_mut_checked(tokens * dims)
                .ok_or(DecodeError::Output)?;
            rest = after;
            let (own, after) = symbols
                .split_at_checked(tokens * dims)
                .ok_or(DecodeError::Output)?;
            symbols = after;
            for (step, code) in steps.iter_mut().zip(params.take(dims)?) {
                *step = step_of(*code, unit);
            }
            if narrow {
                for (mean, code) in means.iter_mut().zip(params.take(dims)?) {
                    *mean = f32::from(code.cast_signed()) - middle;
                }
            } else {
                for (mean, code) in means
                    .iter_mut()
                    .zip(params.take(dims * 2)?.as_chunks::<2>().0)
                {
                    *mean = f32::from(i16::from_le_bytes(*code)) - middle;
                }
            }
            for (row, symbols) in rows.chunks_exact_mut(dims).zip(own.chunks_exact(dims)) {
                let channels = means.iter().zip(steps.iter());
                for ((place, symbol), (mean, step)) in row.iter_mut().zip(symbols).zip(channels) {
                    *place = E::store((f32::from(*symbol) + *mean) * *step);
                }
            }
        }
        Ok(())
    }
}

/// Bytes of a coded tile's steps and means.
fn param_bytes(tensor: &Tensor, narrow: bool) -> usize {
    match tensor.role {
        Role::Value => tensor.coded(),
        Role::Key => {
            tensor.segments(SEGMENT_MAX).count() * tensor.dims * if narrow { 2 } else { 3 }
        }
    }
}

/// Reads a tensor into `plain`.
pub(super) fn decode<E: Element>(
    isa: Isa,
    tensor: &Tensor,
    body: &mut Cursor<'_>,
    (scratch, unpack): (&mut Scratch, &mut Unpack),
    plain: &mut [u8],
) -> Result<(), DecodeError> {
    let exact_bytes = tensor.exact * tensor.dims * E::BYTES;
    let mut tiles = Vec::with_capacity(tensor.heads);
    for head in plain.chunks_exact_mut(tensor.tokens * tensor.dims * E::BYTES) {
        let (exact, coded) = head.split_at_mut(exact_bytes);
        exact.copy_from_slice(body.take(exact_bytes)?);
        let tag = body.byte()?;
        match tag {
            KEPT => unpack.decode::<E>(isa, body, scratch, coded)?,
            CODED | NARROW => {
                let narrow = tag == NARROW;
                let unit = Unit::from_code(body.byte()?)?;
                let bytes = body.take(param_bytes(tensor, narrow))?;
                tiles.push((
                    Params {
                        unit,
                        narrow,
                        bytes,
                    },
                    coded,
                ));
            }
            _ => return Err(DecodeError::Tag),
        }
    }
    if tiles.is_empty() {
        return Ok(());
    }
    let frequencies = Frequencies::read(body)?;
    let mut symbols = std::mem::take(&mut scratch.symbols);
    let each = tensor.coded_numbers();
    let all = sized(&mut symbols, each * tiles.len(), 0);
    let outcome = rans::decode(&frequencies, body, all).and_then(|()| {
        for ((params, tile), symbols) in tiles.into_iter().zip(all.chunks_exact(each)) {
            isa.run(Decode::<E> {
                tensor,
                params,
                symbols,
                scratch: &mut *scratch,
                tile: E::split_mut(tile),
            })?;
        }
        Ok(())
    });
    scratch.symbols = symbols;
    outcome
}
