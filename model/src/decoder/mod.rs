//! The decoder: hidden states of new rows from tokens and the keys and values before them.
//!
//! Responsible for the graph of a Llama-family decoder (normalisation, rotary attention over grouped
//! heads, gated MLP, tied or own head). Must never know about text, sampling, or whether a block was
//! restored or computed.

mod kv;
mod ops;
mod weights;

pub(crate) use kv::{KvBlocks, KvGeometry};
pub(crate) use weights::WeightSource;

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope_thd;

use crate::config::{DecoderConfig, Rope};
use ops::{Attention, Gate, Linear};

/// A decoder with its weights.
pub(crate) struct Decoder {
    config: DecoderConfig,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    frequencies: Vec<f32>,
    attention_factor: f32,
    parameters: u64,
}

/// One decoder layer.
struct Layer {
    attention_norm: Tensor,
    /// Query, key and value projections, one under the other.
    qkv: Linear,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
    output: Linear,
    mlp_norm: Tensor,
    /// Gate and up projections, one under the other.
    gate_up: Linear,
    down: Linear,
}

/// Rows on their way through the decoder.
struct Rows {
    /// Hidden states, `[count, hidden]`.
    x: Tensor,
    /// Position of the first.
    first: usize,
    count: usize,
    /// Cosines and sines of their positions, `[count, head_size / 2]`.
    cos: Tensor,
    sin: Tensor,
}

impl Decoder {
    /// What the decoder looks like.
    pub(crate) fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Count of weights.
    pub(crate) fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Computes keys and values of `tokens`, which follow the `first` tokens already in `kv`, and, when
    /// asked, the logits after the last of them.
    ///
    /// Without logits the last layer stops after its keys and values: nothing reads its hidden states.
    pub(crate) fn forward(
        &self,
        kv: &mut KvBlocks,
        tokens: &[u32],
        first: usize,
        logits: bool,
    ) -> Result<Option<Vec<f32>>> {
        kv.grow(first + tokens.len());
        let mut rows = self.embed(tokens, first)?;
        let last = self.layers.len().saturating_sub(1);
        for (index, layer) in self.layers.iter().enumerate() {
            let mut queries = self.project(layer, index, &rows, kv)?;
            if index == last {
                if !logits {
                    return Ok(None);
                }
                queries = queries.narrow(0, rows.count - 1, 1)?;
                rows.x = rows.x.narrow(0, rows.count - 1, 1)?;
                rows.first += rows.count - 1;
            }
            let attention = Attention {
                kv,
                layer: index,
                kv_heads: self.config.kv_heads,
                first: rows.first,
                window: self.config.windows.get(index).copied().flatten(),
            };
            let mixed = queries.contiguous()?.apply_op1_no_bwd(&attention)?;
            let x = (&rows.x + layer.output.forward(&mixed)?)?;
            let normed = rms_norm(&x, &layer.mlp_norm, self.config.norm_epsilon)?;
            let gated = layer.gate_up.forward(&normed)?.apply_op1_no_bwd(&Gate)?;
            rows.x = (x + layer.down.forward(&gated)?)?;
        }
        let normed = rms_norm(&rows.x, &self.norm, self.config.norm_epsilon)?;
        Ok(Some(self.head.forward(&normed)?.flatten_all()?.to_vec1()?))
    }

    /// Hidden states of tokens before the first layer.
    fn embed(&self, tokens: &[u32], first: usize) -> Result<Rows> {
        let count = tokens.len();
        let ids = Tensor::from_slice(tokens, count, &Device::Cpu)?;
        let (cos, sin) = Rope::angles(&self.frequencies, self.attention_factor, first, count);
        let shape = (count, self.frequencies.len());
        Ok(Rows {
            x: self.embedding.index_select(&ids, 0)?,
            first,
            count,
            cos: Tensor::from_vec(cos, shape, &Device::Cpu)?,
            sin: Tensor::from_vec(sin, shape, &Device::Cpu)?,
        })
    }

    /// Stores a layer's keys and values of the rows and returns their rotated queries,
    /// `[count, heads, head_size]`.
    fn project(
        &self,
        layer: &Layer,
        index: usize,
        rows: &Rows,
        kv: &mut KvBlocks,
    ) -> Result<Tensor> {
        let config = &self.config;
        let normed = rms_norm(&rows.x, &layer.attention_norm, config.norm_epsilon)?;
        let qkv = layer.qkv.forward(&normed)?;
        let heads = |at: usize, heads: usize| {
            qkv.narrow(1, at, heads * config.head_size)?
                .contiguous()?
                .reshape((1, rows.count, heads, config.head_size))
        };
        let rotated = |x: Tensor, norm: &Option<Tensor>| {
            let x = match norm {
                Some(weight) => rms_norm(&x, weight, config.norm_epsilon)?,
                None => x,
            };
            rope_thd(&x, &rows.cos, &rows.sin)?.squeeze(0)
        };
        let queries = rotated(heads(0, config.heads)?, &layer.query_norm)?;
        let keys = rotated(
            heads(config.query_width(), config.kv_heads)?,
            &layer.key_norm,
        )?;
        let values = heads(config.query_width() + config.key_width(), config.kv_heads)?;
        let (keys, values) = (
            keys.flatten_all()?.to_vec1::<f32>()?,
            values.flatten_all()?.to_vec1::<f32>()?,
        );
        kv.write(index, rows.first, &keys, &values);
        Ok(queries)
    }
}
