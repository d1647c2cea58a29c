//! Responsible for what a block is worth in numbers, and for choosing between dropping it and keeping less of it. It must
//! never know how likely a use is: that is the policy's score.
//!
//! # Source
//! Linear and quadratic parts of a transformer's prefill: Kaplan et al., "Scaling laws for neural language models", 2020,
//! table 1. Least lost value per byte freed: Cao, Irani, "Cost-aware WWW proxy caching algorithms", 1997 (GreedyDual-Size).

/// Tokens before a token at which attending to them costs as much as everything else, for a model of 70 thousand million
/// parameters in 80 layers of width 8 192: 2 · 70e9 operations against 4 · 80 · 8 192 a token attended to.
pub const EVEN_TOKENS: f32 = 53_000.0;

/// What computing a block again costs, in units of one token at the start of a text.
///
/// # Units
/// `tokens` of the block, `before` tokens in front of it.
pub fn recompute_cost(tokens: u32, before: u64) -> f32 {
    let tokens = as_f32(u64::from(tokens));
    tokens * (1.0 + (as_f32(before) + tokens / 2.0) / EVEN_TOKENS)
}

/// One way to free bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alternative {
    /// Bytes that this way frees.
    pub frees_bytes: u64,
    /// Cost of one later use of the block after it, beyond what it costs now: decoding, loading from a lower tier, or, once
    /// dropped, computing again or fetching from another holder.
    pub later_cost: f32,
}

/// What is lost for each byte freed, when a use has this likelihood or rate.
pub fn lost_per_byte(likelihood: f32, alternative: &Alternative) -> f32 {
    likelihood * alternative.later_cost / as_f32(alternative.frees_bytes.max(1))
}

/// The alternative that loses least for each byte it frees; ties go to the one that frees more. `None` when none frees any.
pub fn cheapest(alternatives: &[Alternative]) -> Option<usize> {
    let freeing = alternatives
        .iter()
        .enumerate()
        .filter(|(_, alternative)| alternative.frees_bytes > 0);
    let best = freeing.min_by(|(_, a), (_, b)| {
        let by_loss = lost_per_byte(1.0, a).total_cmp(&lost_per_byte(1.0, b));
        by_loss.then(b.frees_bytes.cmp(&a.frees_bytes))
    });
    best.map(|(at, _)| at)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "weights need no more than the 24 bits that a float keeps of a count"
)]
pub(crate) const fn as_f32(count: u64) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_attends_to_the_even_length_costs_twice_the_first() {
        let first = recompute_cost(1, 0);
        let later = recompute_cost(1, 53_000);
        assert!((first - 1.0).abs() < 1e-4 && (later - 2.0).abs() < 1e-4);
        assert!(recompute_cost(512, 0) < recompute_cost(512, 512));
    }

    #[test]
    fn encoding_further_is_cheaper_than_dropping_until_it_frees_too_little() {
        let alternative = |frees_bytes, later_cost| Alternative {
            frees_bytes,
            later_cost,
        };
        let dropped = alternative(1_000, 500.0);
        assert_eq!(cheapest(&[dropped, alternative(500, 5.0)]), Some(1));
        assert_eq!(cheapest(&[dropped, alternative(5, 5.0)]), Some(0));
        assert_eq!(cheapest(&[alternative(0, 0.0)]), None);
        assert_eq!(
            cheapest(&[alternative(10, 1.0), alternative(100, 10.0)]),
            Some(1)
        );
    }
}
