//! Everything that can be wrong with a model before its first token, each named so that it can be
//! mended: the file, the field or the tensor, and what to do.

use std::path::PathBuf;

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file could not be read.
    #[error("cannot read {file}", file = file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than what the loader accepts for its kind.
    #[error("{file} has {found} bytes, the limit is {limit}", file = file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        found: u64,
        /// The largest accepted size.
        limit: u64,
    },
    /// A file is not the JSON it should be.
    #[error("{file} is not valid JSON for its purpose", file = file.display())]
    BadJson {
        /// The file.
        file: PathBuf,
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// A field is missing.
    #[error("{file} lacks `{field}`", file = file.display())]
    MissingField {
        /// The file.
        file: PathBuf,
        /// The field.
        field: &'static str,
    },
    /// A field's value is impossible.
    #[error("{file}: `{field}` is {value}: {why}", file = file.display())]
    BadField {
        /// The file.
        file: PathBuf,
        /// The field.
        field: &'static str,
        /// What was found.
        value: String,
        /// What would be possible.
        why: String,
    },
    /// The decoder is of a family that the engine does not know.
    #[error("{file}: the architecture `{found}` is not supported", file = file.display())]
    UnsupportedArchitecture {
        /// The file.
        file: PathBuf,
        /// What it asks for.
        found: String,
    },
    /// The rotary embedding is scaled in a way that the engine does not know.
    #[error("{file}: the RoPE type `{found}` is not supported", file = file.display())]
    UnsupportedRope {
        /// The file.
        file: PathBuf,
        /// What it asks for.
        found: String,
    },
    /// The weights' index is wrong.
    #[error("{file}: {why}", file = file.display())]
    BadIndex {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A weights file is broken: truncated, or its header lies.
    #[error("{file} is not a sound safetensors file: {why}", file = file.display())]
    BadWeights {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The folder has no weights.
    #[error("{folder} has neither model.safetensors nor model.safetensors.index.json", folder = folder.display())]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// A tensor that the configuration asks for is in no weights file.
    #[error("{origin} has no tensor `{tensor}`", origin = origin.display())]
    MissingTensor {
        /// The folder or the file that the index names for it.
        origin: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{file}: the tensor `{tensor}` has shape {found:?}, config.json asks for {expected:?}", file = file.display())]
    WrongShape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor is in a number format that the engine does not read.
    #[error("{file}: the tensor `{tensor}` is {found}", file = file.display())]
    WrongDtype {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its number format.
        found: String,
    },
    /// A tensor holds an infinity or a NaN.
    #[error("{file}: the tensor `{tensor}` holds a value that is not finite", file = file.display())]
    NotFinite {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// The tokenizer is unusable.
    #[error("{file}: {why}", file = file.display())]
    BadTokenizer {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The chat template does not parse.
    #[error("{file}: the chat template is wrong: {why}", file = file.display())]
    BadTemplate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An engine option is impossible.
    #[error("{option} is {value}: {why}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would be possible.
        why: String,
    },
    /// The compute threads could not be started.
    #[error("cannot start the compute threads: {why}")]
    Threads {
        /// What the system said.
        why: String,
    },
    /// The tensor library refused.
    #[error("cannot build the decoder")]
    Tensors {
        /// What it said.
        #[from]
        source: candle_core::Error,
    },
}

impl LoadError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "model_unreadable",
            Self::TooLarge { .. } => "model_file_too_large",
            Self::BadJson { .. } => "model_bad_json",
            Self::MissingField { .. } => "model_missing_field",
            Self::BadField { .. } => "model_bad_field",
            Self::UnsupportedArchitecture { .. } => "model_unsupported_architecture",
            Self::UnsupportedRope { .. } => "model_unsupported_rope",
            Self::BadIndex { .. } => "model_bad_index",
            Self::BadWeights { .. } => "model_bad_weights",
            Self::NoWeights { .. } => "model_no_weights",
            Self::MissingTensor { .. } => "model_missing_tensor",
            Self::WrongShape { .. } => "model_wrong_shape",
            Self::WrongDtype { .. } => "model_wrong_dtype",
            Self::NotFinite { .. } => "model_not_finite",
            Self::BadTokenizer { .. } => "model_bad_tokenizer",
            Self::BadTemplate { .. } => "model_bad_template",
            Self::BadOption { .. } => "model_bad_option",
            Self::Threads { .. } => "model_threads",
            Self::Tensors { .. } => "model_tensors",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => {
                "name a Hugging Face folder with config.json, safetensors and tokenizer.json that this process may read"
            }
            Self::TooLarge { .. } => "check that the file is what its name says",
            Self::BadJson { .. } => "fetch the file again, or mend it at the line and column given",
            Self::MissingField { .. } => "use the config.json that came with the weights",
            Self::BadField { .. } => "use the config.json that came with the weights, unedited",
            Self::UnsupportedArchitecture { .. } => {
                "use a Llama, Mistral, Qwen2 or Qwen3 checkpoint with dense layers"
            }
            Self::UnsupportedRope { .. } => {
                "use a checkpoint whose rope_type is default, linear, llama3 or yarn over whole heads"
            }
            Self::BadIndex { .. } => {
                "fetch model.safetensors.index.json again, with every shard that it names"
            }
            Self::BadWeights { .. } => "fetch the file again: it is truncated or damaged",
            Self::NoWeights { .. } => {
                "put safetensors into the folder; pickled .bin weights are not read"
            }
            Self::MissingTensor { .. } | Self::WrongShape { .. } => {
                "use the config.json and the weights of one and the same checkpoint"
            }
            Self::WrongDtype { .. } => {
                "use weights stored as F32, F16 or BF16; quantized checkpoints are not read"
            }
            Self::NotFinite { .. } => {
                "fetch the weights again; a checkpoint with such values cannot answer"
            }
            Self::BadTokenizer { .. } => "use the tokenizer.json of the same checkpoint",
            Self::BadTemplate { .. } => {
                "use the chat template of the same checkpoint, or remove it and use completions"
            }
            Self::BadOption { .. } => "choose a value inside the range given",
            Self::Threads { .. } => "lower the count of threads, or raise the limit of processes",
            Self::Tensors { .. } => "report this with the model's config.json",
        }
    }
}
