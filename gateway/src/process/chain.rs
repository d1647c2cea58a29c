//! The block chain of one generation: which addresses its whole blocks have, which of them may be
//! looked up, and whether what the cache lends for them may be used.
//!
//! Pure. It knows keys and headers, and neither the cache nor the model.

use ultrakv_cache::{
    BlockAddress, BlockHeader, BlockKey, Codec, KeyInputs, KeySpace, PLACEMENT_RUN_BLOCKS,
};

use crate::backend::SealedBlock;
use crate::process::store::{CachedBlock, NewBlock};

/// The addresses of a growing sequence of tokens.
#[derive(Debug)]
pub(crate) struct Chain {
    space: KeySpace,
    inputs: KeyInputs,
    block_tokens: usize,
    prompt_tokens: usize,
    addresses: Vec<BlockAddress>,
}

impl Chain {
    /// The chain of a prompt.
    pub(crate) fn new(space: KeySpace, inputs: KeyInputs, prompt: &[u32]) -> Self {
        let addresses = space.chain(prompt);
        let block_tokens = usize::try_from(inputs.block_tokens)
            .unwrap_or(usize::MAX)
            .max(1);
        Self {
            space,
            inputs,
            block_tokens,
            prompt_tokens: prompt.len(),
            addresses,
        }
    }

    /// What may be looked up: whole blocks over all but the prompt's last token, which is always
    /// computed, for its logits.
    pub(crate) fn matchable(&self) -> Vec<BlockAddress> {
        let blocks = self.prompt_tokens.saturating_sub(1) / self.block_tokens;
        self.addresses.iter().take(blocks).copied().collect()
    }

    /// The leading blocks that can be restored: of our layout, raw, whole, and exact unless `takes_loss`.
    /// The first that is not ends the prefix, as a miss would.
    pub(crate) fn usable(&self, blocks: Vec<CachedBlock>, takes_loss: bool) -> Vec<CachedBlock> {
        blocks
            .into_iter()
            .take_while(|block| self.is_usable(block, takes_loss))
            .collect()
    }

    fn is_usable(&self, block: &CachedBlock, takes_loss: bool) -> bool {
        let BlockHeader {
            layout,
            tokens,
            codec,
            error_max,
            payload_bytes,
            ..
        } = block.header;
        layout == self.inputs.layout
            && tokens == self.inputs.block_tokens
            && codec == Codec::Raw
            && (takes_loss || error_max == 0.0)
            && layout.payload_bytes(tokens) == Some(payload_bytes)
            && u64::try_from(block.payload.len()) == Ok(payload_bytes)
    }

    /// A sealed block ready to be stored, or `None` for one that `tokens` does not cover.
    pub(crate) fn seal(&mut self, block: SealedBlock, tokens: &[u32]) -> Option<NewBlock> {
        self.extend(block.index, tokens)?;
        let address = *self.addresses.get(block.index)?;
        let parent = block
            .index
            .checked_sub(1)
            .and_then(|before| self.key(before));
        let KeyInputs {
            layout,
            block_tokens,
            ..
        } = self.inputs;
        let header = BlockHeader::seal(layout, block_tokens, &address.key, &block.payload);
        Some(NewBlock {
            address,
            parent,
            depth: u32::try_from(block.index).unwrap_or(u32::MAX),
            header,
            payload: block.payload.into(),
        })
    }

    fn key(&self, index: usize) -> Option<BlockKey> {
        self.addresses.get(index).map(|address| address.key)
    }

    /// Derives addresses up to and including that of block `index`.
    fn extend(&mut self, index: usize, tokens: &[u32]) -> Option<()> {
        while self.addresses.len() <= index {
            let next = self.addresses.len();
            let from = next.checked_mul(self.block_tokens)?;
            let covered = tokens.get(from..from.checked_add(self.block_tokens)?)?;
            let parent = self.addresses.last().copied();
            let key = self
                .space
                .child(parent.as_ref().map(|parent| &parent.key), covered, &[]);
            let run = match parent {
                Some(parent) if !next.is_multiple_of(PLACEMENT_RUN_BLOCKS) => parent.run,
                _ => key,
            };
            self.addresses.push(BlockAddress { key, run });
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ultrakv_cache::{BlockKind, BlockLayout, Dtype, EffectiveDomain};

    use super::*;

    fn inputs() -> KeyInputs {
        KeyInputs {
            weights: [1; 32],
            adapter: [0; 32],
            rope: [2; 32],
            layout: BlockLayout {
                kind: BlockKind::Kv,
                dtype: Dtype::F32,
                layers: 1,
                kv_heads: 1,
                head_size: 2,
            },
            block_tokens: 4,
        }
    }

    fn space() -> KeySpace {
        KeySpace::new(&EffectiveDomain::from_bytes([9; 32]), &inputs())
    }

    fn tokens(count: u32) -> Vec<u32> {
        (0..count).collect()
    }

    #[test]
    fn the_last_token_of_a_prompt_is_never_looked_up() {
        for (prompt, blocks) in [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2)] {
            let chain = Chain::new(space(), inputs(), &tokens(prompt));
            assert_eq!(chain.matchable().len(), blocks, "{prompt} tokens");
        }
    }

    #[test]
    fn a_chain_grown_by_decoding_is_the_chain_of_the_whole_text() {
        let all = tokens(4 * 40);
        let expected = space().chain(&all);
        let mut chain = Chain::new(space(), inputs(), &all[..6]);
        // Sealed out of order and with gaps, as an engine may do.
        for index in [0, 3, 1, 39, 17] {
            let sealed = SealedBlock {
                index,
                payload: vec![7; 64],
            };
            let block = chain.seal(sealed, &all).unwrap();
            assert_eq!(block.address, expected[index]);
            assert_eq!(
                block.parent,
                index.checked_sub(1).map(|before| expected[before].key)
            );
            assert!(block.header.verify(&expected[index].key, &block.payload));
            assert!(block.header.is_consistent());
        }
        assert!(
            chain
                .seal(
                    SealedBlock {
                        index: 40,
                        payload: vec![7; 64]
                    },
                    &all
                )
                .is_none()
        );
    }

    #[test]
    fn a_block_that_is_not_exactly_ours_ends_the_prefix() {
        let all = tokens(12);
        let mut chain = Chain::new(space(), inputs(), &all);
        let mut sealed = |index| {
            let NewBlock {
                header, payload, ..
            } = chain
                .seal(
                    SealedBlock {
                        index,
                        payload: vec![7; 64],
                    },
                    &all,
                )
                .unwrap();
            CachedBlock { header, payload }
        };
        let good = [sealed(0), sealed(1)];
        let chain = Chain::new(space(), inputs(), &all);
        assert_eq!(chain.usable(good.to_vec(), false).len(), 2);
        let spoil: [fn(&mut CachedBlock); 5] = [
            |block| block.header.layout.dtype = Dtype::F16,
            |block| block.header.tokens = 3,
            |block| block.header.error_max = 0.5,
            |block| block.header.payload_bytes = 63,
            |block| block.payload = Bytes::from_static(&[7; 63]),
        ];
        for spoil in spoil {
            let mut blocks = good.to_vec();
            spoil(&mut blocks[0]);
            assert_eq!(chain.usable(blocks, false).len(), 0);
        }
        let mut coarse = good.to_vec();
        coarse[1].header.error_max = 0.5;
        assert_eq!(
            chain.usable(coarse.clone(), false).len(),
            1,
            "exact ones only"
        );
        assert_eq!(chain.usable(coarse, true).len(), 2);
    }
}
