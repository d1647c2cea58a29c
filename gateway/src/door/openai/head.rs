//! What every answer and every chunk of it repeats: id, time, model, fingerprint.

use axum::response::sse::Event;
use serde_json::{Value, json};

use super::usage::Usage;
use crate::door::events::json_event;
use crate::process::Processor;

/// The repeated part of an answer.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) system_fingerprint: String,
}

/// Writes an answer's chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) head: Head,
    /// The chunks' `object`.
    pub(super) object: &'static str,
    /// Whether the stream ends with a chunk of usage figures.
    pub(super) include_usage: bool,
}

impl Head {
    /// The head of a new answer whose id starts with `prefix`.
    pub(super) fn new(processor: &Processor, prefix: &str) -> Self {
        Self {
            id: format!("{prefix}-{}", uuid::Uuid::now_v7().simple()),
            created: processor.unix_s(),
            model: processor.model().name.clone(),
            system_fingerprint: processor.fingerprint(),
        }
    }
}

impl Chunks {
    /// A chunk with this choice.
    pub(super) fn choice(&self, choice: &Value) -> Event {
        self.chunk(&json!([choice]), None)
    }

    /// What follows the last choice.
    pub(super) fn end(&self, usage: &Usage) -> Vec<Event> {
        let usage = self
            .include_usage
            .then(|| self.chunk(&json!([]), Some(usage)));
        usage
            .into_iter()
            .chain([Event::default().data("[DONE]")])
            .collect()
    }

    fn chunk(&self, choices: &Value, usage: Option<&Usage>) -> Event {
        let Head {
            id,
            created,
            model,
            system_fingerprint,
        } = &self.head;
        let mut chunk = json!({
            "id": id,
            "object": self.object,
            "created": created,
            "model": model,
            "system_fingerprint": system_fingerprint,
            "choices": choices,
        });
        // Null on every chunk but the last, as the protocol has it.
        if self.include_usage
            && let Some(chunk) = chunk.as_object_mut()
        {
            chunk.insert("usage".to_owned(), json!(usage));
        }
        json_event(Event::default(), &chunk)
    }
}
