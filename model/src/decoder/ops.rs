//! Our kernels as operations on candle tensors, so that the decoder reads as one graph.
//!
//! Responsible for checking types and shapes at the seam. Must never compute anything itself.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::kv::KvBlocks;
use crate::kernel::{PackedMatrix, Query, attend, gate, isa::Isa};

/// Rows times a packed matrix: `[rows, inputs]` to `[rows, outputs]`.
pub(crate) struct Linear(pub(crate) PackedMatrix);

impl Linear {
    /// Applies the matrix.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(self)
    }
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "ultrakv-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = layout.shape().dims2()?;
        if inputs != self.0.inputs() {
            bail!("linear over {} inputs was given {inputs}", self.0.inputs());
        }
        let out = self.0.multiply(floats(storage, layout)?);
        Ok((CpuStorage::F32(out), Shape::from((rows, self.0.outputs()))))
    }
}

/// Rows of `[gate, up]` to `silu(gate) * up`: `[rows, 2 * width]` to `[rows, width]`.
pub(crate) struct Gate;

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "ultrakv-gate"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, double) = layout.shape().dims2()?;
        Ok((
            CpuStorage::F32(gate(floats(storage, layout)?, double / 2)),
            Shape::from((rows, double / 2)),
        ))
    }
}

/// Causal attention of rotated queries `[rows, heads, head_size]` over one layer's blocks:
/// `[rows, heads * head_size]`.
pub(crate) struct Attention<'a> {
    pub(crate) kv: &'a KvBlocks,
    pub(crate) layer: usize,
    pub(crate) kv_heads: usize,
    /// Position of the first row.
    pub(crate) first: usize,
    /// How many positions, its own included, a query sees.
    pub(crate) window: Option<usize>,
}

impl CustomOp1 for Attention<'_> {
    fn name(&self) -> &'static str {
        "ultrakv-attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, heads, size) = layout.shape().dims3()?;
        let queries: Vec<&[f32]> = floats(storage, layout)?.chunks_exact(size).collect();
        let (isa, scale) = (Isa::detect(), inverse_root(size));
        let group = heads / self.kv_heads;
        // Head by head, so that rows which follow each other read the same keys. One cell a query.
        let mut cells = vec![0.0; rows * heads * size];
        let cell = |scores: &mut Vec<f32>, (index, out): (usize, &mut [f32])| {
            let (head, row) = (index / rows, index % rows);
            let end = self.first + row + 1;
            let start = self.window.map_or(0, |window| end.saturating_sub(window));
            if let Some(vector) = queries.get(row * heads + head) {
                let query = Query {
                    vector,
                    span: start..end,
                    scale,
                };
                attend(
                    isa,
                    &self.kv.head(self.layer, head / group),
                    &query,
                    scores,
                    out,
                );
            }
        };
        cells
            .par_chunks_mut(size)
            .enumerate()
            .for_each_init(Vec::new, cell);
        let out = if rows == 1 {
            cells
        } else {
            rows_first(&cells, rows, size)
        };
        Ok((CpuStorage::F32(out), Shape::from((rows, heads * size))))
    }
}

/// `[head][row][size]` as `[row][head][size]`.
fn rows_first(cells: &[f32], rows: usize, size: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(cells.len());
    for row in 0..rows {
        for head in cells.chunks_exact(rows * size) {
            out.extend_from_slice(head.get(row * size..(row + 1) * size).unwrap_or_default());
        }
    }
    out
}

#[expect(
    clippy::as_conversions,
    reason = "head sizes are at most 1024, which f32 holds exactly"
)]
fn inverse_root(size: usize) -> f32 {
    1.0 / (size as f32).sqrt()
}

/// The contiguous numbers of a tensor on the CPU.
fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => numbers
            .get(start..end)
            .ok_or_else(|| candle_core::Error::Msg("layout exceeds its storage".into())),
        (CpuStorage::F32(_), None) => bail!("the tensor is not contiguous"),
        _ => bail!("the tensor is not f32"),
    }
}
