//! Weights in safetensors files: one file, or shards that an index names.
//!
//! Responsible for checking everything that such files claim before a number of theirs is used: header,
//! offsets, names, shapes, number formats, finiteness. The files are read, not mapped, because a mapped
//! file that somebody truncates kills the process. Must never know what a tensor is for.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::LoadError;
use crate::config::{read_bounded, read_json};
use crate::decoder::WeightSource;

/// Most shards of one model; the largest published ones have a few hundred.
const SHARDS_MAX: usize = 4096;
/// Largest shard. Publishers cut at 5 to 50 GB.
const SHARD_BYTES_MAX: u64 = 256 << 30;

/// The weights of a folder, in memory.
pub(crate) struct Shards {
    folder: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Which file holds which tensor, if an index says so.
    index: Option<BTreeMap<String, usize>>,
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Reads all weights files of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        let single = folder.join("model.safetensors");
        let index_file = folder.join("model.safetensors.index.json");
        if single.exists() {
            let bytes = read_bounded(&single, SHARD_BYTES_MAX)?;
            let shards = Self {
                folder: folder.to_path_buf(),
                files: vec![(single, bytes)],
                index: None,
            };
            return shards.checked();
        }
        if !index_file.exists() {
            return Err(LoadError::NoWeights {
                folder: folder.to_path_buf(),
            });
        }
        let bad = |why: String| LoadError::BadIndex {
            file: index_file.clone(),
            why,
        };
        let raw: RawIndex = read_json(&index_file)?;
        let names: std::collections::BTreeSet<&String> = raw.weight_map.values().collect();
        if names.len() > SHARDS_MAX {
            return Err(bad(format!(
                "it names {} shards, the limit is {SHARDS_MAX}",
                names.len()
            )));
        }
        let mut files = Vec::new();
        for name in &names {
            let mut parts = Path::new(name.as_str()).components();
            if !matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            ) {
                return Err(bad(format!(
                    "the shard `{name}` is not a plain file name in this folder"
                )));
            }
            let file = folder.join(name);
            let bytes = read_bounded(&file, SHARD_BYTES_MAX)?;
            files.push((file, bytes));
        }
        let places: BTreeMap<&String, usize> = names.into_iter().zip(0..).collect();
        let place = |name: &String| places.get(name).copied();
        let index = raw
            .weight_map
            .iter()
            .filter_map(|(tensor, name)| Some((tensor.clone(), place(name)?)))
            .collect();
        Self {
            folder: folder.to_path_buf(),
            files,
            index: Some(index),
        }
        .checked()
    }

    /// Parses every header once, so that a broken shard is named as such.
    fn checked(self) -> Result<Self, LoadError> {
        for (file, bytes) in &self.files {
            parse(file, bytes)?;
        }
        Ok(self)
    }

    /// BLAKE3 over the configuration and every weights file, in the order of their names.
    pub(crate) fn digest(&self, config: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("ultrakv 2026 model folder weights");
        for bytes in
            core::iter::once(config).chain(self.files.iter().map(|(_, bytes)| bytes.as_slice()))
        {
            hasher.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(bytes);
        }
        *hasher.finalize().as_bytes()
    }
}

impl WeightSource for Shards {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let place = match &self.index {
            None => Some(0),
            Some(index) => index.get(name).copied(),
        };
        let missing = |origin: &Path| LoadError::MissingTensor {
            origin: origin.to_path_buf(),
            tensor: name.to_owned(),
        };
        let (file, bytes) = place
            .and_then(|place| self.files.get(place))
            .ok_or_else(|| missing(&self.folder))?;
        let tensors = parse(file, bytes)?;
        let view = tensors.tensor(name).map_err(|_| missing(file))?;
        if view.shape() != shape {
            return Err(LoadError::WrongShape {
                file: file.clone(),
                tensor: name.to_owned(),
                found: view.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        let numbers = numbers(&view).ok_or_else(|| LoadError::WrongDtype {
            file: file.clone(),
            tensor: name.to_owned(),
            found: format!("{:?}", view.dtype()),
        })?;
        if numbers.iter().all(|number| number.is_finite()) {
            Ok(numbers)
        } else {
            Err(LoadError::NotFinite {
                file: file.clone(),
                tensor: name.to_owned(),
            })
        }
    }
}

fn parse<'a>(file: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, LoadError> {
    SafeTensors::deserialize(bytes).map_err(|error| LoadError::BadWeights {
        file: file.to_path_buf(),
        why: error.to_string(),
    })
}

/// A tensor's numbers, if it is in a format that the engine reads.
fn numbers(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect(),
        Dtype::F16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|x| f16::from_le_bytes(*x).to_f32())
            .collect(),
        Dtype::BF16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|x| bf16::from_le_bytes(*x).to_f32())
            .collect(),
        _ => return None,
    })
}
