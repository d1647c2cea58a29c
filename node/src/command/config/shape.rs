//! Which shape to plan for: typed numbers, a folder's `config.json`, the documented keys, or the built-in model.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use ultrakv_config::{Loaded, ModelSource, Shape};
use ultrakv_model::ReferenceConfig;

use crate::args::PlanArguments;
use crate::exit::{Failure, Status};

/// No model's `config.json` is this long.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A shape and where it came from.
pub(super) struct Found {
    /// The shape.
    pub(super) shape: Shape,
    /// In words.
    pub(super) from: String,
}

/// The fields of a Hugging Face `config.json` that decide the size of keys and values.
#[derive(Deserialize)]
struct FolderConfig {
    num_hidden_layers: u16,
    num_attention_heads: u16,
    num_key_value_heads: Option<u16>,
    hidden_size: u32,
    head_dim: Option<u16>,
}

/// The shape that was asked for.
pub(super) fn find(arguments: &PlanArguments, loaded: &Loaded) -> Result<Found, Failure> {
    if let Some(folder) = &arguments.model_dir {
        return of_folder(folder);
    }
    let documented = loaded.shape;
    let typed = [arguments.layers, arguments.kv_heads, arguments.head_size];
    let named = typed.iter().any(Option::is_some)
        || documented.kv_heads.is_some()
        || documented.head_size.is_some();
    let (base, mut from) = match &loaded.settings.model.source {
        ModelSource::Folder(folder) => {
            let found = of_folder(folder)?;
            (found.shape, found.from)
        }
        // The documented keys never had a number of layers; the table they came with fits a 7B-class model.
        ModelSource::Reference { .. } if named => (Shape::SEVEN_B, "a 7B-class model".to_owned()),
        ModelSource::Reference { .. } => (reference(), "the built-in reference model".to_owned()),
    };
    let folder = matches!(loaded.settings.model.source, ModelSource::Folder(_));
    // A model folder knows its own shape better than the documented keys do; flags are asked for by name.
    let hinted = |hint: Option<u16>| if folder { None } else { hint };
    let shape = Shape {
        layers: arguments.layers.unwrap_or(base.layers),
        kv_heads: arguments
            .kv_heads
            .or(hinted(documented.kv_heads))
            .unwrap_or(base.kv_heads),
        head_size: arguments
            .head_size
            .or(hinted(documented.head_size))
            .unwrap_or(base.head_size),
    };
    if shape != base {
        from.push_str(", as typed");
    }
    Ok(Found { shape, from })
}

fn reference() -> Shape {
    let config = ReferenceConfig::standard(0);
    let narrow = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    Shape {
        layers: narrow(config.layers),
        kv_heads: narrow(config.kv_heads),
        head_size: narrow(config.head_size),
    }
}

fn of_folder(folder: &Path) -> Result<Found, Failure> {
    let path = folder.join("config.json");
    let shown = path.display().to_string();
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(CONFIG_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| {
            Failure::new(Status::Failed, format!("{shown}: cannot be read: {error}"))
                .hint("name a model folder in the Hugging Face layout")
        })?;
    let config: FolderConfig = serde_json::from_str(&text)
        .map_err(|error| Failure::new(Status::Failed, format!("{shown}: {error}")))?;
    let heads = u32::from(config.num_attention_heads.max(1));
    let even = u16::try_from(config.hidden_size / heads).unwrap_or(u16::MAX);
    let shape = Shape {
        layers: config.num_hidden_layers,
        kv_heads: config
            .num_key_value_heads
            .unwrap_or(config.num_attention_heads),
        head_size: config.head_dim.unwrap_or(even),
    };
    Ok(Found { shape, from: shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_its_shape_with_and_without_grouped_heads() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |text: &str| {
            std::fs::write(folder.path().join("config.json"), text).expect("written");
            of_folder(folder.path())
                .map(|found| found.shape)
                .map_err(|failure| failure.status)
        };
        let plain = r#"{"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096, "other": []}"#;
        assert_eq!(write(plain), Ok(Shape::SEVEN_B));
        let grouped = r#"{"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 64, "head_dim": 16}"#;
        assert_eq!(
            write(grouped),
            Ok(Shape {
                layers: 4,
                kv_heads: 2,
                head_size: 16
            })
        );
        assert_eq!(write("{}"), Err(Status::Failed));
    }
}
