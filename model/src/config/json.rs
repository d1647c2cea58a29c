//! `config.json` of a Hugging Face folder, read with suspicion.
//!
//! Responsible for naming the file and the field of everything that is missing, impossible or not
//! supported. Understands both generations of rotary settings: `rope_theta` with `rope_scaling`, and the
//! `rope_parameters` of Transformers 5. Must never read weights.

mod rope;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{DecoderConfig, limits};
use crate::info::Architecture;
use crate::load::LoadError;
use rope::RawRope;

/// Largest JSON file of a folder, apart from tokenizers. Indexes of the largest models have about 10 MB.
const JSON_BYTES_MAX: u64 = 64 << 20;

/// Reads a bounded JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T, LoadError> {
    let bytes = read_bounded(file, JSON_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|source| LoadError::BadJson {
        file: file.to_path_buf(),
        source,
    })
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bounded(file: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        file: file.to_path_buf(),
        source,
    };
    // Asked before it is opened: opening a pipe waits for a writer, and a device never ends.
    if !std::fs::metadata(file).map_err(unreadable)?.is_file() {
        let source = std::io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
        return Err(unreadable(source));
    }
    let opened = File::open(file).map_err(unreadable)?;
    let found = opened.metadata().map_err(unreadable)?.len();
    if found > limit {
        return Err(LoadError::TooLarge {
            file: file.to_path_buf(),
            found,
            limit,
        });
    }
    let mut bytes = Vec::new();
    opened
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

/// The tokens that end an answer: `generation_config.json` if it says so, else `config.json`.
pub(crate) fn eos_tokens(folder: &Path) -> Result<Vec<u32>, LoadError> {
    let generation = folder.join("generation_config.json");
    for file in [generation, folder.join("config.json")] {
        if file.exists()
            && let Some(tokens) = read_json::<RawEos>(&file)?.eos_token_id
        {
            return Ok(match tokens {
                OneOrMany::One(token) => vec![token],
                OneOrMany::Many(tokens) => tokens,
            });
        }
    }
    Ok(Vec::new())
}

#[derive(Deserialize)]
struct RawEos {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

/// The fields that the engine reads. Everything else in the file is about training or other runtimes.
#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    hidden_size: Option<u64>,
    intermediate_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    vocab_size: Option<u64>,
    max_position_embeddings: Option<u64>,
    rms_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    sliding_window: Option<u64>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<u64>,
    layer_types: Option<Vec<String>>,
    quantization_config: Option<serde_json::Value>,
}

impl DecoderConfig {
    /// Reads `config.json`.
    pub(crate) fn read(file: &Path) -> Result<Self, LoadError> {
        let raw: Raw = read_json(file)?;
        let check = Check {
            file: file.to_path_buf(),
        };
        let architecture = check.architecture(raw.model_type.as_deref())?;
        check.unsupported(&raw)?;
        let hidden = check.size("hidden_size", raw.hidden_size, limits::HIDDEN)?;
        let layers = check.size("num_hidden_layers", raw.num_hidden_layers, limits::LAYERS)?;
        let heads = check.heads(&raw, architecture, hidden)?;
        let context_tokens = check.size(
            "max_position_embeddings",
            raw.max_position_embeddings,
            limits::CONTEXT,
        )?;
        let attention_bias = raw.attention_bias.unwrap_or(false);
        Ok(Self {
            architecture,
            hidden,
            intermediate: check.size(
                "intermediate_size",
                raw.intermediate_size,
                limits::INTERMEDIATE,
            )?,
            heads: heads.query,
            kv_heads: heads.key,
            head_size: heads.size,
            vocab: check.size("vocab_size", raw.vocab_size, limits::VOCAB)?,
            context_tokens,
            norm_epsilon: check.positive("rms_norm_eps", Some(raw.rms_norm_eps.unwrap_or(1e-6)))?,
            rope: rope::read(&check, &raw, context_tokens)?,
            tied: raw.tie_word_embeddings.unwrap_or(false),
            qkv_bias: match architecture {
                Architecture::Llama | Architecture::Qwen3 => attention_bias,
                Architecture::Qwen2 => true,
                Architecture::Mistral => false,
            },
            output_bias: match architecture {
                Architecture::Llama | Architecture::Qwen3 => attention_bias,
                Architecture::Qwen2 | Architecture::Mistral => false,
            },
            mlp_bias: architecture == Architecture::Llama && raw.mlp_bias.unwrap_or(false),
            qk_norm: architecture == Architecture::Qwen3,
            windows: check.windows(&raw, architecture, layers)?,
        })
    }
}

/// Counts of heads, checked against each other.
struct Heads {
    query: usize,
    key: usize,
    size: usize,
}

/// Checks values and names the file in every complaint.
struct Check {
    file: PathBuf,
}

impl Check {
    fn bad(&self, field: &'static str, value: impl ToString, why: String) -> LoadError {
        LoadError::BadField {
            file: self.file.clone(),
            field,
            value: value.to_string(),
            why,
        }
    }

    fn missing(&self, field: &'static str) -> LoadError {
        LoadError::MissingField {
            file: self.file.clone(),
            field,
        }
    }

    fn size(
        &self,
        field: &'static str,
        value: Option<u64>,
        max: usize,
    ) -> Result<usize, LoadError> {
        let value = value.ok_or_else(|| self.missing(field))?;
        match usize::try_from(value) {
            Ok(size) if (1..=max).contains(&size) => Ok(size),
            _ => Err(self.bad(field, value, format!("it must be from 1 to {max}"))),
        }
    }

    /// A number above zero that stays finite and above zero as `f32`.
    fn positive(&self, field: &'static str, value: Option<f64>) -> Result<f32, LoadError> {
        let value = value.ok_or_else(|| self.missing(field))?;
        let narrowed = narrow(value);
        if narrowed.is_finite() && narrowed > 0.0 {
            Ok(narrowed)
        } else {
            Err(self.bad(
                field,
                value,
                "it must be a finite number above 0".to_owned(),
            ))
        }
    }

    fn architecture(&self, model_type: Option<&str>) -> Result<Architecture, LoadError> {
        let found = model_type.ok_or_else(|| self.missing("model_type"))?;
        [
            Architecture::Llama,
            Architecture::Mistral,
            Architecture::Qwen2,
            Architecture::Qwen3,
        ]
        .into_iter()
        .find(|known| known.name() == found)
        .ok_or_else(|| LoadError::UnsupportedArchitecture {
            file: self.file.clone(),
            found: found.to_owned(),
        })
    }

    fn heads(
        &self,
        raw: &Raw,
        architecture: Architecture,
        hidden: usize,
    ) -> Result<Heads, LoadError> {
        let query = self.size(
            "num_attention_heads",
            raw.num_attention_heads,
            limits::HEADS,
        )?;
        let key = match (raw.num_key_value_heads, architecture) {
            (None, Architecture::Llama) => query,
            (given, _) => self.size("num_key_value_heads", given, limits::HEADS)?,
        };
        if !query.is_multiple_of(key) {
            let why = format!("it must divide num_attention_heads, which is {query}");
            return Err(self.bad("num_key_value_heads", key, why));
        }
        let size = match (raw.head_dim, architecture) {
            (None, Architecture::Qwen3) => 128,
            (None, _) if !hidden.is_multiple_of(query) => {
                let why = format!("without head_dim it must divide hidden_size, which is {hidden}");
                return Err(self.bad("num_attention_heads", query, why));
            }
            (None, _) => self.size(
                "head_dim",
                u64::try_from(hidden / query).ok(),
                limits::HEAD_SIZE,
            )?,
            (given, _) => self.size("head_dim", given, limits::HEAD_SIZE)?,
        };
        if !size.is_multiple_of(2) {
            let why = "it must be even, or it cannot be rotated".to_owned();
            return Err(self.bad("head_dim", size, why));
        }
        Ok(Heads { query, key, size })
    }

    fn unsupported(&self, raw: &Raw) -> Result<(), LoadError> {
        if let Some(act) = raw.hidden_act.as_deref().filter(|act| *act != "silu") {
            return Err(self.bad("hidden_act", act, "only silu is supported".to_owned()));
        }
        if raw
            .quantization_config
            .as_ref()
            .is_some_and(|value| !value.is_null())
        {
            let why = "only F32, F16 and BF16 weights are supported".to_owned();
            return Err(self.bad("quantization_config", "present", why));
        }
        Ok(())
    }

    /// Which layers see only a window, as Transformers decides it.
    fn windows(
        &self,
        raw: &Raw,
        architecture: Architecture,
        layers: usize,
    ) -> Result<Vec<Option<usize>>, LoadError> {
        let sliding = match architecture {
            Architecture::Llama => None,
            Architecture::Mistral => raw.sliding_window,
            Architecture::Qwen2 | Architecture::Qwen3 => raw
                .sliding_window
                .filter(|_| raw.use_sliding_window.unwrap_or(false)),
        };
        let window = sliding
            .map(|window| self.size("sliding_window", Some(window), limits::CONTEXT))
            .transpose()?;
        match (architecture, &raw.layer_types) {
            (Architecture::Llama | Architecture::Mistral, _) => Ok(vec![window; layers]),
            (_, Some(types)) => {
                if types.len() != layers {
                    let why = format!("it must have one item a layer, {layers}");
                    return Err(self.bad("layer_types", format!("{} items", types.len()), why));
                }
                types
                    .iter()
                    .map(|kind| self.window_of(kind, window))
                    .collect()
            }
            (_, None) => {
                let full = raw.max_window_layers.unwrap_or(28);
                let full = usize::try_from(full).unwrap_or(usize::MAX);
                Ok((0..layers)
                    .map(|layer| window.filter(|_| layer >= full))
                    .collect())
            }
        }
    }

    fn window_of(&self, kind: &str, window: Option<usize>) -> Result<Option<usize>, LoadError> {
        match kind {
            "full_attention" => Ok(None),
            "sliding_attention" => window
                .map(Some)
                .ok_or_else(|| self.missing("sliding_window")),
            other => {
                let why = "it must be full_attention or sliding_attention".to_owned();
                Err(self.bad("layer_types", other, why))
            }
        }
    }
}

#[expect(
    clippy::as_conversions,
    reason = "rounding to f32 is intended; the caller checks that it stays finite"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}
