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

use super::isa::{Isa, Kernel, LANES, Lanes};
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
    isa.run(Attend {
        head,
        query,
        scores,
        out,
    });
}

struct Attend<'a> {
    head: &'a HeadBlocks<'a>,
    query: &'a Query<'a>,
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    #[inline(always)]
    fn run<V: Lanes>(self) {
        let Self {
            head,
            query,
            scores,
            out,
        } = self;
        let size = head.head_size;
        // The usual head sizes have their loops unrolled. The order of additions is the same.
        match size {
            32 => score::<V, 2>(head, query, scores),
            64 => score::<V, 4>(head, query, scores),
            96 => score::<V, 6>(head, query, scores),
            128 => score::<V, 8>(head, query, scores),
            _ => score_any::<V>(head, query, scores),
        }
        let sum = exponentials(scores);
        let mut column = 0;
        while column < size {
            column += match size - column {
                64.. => add_values::<V, 4>(head, query, scores, &mut out[column..]),
                16..64 => add_values::<V, 1>(head, query, scores, &mut out[column..]),
                _ => add_value(head, query, scores, &mut out[column..]),
            };
        }
        out.iter_mut().for_each(|out| *out /= sum);
    }
}

/// Scores over heads of `16 * VECTORS` numbers.
#[inline(always)]
fn score<V: Lanes, const VECTORS: usize>(
    head: &HeadBlocks<'_>,
    query: &Query<'_>,
    scores: &mut [f32],
) {
    let (vector, _) = query.vector.as_chunks::<LANES>();
    let vector: [V; VECTORS] = core::array::from_fn(|index| V::load(&vector[index]));
    let mut rest = scores;
    for piece in head.pieces(&query.span, head.keys_at) {
        let (keys, _) = piece.as_chunks::<LANES>();
        let (keys, _) = keys.as_chunks::<VECTORS>();
        let (here, after) = rest.split_at_mut(keys.len());
        for (score, key) in here.iter_mut().zip(keys) {
            let mut sums = V::splat(0.0);
            for index in 0..VECTORS {
                sums = vector[index].mul_add(V::load(&key[index]), sums);
            }
            *score = sums.sum() * query.scale;
        }
        rest = after;
    }
}

/// Scores over heads of any size.
#[inline(always)]
fn score_any<V: Lanes>(head: &HeadBlocks<'_>, query: &Query<'_>, scores: &mut [f32]) {
    let keys = head
        .pieces(&query.span, head.keys_at)
        .flat_map(|piece| piece.chunks_exact(head.head_size));
    for (score, key) in scores.iter_mut().zip(keys) {
        *score = dot::<V>(query.vector, key) * query.scale;
    }
}

/// Sums `VECTORS` vectors of the values' columns, weighted by `scores`. The columns are those that `out`,
/// the rest of the output, begins with. Returns their count.
#[inline(always)]
fn add_values<V: Lanes, const VECTORS: usize>(
    head: &HeadBlocks<'_>,
    query: &Query<'_>,
    scores: &[f32],
    out: &mut [f32],
) -> usize {
    let column = head.head_size - out.len();
    let mut sums = [V::splat(0.0); VECTORS];
    let mut rest = scores;
    for piece in head.pieces(&query.span, head.values_at) {
        let (here, after) = rest.split_at(piece.len() / head.head_size);
        for (score, value) in here.iter().zip(piece.chunks_exact(head.head_size)) {
            let score = V::splat(*score);
            let (value, _) = value[column..column + VECTORS * LANES].as_chunks::<LANES>();
            for index in 0..VECTORS {
                sums[index] = score.mul_add(V::load(&value[index]), sums[index]);
            }
        }
        rest = after;
    }
    let (out, _) = out.as_chunks_mut::<LANES>();
    for index in 0..VECTORS {
        out[index] = sums[index].store();
    }
    VECTORS * LANES
}

/// Sums one column, for heads that are no multiple of sixteen.
#[inline(always)]
fn add_value(head: &HeadBlocks<'_>, query: &Query<'_>, scores: &[f32], out: &mut [f32]) -> usize {
    let column = head.head_size - out.len();
    let values = head
        .pieces(&query.span, head.values_at)
        .flat_map(|piece| piece.chunks_exact(head.head_size));
    out[0] = scores
        .iter()
        .zip(values)
        .fold(0.0_f32, |sum, (score, value)| {
            score.mul_add(value[column], sum)
        });
    1
}

#[cfg(test)]
#[expect(clippy::as_conversions, reason = "small numbers made for tests")]
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
                let expected = run(Isa::available()[0], 100, size, span.clone());
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
