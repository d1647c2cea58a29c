//! Conversations as text: what the checkpoint's own chat template makes of messages.
//!
//! Renders with what Transformers offers to templates: `raise_exception`, `strftime_now`, an unescaped
//! `tojson`, Python's methods of strings, lists and dictionaries, and the special tokens' texts. Must
//! never read the clock: the time that a template asks for comes in with the options.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};
use serde::Deserialize;

use super::{json, strftime};
use crate::config::{read_bounded, read_json};
use crate::load::LoadError;

/// Largest template file; published ones have a few kilobytes.
const TEMPLATE_BYTES_MAX: u64 = 4 << 20;
const TEMPLATE: &str = "chat";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user`, `assistant`, or what the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
    /// The speaker's name, for templates that use it.
    pub name: Option<String>,
}

/// How a conversation is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatOptions {
    /// End with the opening of an answer.
    pub add_generation_prompt: bool,
    /// The time that `strftime_now` formats, in UTC. `None`: the template has no such function, which
    /// templates that know the date foresee.
    ///
    /// # Units
    /// Seconds since 1970.
    pub now_unix_s: Option<i64>,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            now_unix_s: None,
        }
    }
}

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// There are no messages.
    #[error("the conversation has no messages")]
    Empty,
    /// The model has no chat template.
    #[error("the model has no chat template")]
    NoTemplate,
    /// The template itself refuses this conversation.
    #[error("the model's chat template refuses the conversation: {why}")]
    Refused {
        /// What the template says.
        why: String,
    },
    /// The template failed.
    #[error("the model's chat template failed: {why}")]
    Failed {
        /// What went wrong, and where.
        why: String,
    },
}

impl ChatError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "chat_empty",
            Self::NoTemplate => "chat_no_template",
            Self::Refused { .. } => "chat_refused",
            Self::Failed { .. } => "chat_template_failed",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "send at least one message",
            Self::NoTemplate => {
                "use completions with a plain prompt, or a model with a chat template"
            }
            Self::Refused { .. } => "order the roles as the model's template asks",
            Self::Failed { .. } => "check that the chat template belongs to the model",
        }
    }
}

/// How a model is talked to.
pub(crate) enum Chat {
    /// The reference model: each message as `role: content` on a line of its own, then `assistant: `.
    Plain,
    /// The checkpoint's template.
    Template {
        environment: Box<Environment<'static>>,
        special_tokens: BTreeMap<&'static str, String>,
    },
    /// A checkpoint without one.
    None,
}

/// What a template raises on purpose.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

#[derive(Deserialize, Default)]
struct RawTokenizerConfig {
    chat_template: Option<RawTemplates>,
    bos_token: Option<RawToken>,
    eos_token: Option<RawToken>,
    unk_token: Option<RawToken>,
    pad_token: Option<RawToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawTemplates {
    One(String),
    Named(Vec<RawTemplate>),
}

#[derive(Deserialize)]
struct RawTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawToken {
    Text(String),
    Object { content: String },
}

impl Chat {
    /// Reads a folder's template: `chat_template.jinja` if there is one, else the one named `default`, or
    /// the only one, in `tokenizer_config.json`.
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        let config_file = folder.join("tokenizer_config.json");
        let config: RawTokenizerConfig = if config_file.exists() {
            read_json(&config_file)?
        } else {
            RawTokenizerConfig::default()
        };
        let template_file = folder.join("chat_template.jinja");
        let (file, source) = if template_file.exists() {
            let bytes = read_bounded(&template_file, TEMPLATE_BYTES_MAX)?;
            let source = String::from_utf8(bytes).map_err(|error| LoadError::BadTemplate {
                file: template_file.clone(),
                why: error.to_string(),
            })?;
            (template_file, Some(source))
        } else {
            (config_file, default_template(config.chat_template))
        };
        let Some(source) = source else {
            return Ok(Self::None);
        };
        let environment = environment()
            .and_then(|mut environment| {
                environment
                    .add_template_owned(TEMPLATE, source)
                    .map(|()| environment)
            })
            .map_err(|error| LoadError::BadTemplate {
                file,
                why: format!("{error}"),
            })?;
        let special_tokens = [
            ("bos_token", config.bos_token),
            ("eos_token", config.eos_token),
            ("unk_token", config.unk_token),
            ("pad_token", config.pad_token),
        ];
        let text = |token| match token {
            RawToken::Text(text) | RawToken::Object { content: text } => text,
        };
        let special_tokens = special_tokens
            .into_iter()
            .filter_map(|(name, token)| Some((name, text(token?))))
            .collect();
        Ok(Self::Template {
            environment: Box::new(environment),
            special_tokens,
        })
    }

    /// Whether rendered text carries its own special tokens, so that encoding must not add them again.
    pub(crate) fn has_special_tokens(&self) -> bool {
        matches!(self, Self::Template { .. })
    }

    /// A conversation as text.
    pub(crate) fn render(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        if messages.is_empty() {
            return Err(ChatError::Empty);
        }
        match self {
            Self::None => Err(ChatError::NoTemplate),
            Self::Plain => {
                let lines = messages
                    .iter()
                    .map(|message| format!("{}: {}\n", message.role, message.content));
                let opening = options
                    .add_generation_prompt
                    .then(|| "assistant: ".to_owned());
                Ok(lines.chain(opening).collect())
            }
            Self::Template {
                environment,
                special_tokens,
            } => {
                let mut context: BTreeMap<&str, Value> = special_tokens
                    .iter()
                    .map(|(name, text)| (*name, Value::from(text)))
                    .collect();
                context.insert("messages", messages.iter().map(message_value).collect());
                context.insert(
                    "add_generation_prompt",
                    Value::from(options.add_generation_prompt),
                );
                if let Some(now) = options.now_unix_s {
                    let format = move |format: &str| strftime::format(now, format);
                    context.insert("strftime_now", Value::from_function(format));
                }
                let rendered = environment
                    .get_template(TEMPLATE)
                    .and_then(|template| template.render(context));
                rendered.map_err(|error| chat_error(&error))
            }
        }
    }
}

fn default_template(templates: Option<RawTemplates>) -> Option<String> {
    match templates? {
        RawTemplates::One(template) => Some(template),
        RawTemplates::Named(mut templates) => {
            let default = templates
                .iter()
                .position(|template| template.name == "default");
            let index = default.or((templates.len() == 1).then_some(0))?;
            Some(templates.swap_remove(index).template)
        }
    }
}

/// An environment set up as Transformers sets up its own.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |why: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, why.clone()).with_source(Raised(why)))
    });
    environment.add_filter("tojson", |value: Value| json::to_json(&value));
    Ok(environment)
}

fn message_value(message: &ChatMessage) -> Value {
    let mut fields = BTreeMap::from([
        ("role", Value::from(message.role.as_str())),
        ("content", Value::from(message.content.as_str())),
    ]);
    if let Some(name) = &message.name {
        fields.insert("name", Value::from(name.as_str()));
    }
    Value::from(fields)
}

fn chat_error(error: &Error) -> ChatError {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Raised(why)) = cause.downcast_ref() {
            return ChatError::Refused { why: why.clone() };
        }
        source = cause.source();
    }
    ChatError::Failed {
        why: format!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(template: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let config = serde_json::json!({ "chat_template": template, "bos_token": "<s>", "eos_token": { "content": "</s>" } });
        std::fs::write(
            folder.path().join("tokenizer_config.json"),
            config.to_string(),
        )
        .unwrap();
        folder
    }

    fn render(template: &str, options: &ChatOptions) -> Result<String, ChatError> {
        let message = |role: &str, content: &str| ChatMessage {
            role: role.into(),
            content: content.into(),
            name: None,
        };
        let messages = [
            message("system", " Be <brief>. "),
            message("user", "Hi \"you\""),
        ];
        Chat::read(folder(template).path())
            .unwrap()
            .render(&messages, options)
    }

    #[test]
    fn templates_see_what_transformers_shows_them() {
        let template = "{{ bos_token }}{%- for m in messages %}\n    {%- if loop.first %}[{{ m['content'].strip() }}]\
            {%- else %}{{ m.role|upper }}={{ m.content|tojson }}{% endif %}\n{%- endfor %}{{ eos_token }}\
            {% if add_generation_prompt %}>{% endif %}{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}";
        let rendered = render(template, &ChatOptions::default()).unwrap();
        assert_eq!(rendered, "<s>[Be <brief>.]USER=\"Hi \\\"you\\\"\"</s>>");
        let dated = ChatOptions {
            add_generation_prompt: false,
            now_unix_s: Some(1_722_038_400),
        };
        assert!(
            render(template, &dated)
                .unwrap()
                .ends_with("</s>27 Jul 2024")
        );
    }

    #[test]
    fn what_a_template_raises_is_a_refusal_and_what_it_does_wrong_a_failure() {
        let options = ChatOptions::default();
        let refused = render("{{ raise_exception('roles must alternate') }}", &options);
        assert!(
            matches!(refused, Err(ChatError::Refused { why }) if why == "roles must alternate")
        );
        assert!(matches!(
            render("{{ 1 + [] }}", &options),
            Err(ChatError::Failed { .. })
        ));
        assert!(matches!(
            Chat::Plain.render(&[], &options),
            Err(ChatError::Empty)
        ));
        assert!(matches!(
            Chat::read(folder("{% if %}").path()),
            Err(LoadError::BadTemplate { .. })
        ));
    }

    #[test]
    fn a_folder_without_a_template_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let chat = Chat::read(folder.path()).unwrap();
        let message = ChatMessage {
            role: "user".into(),
            content: "x".into(),
            name: None,
        };
        assert!(matches!(
            chat.render(&[message], &ChatOptions::default()),
            Err(ChatError::NoTemplate)
        ));
    }
}
