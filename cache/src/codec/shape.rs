//! Responsible for how a block's numbers are cut: into layers, tensors (K, V or latent), tiles (one head) and segments (tokens
//! that share scales). It must never know how any of them is encoded.

use crate::layout::{BlockKind, BlockLayout};

/// Fewest tokens that share a scale by channel: below, two 16-bit numbers a channel weigh more than they save.
const CHANNEL_TOKENS_MIN: usize = 48;
/// Fewest tokens that a lossy rung takes at all.
const LOSSY_TOKENS_MIN: usize = 8;
/// Fewest and most dimensions that a lossy rung takes.
const LOSSY_DIMS_MIN: usize = 16;
/// See [`LOSSY_DIMS_MIN`]: what the scratch of one row holds.
pub(super) const LOSSY_DIMS_MAX: usize = 1024;
/// Numbers that a tensor may have: their positions and lengths are 32-bit.
pub(super) const TENSOR_BYTES_MAX: usize = 1 << 31;

/// What a tensor is to attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Keys, or a latent that serves as both: large means in few channels.
    Key,
    /// Values: no such channels.
    Value,
}

/// One tensor of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) role: Role,
    pub(super) heads: usize,
    pub(super) tokens: usize,
    pub(super) dims: usize,
    /// Leading tokens of each head that are kept as they came.
    pub(super) exact: usize,
}

impl Tensor {
    /// Tokens that are encoded.
    pub(super) const fn coded(&self) -> usize {
        self.tokens - self.exact
    }

    /// Numbers of one head's encoded tokens.
    pub(super) const fn coded_numbers(&self) -> usize {
        self.coded() * self.dims
    }

    /// Whether scales by channel pay.
    pub(super) const fn by_channel(&self) -> bool {
        self.coded() >= CHANNEL_TOKENS_MIN
    }

    /// Where to cut the encoded tokens into segments of at most `most`, as even as possible: lengths, in order.
    pub(super) fn segments(&self, most: usize) -> impl Iterator<Item = usize> + use<> {
        let tokens = self.coded();
        let count = tokens.div_ceil(most);
        (0..count).map(move |at| tokens * (at + 1) / count - tokens * at / count)
    }
}

/// The tensors of every layer of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) layers: usize,
    /// Bytes of one layer.
    pub(super) layer_bytes: usize,
    /// The first tensor of a layer.
    pub(super) first: Tensor,
    /// Whether a second one follows, of the same size: the values.
    pub(super) paired: bool,
}

impl Shape {
    /// The shape of `tokens` tokens of this layout; `None` for opaque layouts, empty ones and those that no machine holds.
    pub(super) fn of(layout: &BlockLayout, tokens: u32, exact: u16) -> Option<Self> {
        let paired = match layout.kind {
            BlockKind::Kv => true,
            BlockKind::Latent => false,
            BlockKind::Opaque => return None,
        };
        let all = usize::try_from(layout.payload_bytes(tokens)?).ok()?;
        let layers = usize::from(layout.layers);
        let tokens = usize::try_from(tokens).ok()?;
        if all == 0 || all / layers > TENSOR_BYTES_MAX {
            return None;
        }
        let first = Tensor {
            role: Role::Key,
            heads: usize::from(layout.kv_heads),
            tokens,
            dims: usize::from(layout.head_size),
            exact: usize::from(exact).min(tokens),
        };
        Some(Self {
            layers,
            layer_bytes: all / layers,
            first,
            paired,
        })
    }

    /// Whether lossy rungs take it: enough tokens and dimensions, an even number of these.
    pub(super) const fn suits_lossy(&self) -> bool {
        let Tensor { dims, .. } = self.first;
        self.first.coded() >= LOSSY_TOKENS_MIN
            && dims >= LOSSY_DIMS_MIN
            && dims <= LOSSY_DIMS_MAX
            && dims.is_multiple_of(2)
    }

    /// The tensors of a layer, in order.
    pub(super) fn tensors(&self) -> impl Iterator<Item = Tensor> + use<> {
        let second = self.paired.then_some(Tensor {
            role: Role::Value,
            ..self.first
        });
        std::iter::once(self.first).chain(second)
    }

    /// Bytes of one tensor.
    pub(super) const fn tensor_bytes(&self) -> usize {
        if self.paired {
            self.layer_bytes / 2
        } else {
            self.layer_bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_all_tokens_evenly_and_within_the_limit() {
        for tokens in 1..600 {
            let tensor = Tensor {
                role: Role::Key,
                heads: 1,
                tokens: tokens + 3,
                dims: 16,
                exact: 3,
            };
            let lengths: Vec<usize> = tensor.segments(128).collect();
            assert_eq!(lengths.iter().sum::<usize>(), tokens);
            let (least, most) = (lengths.iter().min(), lengths.iter().max());
            assert!(
                most <= Some(&128) && most.unwrap() - least.unwrap() <= 1,
                "{lengths:?}"
            );
        }
    }
}
