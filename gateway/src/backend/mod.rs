//! What the process path needs of a model, whoever runs it.
//!
//! A back end turns prompts into tokens and tokens into generations whose K/V enters and leaves in
//! whole blocks. Everything here is synchronous work for a thread that may block; deadlines, queues,
//! caches and doors are unknown to it. Its errors are the process path's, because what can go wrong
//! with a prompt is the same whoever looks at it.

mod embedded;

use bytes::Bytes;
use ultrakv_cache::KeyInputs;

use crate::process::{Finish, ProcessError, Prompt, Sampling};

pub use embedded::EmbeddedBackend;

/// Who said a message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatRole {
    /// The rules.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl ChatRole {
    /// Its name in chat templates.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who said it.
    pub role: ChatRole,
    /// What was said.
    pub content: String,
    /// The participant's name.
    pub name: Option<String>,
}

/// What doors may say about the model they serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCard {
    /// The name it is served under.
    pub name: String,
    /// Most tokens of prompt and answer together.
    pub context_tokens: usize,
    /// Whether a GPU computes.
    pub gpu: bool,
}

/// What prefilling one chunk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefill {
    /// There is more of the prompt to compute.
    More,
    /// The prompt is computed; [`Generation::step`] may be called.
    Done,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The text it added: valid UTF-8, maybe empty.
    pub text: String,
    /// Why the generation ended with this token, if it did.
    pub finish: Option<Finish>,
}

/// A whole block whose K/V has been computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBlock {
    /// Its place in the chain: tokens `index * block_tokens` and on.
    pub index: usize,
    /// Its K/V, in the payload order of the model's layout.
    pub payload: Vec<u8>,
}

/// One prompt being continued.
pub trait Generation: Send {
    /// Takes over the K/V of the prompt's leading blocks, at most all but the last token, and says how
    /// many tokens that saves. Called at most once, before the first [`Generation::prefill`].
    ///
    /// # Errors
    /// [`ProcessError::Model`] when a payload is not one of this model's blocks.
    fn restore(&mut self, payloads: &[Bytes]) -> Result<usize, ProcessError>;

    /// Computes the next chunk of the prompt.
    ///
    /// # Errors
    /// [`ProcessError::Model`] when the computation fails.
    fn prefill(&mut self) -> Result<Prefill, ProcessError>;

    /// Generates one token.
    ///
    /// # Errors
    /// [`ProcessError::Model`] when the computation fails.
    fn step(&mut self) -> Result<Step, ProcessError>;

    /// Hands over the blocks that were completed since the last call.
    fn take_sealed(&mut self) -> Vec<SealedBlock>;

    /// The prompt and everything generated so far.
    fn tokens(&self) -> &[u32];
}

/// A model that can be asked.
pub trait Backend: Send + Sync + 'static {
    /// What doors may say about it.
    fn card(&self) -> &ModelCard;

    /// Everything besides tokens that decides the contents of its blocks.
    fn key_inputs(&self) -> &KeyInputs;

    /// A conversation as the text that its chat template makes of it, ready for an answer.
    ///
    /// # Errors
    /// [`ProcessError::Unsuitable`] when the template refuses the conversation.
    fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, ProcessError>;

    /// A prompt as tokens.
    ///
    /// # Errors
    /// [`ProcessError::Unsuitable`] when it cannot be tokenized.
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, ProcessError>;

    /// Starts to continue these tokens.
    ///
    /// # Errors
    /// [`ProcessError::PromptEmpty`], [`ProcessError::PromptTooLong`], [`ProcessError::Unsuitable`].
    fn begin(
        &self,
        tokens: &[u32],
        sampling: &Sampling,
    ) -> Result<Box<dyn Generation>, ProcessError>;
}
