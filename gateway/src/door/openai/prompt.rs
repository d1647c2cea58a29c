//! The prompt of a completion request: a text, token ids, or a list with exactly one of them.

use serde_json::Value;

use crate::door::fields::Fields;
use crate::problem::Problem;
use crate::process::Prompt;

/// Takes the prompt out of a request.
///
/// # Errors
/// 400 when it is missing, malformed, or several prompts at once.
pub(super) fn read(fields: &mut Fields) -> Result<Prompt, Problem> {
    let value = fields.required("prompt")?;
    match one_prompt(&value) {
        Ok(prompt) => Ok(prompt),
        Err(Wrong::Several) => Err(Problem::bad_request(
            "unsupported_parameter",
            "`prompt` holds several prompts; one request is one prompt here",
        )
        .hint("send one request a prompt; equal prefixes are computed once all the same")
        .param("prompt")),
        Err(Wrong::Shape) => Err(fields.wrong(
            "prompt",
            "a string, a list of token ids, or a list of one",
            &value,
        )),
    }
}

enum Wrong {
    Several,
    Shape,
}

fn one_prompt(value: &Value) -> Result<Prompt, Wrong> {
    let items = match value {
        Value::String(text) => return Ok(Prompt::Text(text.clone())),
        Value::Array(items) => items,
        _ => return Err(Wrong::Shape),
    };
    match items.as_slice() {
        [Value::String(text)] => Ok(Prompt::Text(text.clone())),
        [Value::Array(tokens)] => token_ids(tokens).map(Prompt::Tokens),
        [Value::String(_) | Value::Array(_), ..] => Err(Wrong::Several),
        tokens => token_ids(tokens).map(Prompt::Tokens),
    }
}

/// Token ids; whether the model has such tokens is for the model to say.
fn token_ids(items: &[Value]) -> Result<Vec<u32>, Wrong> {
    let ids = items
        .iter()
        .map(|item| item.as_u64().and_then(|id| u32::try_from(id).ok()));
    ids.collect::<Option<Vec<u32>>>()
        .filter(|ids| !ids.is_empty())
        .ok_or(Wrong::Shape)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prompt(value: Value) -> Result<Prompt, Problem> {
        read(&mut Fields::nested(json!({"prompt": value}), String::new()).unwrap())
    }

    #[test]
    fn one_prompt_is_read_in_each_of_its_shapes() {
        let text = || Prompt::Text("hello".to_owned());
        assert_eq!(prompt(json!("hello")).unwrap(), text());
        assert_eq!(prompt(json!(["hello"])).unwrap(), text());
        assert_eq!(prompt(json!([1, 2])).unwrap(), Prompt::Tokens(vec![1, 2]));
        assert_eq!(prompt(json!([[1, 2]])).unwrap(), Prompt::Tokens(vec![1, 2]));
    }

    #[test]
    fn several_prompts_and_other_shapes_are_refused() {
        let check = |value: Value, code: &str| {
            assert_eq!(prompt(value.clone()).unwrap_err().code(), code, "{value}");
        };
        check(json!(["a", "b"]), "unsupported_parameter");
        check(json!([[1], [2]]), "unsupported_parameter");
        check(json!([]), "field_invalid");
        check(json!([[]]), "field_invalid");
        check(json!([1, "a"]), "field_invalid");
        check(json!([-1]), "field_invalid");
        check(json!([1.5]), "field_invalid");
        check(json!([4_294_967_296_u64]), "field_invalid");
        check(json!(5), "field_invalid");
        check(Value::Null, "field_missing");
    }
}
