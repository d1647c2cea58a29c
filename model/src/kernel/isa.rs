//! Sixteen numbers at once, with the widest vector instructions of this machine.
//!
//! Responsible for one small vector type per instruction set and for running a kernel with the right one.
//! A kernel is written once, over [`Lanes`]; every implementation performs the same IEEE operations in
//! the same order on each lane, so the choice changes speed and never a bit. Must never know what is
//! computed. This is the only module of the crate with `unsafe`.
#![expect(
    unsafe_code,
    reason = "vector instructions may run only where they were detected; that is established here, once"
)]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64 as x86;

/// Lanes of a vector. A constant of the arithmetic, not of the machine: changing it changes bits.
pub(crate) const LANES: usize = 16;

/// Sixteen numbers.
pub(crate) trait Lanes: Copy {
    /// Sixteen times the same number.
    fn splat(x: f32) -> Self;
    /// The numbers of an array.
    fn load(from: &[f32; LANES]) -> Self;
    /// As an array.
    fn store(self) -> [f32; LANES];
    /// `self * factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The lanes added as a fixed tree: eighth neighbours, fourth, second, next.
    fn sum(self) -> f32;
}

/// A computation that is compiled for each instruction set.
pub(crate) trait Kernel {
    /// Runs it. Must be `#[inline(always)]`, or it is compiled without the wide instructions.
    fn run<V: Lanes>(self);
}

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler assumes of the target: NEON on aarch64; correct but slow on old x86.
    Portable,
}

impl Isa {
    /// The widest that this machine has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Self(Kind::Avx512);
            }
            if avx2 {
                return Self(Kind::Avx2);
            }
        }
        Self(Kind::Portable)
    }

    /// All that this machine has, for tests that compare them.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        match Self::detect().0 {
            Kind::Avx512 => all.extend([Self(Kind::Avx2), Self(Kind::Avx512)]),
            Kind::Avx2 => all.push(Self(Kind::Avx2)),
            Kind::Portable => {}
        }
        all
    }

    /// Runs a kernel with this instruction set.
    #[inline]
    pub(crate) fn run(self, kernel: impl Kernel) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this kind is made only after the machine said that it has avx512f, avx2
            // and fma.
            Kind::Avx512 => unsafe { run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this kind is made only after the machine said that it has avx2 and fma.
            Kind::Avx2 => unsafe { run_avx2(kernel) },
            Kind::Portable => kernel.run::<Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512(kernel: impl Kernel) {
    kernel.run::<Avx512>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(kernel: impl Kernel) {
    kernel.run::<Avx2>();
}

/// Sixteen numbers in whatever registers the compiler finds.
#[derive(Clone, Copy)]
struct Portable([f32; LANES]);

impl Lanes for Portable {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        self.0
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, mut addend: Self) -> Self {
        for ((sum, x), factor) in addend.0.iter_mut().zip(self.0).zip(factor.0) {
            *sum = x.mul_add(factor, *sum);
        }
        addend
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        super::math::fold(self.0)
    }
}

/// One 512-bit register. Made only inside [`run_avx512`]: the type is private and [`Isa::run`] is the only
/// way into a kernel.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Avx512(x86::__m512);

#[cfg(target_arch = "x86_64")]
impl Lanes for Avx512 {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: this type is used only where avx512f was detected.
        Self(unsafe { x86::_mm512_set1_ps(x) })
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        // SAFETY: the pointer is valid for sixteen numbers; avx512f was detected.
        Self(unsafe { x86::_mm512_loadu_ps(from.as_ptr()) })
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        // SAFETY: the pointer is valid for sixteen numbers; avx512f was detected.
        unsafe { x86::_mm512_storeu_ps(out.as_mut_ptr(), self.0) };
        out
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: this type is used only where avx512f was detected.
        Self(unsafe { x86::_mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: this type is used only where avx512f was detected.
        let halves = unsafe { x86::_mm512_castps_pd(self.0) };
        // SAFETY: as above.
        let high = unsafe { x86::_mm512_extractf64x4_pd::<1>(halves) };
        // SAFETY: avx is part of avx2, which was detected with avx512f.
        let high = unsafe { x86::_mm256_castpd_ps(high) };
        // SAFETY: this type is used only where avx512f was detected.
        let low = unsafe { x86::_mm512_castps512_ps256(self.0) };
        sum_halves(low, high)
    }
}

/// Two 256-bit registers. Made only inside [`run_avx2`], as [`Avx512`] is.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Avx2(x86::__m256, x86::__m256);

#[cfg(target_arch = "x86_64")]
impl Lanes for Avx2 {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: this type is used only where avx2 was detected.
        let one = unsafe { x86::_mm256_set1_ps(x) };
        Self(one, one)
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        let (low, high) = from.split_at(LANES / 2);
        // SAFETY: the pointer is valid for eight numbers; avx2 was detected.
        let low = unsafe { x86::_mm256_loadu_ps(low.as_ptr()) };
        // SAFETY: as above.
        let high = unsafe { x86::_mm256_loadu_ps(high.as_ptr()) };
        Self(low, high)
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        let (low, high) = out.split_at_mut(LANES / 2);
        // SAFETY: the pointer is valid for eight numbers; avx2 was detected.
        unsafe { x86::_mm256_storeu_ps(low.as_mut_ptr(), self.0) };
        // SAFETY: as above.
        unsafe { x86::_mm256_storeu_ps(high.as_mut_ptr(), self.1) };
        out
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: this type is used only where avx2 and fma were detected.
        let low = unsafe { x86::_mm256_fmadd_ps(self.0, factor.0, addend.0) };
        // SAFETY: as above.
        let high = unsafe { x86::_mm256_fmadd_ps(self.1, factor.1, addend.1) };
        Self(low, high)
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        sum_halves(self.0, self.1)
    }
}

/// The tree of [`Lanes::sum`] over the lower and upper eight lanes. Called only by the two types above.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sum_halves(low: x86::__m256, high: x86::__m256) -> f32 {
    // SAFETY: the callers' types are used only where avx2, which includes avx and sse, was detected; the
    // same holds for every block below.
    let eight = unsafe { x86::_mm256_add_ps(low, high) };
    // SAFETY: as above.
    let high = unsafe { x86::_mm256_extractf128_ps::<1>(eight) };
    // SAFETY: as above.
    let low = unsafe { x86::_mm256_castps256_ps128(eight) };
    // SAFETY: as above.
    let four = unsafe { x86::_mm_add_ps(low, high) };
    // SAFETY: as above.
    let high = unsafe { x86::_mm_movehl_ps(four, four) };
    // SAFETY: as above.
    let two = unsafe { x86::_mm_add_ps(four, high) };
    // SAFETY: as above.
    let high = unsafe { x86::_mm_shuffle_ps::<1>(two, two) };
    // SAFETY: as above.
    let one = unsafe { x86::_mm_add_ss(two, high) };
    // SAFETY: as above.
    unsafe { x86::_mm_cvtss_f32(one) }
}

#[cfg(test)]
#[expect(clippy::as_conversions, reason = "small numbers made for tests")]
mod tests {
    use super::*;

    struct Check<'a>(&'a [f32; LANES], &'a mut Vec<u32>);

    impl Kernel for Check<'_> {
        fn run<V: Lanes>(self) {
            let (x, out) = (V::load(self.0), self.1);
            let y = x.mul_add(V::splat(1.7), x);
            out.extend(y.store().map(f32::to_bits));
            out.push(y.sum().to_bits());
        }
    }

    #[test]
    fn every_instruction_set_agrees_with_the_portable_one_to_the_bit() {
        for salt in 0..100_u16 {
            let x =
                core::array::from_fn(|lane| (f32::from(salt) * 0.37 + lane as f32).sin() * 100.0);
            let results = Isa::available().into_iter().map(|isa| {
                let mut out = Vec::new();
                isa.run(Check(&x, &mut out));
                out
            });
            let results: Vec<_> = results.collect();
            assert!(results.iter().all(|result| *result == results[0]));
        }
    }
}
