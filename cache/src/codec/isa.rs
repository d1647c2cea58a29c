//! Responsible for compiling a kernel for several instruction sets and running it with the widest that this machine has. It
//! must never know what is computed.
//!
//! A kernel is written once. Each instruction set performs the same integer and IEEE operations in the same order, so the
//! choice changes speed and never a bit; tests run every kernel with all that the machine has and compare. This is the
//! only module of the room with `unsafe`.
#![expect(
    unsafe_code,
    reason = "vector instructions may run only where they were detected; that is established here, once"
)]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64 as x86;

/// Tokens that are worked on side by side where a kernel turns a tensor on its side: lanes of a 256-bit vector of `u16`.
pub(super) const LANES: usize = 16;

/// Bytes that one table lookup answers.
pub(super) const LOOKUPS: usize = 32;

/// What compilers do not find by themselves.
pub(super) trait Simd: Copy {
    /// Rows become columns.
    fn transpose(square: &mut [[u16; LANES]; LANES]);
    /// Each index, of 0 to 15, becomes its entry in the table.
    fn look_up(table: &[u8; 16], indices: &mut [u8; LOOKUPS]);
}

/// A computation that is compiled for each instruction set.
pub(super) trait Kernel {
    /// What it answers.
    type Output;
    /// Runs it. Must be `#[inline(always)]`, and so must all that it calls in a loop, or it is compiled without the wide
    /// instructions.
    fn run<S: Simd>(self) -> Self::Output;
}

/// The instruction set that kernels run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// 256-bit vectors of x86.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler assumes of the target: SSE2 on x86-64, NEON on aarch64.
    Portable,
}

impl Isa {
    /// The one that every machine has.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// The widest that this machine has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Self(Kind::Avx2);
        }
        Self::PORTABLE
    }

    /// All that this machine has, the widest last.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::PORTABLE];
        if Self::detect() != Self::PORTABLE {
            all.push(Self::detect());
        }
        all
    }

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            Kind::Portable => "portable",
        }
    }

    /// Runs a kernel with this instruction set.
    #[inline]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this kind is made only after the machine said that it has avx2.
            Kind::Avx2 => unsafe { run_avx2(kernel) },
            Kind::Portable => kernel.run::<Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

/// Plain loops.
#[derive(Clone, Copy)]
struct Portable;

impl Simd for Portable {
    #[inline(always)]
    fn transpose(square: &mut [[u16; LANES]; LANES]) {
        let rows = *square;
        for (column, out) in square.iter_mut().enumerate() {
            for (row, to) in rows.iter().zip(out) {
                *to = row.get(column).copied().unwrap_or_default();
            }
        }
    }

    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: &mut [u8; LOOKUPS]) {
        for index in indices {
            *index = table
                .get(usize::from(*index & 15))
                .copied()
                .unwrap_or_default();
        }
    }
}

/// Instructions of avx2. Named only by [`run_avx2`]: the type is private and [`Isa::run`] is the only way into a kernel.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    #[inline(always)]
    fn transpose(square: &mut [[u16; LANES]; LANES]) {
        // SAFETY: kernels run with this type only where avx2 was detected.
        unsafe { transpose_avx2(square) }
    }

    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: &mut [u8; LOOKUPS]) {
        // SAFETY: kernels run with this type only where avx2 was detected.
        unsafe { look_up_avx2(table, indices) }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn look_up_avx2(table: &[u8; 16], indices: &mut [u8; LOOKUPS]) {
    // SAFETY: sixteen bytes are read from an array of sixteen.
    let table = unsafe { x86::_mm_loadu_si128(table.as_ptr().cast()) };
    let table = x86::_mm256_broadcastsi128_si256(table);
    // SAFETY: 32 bytes are read from an array of 32.
    let wanted = unsafe { x86::_mm256_loadu_si256(indices.as_ptr().cast()) };
    let found = x86::_mm256_shuffle_epi8(table, wanted);
    // SAFETY: 32 bytes are written to an array of 32.
    unsafe { x86::_mm256_storeu_si256(indices.as_mut_ptr().cast(), found) };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn transpose_avx2(square: &mut [[u16; LANES]; LANES]) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = square.each_ref().map(|row| {
        // SAFETY: 32 bytes are read from an array of sixteen `u16`.
        unsafe { x86::_mm256_loadu_si256(row.as_ptr().cast()) }
    });
    let upper = transpose_halves([a, b, c, d, e, f, g, h]);
    let lower = transpose_halves([i, j, k, l, m, n, o, p]);
    let (left, right) = square.split_at_mut(LANES / 2);
    for (((upper, lower), left), right) in upper.into_iter().zip(lower).zip(left).zip(right) {
        let low = x86::_mm256_permute2x128_si256::<0x20>(upper, lower);
        let high = x86::_mm256_permute2x128_si256::<0x31>(upper, lower);
        // SAFETY: 32 bytes are written to an array of sixteen `u16`.
        unsafe { x86::_mm256_storeu_si256(left.as_mut_ptr().cast(), low) };
        // SAFETY: 32 bytes are written to an array of sixteen `u16`.
        unsafe { x86::_mm256_storeu_si256(right.as_mut_ptr().cast(), high) };
    }
}

/// Turns the two 8 x 8 squares of eight rows on their sides, each within its 128-bit half.
///
/// A round of interleaving rows at distance four moves the highest bit of the row's number to the column's lowest place and
/// the column's highest bit to the row's lowest place; three rounds exchange the two numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn transpose_halves(mut rows: [x86::__m256i; 8]) -> [x86::__m256i; 8] {
    for _ in 0..3 {
        let [a, b, c, d, e, f, g, h] = rows;
        rows = [
            x86::_mm256_unpacklo_epi16(a, e),
            x86::_mm256_unpackhi_epi16(a, e),
            x86::_mm256_unpacklo_epi16(b, f),
            x86::_mm256_unpackhi_epi16(b, f),
            x86::_mm256_unpacklo_epi16(c, g),
            x86::_mm256_unpackhi_epi16(c, g),
            x86::_mm256_unpacklo_epi16(d, h),
            x86::_mm256_unpackhi_epi16(d, h),
        ];
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Turn([[u16; LANES]; LANES]);

    impl Kernel for Turn {
        type Output = [[u16; LANES]; LANES];

        #[inline(always)]
        fn run<S: Simd>(mut self) -> Self::Output {
            S::transpose(&mut self.0);
            self.0
        }
    }

    struct Find([u8; 16], [u8; LOOKUPS]);

    impl Kernel for Find {
        type Output = [u8; LOOKUPS];

        #[inline(always)]
        fn run<S: Simd>(mut self) -> Self::Output {
            S::look_up(&self.0, &mut self.1);
            self.1
        }
    }

    #[test]
    fn every_instruction_set_turns_squares_and_looks_up_alike() {
        let mut number = 0;
        let square = [[0_u16; LANES]; LANES].map(|row| {
            row.map(|_| {
                number += 251;
                number
            })
        });
        let indices: [u8; LOOKUPS] = std::array::from_fn(|at| u8::try_from(at * 7 % 16).unwrap());
        let table: [u8; 16] = std::array::from_fn(|at| u8::try_from(200 - at * 9).unwrap());
        for isa in Isa::available() {
            let turned = isa.run(Turn(square));
            for (row, numbers) in square.iter().enumerate() {
                for (column, number) in numbers.iter().enumerate() {
                    assert_eq!(turned[column][row], *number, "{}", isa.name());
                }
            }
            let found = isa.run(Find(table, indices));
            for (index, entry) in indices.iter().zip(found) {
                assert_eq!(entry, table[usize::from(*index)], "{}", isa.name());
            }
        }
    }
}
