//! Responsible for binary16 as integers: exact to `f32`, and from `f32` to the nearest, the next below or the next above. It
//! must never know what is scaled.

/// Magnitude bits of the largest finite binary16 as an `f32`: 65504.
const LARGEST: u32 = 0x477f_e000;
/// Magnitude bits of the smallest normal binary16 as an `f32`: 2^-14.
const SMALLEST_NORMAL: u32 = 0x3880_0000;
/// What the exponents' biases differ by.
const BIAS: u32 = (127 - 15) << 23;

/// The number of a finite binary16.
#[inline(always)]
pub(super) fn load(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = bits & 0x7fff;
    let normal = f32::from_bits((magnitude << 13).wrapping_add(BIAS));
    let below = small_integer(magnitude) * (1.0 / 16_777_216.0);
    let value = if magnitude < 0x400 { below } else { normal };
    f32::from_bits(value.to_bits() | (bits & 0x8000) << 16)
}

/// An integer below 2^23 as a number.
#[inline(always)]
pub(super) const fn small_integer(integer: u32) -> f32 {
    // 2^23 + n has n in its lowest bits; taking 2^23 away is exact.
    f32::from_bits(0x4b00_0000 | integer) - 8_388_608.0
}

/// The binary16 nearest to a finite number, ties to even, never beyond the largest.
#[inline(always)]
pub(super) fn nearest(value: f32) -> u16 {
    let bits = value.to_bits();
    let magnitude = (bits & 0x7fff_ffff).min(LARGEST);
    let normal = magnitude
        .wrapping_sub(BIAS)
        .wrapping_add(0x0fff + (magnitude >> 13 & 1))
        >> 13;
    // Next to one half, the last place of an `f32` is 2^-24, the last place of a subnormal binary16.
    let below = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0x3f00_0000);
    let unsigned = if magnitude < SMALLEST_NORMAL {
        below
    } else {
        normal
    };
    low_half(unsigned | (bits >> 16 & 0x8000))
}

/// The largest binary16 that is not above `value`, for magnitudes up to 65504.
#[inline(always)]
pub(super) fn below(value: f32) -> u16 {
    let near = nearest(value);
    turn(turn(near).wrapping_sub(u16::from(load(near) > value)))
}

/// The smallest binary16 that is not below `value`, for magnitudes up to 65504.
#[inline(always)]
pub(super) fn above(value: f32) -> u16 {
    let near = nearest(value);
    turn(turn(near).wrapping_add(u16::from(load(near) < value)))
}

/// Bits to two's complement integers in the order of the numbers, and back.
///
/// The nearest number has the sign of what it is near to, so a step towards zero ends at the zero of that sign and a step away
/// from it never begins at the other one.
#[inline(always)]
const fn turn(bits: u16) -> u16 {
    let negative = (bits.cast_signed() >> 15).cast_unsigned();
    bits ^ (negative & 0x7fff)
}

#[inline(always)]
const fn low_half(word: u32) -> u16 {
    let [a, b, _, _] = word.to_le_bytes();
    u16::from_le_bytes([a, b])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_bit_pattern_is_its_own_nearest_below_and_above() {
        for bits in (0..0x7c00_u16).chain(0x8000..0xfc00) {
            let value = load(bits);
            assert_eq!(nearest(value), bits, "{value}");
            assert_eq!(load(below(value)), value);
            assert_eq!(load(above(value)), value);
        }
    }

    #[test]
    fn below_and_above_enclose_and_are_neighbours() {
        let mut value = 3.1e-9_f32;
        while value < 60_000.0 {
            for signed in [value, -value] {
                let (low, high) = (load(below(signed)), load(above(signed)));
                assert!(low <= signed && signed <= high, "{low} {signed} {high}");
                assert!(low == high || above(low + (high - low) * 0.75) == above(signed));
                let near = load(nearest(signed));
                assert!(near == low || near == high);
                assert!((near - signed).abs() <= (high - signed).min(signed - low) * 1.0001);
            }
            value *= 1.0071;
        }
    }

    #[test]
    fn agrees_with_tables_of_known_values() {
        for (bits, value) in [
            (0x3c00_u16, 1.0_f32),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(load(bits), value);
        }
        assert_eq!(nearest(1.0e9), 0x7bff);
    }
}
