//! Building a decoder: which tensors it needs, under which names, in which shapes.
//!
//! Responsible for asking a [`WeightSource`] for exactly the tensors that a configuration implies. Must
//! never know where weights come from.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::ops::Linear;
use super::{Decoder, Layer};
use crate::config::DecoderConfig;
use crate::kernel::PackedMatrix;
use crate::load::LoadError;

/// Something that has the weights of a decoder, by the names that Hugging Face checkpoints use.
pub(crate) trait WeightSource: Sync {
    /// The numbers of a tensor, row-major, checked to have `shape` and to be finite.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError>;
}

impl Decoder {
    /// Reads and packs all weights, layers in parallel.
    pub(crate) fn build(
        config: DecoderConfig,
        source: &impl WeightSource,
    ) -> Result<Self, LoadError> {
        let embedding =
            source.tensor("model.embed_tokens.weight", &[config.vocab, config.hidden])?;
        let head = if config.tied {
            PackedMatrix::pack(&[&embedding], config.hidden)
        } else {
            let head = source.tensor("lm_head.weight", &[config.vocab, config.hidden])?;
            PackedMatrix::pack(&[&head], config.hidden)
        };
        let layers = (0..config.layers())
            .into_par_iter()
            .map(|index| Layer::build(&config, index, source))
            .collect::<Result<Vec<_>, _>>()?;
        let norm = vector(source, "model.norm.weight", config.hidden)?;
        let (frequencies, attention_factor) = config.rope.frequencies(config.head_size);
        let parameters = count_parameters(&config);
        Ok(Self {
            embedding: Tensor::from_vec(embedding, (config.vocab, config.hidden), &Device::Cpu)?,
            head: Linear(head),
            config,
            layers,
            norm,
            frequencies,
            attention_factor,
            parameters,
        })
    }
}

impl Layer {
    fn build(
        config: &DecoderConfig,
        index: usize,
        source: &impl WeightSource,
    ) -> Result<Self, LoadError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let linear = |parts: &[(&str, usize)],
                      inputs: usize,
                      bias: bool|
         -> Result<Linear, LoadError> {
            let weights = parts
                .iter()
                .map(|(part, outputs)| {
                    source.tensor(&name(&format!("{part}.weight")), &[*outputs, inputs])
                })
                .collect::<Result<Vec<_>, _>>()?;
            let slices: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
            let packed = PackedMatrix::pack(&slices, inputs);
            if !bias {
                return Ok(Linear(packed));
            }
            let biases = parts
                .iter()
                .map(|(part, outputs)| source.tensor(&name(&format!("{part}.bias")), &[*outputs]))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Linear(packed.with_bias(biases.concat())))
        };
        let head_norm = |part: &str| match config.qk_norm {
            true => vector(source, &name(part), config.head_size).map(Some),
            false => Ok(None),
        };
        let (queries, keys) = (config.query_width(), config.key_width());
        let qkv = [
            ("self_attn.q_proj", queries),
            ("self_attn.k_proj", keys),
            ("self_attn.v_proj", keys),
        ];
        let gate_up = [
            ("mlp.gate_proj", config.intermediate),
            ("mlp.up_proj", config.intermediate),
        ];
        Ok(Self {
            attention_norm: vector(source, &name("input_layernorm.weight"), config.hidden)?,
            qkv: linear(&qkv, config.hidden, config.qkv_bias)?,
            query_norm: head_norm("self_attn.q_norm.weight")?,
            key_norm: head_norm("self_attn.k_norm.weight")?,
            output: linear(
                &[("self_attn.o_proj", config.hidden)],
                queries,
                config.output_bias,
            )?,
            mlp_norm: vector(
                source,
                &name("post_attention_layernorm.weight"),
                config.hidden,
            )?,
            gate_up: linear(&gate_up, config.hidden, config.mlp_bias)?,
            down: linear(
                &[("mlp.down_proj", config.hidden)],
                config.intermediate,
                config.mlp_bias,
            )?,
        })
    }
}

fn vector(source: &impl WeightSource, name: &str, length: usize) -> Result<Tensor, LoadError> {
    Ok(Tensor::from_vec(
        source.tensor(name, &[length])?,
        length,
        &Device::Cpu,
    )?)
}

/// Distinct numbers of a decoder; the products are bounded by `config::limits`.
fn count_parameters(config: &DecoderConfig) -> u64 {
    let (hidden, inner) = (config.hidden, config.intermediate);
    let (queries, keys) = (config.query_width(), config.key_width());
    let attention = hidden * (queries + 2 * keys) + queries * hidden;
    let biases = [
        (config.qkv_bias, queries + 2 * keys),
        (config.output_bias, hidden),
        (config.mlp_bias, 2 * inner + hidden),
        (config.qk_norm, 2 * config.head_size),
    ];
    let biases: usize = biases
        .iter()
        .filter(|(present, _)| *present)
        .map(|(_, count)| count)
        .sum();
    let layer = attention + 3 * hidden * inner + biases + 2 * hidden;
    let matrices = if config.tied { 1 } else { 2 };
    u64::try_from(config.layers() * layer + matrices * config.vocab * hidden + hidden)
        .unwrap_or(u64::MAX)
}
