//! The rotary settings of `config.json`, in both forms that Transformers has written.

use serde::Deserialize;

use super::{Check, Raw};
use crate::config::{Rope, RopeScaling};
use crate::load::LoadError;

#[derive(Deserialize)]
pub(super) struct RawRope {
    rope_type: Option<String>,
    /// The name before Transformers 4.43.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    partial_rotary_factor: Option<f64>,
}

/// Reads the rotary embedding.
pub(super) fn read(check: &Check, raw: &Raw, context_tokens: usize) -> Result<Rope, LoadError> {
    check.rope(raw, context_tokens)
}

impl Check {
    fn rope(&self, raw: &Raw, context_tokens: usize) -> Result<Rope, LoadError> {
        let settings = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
        let theta = settings
            .and_then(|rope| rope.rope_theta)
            .or(raw.rope_theta)
            .unwrap_or(10_000.0);
        let theta = self.positive("rope_theta", Some(theta))?;
        if theta <= 1.0 {
            return Err(self.bad("rope_theta", theta, "it must be above 1".to_owned()));
        }
        let scaling = match settings {
            None => RopeScaling::Default,
            Some(rope) => self.rope_scaling(rope, context_tokens)?,
        };
        Ok(Rope { theta, scaling })
    }

    fn rope_scaling(
        &self,
        rope: &RawRope,
        context_tokens: usize,
    ) -> Result<RopeScaling, LoadError> {
        if let Some(part) = rope.partial_rotary_factor.filter(|part| *part != 1.0) {
            return Err(self.bad(
                "partial_rotary_factor",
                part,
                "only whole heads are rotated".to_owned(),
            ));
        }
        let original = || {
            let given = rope.original_max_position_embeddings;
            self.positive(
                "original_max_position_embeddings",
                given.or_else(|| context_f64(context_tokens)),
            )
        };
        match rope
            .rope_type
            .as_deref()
            .or(rope.r#type.as_deref())
            .unwrap_or("default")
        {
            "default" => Ok(RopeScaling::Default),
            "linear" => Ok(RopeScaling::Linear {
                factor: self.positive("factor", rope.factor)?,
            }),
            "llama3" => {
                let low = self.positive("low_freq_factor", rope.low_freq_factor)?;
                let high = self.positive("high_freq_factor", rope.high_freq_factor)?;
                if high <= low {
                    return Err(self.bad(
                        "high_freq_factor",
                        high,
                        format!("it must be above low_freq_factor, {low}"),
                    ));
                }
                let factor = self.positive("factor", rope.factor)?;
                Ok(RopeScaling::Llama3 {
                    factor,
                    low,
                    high,
                    original_context: original()?,
                })
            }
            "yarn" => self.yarn(rope, original()?, context_tokens),
            other => Err(LoadError::UnsupportedRope {
                file: self.file.clone(),
                found: other.to_owned(),
            }),
        }
    }

    fn yarn(
        &self,
        rope: &RawRope,
        original_context: f32,
        context_tokens: usize,
    ) -> Result<RopeScaling, LoadError> {
        let implied =
            context_f64(context_tokens).map(|context| context / f64::from(original_context));
        let factor = rope.factor.or(implied);
        let given = |field, value: Option<f64>, default| match value.filter(|value| *value != 0.0) {
            Some(value) => self.positive(field, Some(value)),
            None => Ok(default),
        };
        let attention = match (rope.attention_factor, rope.mscale, rope.mscale_all_dim) {
            (Some(given), ..) => Some(given),
            (None, Some(scale), Some(all)) if scale != 0.0 && all != 0.0 => {
                factor.map(|factor| yarn_scale(factor, scale) / yarn_scale(factor, all))
            }
            _ => factor.map(|factor| yarn_scale(factor, 1.0)),
        };
        Ok(RopeScaling::Yarn {
            factor: self.positive("factor", factor)?,
            beta_fast: given("beta_fast", rope.beta_fast, 32.0)?,
            beta_slow: given("beta_slow", rope.beta_slow, 1.0)?,
            original_context,
            attention: self.positive("attention_factor", attention)?,
            truncate: rope.truncate.unwrap_or(true),
        })
    }
}

/// YaRN's scale of attention for a factor of context.
fn yarn_scale(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * scale * factor.ln() + 1.0
    }
}

fn context_f64(tokens: usize) -> Option<f64> {
    u32::try_from(tokens).ok().map(f64::from)
}
