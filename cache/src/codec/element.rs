//! Responsible for the three element types: bytes to `f32` and back, and integer keys that order like the numbers. It must
//! never know tensors or codecs.
//!
//! Everything is branch-free, so that loops over it become vector code. Conversions to `f32` are exact; back they round to
//! nearest, and never leave the finite range of the type.

/// One number of a tensor.
pub(super) trait Element: Copy {
    /// Its bytes, little-endian.
    type Bytes: Copy + Default;
    /// Integers in the order of the numbers, with NaN beyond the infinities.
    type Key: Copy + Ord;
    /// Bytes of one number.
    const BYTES: usize;
    /// Largest relative error of [`Element::store`], half a unit in the last place.
    const EPSILON: f32;
    /// Largest absolute error of [`Element::store`] below the normal range.
    const TINY: f32;
    /// Below every key: the start of a maximum.
    const LOWEST: Self::Key;
    /// Above every key: the start of a minimum.
    const HIGHEST: Self::Key;

    /// Bytes as numbers; what does not fill a number at the end is left out.
    fn split(raw: &[u8]) -> &[Self::Bytes];
    /// Bytes as numbers, to write to.
    fn split_mut(raw: &mut [u8]) -> &mut [Self::Bytes];
    /// The key of a number.
    fn key(bytes: Self::Bytes) -> Self::Key;
    /// The number of a finite key.
    fn of_key(key: Self::Key) -> f32;
    /// Whether all numbers between two keys are finite.
    fn are_finite(low: Self::Key, high: Self::Key) -> bool;
    /// The number; what comes for NaN and infinities is some number.
    fn load(bytes: Self::Bytes) -> f32;
    /// A finite number, rounded.
    fn store(value: f32) -> Self::Bytes;
    /// The bytes as one or two halves of 16 bits, low first; the second is 0 for 16-bit types.
    fn halves(bytes: Self::Bytes) -> (u16, u16);
    /// The number of such halves.
    fn of_halves(low: u16, high: u16) -> Self::Bytes;
    /// The bits turned left by one, in the lowest bytes: the sign comes last.
    fn turned(bytes: Self::Bytes) -> u32;
    /// The number of bits so turned.
    fn of_turned(bits: u32) -> Self::Bytes;
}

/// The upper half of an `f32`.
#[derive(Clone, Copy)]
pub(super) struct Bf16;

/// IEEE 754 binary16.
#[derive(Clone, Copy)]
pub(super) struct F16;

/// IEEE 754 binary32.
#[derive(Clone, Copy)]
pub(super) struct F32;

/// Negative numbers fall as their magnitude grows; flipping their magnitude bits makes the integers follow.
#[inline(always)]
const fn key16(bits: u16) -> i16 {
    let bits = bits.cast_signed();
    bits ^ ((bits >> 15) & 0x7fff)
}

#[inline(always)]
const fn bits16(key: i16) -> u16 {
    (key ^ ((key >> 15) & 0x7fff)).cast_unsigned()
}

macro_rules! sixteen_bits {
    ($infinity:expr) => {
        type Bytes = [u8; 2];
        type Key = i16;
        const BYTES: usize = 2;
        const LOWEST: i16 = i16::MIN;
        const HIGHEST: i16 = i16::MAX;

        #[inline(always)]
        fn split(raw: &[u8]) -> &[[u8; 2]] {
            raw.as_chunks().0
        }

        #[inline(always)]
        fn split_mut(raw: &mut [u8]) -> &mut [[u8; 2]] {
            raw.as_chunks_mut().0
        }

        #[inline(always)]
        fn key(bytes: [u8; 2]) -> i16 {
            key16(u16::from_le_bytes(bytes))
        }

        #[inline(always)]
        fn of_key(key: i16) -> f32 {
            Self::load(bits16(key).to_le_bytes())
        }

        #[inline(always)]
        fn are_finite(low: i16, high: i16) -> bool {
            key16($infinity | 0x8000) < low && high < key16($infinity)
        }

        #[inline(always)]
        fn halves(bytes: [u8; 2]) -> (u16, u16) {
            (u16::from_le_bytes(bytes), 0)
        }

        #[inline(always)]
        fn of_halves(low: u16, _: u16) -> [u8; 2] {
            low.to_le_bytes()
        }

        #[inline(always)]
        fn turned(bytes: [u8; 2]) -> u32 {
            u32::from(u16::from_le_bytes(bytes).rotate_left(1))
        }

        #[inline(always)]
        fn of_turned(bits: u32) -> [u8; 2] {
            let [low, high, ..] = bits.to_le_bytes();
            u16::from_le_bytes([low, high])
                .rotate_right(1)
                .to_le_bytes()
        }
    };
}

impl Element for Bf16 {
    sixteen_bits!(0x7f80);
    const EPSILON: f32 = 1.0 / 256.0;
    const TINY: f32 = 0.0;

    #[inline(always)]
    fn load(bytes: [u8; 2]) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
    }

    #[inline(always)]
    fn store(value: f32) -> [u8; 2] {
        // Half a unit added to the magnitude rounds ties away from zero: as near as ties to even, and two operations less.
        let [_, _, low, high] = value.to_bits().wrapping_add(0x8000).to_le_bytes();
        [low, high]
    }
}

impl Element for F16 {
    sixteen_bits!(0x7c00);
    const EPSILON: f32 = 1.0 / 2048.0;
    const TINY: f32 = 1.0 / 33_554_432.0;

    #[inline(always)]
    fn load(bytes: [u8; 2]) -> f32 {
        super::half::load(u16::from_le_bytes(bytes))
    }

    #[inline(always)]
    fn store(value: f32) -> [u8; 2] {
        super::half::nearest(value).to_le_bytes()
    }
}

impl Element for F32 {
    type Bytes = [u8; 4];
    type Key = i32;
    const BYTES: usize = 4;
    const EPSILON: f32 = 0.0;
    const TINY: f32 = 0.0;
    const LOWEST: i32 = i32::MIN;
    const HIGHEST: i32 = i32::MAX;

    #[inline(always)]
    fn split(raw: &[u8]) -> &[[u8; 4]] {
        raw.as_chunks().0
    }

    #[inline(always)]
    fn split_mut(raw: &mut [u8]) -> &mut [[u8; 4]] {
        raw.as_chunks_mut().0
    }

    #[inline(always)]
    fn key(bytes: [u8; 4]) -> i32 {
        let bits = i32::from_le_bytes(bytes);
        bits ^ ((bits >> 31) & 0x7fff_ffff)
    }

    #[inline(always)]
    fn of_key(key: i32) -> f32 {
        f32::from_bits((key ^ ((key >> 31) & 0x7fff_ffff)).cast_unsigned())
    }

    #[inline(always)]
    fn are_finite(low: i32, high: i32) -> bool {
        Self::key(f32::NEG_INFINITY.to_le_bytes()) < low
            && high < Self::key(f32::INFINITY.to_le_bytes())
    }

    #[inline(always)]
    fn load(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }

    #[inline(always)]
    fn store(value: f32) -> [u8; 4] {
        value.to_le_bytes()
    }

    #[inline(always)]
    fn halves(bytes: [u8; 4]) -> (u16, u16) {
        let [a, b, c, d] = bytes;
        (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
    }

    #[inline(always)]
    fn of_halves(low: u16, high: u16) -> [u8; 4] {
        let ([a, b], [c, d]) = (low.to_le_bytes(), high.to_le_bytes());
        [a, b, c, d]
    }

    #[inline(always)]
    fn turned(bytes: [u8; 4]) -> u32 {
        u32::from_le_bytes(bytes).rotate_left(1)
    }

    #[inline(always)]
    fn of_turned(bits: u32) -> [u8; 4] {
        bits.rotate_right(1).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_number_of_16_bits_survives_load_and_store_and_keys_order_them() {
        fn check<E: Element<Bytes = [u8; 2], Key = i16>>() {
            let mut last = f32::NEG_INFINITY;
            for key in i16::MIN..=i16::MAX {
                if !E::are_finite(key, key) {
                    continue;
                }
                let value = E::of_key(key);
                assert!(last <= value, "{last} before {value}");
                last = value;
                assert_eq!(E::key(E::store(value)), key, "{value}");
            }
        }
        check::<Bf16>();
        check::<F16>();
    }

    #[test]
    fn keys_put_nan_beyond_the_infinities() {
        for nan in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let key = F32::key(nan.to_le_bytes());
            assert!(!F32::are_finite(key.min(0), key.max(0)), "{nan}");
        }
        for bits in [0x7f80_u16, 0xff80, 0x7fc0, 0xffff] {
            let key = Bf16::key(bits.to_le_bytes());
            assert!(!Bf16::are_finite(key.min(0), key.max(0)), "{bits:x}");
        }
    }

    #[test]
    fn store_is_within_half_a_unit() {
        let mut value = 1.0e-7_f32;
        while value < 60_000.0 {
            for signed in [value, -value] {
                let near = F16::load(F16::store(signed));
                assert!(
                    (near - signed).abs() <= value * F16::EPSILON + F16::TINY,
                    "{signed}"
                );
                let near = Bf16::load(Bf16::store(signed));
                assert!((near - signed).abs() <= value * Bf16::EPSILON, "{signed}");
            }
            value *= 1.0037;
        }
    }
}
