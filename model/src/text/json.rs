//! JSON as Python's `json.dumps(ensure_ascii=False)` writes it, for chat templates.
//!
//! The template library's own filter escapes `<` and `'` for web pages, which would change prompts.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// The `tojson` filter.
pub(crate) fn to_json(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => out.push_str(&quoted(value.as_str().unwrap_or_default())?),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write(&item, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&quoted(&key.to_string())?);
                out.push_str(": ");
                write(&value.get_item(&key)?, out)?;
            }
            out.push('}');
        }
        kind => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("{kind} is not JSON"),
            ));
        }
    }
    Ok(())
}

fn quoted(text: &str) -> Result<String, Error> {
    serde_json::to_string(text)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = Value::from(std::collections::BTreeMap::from([
            ("a", Value::from("<\u{e9}>\n")),
            (
                "b",
                Value::from(vec![Value::from(1), Value::from(true), Value::from(())]),
            ),
        ]));
        assert_eq!(
            to_json(&value).unwrap(),
            "{\"a\": \"<\u{e9}>\\n\", \"b\": [1, true, null]}"
        );
    }
}
