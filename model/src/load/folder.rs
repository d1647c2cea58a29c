//! A Hugging Face folder as a model.

use std::path::Path;

use super::safetensors::Shards;
use super::{LoadError, Loaded};
use crate::config::DecoderConfig;
use crate::decoder::Decoder;
use crate::text::Text;

/// Loads a folder. The cheap and telling files come first: a wrong configuration or tokenizer is found
/// before gigabytes are read.
pub(crate) fn load_folder(folder: &Path) -> Result<Loaded, LoadError> {
    let config_file = folder.join("config.json");
    let config = DecoderConfig::read(&config_file)?;
    let text = Text::read(folder, config.vocab)?;
    let shards = Shards::read(folder)?;
    let weights_digest = shards.digest(&crate::config::read_bounded(&config_file, u64::MAX)?);
    let decoder = Decoder::build(config, &shards)?;
    let name = folder
        .canonicalize()
        .ok()
        .as_deref()
        .unwrap_or(folder)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(Loaded {
        name: name.unwrap_or_else(|| "model".to_owned()),
        decoder,
        text,
        weights_digest,
        reference: false,
    })
}
