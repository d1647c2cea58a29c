//! Responsible for compiling a kernel for several instruction sets and running it with the widest that this machine has. It
//! must never know what is computed.
//!
//! A kernel is written once. Each instruction set performs the same integer and IEEE operations in the same order, so the
//! choice changes speed and never a bit; tests run every kernel with all that the machine has and compare. This and
//! its child are the only modules of the room with `unsafe`.
#![expect(
    unsafe_code,
    reason = "vector instructions may run only where they were detected; that is established here, once"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(target_arch = "x86_64")]
use avx2::Avx2;

/// Tokens that are worked on side by side where a kernel turns a tensor on its side: lanes of a 256-bit vector of `u16`.
pub(super) const LANES: usize = 16;

/// Bytes that one table lookup answers.
pub(super) const LOOKUPS: usize = 32;

/// Bytes that are ranked together: shorter loops would be unrolled before they could become vector code.
pub(super) const RANKS: usize = 64;

/// What compilers do not find by themselves.
pub(super) trait Simd: Copy {
    /// Rows become columns.
    fn transpose(square: &mut [[u16; LANES]; LANES]);
    /// Each index, of 0 to 15, becomes its entry in the table.
    fn look_up(table: &[u8; 16], indices: &mut [u8; LOOKUPS]);
    /// Each byte becomes the number of entries after the first that it reaches: its place in an ascending table.
    fn rank(table: &[u8; 16], bytes: &mut [u8; RANKS]);
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
    /// What the compiler assumes of the target: SSE2 on x86-64, NEON on aarch64.
    Portable,
    /// 256-bit vectors of x86.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Kind {
    /// Narrowest first.
    const ALL: &'static [Self] = &[
        Self::Portable,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
    ];

    fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
        }
    }
}

impl Isa {
    /// The one that every machine has.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// The widest that this machine has.
    pub fn detect() -> Self {
        let widest = Kind::ALL.iter().rev().find(|kind| kind.is_here());
        widest.map_or(Self::PORTABLE, |kind| Self(*kind))
    }

    /// All that this machine has, the widest last.
    pub fn available() -> Vec<Self> {
        let here = Kind::ALL.iter().filter(|kind| kind.is_here());
        here.map(|kind| Self(*kind)).collect()
    }

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
        }
    }

    /// Runs a kernel with this instruction set.
    #[inline]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Kind::Portable => kernel.run::<Portable>(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this kind is made only after the machine said that it has avx2.
            Kind::Avx2 => unsafe { run_avx2(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

/// Plain loops, which the compiler makes vector code of where that pays.
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

    #[inline(always)]
    fn rank(table: &[u8; 16], bytes: &mut [u8; RANKS]) {
        let mut ranks = [0; RANKS];
        let (_, after_first) = table.split_at(1);
        for entry in after_first {
            for (rank, byte) in ranks.iter_mut().zip(&*bytes) {
                *rank += u8::from(*byte >= *entry);
            }
        }
        *bytes = ranks;
    }
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

    struct Rank([u8; 16], [u8; RANKS]);

    impl Kernel for Rank {
        type Output = [u8; RANKS];

        #[inline(always)]
        fn run<S: Simd>(mut self) -> Self::Output {
            S::rank(&self.0, &mut self.1);
            self.1
        }
    }

    #[test]
    fn every_instruction_set_ranks_bytes_alike() {
        for first in [0_u8, 90, 240] {
            let table: [u8; 16] =
                std::array::from_fn(|at| first.saturating_add(u8::try_from(at * at / 9).unwrap()));
            for start in 0..=255_u8 {
                let bytes: [u8; RANKS] =
                    std::array::from_fn(|at| start.wrapping_add(u8::try_from(at).unwrap()));
                for isa in Isa::available() {
                    for (byte, rank) in bytes.iter().zip(isa.run(Rank(table, bytes))) {
                        let reached = table[1..].iter().filter(|entry| *byte >= **entry).count();
                        assert_eq!(usize::from(rank), reached, "{}", isa.name());
                    }
                }
            }
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
