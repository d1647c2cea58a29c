//! Responsible for what a block saves when it is used, in numbers. It must never know how likely a use is: that is the
//! policy's score.
//!
//! # Source
//! Linear and quadratic parts of a transformer's prefill: Kaplan et al., "Scaling laws for neural language models", 2020,
//! table 1.

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
}
