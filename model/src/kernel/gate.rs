//! The gate of the MLP: `silu(gate) * up`, one output from its own two inputs.

use rayon::prelude::*;

use super::isa::{Isa, Kernel, Lanes};
use super::math::exp;

/// Rows of `[gate, up]` (each `width` wide) as rows of `silu(gate) * up`.
pub(crate) fn gate(rows: &[f32], width: usize) -> Vec<f32> {
    let isa = Isa::detect();
    let mut out = vec![0.0; rows.len() / 2];
    let count = rows.len() / (2 * width);
    out.par_chunks_mut(width)
        .zip(rows.par_chunks(2 * width))
        .with_min_len(count.div_ceil(16))
        .for_each(|(out, row)| isa.run(GateRow { row, out }));
    out
}

/// One row.
struct GateRow<'a> {
    row: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for GateRow<'_> {
    #[inline(always)]
    fn run<V: Lanes>(self) {
        // Independent outputs: the compiler vectorises this loop by itself.
        let (gates, ups) = self.row.split_at(self.out.len());
        for ((out, gate), up) in self.out.iter_mut().zip(gates).zip(ups) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_silu_times_up() {
        let (gates, ups) = (
            [-20.0_f32, -1.0, 0.0, 0.5, 3.0],
            [1.0_f32, 2.0, 3.0, -4.0, 5.0],
        );
        let out = gate(&[gates, ups].concat(), 5);
        for ((out, gate), up) in out.iter().zip(gates).zip(ups) {
            let exact = f64::from(gate) / (1.0 + f64::from(-gate).exp()) * f64::from(up);
            assert!(
                (f64::from(*out) - exact).abs() <= 1e-6 * exact.abs().max(1e-6),
                "{gate} {up}"
            );
        }
    }
}
