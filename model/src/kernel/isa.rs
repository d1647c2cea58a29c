//! Runs a kernel body with the widest vector instructions of this machine.
//!
//! A body is an ordinary, safe `#[inline(always)]` function over fixed-size arrays; [`Isa::run`]
//! compiles it several times under different target features and calls the one that the machine has.
//! The bodies contain no intrinsics, so all versions perform the same IEEE operations in the same
//! order. This is the only module of the crate with `unsafe`.
#![expect(
    unsafe_code,
    reason = "calling a function with target features needs the features detected, which is here"
)]

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// 512-bit vectors with fused multiply-add.
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
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// All that this machine has, for tests that compare them.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        match Self::detect() {
            Self::Avx512 => all.extend([Self::Avx2, Self::Avx512]),
            Self::Avx2 => all.push(Self::Avx2),
            Self::Portable => {}
        }
        all
    }

    /// Runs `body` compiled for this instruction set.
    ///
    /// `body` must inline (a closure over `#[inline(always)]` functions): then its loops are compiled
    /// with these vectors. Nothing breaks if it does not, it is only slower.
    #[inline]
    pub(crate) fn run<R>(self, body: impl FnOnce() -> R) -> R {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Avx512` is made only by `detect` and `available`, after the machine said that
            // it has avx512f, avx2 and fma.
            Self::Avx512 => unsafe { avx512(body) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Avx2` is made only after the machine said that it has avx2 and fma.
            Self::Avx2 => unsafe { avx2(body) },
            Self::Portable => body(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}
