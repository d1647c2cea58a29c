//! Attention of one query over keys and values that lie in blocks.
//!
//! Order of additions: scores are laned inner products over the head; the sum of exponentials is laned
//! over the positions from the start of the query's span; values are added sequentially in the order of
//! positions. Nothing depends on the size of a block, on positions after the query (there is no mask,
//! they are never read), or on who filled a block.
#![expect(
    clippy::indexing_slicing,
    reason = "blocks have the length that their geometry implies; positions are below the filled count"
)]

use core::ops::Range;

use super::isa::Isa;
use super::math::{dot, exponentials};

/// Keys and values of one head of one layer, in blocks.
#[derive(Clone, Copy)]
pub(crate) struct HeadBlocks<'a> {
    /// Whole payloads of the sequence's blocks, in order.
    pub(crate) blocks: &'a [Box<[f32]>],
    /// Where this head's keys `[token][head_size]` begin in a block.
    pub(crate) keys_at: usize,
    /// Where its values begin.
    pub(crate) values_at: usize,
    /// Tokens in a block.
    pub(crate) block_tokens: usize,
    /// Numbers in a head.
    pub(crate) head_size: usize,
}

impl HeadBlocks<'_> {
    /// The pieces of `span`: for each block that it touches, the rows beginning at `at` in it.
    #[inline(always)]
    fn pieces(&self, span: &Range<usize>, at: usize) -> impl Iterator<Item = &[f32]> {
        let (start, end, tokens, size) = (span.start, span.end, self.block_tokens, self.head_size);
        (start / tokens..end.div_ceil(tokens)).map(move |index| {
            let first = start.max(index * tokens) - index * tokens;
            let last = end.min((index + 1) * tokens) - index * tokens;
            &self.blocks[index][at + first * size..at + last * size]
        })
    }
}

/// What one query attends to.
pub(crate) struct Query<'a> {
    /// The rotated query, one head.
    pub(crate) vector: &'a [f32],
    /// Positions it sees: up to and including its own.
    pub(crate) span: Range<usize>,
    /// Factor of the scores, usually one over the root of the head size.
    pub(crate) scale: f32,
}

/// Writes the attention of `query` over `head` to `out`; `scores` is scratch.
pub(crate) fn attend(
    isa: Isa,
    head: &HeadBlocks<'_>,
    query: &Query<'_>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    scores.resize(query.span.len(), 0.0);
    isa.run(
        #[inline(always)]
        || {
            attend_body(head, query, scores, out);
        },
    );
}

#[inline(always)]
fn attend_body(head: &HeadBlocks<'_>, query: &Query<'_>, scores: &mut [f32], out: &mut [f32]) {
    let size = head.head_size;
    let keys = head
        .pieces(&query.span, head.keys_at)
        .flat_map(|piece| piece.chunks_exact(size));
    for (score, key) in scores.iter_mut().zip(keys) {
        *score = dot(query.vector, key) * query.scale;
    }
    let sum = exponentials(scores);
    let mut column = 0;
    while column < size {
        let width = match size - column {
            64.. => add_values::<64>(head, query, scores, column, out),
            16..64 => add_values::<16>(head, query, scores, column, out),
            _ => add_values::<1>(head, query, scores, column, out),
        };
        column += width;
    }
    out.iter_mut().for_each(|out| *out /= sum);
}

/// Sums `WIDTH` columns of the values, weighted by `scores`, and returns `WIDTH`.
#[inline(always)]
fn add_values<const WIDTH: usize>(
    head: &HeadBlocks<'_>,
    query: &Query<'_>,
    scores: &[f32],
    column: usize,
    out: &mut [f32],
) -> usize {
    let mut sums = [0.0_f32; WIDTH];
    let mut rest = scores;
    for piece in head.pieces(&query.span, head.values_at) {
        let (here, after) = rest.split_at(piece.len() / head.head_size);
        for (score, value) in here.iter().zip(piece.chunks_exact(head.head_size)) {
            let value = &value[column..column + WIDTH];
            for lane in 0..WIDTH {
                sums[lane] = score.mul_add(value[lane], sums[lane]);
            }
        }
        rest = after;
    }
    out[column..column + WIDTH].copy_from_slice(&sums);
    WIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(tokens: usize, block_tokens: usize, size: usize) -> Vec<Box<[f32]>> {
        let value = |position: usize, part: usize, lane: usize| {
            ((position * 31 + part * 17 + lane * 7) as f32).sin()
        };
        (0..tokens.div_ceil(block_tokens))
            .map(|block| {
                (0..2 * block_tokens * size)
                    .map(|at| {
                        value(
                            block * block_tokens + at / size % block_tokens,
                            at / (block_tokens * size),
                            at % size,
                        )
                    })
                    .collect()
            })
            .collect()
    }

    fn run(isa: Isa, block_tokens: usize, size: usize, span: Range<usize>) -> Vec<f32> {
        let blocks = blocks(100, block_tokens, size);
        let head = HeadBlocks {
            blocks: &blocks,
            keys_at: 0,
            values_at: block_tokens * size,
            block_tokens,
            head_size: size,
        };
        let vector: Vec<f32> = (0..size).map(|lane| (lane as f32).cos()).collect();
        let mut out = vec![0.0; size];
        attend(
            isa,
            &head,
            &Query {
                vector: &vector,
                span,
                scale: 0.3,
            },
            &mut Vec::new(),
            &mut out,
        );
        out
    }

    #[test]
    fn block_size_and_instruction_set_do_not_change_a_bit() {
        for size in [8, 16, 64, 80, 100] {
            for span in [0..1, 0..17, 0..100, 37..90] {
                let expected = run(Isa::Portable, 100, size, span.clone());
                for block_tokens in [1, 16, 64, 7] {
                    for isa in Isa::available() {
                        assert_eq!(run(isa, block_tokens, size, span.clone()), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn attention_agrees_with_double_precision() {
        let (size, span) = (24, 3..77);
        let data = blocks(100, 100, size);
        let scores: Vec<f64> = span
            .clone()
            .map(|p| {
                (0..size)
                    .map(|l| f64::from((l as f32).cos()) * f64::from(data[0][p * size + l]))
                    .sum::<f64>()
                    * 0.3
            })
            .collect();
        let sum: f64 = scores.iter().map(|s| s.exp()).sum();
        for (lane, out) in run(Isa::detect(), 16, size, span.clone())
            .iter()
            .enumerate()
        {
            let exact: f64 = span
                .clone()
                .zip(&scores)
                .map(|(p, s)| s.exp() / sum * f64::from(data[0][(100 + p) * size + lane]))
                .sum();
            assert!((f64::from(*out) - exact).abs() < 1e-5);
        }
    }
}
