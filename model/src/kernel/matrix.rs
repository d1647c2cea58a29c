//! Products of rows with a packed weight matrix.
//!
//! Order of additions: sequential over the inner dimension, from zero, by fused multiply-add, the bias
//! (if any) last. One output has one accumulator, whatever the count of rows, so a row's outputs are
//! the same bits in a product of one row and in a product of sixty-four.
#![expect(
    clippy::indexing_slicing,
    reason = "panels and tiles are cut from buffers whose lengths are computed from the same dimensions"
)]

use rayon::prelude::*;

use super::isa::{Isa, Kernel, LANES, Lanes};

/// Columns of a panel: two 512-bit or four 256-bit vectors.
const PANEL: usize = VECTORS * LANES;
/// Vectors of a panel's width.
const VECTORS: usize = 2;
/// Heights of the strips that rows are divided into, tallest first. Ends in 1, so every count of rows
/// is a sum of them.
const STRIPS: [usize; 4] = [8, 4, 2, 1];
/// Multiplications below which starting other threads costs more than it saves.
const PARALLEL_MIN: usize = 1 << 16;

/// A weight matrix `[outputs, inputs]`, with an optional bias, stored for products `x · Wᵀ + b`.
///
/// # Shape
/// Panels of 32 outputs, each `[inputs][32]`, so that a kernel reads it forwards. Outputs are padded to
/// a multiple of 32 with zeros, which never leave this module.
pub(crate) struct PackedMatrix {
    panels: Vec<f32>,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
    isa: Isa,
}

impl PackedMatrix {
    /// Packs matrices of equal width one under the other. Each part is `[outputs, inputs]`, row-major.
    pub(crate) fn pack(parts: &[&[f32]], inputs: usize) -> Self {
        let rows: Vec<&[f32]> = parts
            .iter()
            .flat_map(|part| part.chunks_exact(inputs))
            .collect();
        let outputs = rows.len();
        let mut panels = vec![0.0; outputs.div_ceil(PANEL) * PANEL * inputs];
        panels
            .par_chunks_mut(PANEL * inputs)
            .zip(rows.par_chunks(PANEL))
            .for_each(|(panel, rows)| {
                for (column, row) in rows.iter().enumerate() {
                    for (slot, value) in panel.chunks_exact_mut(PANEL).zip(*row) {
                        slot[column] = *value;
                    }
                }
            });
        Self {
            panels,
            bias: None,
            inputs,
            outputs,
            isa: Isa::detect(),
        }
    }

    /// Adds a bias of one number an output.
    pub(crate) fn with_bias(mut self, bias: Vec<f32>) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Width of an input row.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of an output row.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The product of every row of `x` (`[rows, inputs]`) with the matrix: `[rows, outputs]`.
    pub(crate) fn multiply(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.inputs;
        let strips = interleave(x, self.inputs);
        let mut tiles = vec![0.0; self.panels.len() / self.inputs * rows];
        let panel = |(tile, panel): (&mut [f32], &[f32])| {
            self.isa.run(PanelProduct {
                strips: &strips,
                panel,
                tile,
                inputs: self.inputs,
            });
        };
        let panel_length = PANEL * self.inputs;
        if rows * self.panels.len() < PARALLEL_MIN {
            tiles
                .chunks_mut(PANEL * rows)
                .zip(self.panels.chunks(panel_length))
                .for_each(panel);
        } else {
            tiles
                .par_chunks_mut(PANEL * rows)
                .zip(self.panels.par_chunks(panel_length))
                .for_each(panel);
        }
        let mut out = self.gather(tiles, rows);
        if let Some(bias) = &self.bias {
            for row in out.chunks_exact_mut(self.outputs) {
                row.iter_mut()
                    .zip(bias)
                    .for_each(|(out, bias)| *out += bias);
            }
        }
        out
    }

    /// Tiles `[panel][row][32]` as rows `[row][outputs]`; for one row they are the same already.
    fn gather(&self, mut tiles: Vec<f32>, rows: usize) -> Vec<f32> {
        if rows == 1 {
            tiles.truncate(self.outputs);
            return tiles;
        }
        let mut out = vec![0.0; rows * self.outputs];
        let copy = |(index, row): (usize, &mut [f32])| {
            for (columns, tile) in row.chunks_mut(PANEL).zip(tiles.chunks_exact(PANEL * rows)) {
                columns.copy_from_slice(&tile[index * PANEL..][..columns.len()]);
            }
        };
        out.par_chunks_mut(self.outputs)
            .with_min_len(8)
            .enumerate()
            .for_each(copy);
        out
    }
}

/// Rows `[rows][inputs]` as strips: each strip of `h` rows becomes `[inputs][h]`, strips in order.
fn interleave(x: &[f32], inputs: usize) -> Vec<f32> {
    let mut strips = vec![0.0; x.len()];
    for (start, height) in strip_rows(x.len() / inputs) {
        let strip = &mut strips[start * inputs..(start + height) * inputs];
        for (row, values) in x[start * inputs..]
            .chunks_exact(inputs)
            .take(height)
            .enumerate()
        {
            for (slot, value) in strip.chunks_exact_mut(height).zip(values) {
                slot[row] = *value;
            }
        }
    }
    strips
}

/// First row and height of each strip.
#[inline(always)]
fn strip_rows(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    core::iter::from_fn(move || {
        let height = STRIPS.into_iter().find(|height| *height <= rows - start)?;
        start += height;
        Some((start - height, height))
    })
}

/// All strips times one panel.
struct PanelProduct<'a> {
    strips: &'a [f32],
    panel: &'a [f32],
    /// `[row][32]`.
    tile: &'a mut [f32],
    inputs: usize,
}

impl Kernel for PanelProduct<'_> {
    #[inline(always)]
    fn run<V: Lanes>(self) {
        for (start, height) in strip_rows(self.tile.len() / PANEL) {
            let x = &self.strips[start * self.inputs..(start + height) * self.inputs];
            let out = &mut self.tile[start * PANEL..(start + height) * PANEL];
            match height {
                8 => multiply_tile::<V, 8>(x, self.panel, out),
                4 => multiply_tile::<V, 4>(x, self.panel, out),
                2 => multiply_tile::<V, 2>(x, self.panel, out),
                _ => multiply_tile::<V, 1>(x, self.panel, out),
            }
        }
    }
}

/// One strip of `ROWS` rows times one panel: `ROWS * 32` accumulators, each summed sequentially.
#[inline(always)]
fn multiply_tile<V: Lanes, const ROWS: usize>(x: &[f32], panel: &[f32], out: &mut [f32]) {
    let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
    let (x, _) = x.as_chunks::<ROWS>();
    let (panel, _) = panel.as_chunks::<PANEL>();
    for (x, weights) in x.iter().zip(panel) {
        let (weights, _) = weights.as_chunks::<LANES>();
        let weights: [V; VECTORS] = [V::load(&weights[0]), V::load(&weights[1])];
        for row in 0..ROWS {
            let x = V::splat(x[row]);
            for (sum, weights) in sums[row].iter_mut().zip(weights) {
                *sum = x.mul_add(weights, *sum);
            }
        }
    }
    for (out, sums) in out
        .as_chunks_mut::<LANES>()
        .0
        .iter_mut()
        .zip(sums.as_flattened())
    {
        *out = sums.store();
    }
}

#[cfg(test)]
#[expect(clippy::as_conversions, reason = "small numbers made for tests")]
mod tests {
    use super::*;

    fn numbers(count: usize, salt: u32) -> Vec<f32> {
        let mut state = salt.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    /// The definition: one accumulator an output, inputs in order, bias last.
    fn naive(x: &[f32], weights: &[f32], inputs: usize, bias: Option<&[f32]>) -> Vec<f32> {
        x.chunks_exact(inputs)
            .flat_map(|x| {
                weights
                    .chunks_exact(inputs)
                    .enumerate()
                    .map(move |(index, w)| {
                        let sum = x
                            .iter()
                            .zip(w)
                            .fold(0.0_f32, |sum, (x, w)| x.mul_add(*w, sum));
                        bias.map_or(sum, |bias| sum + bias[index])
                    })
            })
            .collect()
    }

    #[test]
    fn every_shape_and_instruction_set_gives_the_bits_of_the_definition() {
        for (rows, inputs, outputs) in [
            (1, 1, 1),
            (1, 7, 33),
            (2, 16, 32),
            (3, 5, 64),
            (15, 48, 70),
            (16, 64, 31),
            (67, 40, 129),
        ] {
            let (x, weights, bias) = (
                numbers(rows * inputs, 1),
                numbers(outputs * inputs, 2),
                numbers(outputs, 3),
            );
            let expected = naive(&x, &weights, inputs, Some(&bias));
            for isa in Isa::available() {
                let mut matrix = PackedMatrix::pack(&[&weights], inputs).with_bias(bias.clone());
                matrix.isa = isa;
                assert_eq!(
                    matrix.multiply(&x),
                    expected,
                    "{rows}x{inputs}x{outputs} on {isa:?}"
                );
            }
        }
    }

    #[test]
    fn a_row_alone_equals_the_row_among_others_on_any_count_of_threads() {
        let (inputs, outputs) = (96, 800);
        let matrix = PackedMatrix::pack(&[&numbers(outputs * inputs, 5)], inputs);
        let x = numbers(64 * inputs, 6);
        let alone: Vec<f32> = x
            .chunks_exact(inputs)
            .flat_map(|row| matrix.multiply(row))
            .collect();
        for threads in [1, 2, 4, 7] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            assert_eq!(
                pool.install(|| matrix.multiply(&x)),
                alone,
                "{threads} threads"
            );
        }
    }

    #[test]
    fn parts_packed_together_equal_parts_packed_alone() {
        let (a, b, x) = (numbers(40 * 24, 1), numbers(17 * 24, 2), numbers(3 * 24, 3));
        let both = PackedMatrix::pack(&[&a, &b], 24).multiply(&x);
        let (a, b) = (
            PackedMatrix::pack(&[&a], 24).multiply(&x),
            PackedMatrix::pack(&[&b], 24).multiply(&x),
        );
        for row in 0..3 {
            assert_eq!(both[row * 57..][..40], a[row * 40..][..40]);
            assert_eq!(both[row * 57 + 40..][..17], b[row * 17..][..17]);
        }
    }
}
