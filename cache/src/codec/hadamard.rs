//! Responsible for the Hadamard transform of sixteen tokens side by side, a lane a token: additions of whole vectors only. It
//! must never know where the numbers come from.
//!
//! # Source
//! Fino and Algazi, Unified matrix treatment of the fast Walsh-Hadamard transform (IEEE Trans. Computers, 1976).

use super::isa::LANES;

/// What a transform adds and subtracts.
pub(super) trait Term: Copy + Default {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
}

impl Term for f32 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }
}

impl Term for i16 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }
}

pub(super) type Row<T> = [T; LANES];

#[inline(always)]
fn both<T: Term>(a: &Row<T>, b: &Row<T>) -> (Row<T>, Row<T>) {
    let (mut sum, mut difference) = ([T::default(); LANES], [T::default(); LANES]);
    for ((place, a), b) in sum.iter_mut().zip(a).zip(b) {
        *place = a.plus(*b);
    }
    for ((place, a), b) in difference.iter_mut().zip(a).zip(b) {
        *place = a.minus(*b);
    }
    (sum, difference)
}

#[inline(always)]
fn four<T: Term>([a, b, c, d]: [&Row<T>; 4]) -> [Row<T>; 4] {
    let ((a, b), (c, d)) = (both(a, b), both(c, d));
    let ((a, c), (b, d)) = (both(&a, &c), both(&b, &d));
    [a, b, c, d]
}

/// One pass of radix four, or two where four do not divide, over rows at distance `stride`; answers the next distance.
#[inline(always)]
fn pass<T: Term>(rows: &mut [Row<T>], stride: usize) -> usize {
    if rows.len() / stride >= 4 {
        for block in rows.chunks_exact_mut(stride * 4) {
            let (ab, cd) = block.split_at_mut(stride * 2);
            let ((a, b), (c, d)) = (ab.split_at_mut(stride), cd.split_at_mut(stride));
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                [*a, *b, *c, *d] = four([&*a, &*b, &*c, &*d]);
            }
        }
        return stride * 4;
    }
    for block in rows.chunks_exact_mut(stride * 2) {
        let (a, b) = block.split_at_mut(stride);
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = both(&*a, &*b);
        }
    }
    stride * 2
}

/// Multiplies every `length` rows by the Hadamard matrix of that size, its entries plus and minus one.
#[inline(always)]
pub(super) fn hadamard<T: Term>(rows: &mut [Row<T>], length: usize) {
    for block in rows.chunks_exact_mut(length) {
        let mut stride = 1;
        while stride < length {
            stride = pass(block, stride);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_by_the_matrix_and_twice_is_the_length() {
        for length in [1_usize, 2, 4, 8, 16, 32, 64, 128] {
            let rows: Vec<Row<i16>> = (0..2 * length)
                .map(|row| {
                    std::array::from_fn(|lane| i16::try_from((row * 7 + lane * 3) % 16).unwrap())
                })
                .collect();
            let mut once = rows.clone();
            hadamard(&mut once, length);
            for (at, row) in once.iter().enumerate() {
                let (block, index) = (at / length * length, at % length);
                let wanted: i16 = (0..length)
                    .map(|other| {
                        let minus = (index & other).count_ones() % 2 == 1;
                        rows[block + other][5] * if minus { -1 } else { 1 }
                    })
                    .sum();
                assert_eq!(row[5], wanted, "{length}");
            }
            let mut twice: Vec<Row<f32>> = once.iter().map(|row| row.map(f32::from)).collect();
            hadamard(&mut twice, length);
            for (row, before) in twice.iter().zip(&rows) {
                let scale = f32::from(u8::try_from(length).unwrap());
                assert_eq!(*row, before.map(|number| f32::from(number) * scale));
            }
        }
    }
}
