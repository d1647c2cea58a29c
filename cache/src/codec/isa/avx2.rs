//! Responsible for what compilers do not find by themselves, in instructions of avx2. It must never be named but by the functions
//! of its parent that establish where those may run.

use core::arch::x86_64 as x86;

use super::{LANES, LOOKUPS, RANKS, Simd};

/// Instructions of avx2: only [`super::Isa::run`] leads into a kernel with them.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

impl Simd for Avx2 {
    #[inline(always)]
    fn transpose(square: &mut [[u16; LANES]; LANES]) {
        // SAFETY: kernels run with this type only where avx2 was detected.
        unsafe { transpose(square) }
    }

    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: &mut [u8; LOOKUPS]) {
        // SAFETY: kernels run with this type only where avx2 was detected.
        unsafe { look_up(table, indices) }
    }

    #[inline(always)]
    fn rank(table: &[u8; 16], bytes: &mut [u8; RANKS]) {
        for part in bytes.as_chunks_mut().0 {
            // SAFETY: kernels run with this type only where avx2 was detected.
            unsafe { rank(table, part) }
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn look_up(table: &[u8; 16], indices: &mut [u8; LOOKUPS]) {
    // SAFETY: sixteen bytes are read from an array of sixteen.
    let table = unsafe { x86::_mm_loadu_si128(table.as_ptr().cast()) };
    let table = x86::_mm256_broadcastsi128_si256(table);
    // SAFETY: 32 bytes are read from an array of 32.
    let wanted = unsafe { x86::_mm256_loadu_si256(indices.as_ptr().cast()) };
    let found = x86::_mm256_shuffle_epi8(table, wanted);
    // SAFETY: 32 bytes are written to an array of 32.
    unsafe { x86::_mm256_storeu_si256(indices.as_mut_ptr().cast(), found) };
}

#[target_feature(enable = "avx2")]
#[inline]
fn rank(table: &[u8; 16], bytes: &mut [u8; 32]) {
    // SAFETY: 32 bytes are read from an array of 32.
    let own = unsafe { x86::_mm256_loadu_si256(bytes.as_ptr().cast()) };
    let mut ranks = x86::_mm256_setzero_si256();
    let (_, after_first) = table.split_at(1);
    for entry in after_first {
        let entry = x86::_mm256_set1_epi8(entry.cast_signed());
        // All bits, which is minus one, where the byte is the greater of the two.
        let reached = x86::_mm256_cmpeq_epi8(x86::_mm256_max_epu8(own, entry), own);
        ranks = x86::_mm256_sub_epi8(ranks, reached);
    }
    // SAFETY: 32 bytes are written to an array of 32.
    unsafe { x86::_mm256_storeu_si256(bytes.as_mut_ptr().cast(), ranks) };
}

#[target_feature(enable = "avx2")]
#[inline]
fn transpose(square: &mut [[u16; LANES]; LANES]) {
    // A loop and not `map`, whose body would be compiled without these instructions.
    let mut rows = [x86::_mm256_setzero_si256(); LANES];
    for (register, row) in rows.iter_mut().zip(&*square) {
        // SAFETY: 32 bytes are read from an array of sixteen `u16`.
        *register = unsafe { x86::_mm256_loadu_si256(row.as_ptr().cast()) };
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = rows;
    let upper = transpose_halves([a, b, c, d, e, f, g, h]);
    let lower = transpose_halves([i, j, k, l, m, n, o, p]);
    let (left, right) = square.split_at_mut(LANES / 2);
    for (((upper, lower), left), right) in upper.iter().zip(&lower).zip(left).zip(right) {
        let low = x86::_mm256_permute2x128_si256::<0x20>(*upper, *lower);
        let high = x86::_mm256_permute2x128_si256::<0x31>(*upper, *lower);
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
