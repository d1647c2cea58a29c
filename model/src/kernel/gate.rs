//! The gate of the MLP: `silu(gate) * up`, one output from its own two inputs.

use rayon::prelude::*;

use super::isa::Isa;
use super::math::exp;

/// Rows of `[gate, up]` (each `width` wide) as rows of `silu(gate) * up`.
pub(crate) fn gate(rows: &[f32], width: usize) -> Vec<f32> {
    let isa = Isa::detect();
    let mut out = vec![0.0; rows.len() / 2];
    let count = rows.len() / (2 * width);
    out.par_chunks_mut(width)
        .zip(rows.par_chunks(2 * width))
        .with_min_len(count.div_ceil(16))
        .for_each(|(out, row)| {
            let (gates, ups) = row.split_at(width);
            isa.run(
                #[inline(always)]
                || {
                    for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
                        *out = gate / (1.0 + exp(-gate)) * up;
                    }
                },
            );
        });
    out
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
