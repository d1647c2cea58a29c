//! Responsible for limits and how much of them is used. It must never know what uses them.

/// What a shard may use. Every limit is hard: used ≤ limit after every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of blocks and entries together.
    pub bytes_max: u64,
    /// Tokens of blocks; `None` when bytes alone decide.
    pub tokens_max: Option<u64>,
    /// Part of `bytes_max` that entries may take.
    pub entry_bytes_max: u64,
    /// Blocks, visible and reserved; bounds the memory of index, forest and block table (at most 128 bytes a block). A new
    /// one is let in only beside the removed ones of which the forest still keeps a record.
    pub blocks_max: u32,
    /// Part of `bytes_max` that hard-pinned blocks may take.
    pub pin_bytes_max: u64,
    /// Above this part of a limit the shard asks for eviction.
    ///
    /// # Units
    /// Per mille.
    pub watermark_high: u16,
    /// Down to this part it is to go.
    ///
    /// # Units
    /// Per mille.
    pub watermark_low: u16,
}

impl Budget {
    /// A budget of `bytes_max` with everything else in proportion: entries up to a quarter, hard pins up to a half, tokens
    /// unlimited, watermarks at 95 % and 90 %.
    pub const fn of_bytes(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            tokens_max: None,
            entry_bytes_max: bytes_max / 4,
            blocks_max: 1 << 24,
            pin_bytes_max: bytes_max / 2,
            watermark_high: 950,
            watermark_low: 900,
        }
    }
}

/// What a shard uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of blocks (whole pages) and entries.
    pub bytes: u64,
    /// Tokens of blocks.
    pub tokens: u64,
    /// Part of `bytes` that entries take.
    pub entry_bytes: u64,
    /// Blocks, visible, reserved, or removed but still lent.
    pub blocks: u32,
    /// Part of `bytes` that hard-pinned blocks take.
    pub pin_bytes: u64,
}

impl Usage {
    /// Whether every limit holds.
    pub fn is_within(&self, budget: &Budget) -> bool {
        self.bytes <= budget.bytes_max
            && budget
                .tokens_max
                .is_none_or(|tokens_max| self.tokens <= tokens_max)
            && self.entry_bytes <= budget.entry_bytes_max
            && self.blocks <= budget.blocks_max
            && self.pin_bytes <= budget.pin_bytes_max
    }
}
