//! Getting a model: from a folder, or made from a seed.
//!
//! Responsible for weights and their digest. Must never compute with them.

mod error;
mod folder;
mod reference;
mod safetensors;

pub use error::LoadError;
pub(crate) use folder::load_folder;
pub use reference::ReferenceConfig;
pub(crate) use reference::load_reference;

use crate::decoder::Decoder;
use crate::text::Text;

/// Everything that an engine needs of a model.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) decoder: Decoder,
    pub(crate) text: Text,
    pub(crate) weights_digest: [u8; 32],
    pub(crate) reference: bool,
}
