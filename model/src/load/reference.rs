//! The reference model: a real decoder with random weights, made from a seed in well under a second.
//!
//! Responsible for weights that are the same on every machine and for every count of threads, and scaled
//! so that activations keep their size through the layers and logits are far from flat. Its text has no
//! meaning. Must never read a file.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{LoadError, Loaded};
use crate::config::{DecoderConfig, Rope, RopeScaling, limits};
use crate::decoder::{Decoder, WeightSource};
use crate::info::Architecture;
use crate::text::{Text, bytes};

/// Names the generator and everything about it; change it when any weight changes.
const GENERATOR: &str = "ultrakv 2026 model reference weights v1";
/// Numbers drawn from one stream of the generator, so that large tensors are made by many threads.
const STREAM_FLOATS: usize = 1 << 16;
/// Spread of the logits: large enough that sampling has clear favourites.
const LOGIT_SPREAD: f32 = 3.0;

/// Dimensions and seed of a reference model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceConfig {
    /// Seed of the weights.
    pub seed: u64,
    /// Decoder layers.
    pub layers: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Width of the MLP.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Numbers in a head; even.
    pub head_size: usize,
    /// Most tokens of prompt and answer together.
    pub context_tokens: usize,
    /// How many positions a query sees, if not all.
    pub window: Option<usize>,
}

impl ReferenceConfig {
    /// The default model: about 24 million parameters.
    #[must_use]
    pub fn standard(seed: u64) -> Self {
        Self {
            seed,
            layers: 8,
            hidden: 512,
            intermediate: 1408,
            heads: 8,
            kv_heads: 4,
            head_size: 64,
            context_tokens: 8192,
            window: None,
        }
    }

    /// A model of a few thousand parameters, for tests.
    #[must_use]
    pub fn tiny(seed: u64) -> Self {
        Self {
            seed,
            layers: 2,
            hidden: 32,
            intermediate: 48,
            heads: 4,
            kv_heads: 2,
            head_size: 16,
            context_tokens: 2048,
            window: None,
        }
    }

    fn check(&self) -> Result<(), LoadError> {
        let bad = |option, value: usize, why: String| {
            Err(LoadError::BadOption {
                option,
                value: value.to_string(),
                why,
            })
        };
        for (option, value, max) in [
            ("layers", self.layers, limits::LAYERS),
            ("hidden", self.hidden, limits::HIDDEN),
            ("intermediate", self.intermediate, limits::INTERMEDIATE),
            ("heads", self.heads, limits::HEADS),
            ("kv_heads", self.kv_heads, limits::HEADS),
            ("head_size", self.head_size, limits::HEAD_SIZE),
            ("context_tokens", self.context_tokens, limits::CONTEXT),
            ("window", self.window.unwrap_or(1), limits::CONTEXT),
        ] {
            if !(1..=max).contains(&value) {
                return bad(option, value, format!("it must be from 1 to {max}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return bad(
                "kv_heads",
                self.kv_heads,
                format!("it must divide heads, which is {}", self.heads),
            );
        }
        if !self.head_size.is_multiple_of(2) {
            return bad("head_size", self.head_size, "it must be even".to_owned());
        }
        Ok(())
    }

    fn decoder(&self) -> DecoderConfig {
        DecoderConfig {
            architecture: Architecture::Llama,
            hidden: self.hidden,
            intermediate: self.intermediate,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            vocab: bytes::VOCAB,
            context_tokens: self.context_tokens,
            norm_epsilon: 1e-5,
            rope: Rope {
                theta: 10_000.0,
                scaling: RopeScaling::Default,
            },
            tied: false,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            windows: vec![self.window; self.layers],
        }
    }
}

/// Makes a reference model.
pub(crate) fn load_reference(config: &ReferenceConfig) -> Result<Loaded, LoadError> {
    config.check()?;
    let root = blake3::derive_key(GENERATOR, format!("{config:?}").as_bytes());
    let weights = Weights {
        root,
        depth: config.layers,
    };
    Ok(Loaded {
        name: "ultrakv-reference".to_owned(),
        decoder: Decoder::build(config.decoder(), &weights)?,
        text: Text::reference(),
        weights_digest: *blake3::hash(&root).as_bytes(),
        reference: true,
    })
}

/// Random weights, each tensor a function of the root and its name.
struct Weights {
    root: [u8; 32],
    depth: usize,
}

impl WeightSource for Weights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let [rows, inputs] = *shape else {
            // Only normalisation weights are vectors here.
            return Ok(vec![1.0; shape.iter().product()]);
        };
        let seed = *blake3::keyed_hash(&self.root, name.as_bytes()).as_bytes();
        let bound = self.bound(name, inputs);
        let mut numbers = vec![0.0; rows * inputs];
        numbers
            .par_chunks_mut(STREAM_FLOATS)
            .enumerate()
            .for_each(|(stream, chunk)| {
                let mut random = ChaCha8Rng::from_seed(seed);
                random.set_stream(u64::try_from(stream).unwrap_or(u64::MAX));
                chunk
                    .iter_mut()
                    .for_each(|number| *number = uniform(random.next_u32()) * bound);
            });
        Ok(numbers)
    }
}

impl Weights {
    /// Half the width of the uniform distribution of a tensor. A uniform number within ±√3 has variance 1.
    fn bound(&self, name: &str, inputs: usize) -> f32 {
        let unit = 3.0_f32.sqrt();
        let fan_in = float(inputs).sqrt();
        if name.starts_with("model.embed") {
            unit
        } else if name.starts_with("lm_head") {
            LOGIT_SPREAD * unit / fan_in
        } else if name.contains("o_proj") || name.contains("down_proj") {
            // Two additions a layer to the residual stream: together they keep its size.
            unit / fan_in / (2.0 * float(self.depth)).sqrt()
        } else {
            unit / fan_in
        }
    }
}

/// The upper 24 bits as a number in [-1, 1), exactly.
#[expect(clippy::as_conversions, reason = "24 bits fit an f32 exactly")]
fn uniform(bits: u32) -> f32 {
    (bits >> 8) as f32 / 8_388_608.0 - 1.0
}

#[expect(
    clippy::as_conversions,
    reason = "only a scale: rounding is harmless and the same everywhere"
)]
fn float(count: usize) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_depend_on_seed_and_name_and_not_on_threads() {
        let weights = |seed| Weights {
            root: [seed; 32],
            depth: 2,
        };
        let tensor = |seed, name| weights(seed).tensor(name, &[300, 500]).unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .build()
            .unwrap();
        assert_eq!(tensor(1, "a"), pool.install(|| tensor(1, "a")));
        assert_ne!(tensor(1, "a"), tensor(2, "a"));
        assert_ne!(tensor(1, "a"), tensor(1, "b"));
    }

    #[test]
    fn seed_zero_makes_the_weights_it_always_made() {
        let root = blake3::derive_key(
            GENERATOR,
            format!("{:?}", ReferenceConfig::tiny(0)).as_bytes(),
        );
        let weights = Weights { root, depth: 2 };
        let mut hasher = blake3::Hasher::new();
        for name in [
            "model.embed_tokens.weight",
            "model.layers.0.mlp.down_proj.weight",
        ] {
            for number in weights.tensor(name, &[70, 1000]).unwrap() {
                hasher.update(&number.to_le_bytes());
            }
        }
        // Blocks and answers stored elsewhere depend on these bits: a change needs a new `GENERATOR`.
        assert_eq!(
            hasher.finalize().to_hex().as_str(),
            "774c79ce518905ad766d2d9dffdb807d8e6e2a006ebd1ad2b9ff5f663369161d"
        );
    }

    #[test]
    fn impossible_dimensions_are_refused() {
        let tiny = ReferenceConfig::tiny(0);
        for bad in [
            ReferenceConfig {
                layers: 0,
                ..tiny.clone()
            },
            ReferenceConfig {
                heads: 3,
                ..tiny.clone()
            },
            ReferenceConfig {
                head_size: 15,
                ..tiny.clone()
            },
            ReferenceConfig {
                window: Some(0),
                ..tiny.clone()
            },
            ReferenceConfig {
                context_tokens: usize::MAX,
                ..tiny
            },
        ] {
            assert!(
                matches!(load_reference(&bad), Err(LoadError::BadOption { .. })),
                "{bad:?}"
            );
        }
    }
}
