//! A JSON object read field by field, each with its rule, so that every refusal names the field, says
//! what was wrong with it and what would be right.
//!
//! Serde's derived readers stop at the first unknown name without knowing what it should have been;
//! the doors that promise "never ignored" need more. A field given as `null` counts as not given.
//! Knows JSON and problems; knows no route.

use serde_json::{Map, Value};

use crate::problem::Problem;

/// The fields of one object that have not been read yet.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// What leads to this object inside the body: `""` or `"messages[2]."`.
    path: String,
}

impl Fields {
    /// A body, which must be one JSON object.
    ///
    /// # Errors
    /// 400 when it is not.
    pub(crate) fn of(body: Value) -> Result<Self, Problem> {
        Self::nested(body, String::new())
    }

    /// An object inside a body, found at `path` (which ends in a dot).
    ///
    /// # Errors
    /// 400 when the value is no object.
    pub(crate) fn nested(value: Value, path: String) -> Result<Self, Problem> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => {
                let place = path.trim_end_matches('.');
                let what = if place.is_empty() { "the body" } else { place };
                let problem = Problem::bad_request(
                    "field_invalid",
                    format!("{what} must be a JSON object, not {}", kind(&other)),
                )
                .hint("see /openapi.json for the fields of this route");
                Err(if place.is_empty() {
                    problem
                } else {
                    problem.param(place)
                })
            }
        }
    }

    /// A field's place in the body.
    pub(crate) fn place(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// Takes a field; `null` is not given.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// A field that must be given.
    ///
    /// # Errors
    /// 400 when it is not.
    pub(crate) fn required(&mut self, name: &str) -> Result<Value, Problem> {
        self.take(name).ok_or_else(|| {
            let place = self.place(name);
            Problem::bad_request("field_missing", format!("`{place}` is required"))
                .hint("add the field")
                .param(place)
        })
    }

    /// A text.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// 400 when it is something else or outside.
    pub(crate) fn whole(&mut self, name: &str, min: u32, max: u32) -> Result<Option<u32>, Problem> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, &format!("a whole number from {min} to {max}"), &value)),
        }
    }

    /// A number within bounds, both allowed.
    ///
    /// # Errors
    /// 400 when it is something else or outside.
    pub(crate) fn number(
        &mut self,
        name: &str,
        min: f64,
        max: f64,
    ) -> Result<Option<f64>, Problem> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_f64().filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, &format!("a number from {min} to {max}"), &value)),
        }
    }

    /// The nucleus' mass: above 0, at most 1.
    ///
    /// # Errors
    /// 400 when it is something else or outside.
    pub(crate) fn top_p(&mut self) -> Result<f64, Problem> {
        let Some(value) = self.take("top_p") else {
            return Ok(1.0);
        };
        match value.as_f64().filter(|mass| *mass > 0.0 && *mass <= 1.0) {
            Some(mass) => Ok(mass),
            None => Err(self.wrong("top_p", "a number above 0 and at most 1", &value)),
        }
    }

    /// A seed: any 64-bit whole number; a negative one means its two's complement.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub(crate) fn seed(&mut self) -> Result<Option<u64>, Problem> {
        let Some(value) = self.take("seed") else {
            return Ok(None);
        };
        match value
            .as_u64()
            .or_else(|| value.as_i64().map(i64::cast_unsigned))
        {
            Some(seed) => Ok(Some(seed)),
            None => Err(self.wrong("seed", "a 64-bit whole number", &value)),
        }
    }

    /// Texts that end an answer: one, or a list of at most `count_max`; none of them empty.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub(crate) fn stop(
        &mut self,
        count_max: usize,
        chars_max: usize,
    ) -> Result<Vec<String>, Problem> {
        let expected = format!(
            "a string or a list of at most {count_max} strings, each of 1 to {chars_max} characters"
        );
        let Some(value) = self.take("stop") else {
            return Ok(Vec::new());
        };
        let texts: Option<Vec<String>> = match &value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(ToOwned::to_owned))
                .collect(),
            _ => None,
        };
        let sound = |texts: &Vec<String>| {
            texts.len() <= count_max
                && texts
                    .iter()
                    .all(|text| (1..=chars_max).contains(&text.chars().count()))
        };
        texts
            .filter(sound)
            .ok_or_else(|| self.wrong("stop", &expected, &value))
    }

    /// A text of at most that many characters.
    ///
    /// # Errors
    /// 400 when it is something else or longer.
    pub(crate) fn label(
        &mut self,
        name: &str,
        chars_max: usize,
    ) -> Result<Option<String>, Problem> {
        let label = self.text(name)?;
        match label.as_ref().map(|label| label.chars().count()) {
            Some(chars) if chars > chars_max => {
                let place = self.place(name);
                Err(Problem::bad_request(
                    "field_invalid",
                    format!("`{place}` has {chars} characters; at most {chars_max} are allowed"),
                )
                .hint("shorten it")
                .param(place))
            }
            _ => Ok(label),
        }
    }

    /// The problem of a field that is not what it must be.
    pub(crate) fn wrong(&self, name: &str, expected: &str, given: &Value) -> Problem {
        let place = self.place(name);
        Problem::bad_request(
            "field_invalid",
            format!("`{place}` must be {expected}, not {}", shown(given)),
        )
        .hint("see /openapi.json for the fields of this route")
        .param(place)
    }

    /// A name that was given and not read, if any.
    pub(crate) fn rest(&self) -> Option<(&str, &Value)> {
        self.map
            .iter()
            .next()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Refuses whatever has not been read: a misspelt field must not look honoured.
    ///
    /// # Errors
    /// 400 naming the first one, with the nearest of `known`.
    pub(crate) fn end(self, known: &[&'static str]) -> Result<(), Problem> {
        let Some((name, _)) = self.rest() else {
            return Ok(());
        };
        Err(self.unknown("field_unknown", name, known))
    }

    /// The problem of a field that this route does not have.
    pub(crate) fn unknown(
        &self,
        code: &'static str,
        name: &str,
        known: &[&'static str],
    ) -> Problem {
        let place = self.place(name);
        let hint = ultrakv_config::closest(name, known.iter().copied()).map_or_else(
            || format!("the fields are: {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Problem::bad_request(
            code,
            format!("`{}` is not a field of this route", shorten(&place)),
        )
        .hint(hint)
        .param(place)
    }
}

/// What kind of JSON value it is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as it may be repeated to the caller: numbers and truth values as they are, everything
/// that may be long or private by its kind only.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        other => kind(other).to_owned(),
    }
}

/// A name as it may be repeated to the caller, however long it was.
fn shorten(name: &str) -> String {
    const CHARS_MAX: usize = 64;
    if name.chars().count() <= CHARS_MAX {
        return name.to_owned();
    }
    name.chars().take(CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::of(serde_json::from_str(body).unwrap()).unwrap()
    }

    fn check<T: std::fmt::Debug>(outcome: Result<T, Problem>, code: &str, param: &str, says: &str) {
        let problem = outcome.unwrap_err();
        assert_eq!(problem.code(), code);
        assert_eq!(problem.body(None).param.as_deref(), Some(param));
        let text = format!("{} {}", problem.detail(), problem.body(None).hint);
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn each_wrong_field_is_named_with_what_would_be_right() {
        check(
            fields("{}").required("text"),
            "field_missing",
            "text",
            "required",
        );
        check(
            fields(r#"{"n":0}"#).whole("n", 1, 9),
            "field_invalid",
            "n",
            "from 1 to 9, not 0",
        );
        check(
            fields(r#"{"n":1.5}"#).whole("n", 1, 9),
            "field_invalid",
            "n",
            "not 1.5",
        );
        check(
            fields(r#"{"n":"1"}"#).whole("n", 1, 9),
            "field_invalid",
            "n",
            "not a string",
        );
        check(
            fields(r#"{"t":2.1}"#).number("t", 0.0, 2.0),
            "field_invalid",
            "t",
            "from 0 to 2",
        );
        check(
            fields(r#"{"top_p":0}"#).top_p(),
            "field_invalid",
            "top_p",
            "above 0",
        );
        check(
            fields(r#"{"seed":1.5}"#).seed(),
            "field_invalid",
            "seed",
            "64-bit",
        );
        check(
            fields(r#"{"s":1}"#).flag("s"),
            "field_invalid",
            "s",
            "true or false",
        );
        check(
            fields(r#"{"id":"abc"}"#).label("id", 2),
            "field_invalid",
            "id",
            "3 characters",
        );
        for stop in [
            r#"{"stop":[1]}"#,
            r#"{"stop":""}"#,
            r#"{"stop":["a","b","c"]}"#,
        ] {
            check(
                fields(stop).stop(2, 8),
                "field_invalid",
                "stop",
                "at most 2 strings",
            );
        }
    }

    #[test]
    fn what_was_not_read_is_refused_with_the_nearest_name() {
        let mut body = fields(r#"{"text":"a","max_lenght":5}"#);
        assert_eq!(body.text("text").unwrap().as_deref(), Some("a"));
        check(
            body.end(&["text", "max_length"]),
            "field_unknown",
            "max_lenght",
            "`max_length`?",
        );
        let nested = Fields::nested(json!({"x": 1}), "messages[2].".to_owned());
        check(
            nested.unwrap().end(&["role"]),
            "field_unknown",
            "messages[2].x",
            "role",
        );
    }

    #[test]
    fn null_is_not_given_and_negative_seeds_are_seeds() {
        let mut body = fields(r#"{"text":null,"seed":-1,"stop":null}"#);
        assert_eq!(body.text("text").unwrap(), None);
        assert_eq!(body.seed().unwrap(), Some(u64::MAX));
        assert!(body.stop(4, 8).unwrap().is_empty());
        assert!(body.end(&[]).is_ok());
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in [json!([]), json!(1), json!(null), json!("text")] {
            assert_eq!(Fields::of(body).unwrap_err().code(), "field_invalid");
        }
    }
}
