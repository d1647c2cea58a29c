//! Responsible for coding symbols of one tensor by their frequencies: a static range coder of asymmetric numeral systems, eight
//! states side by side. It must never know what the symbols mean.
//!
//! States are 32-bit and move 16-bit words; frequencies sum up to 4096. Symbol `i` belongs to state `i mod 8`, so that eight
//! chains of dependent operations overlap.
//!
//! # Shape
//! Table: `first u8, count u8`, then a frequency each: one byte below 128, else two, high part first with its top bit set. Stream:
//! `words LE32, state LE32 × 8, word LE16 × words`.
//!
//! # Source
//! Duda, Asymmetric numeral systems (arXiv 1311.2540); Giesen, Interleaved entropy coders (arXiv 1402.3392).

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::room::Room;

/// Symbols that there may be.
pub(super) const SYMBOLS: usize = 128;
/// Frequencies sum up to `1 << SCALE_BITS`.
const SCALE_BITS: u32 = 12;
const SCALE: u32 = 1 << SCALE_BITS;
const SCALE_PLACES: usize = 1 << SCALE_BITS;
/// Chains side by side.
const STATES: usize = 8;
/// A state between symbols is at least this.
const STATE_MIN: u32 = 1 << 16;

/// How often each symbol occurs.
pub(super) struct Frequencies([u32; SYMBOLS]);

impl Frequencies {
    /// Scales counts; a symbol that occurs keeps a frequency of at least one.
    pub(super) fn of(counts: &[u32; SYMBOLS]) -> Self {
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let mut scaled = [0_u32; SYMBOLS];
        if total == 0 {
            return Self(scaled);
        }
        for (scaled, count) in scaled.iter_mut().zip(counts) {
            let share = u64::from(*count) * u64::from(SCALE) / total;
            *scaled = u32::try_from(share)
                .unwrap_or(SCALE)
                .max(u32::from(*count > 0));
        }
        // Whole shares and the ones for rare symbols miss the sum by at most the number of symbols; the most frequent make it up.
        let mut sum: u32 = scaled.iter().sum();
        while sum != SCALE {
            let Some(most) = scaled.iter_mut().max() else {
                break;
            };
            if sum < SCALE {
                *most += SCALE - sum;
            } else {
                *most -= (sum - SCALE).min(*most - 1);
            }
            sum = scaled.iter().sum();
        }
        Self(scaled)
    }

    pub(super) fn write(&self, out: &mut Room<'_>) {
        let first = self
            .0
            .iter()
            .position(|frequency| *frequency > 0)
            .unwrap_or(0);
        let last = self
            .0
            .iter()
            .rposition(|frequency| *frequency > 0)
            .map_or(first, |last| last + 1);
        out.push(u8::try_from(first).unwrap_or(0));
        out.push(u8::try_from(last - first).unwrap_or(0));
        for frequency in self.0.iter().take(last).skip(first) {
            let [low, high, ..] = (frequency << 1).to_le_bytes();
            if *frequency < 128 {
                out.push(low >> 1);
            } else {
                out.extend(&[0x80 | high, low >> 1]);
            }
        }
    }

    pub(super) fn read(body: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let (first, count) = (usize::from(body.byte()?), usize::from(body.byte()?));
        let mut frequencies = [0; SYMBOLS];
        let places = frequencies
            .get_mut(first..first + count)
            .ok_or(DecodeError::Table)?;
        let mut sum = 0;
        for place in places {
            let byte = u32::from(body.byte()?);
            *place = if byte < 128 {
                byte
            } else {
                (byte & 127) << 7 | u32::from(body.byte()? & 127)
            };
            sum += *place;
        }
        if sum == SCALE || (sum == 0 && count <= 1) {
            Ok(Self(frequencies))
        } else {
            Err(DecodeError::Table)
        }
    }
}

/// What coding one symbol needs.
#[derive(Clone, Copy, Default)]
struct Step {
    frequency: u32,
    start: u32,
    /// `2^64 / frequency`, rounded up, so that a multiplication divides.
    reciprocal: u64,
}

impl Step {
    fn quotient(self, state: u32) -> u32 {
        if self.frequency == 1 {
            return state;
        }
        let product = u128::from(state) * u128::from(self.reciprocal);
        u32::try_from(product >> 64).unwrap_or(u32::MAX)
    }
}

/// Appends a stream of symbols, all of which must have a frequency.
pub(super) fn encode(
    symbols: &[u8],
    frequencies: &Frequencies,
    words: &mut Vec<u16>,
    out: &mut Room<'_>,
) {
    let mut steps = [Step::default(); SYMBOLS];
    let mut start = 0;
    for (step, frequency) in steps.iter_mut().zip(frequencies.0) {
        let reciprocal = if frequency > 1 {
            u64::MAX / u64::from(frequency) + 1
        } else {
            0
        };
        *step = Step {
            frequency,
            start,
            reciprocal,
        };
        start += frequency;
    }
    words.clear();
    let mut states = [STATE_MIN; STATES];
    for eight in symbols.chunks(STATES).rev() {
        for (state, symbol) in states.iter_mut().zip(eight).rev() {
            let step = steps.get(usize::from(*symbol)).copied().unwrap_or_default();
            if u64::from(*state) >= u64::from(step.frequency) << 20 {
                let [low, high, ..] = state.to_le_bytes();
                words.push(u16::from_le_bytes([low, high]));
                *state >>= 16;
            }
            let quotient = step.quotient(*state);
            *state = (quotient << SCALE_BITS) + (*state - quotient * step.frequency) + step.start;
        }
    }
    out.extend(&u32::try_from(words.len()).unwrap_or(u32::MAX).to_le_bytes());
    for state in states {
        out.extend(&state.to_le_bytes());
    }
    let places = out.take(words.len() * 2).as_chunks_mut().0;
    for (place, word) in places.iter_mut().zip(words.iter().rev()) {
        *place = word.to_le_bytes();
    }
}

/// What a slot says: the symbol in the lowest 7 bits, its frequency less one in the next 12, the slot's distance from its start in
/// the highest 12.
#[derive(Clone, Copy)]
struct Slot(u32);

const _: () = assert!(SYMBOLS <= 1 << 7 && SCALE <= 1 << 12);

impl Slot {
    const fn symbol(self) -> u8 {
        let [low, ..] = (self.0 & 127).to_le_bytes();
        low
    }

    /// The state before this slot's symbol was coded.
    const fn before(self, state: u32) -> u32 {
        ((self.0 >> 7 & 0xfff) + 1) * (state >> SCALE_BITS) + (self.0 >> 19)
    }
}

/// Reads as many symbols as `symbols` has places.
pub(super) fn decode(
    frequencies: &Frequencies,
    body: &mut Cursor<'_>,
    symbols: &mut [u8],
) -> Result<(), DecodeError> {
    let count = body.length()?;
    let mut states = [0; STATES];
    for state in &mut states {
        *state = u32::from_le_bytes(body.array()?);
    }
    let mut words = body
        .take(count.checked_mul(2).ok_or(DecodeError::Short)?)?
        .as_chunks::<2>()
        .0;
    let slots = slots_of(frequencies)?;
    let mut groups = symbols.chunks_exact_mut(STATES);
    // While eight words are left, no symbol of a group can miss its own.
    while let Some(next) = words.first_chunk::<STATES>()
        && let Some(group) = groups.next()
    {
        let mut used = 0_usize;
        for (symbol, state) in group.iter_mut().zip(&mut states) {
            *symbol = advance(&slots, state);
            let [low, high] = next.get(used & (STATES - 1)).copied().unwrap_or_default();
            let refilled = *state << 16 | u32::from(u16::from_le_bytes([low, high]));
            let needs = *state < STATE_MIN;
            *state = if needs { refilled } else { *state };
            used += usize::from(needs);
        }
        words = words.get(used..).unwrap_or_default();
    }
    let mut left = words.iter();
    let mut rest = |group: &mut [u8]| {
        for (symbol, state) in group.iter_mut().zip(&mut states) {
            *symbol = advance(&slots, state);
            if *state < STATE_MIN {
                let word = left.next().ok_or(DecodeError::Stream)?;
                *state = *state << 16 | u32::from(u16::from_le_bytes(*word));
            }
        }
        Ok(())
    };
    for group in &mut groups {
        rest(group)?;
    }
    rest(groups.into_remainder())?;
    if states == [STATE_MIN; STATES] && left.next().is_none() {
        Ok(())
    } else {
        Err(DecodeError::Stream)
    }
}

#[inline(always)]
fn advance(slots: &[Slot; SCALE_PLACES], state: &mut u32) -> u8 {
    let [low, high, ..] = (*state & (SCALE - 1)).to_le_bytes();
    let slot = slots
        .get(usize::from(u16::from_le_bytes([low, high])))
        .copied()
        .unwrap_or(Slot(0));
    *state = slot.before(*state);
    slot.symbol()
}

fn slots_of(frequencies: &Frequencies) -> Result<Box<[Slot; SCALE_PLACES]>, DecodeError> {
    let mut slots = vec![Slot(0); SCALE_PLACES];
    let mut rest = slots.as_mut_slice();
    for (symbol, frequency) in (0_u32..).zip(frequencies.0) {
        let count = usize::try_from(frequency).map_err(|_| DecodeError::Table)?;
        let (own, after) = rest.split_at_mut_checked(count).ok_or(DecodeError::Table)?;
        rest = after;
        for (distance, slot) in (0_u32..).zip(own) {
            *slot = Slot(symbol | (frequency - 1) << 7 | distance << 19);
        }
    }
    slots
        .into_boxed_slice()
        .try_into()
        .map_err(|_| DecodeError::Table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(symbols: &[u8]) -> usize {
        let mut counts = [0; SYMBOLS];
        for symbol in symbols {
            counts[usize::from(*symbol)] += 1;
        }
        let frequencies = Frequencies::of(&counts);
        let mut out = Vec::new();
        let mut room = Room::new(&mut out);
        frequencies.write(&mut room);
        encode(symbols, &frequencies, &mut Vec::new(), &mut room);
        drop(room);
        let mut body = Cursor::new(&out);
        let read = Frequencies::read(&mut body).unwrap();
        assert_eq!(read.0, frequencies.0);
        let mut decoded = vec![0; symbols.len()];
        decode(&read, &mut body, &mut decoded).unwrap();
        body.finish().unwrap();
        assert_eq!(decoded, symbols);
        out.len()
    }

    #[test]
    fn takes_what_the_entropy_says() {
        // Half of the symbols are 0, a quarter 1, and so on: 1.75 bits.
        let symbols: Vec<u8> = (0..80_000)
            .map(|at| [0, 1, 0, 2, 0, 1, 0, 3][at % 8])
            .collect();
        let bytes = round_trip(&symbols);
        assert!(bytes < 80_000 * 7 / 32 * 1002 / 1000 + 60, "{bytes}");
    }

    proptest! {
        #[test]
        fn gives_back_any_symbols(symbols in prop::collection::vec(0..128_u8, 0..600)) {
            round_trip(&symbols);
        }

        #[test]
        fn gives_back_skewed_symbols(symbols in prop::collection::vec(prop_oneof![400 => Just(7_u8), 1 => 0..128_u8], 0..3000)) {
            round_trip(&symbols);
        }

        #[test]
        fn is_total_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0..300_usize) {
            let mut body = Cursor::new(&bytes);
            if let Ok(frequencies) = Frequencies::read(&mut body) {
                let _ = decode(&frequencies, &mut body, &mut vec![0; count]);
            }
        }
    }
}
