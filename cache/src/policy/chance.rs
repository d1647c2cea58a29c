//! Responsible for chance from a seed. It must never be used for secrets.
//!
//! # Source
//! SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any with the same chance.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `below`, which is not 0.
    #[expect(
        clippy::as_conversions,
        reason = "the upper half of a product of 64 bits by 32 is below 2^32"
    )]
    pub(crate) const fn below(&mut self, below: u32) -> u32 {
        ((self.next() as u128 * below as u128) >> 64) as u32
    }
}
