//! The conversation of a chat request: roles, names, text.
//!
//! Only text is taken: a part of another kind, a tool call or an unknown field is refused by its
//! place, because a model that cannot see an image must not pretend to have looked at it.

use serde_json::Value;

use crate::backend::{ChatMessage, ChatRole};
use crate::door::fields::Fields;
use crate::problem::Problem;

/// Messages in a conversation.
const MESSAGES_MAX: usize = 2_048;
/// Characters of a participant's name.
const NAME_CHARS_MAX: usize = 64;

/// Takes the conversation out of a request.
///
/// # Errors
/// 400 naming the place inside the conversation that is wrong.
pub(super) fn read(fields: &mut Fields) -> Result<Vec<ChatMessage>, Problem> {
    let value = fields.required("messages")?;
    let Value::Array(items) = value else {
        return Err(fields.wrong("messages", "a list of messages", &value));
    };
    if items.is_empty() || items.len() > MESSAGES_MAX {
        let detail = format!(
            "`messages` has {} messages; 1 to {MESSAGES_MAX} are allowed",
            items.len()
        );
        let problem = Problem::bad_request("field_invalid", detail);
        return Err(problem
            .hint("send the conversation so far")
            .param("messages"));
    }
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| message(index, item))
        .collect()
}

fn message(index: usize, item: Value) -> Result<ChatMessage, Problem> {
    let mut fields = Fields::nested(item, format!("messages[{index}]."))?;
    let role = role(&mut fields)?;
    let content = content(&mut fields)?;
    let name = fields.label("name", NAME_CHARS_MAX)?;
    if role == ChatRole::Assistant {
        // What clients send back of our own answers; anything in them would be lost on the model.
        for name in [
            "refusal",
            "audio",
            "function_call",
            "tool_calls",
            "annotations",
        ] {
            if let Some(value) = fields.take(name)
                && !value.as_array().is_some_and(Vec::is_empty)
            {
                let place = fields.place(name);
                return Err(unsupported(place, "only text can be given to this model"));
            }
        }
    }
    fields.end(&["role", "content", "name"])?;
    Ok(ChatMessage {
        role,
        content,
        name,
    })
}

fn role(fields: &mut Fields) -> Result<ChatRole, Problem> {
    let value = fields.required("role")?;
    match value.as_str() {
        // `developer` is what newer clients call `system`.
        Some("system" | "developer") => Ok(ChatRole::System),
        Some("user") => Ok(ChatRole::User),
        Some("assistant") => Ok(ChatRole::Assistant),
        Some("tool" | "function") => Err(unsupported(
            fields.place("role"),
            "this model takes no tool results",
        )),
        _ => Err(fields.wrong("role", "system, developer, user or assistant", &value)),
    }
}

/// A text, or a list of text parts that are read one after the other.
fn content(fields: &mut Fields) -> Result<String, Problem> {
    let value = fields.required("content")?;
    let parts = match value {
        Value::String(text) => return Ok(text),
        Value::Array(parts) if !parts.is_empty() => parts,
        other => return Err(fields.wrong("content", "a string or a list of text parts", &other)),
    };
    let mut text = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        let place = fields.place(&format!("content[{index}]."));
        let mut part = Fields::nested(part, place)?;
        match part.required("type")? {
            Value::String(kind) if kind == "text" => {}
            Value::String(_) => {
                return Err(unsupported(
                    part.place("type"),
                    "only parts of type text are taken",
                ));
            }
            other => return Err(part.wrong("type", "\"text\"", &other)),
        }
        match part.required("text")? {
            Value::String(piece) => text.push_str(&piece),
            other => return Err(part.wrong("text", "a string", &other)),
        }
        part.end(&["type", "text"])?;
    }
    Ok(text)
}

fn unsupported(place: String, why: &str) -> Problem {
    Problem::bad_request("unsupported_parameter", format!("`{place}`: {why}"))
        .hint("send text only")
        .param(place)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conversation(messages: Value) -> Result<Vec<ChatMessage>, Problem> {
        read(&mut Fields::nested(json!({"messages": messages}), String::new()).unwrap())
    }

    #[test]
    fn roles_and_text_parts_are_read() {
        let read = conversation(json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "ann"},
            {"role": "assistant", "content": "c", "refusal": null, "tool_calls": []},
        ]))
        .unwrap();
        let message = |role, content: &str, name: Option<&str>| ChatMessage {
            role,
            content: content.to_owned(),
            name: name.map(ToOwned::to_owned),
        };
        let expected = [
            message(ChatRole::System, "Be brief.", None),
            message(ChatRole::User, "ab", Some("ann")),
            message(ChatRole::Assistant, "c", None),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_not_text_is_refused_by_its_place() {
        let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
        let rows = [
            (json!("hello"), "messages"),
            (json!([]), "messages"),
            (json!(["hello"]), "messages[0]"),
            (json!([{"content": "a"}]), "messages[0].role"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (
                json!([{"role": "user", "content": null}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": []}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": image}]),
                "messages[0].content[0].type",
            ),
            (
                json!([{"role": "tool", "content": "a"}]),
                "messages[0].role",
            ),
            (
                json!([{"role": "wizard", "content": "a"}]),
                "messages[0].role",
            ),
            (
                json!([{"role": "user", "content": "a", "x": 1}]),
                "messages[0].x",
            ),
            (
                json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "a", "tool_calls": [{}]}]),
                "messages[1].tool_calls",
            ),
        ];
        for (messages, param) in rows {
            let problem = conversation(messages.clone()).unwrap_err();
            assert_eq!(
                problem.body(None).param.as_deref(),
                Some(param),
                "{messages}"
            );
            assert_eq!(problem.status().as_u16(), 400, "{messages}");
        }
    }
}
