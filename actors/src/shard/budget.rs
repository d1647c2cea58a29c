//! Arithmetic on a shard's limits: what an earlier life's readers leave of them, and how far above
//! a watermark the shard is.
//!
//! Pure; it must never know what is stored.

use ultrakv_cache::{Budget, Usage};

/// What is left of a budget while this many bytes are still held by readers of an earlier life.
pub(crate) fn less_residue(budget: Budget, residue_bytes: u64) -> Budget {
    let bytes_max = budget.bytes_max.saturating_sub(residue_bytes);
    Budget {
        bytes_max,
        entry_bytes_max: budget.entry_bytes_max.min(bytes_max),
        pin_bytes_max: budget.pin_bytes_max.min(bytes_max),
        ..budget
    }
}

/// Bytes and tokens above a watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
}

impl Excess {
    /// What is used above this part of the limits.
    pub(crate) fn above(usage: &Usage, budget: &Budget, per_mille: u16) -> Self {
        let level = |limit: u64| {
            let level = u128::from(limit) * u128::from(per_mille) / 1000;
            u64::try_from(level).unwrap_or(limit)
        };
        let tokens_max = budget.tokens_max.unwrap_or(u64::MAX);
        Self {
            bytes: usage.bytes.saturating_sub(level(budget.bytes_max)),
            tokens: usage.tokens.saturating_sub(level(tokens_max)),
        }
    }

    /// Whether the level is kept.
    pub(crate) fn is_none(self) -> bool {
        self.bytes == 0 && self.tokens == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_limit_alone_can_be_exceeded() {
        let budget = Budget {
            tokens_max: Some(100),
            ..Budget::of_bytes(1000)
        };
        let check = |bytes, tokens, expected: (u64, u64)| {
            let usage = Usage {
                bytes,
                tokens,
                ..Usage::default()
            };
            let excess = Excess::above(&usage, &budget, 900);
            assert_eq!((excess.bytes, excess.tokens), expected);
            assert_eq!(excess.is_none(), expected == (0, 0));
        };
        check(900, 90, (0, 0));
        check(901, 90, (1, 0));
        check(10, 100, (0, 10));
    }

    #[test]
    fn residue_comes_off_every_part_of_the_bytes() {
        let budget = less_residue(Budget::of_bytes(1000), 900);
        assert_eq!(budget.bytes_max, 100);
        assert!(budget.entry_bytes_max <= 100 && budget.pin_bytes_max <= 100);
        assert_eq!(less_residue(Budget::of_bytes(10), 20).bytes_max, 0);
    }
}
