//! Responsible for turning sixteen dimensions of sixteen tokens on their side, and back: a lane a dimension becomes a lane a token.
//! It must never know what is done with them between.

use super::element::Element;
use super::hadamard::Row;
use super::isa::{LANES, Simd};
use super::range::put;

/// The numbers as halves of 16 bits, since those are what vectors turn; the high ones serve 32-bit types only.
pub(super) struct Square {
    low: [[u16; LANES]; LANES],
    high: [[u16; LANES]; LANES],
}

impl Square {
    /// All zeros.
    pub(super) const EMPTY: Self = Self {
        low: [[0; LANES]; LANES],
        high: [[0; LANES]; LANES],
    };

    /// Sets the dimension `at` to steps of `scale` above `offset`, a lane a token.
    #[inline(always)]
    pub(super) fn set<E: Element>(
        &mut self,
        at: usize,
        steps: &Row<i16>,
        scale: &Row<f32>,
        offset: &Row<f32>,
    ) {
        let (Some(low), Some(high)) = (self.low.get_mut(at), self.high.get_mut(at)) else {
            return;
        };
        let lanes = steps.iter().zip(scale).zip(offset);
        if E::BYTES == 2 {
            for (low, ((step, scale), offset)) in low.iter_mut().zip(lanes) {
                (*low, _) = E::halves(E::store(f32::from(*step) * *scale + *offset));
            }
            return;
        }
        let halves = low.iter_mut().zip(high);
        for ((low, high), ((step, scale), offset)) in halves.zip(lanes) {
            (*low, *high) = E::halves(E::store(f32::from(*step) * *scale + *offset));
        }
    }

    /// Writes `count` dimensions, at most sixteen, from the dimension `from` of up to sixteen tokens.
    #[inline(always)]
    pub(super) fn store<E: Element, S: Simd>(
        mut self,
        tokens: &mut [E::Bytes],
        dims: usize,
        (from, count): (usize, usize),
    ) {
        self.turn::<E, S>();
        let lines = self.low.iter().zip(&self.high);
        for (token, (low, high)) in tokens.chunks_exact_mut(dims).zip(lines) {
            let places = token.get_mut(from..from + count).unwrap_or_default();
            put(places, &join::<E>(low, high));
        }
    }

    #[inline(always)]
    fn turn<E: Element, S: Simd>(&mut self) {
        S::transpose(&mut self.low);
        if E::BYTES == 4 {
            S::transpose(&mut self.high);
        }
    }
}

#[inline(always)]
fn split<E: Element>(numbers: &[E::Bytes], low: &mut [u16; LANES], high: &mut [u16; LANES]) {
    for (number, low) in numbers.iter().zip(low) {
        (*low, _) = E::halves(*number);
    }
    if E::BYTES == 4 {
        for (number, high) in numbers.iter().zip(high) {
            (_, *high) = E::halves(*number);
        }
    }
}

#[inline(always)]
fn join<E: Element>(low: &[u16; LANES], high: &[u16; LANES]) -> [E::Bytes; LANES] {
    let mut numbers = [E::Bytes::default(); LANES];
    for (number, (low, high)) in numbers.iter_mut().zip(low.iter().zip(high)) {
        *number = E::of_halves(*low, if E::BYTES == 4 { *high } else { 0 });
    }
    numbers
}

/// Turns up to sixteen tokens on their side, as numbers: a row of `grid` a dimension. Lanes without a token are 0.
#[inline(always)]
pub(super) fn load<E: Element, S: Simd>(tokens: &[E::Bytes], dims: usize, grid: &mut [Row<f32>]) {
    for (rows, from) in grid.chunks_mut(LANES).zip((0..).step_by(LANES)) {
        let mut square = Square::EMPTY;
        let lines = square.low.iter_mut().zip(&mut square.high);
        for (token, (low, high)) in tokens.chunks_exact(dims).zip(lines) {
            let numbers = token.get(from..).unwrap_or_default();
            match numbers.first_chunk::<LANES>() {
                Some(whole) => split::<E>(whole, low, high),
                None => split::<E>(numbers, low, high),
            }
        }
        square.turn::<E, S>();
        for (row, (low, high)) in rows.iter_mut().zip(square.low.iter().zip(&square.high)) {
            for (number, bytes) in row.iter_mut().zip(&join::<E>(low, high)) {
                *number = E::load(*bytes);
            }
        }
    }
}
