//! Responsible for expressions: what a condition says, and what stands in `{{ }}` of a parameter. It must never take unbounded time or
//! memory, nor reach anything but the values it is given.
//!
//! Only expressions, no statements: nothing here loops or defines. The environment is empty but for a few functions that never grow what
//! they are given; fuel bounds the steps, and results have a largest size. What is not there is falsy, so that a
//! condition may ask for what a skipped step would have said.

use minijinja::value::Value as Jinja;
use minijinja::{Environment, UndefinedBehavior, filters, tests};
use serde_json::{Map, Value};

/// Longest expression in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1000;
/// Steps of one evaluation; an expression of the largest size that calls nothing takes a few hundred.
const FUEL: u64 = 10_000;
/// Largest result, as JSON, in bytes: outputs and parameters travel with their run.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of an expression or a parameter.
const DEPTH_MAX: usize = 32;

/// Why an expression gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpressionError {
    #[error("an expression has more than {EXPRESSION_BYTES_MAX} bytes")]
    TooLong,
    #[error("`{{{{` without `}}}}`")]
    Open,
    #[error("`{expression}`: {reason}")]
    Failed { expression: String, reason: String },
    #[error("a result has more than {RESULT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("parameters are nested deeper than {DEPTH_MAX}")]
    TooDeep,
}

/// The functions of expressions.
pub(crate) fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH_MAX);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
    environment.add_filter("round", filters::round);
    environment.add_filter("abs", filters::abs);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("none", tests::is_none);
    environment
}

/// Whether an expression parses.
pub(crate) fn check(expression: &str) -> Result<(), ExpressionError> {
    within(expression)?;
    environment()
        .compile_expression(expression)
        .map(drop)
        .map_err(|error| failed(expression, &error))
}

/// Whether all expressions in a parameter parse.
pub(crate) fn check_all(parameter: &Value) -> Result<(), ExpressionError> {
    visit(parameter, DEPTH_MAX, &mut |text| {
        for part in parts(text)? {
            if let Part::Expression(expression) = part {
                check(expression)?;
            }
        }
        Ok(())
    })
}

fn visit(
    value: &Value,
    depth: usize,
    see: &mut impl FnMut(&str) -> Result<(), ExpressionError>,
) -> Result<(), ExpressionError> {
    let depth = depth.checked_sub(1).ok_or(ExpressionError::TooDeep)?;
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().try_for_each(|item| visit(item, depth, see)),
        Value::Object(fields) => fields
            .values()
            .try_for_each(|field| visit(field, depth, see)),
        _ => Ok(()),
    }
}

/// Whether a condition holds.
pub(crate) fn holds(
    environment: &Environment<'_>,
    expression: &str,
    scope: &Jinja,
) -> Result<bool, ExpressionError> {
    evaluate(environment, expression, scope).map(|value| value.is_true())
}

/// A parameter with its expressions replaced. A string that is one expression and nothing else becomes its value, of any type; other
/// strings have their expressions written into them.
pub(crate) fn resolve(
    environment: &Environment<'_>,
    parameter: &Value,
    scope: &Jinja,
) -> Result<Value, ExpressionError> {
    let resolved = match parameter {
        Value::String(text) => resolve_text(environment, text, scope)?,
        Value::Array(items) => {
            let items = items.iter().map(|item| resolve(environment, item, scope));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), resolve(environment, field, scope)?)));
            Value::Object(fields.collect::<Result<Map<_, _>, ExpressionError>>()?)
        }
        other => other.clone(),
    };
    bounded(resolved)
}

fn resolve_text(
    environment: &Environment<'_>,
    text: &str,
    scope: &Jinja,
) -> Result<Value, ExpressionError> {
    let parts = parts(text)?;
    if let [Part::Expression(expression)] = parts.as_slice() {
        return json(expression, &evaluate(environment, expression, scope)?);
    }
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Expression(expression) => {
                let value = evaluate(environment, expression, scope)?;
                if !value.is_undefined() && !value.is_none() {
                    out.push_str(&value.to_string());
                }
            }
        }
        if out.len() > RESULT_BYTES_MAX {
            return Err(ExpressionError::TooLarge);
        }
    }
    Ok(Value::String(out))
}

/// A value no larger than results may be.
pub(crate) fn bounded(value: Value) -> Result<Value, ExpressionError> {
    let bytes = serde_json::to_vec(&value).map_or(usize::MAX, |json| json.len());
    if bytes > RESULT_BYTES_MAX {
        Err(ExpressionError::TooLarge)
    } else {
        Ok(value)
    }
}

fn evaluate(
    environment: &Environment<'_>,
    expression: &str,
    scope: &Jinja,
) -> Result<Jinja, ExpressionError> {
    within(expression)?;
    let compiled = environment
        .compile_expression(expression)
        .map_err(|error| failed(expression, &error))?;
    compiled
        .eval(scope)
        .map_err(|error| failed(expression, &error))
}

fn json(expression: &str, value: &Jinja) -> Result<Value, ExpressionError> {
    if value.is_undefined() {
        return Ok(Value::Null);
    }
    serde_json::to_value(value).map_err(|error| ExpressionError::Failed {
        expression: cut(expression),
        reason: error.to_string(),
    })
}

const fn within(expression: &str) -> Result<(), ExpressionError> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        Err(ExpressionError::TooLong)
    } else {
        Ok(())
    }
}

fn failed(expression: &str, error: &minijinja::Error) -> ExpressionError {
    ExpressionError::Failed {
        expression: cut(expression),
        reason: error.to_string(),
    }
}

fn cut(expression: &str) -> String {
    expression.chars().take(80).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Expression(&'a str),
}

/// A string as text and expressions. Braces within quotes belong to the expression.
fn parts(text: &str) -> Result<Vec<Part<'_>>, ExpressionError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once("{{") {
        if !before.is_empty() {
            found.push(Part::Text(before));
        }
        let end = closing(inner).ok_or(ExpressionError::Open)?;
        let (expression, after) = inner.split_at_checked(end).ok_or(ExpressionError::Open)?;
        found.push(Part::Expression(expression.trim()));
        rest = after.strip_prefix("}}").unwrap_or(after);
    }
    if !rest.is_empty() {
        found.push(Part::Text(rest));
    }
    Ok(found)
}

/// Where the `}}` of an expression is that closes it: not within quotes, nor closing the braces of a mapping.
fn closing(inner: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0_usize;
    let mut letters = inner.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '{') => depth += 1,
            (None, '}') if depth > 0 => depth -= 1,
            (None, '}') if letters.peek().is_some_and(|(_, next)| *next == '}') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod unit {
    use minijinja::value::Serde;
    use serde_json::json;

    use super::*;

    fn resolved(parameter: Value, scope: &Value) -> Result<Value, ExpressionError> {
        resolve(&environment(), &parameter, &Jinja::from(Serde(scope)))
    }

    #[test]
    fn parameters_are_resolved_and_keep_types() {
        let scope = json!({"n": 3, "who": "Ana", "steps": {"a": {"output": {"rows": [1, 2]}}}});
        let rows = [
            (json!("{{ n + 1 }}"), json!(4)),
            (json!("{{ steps.a.output.rows }}"), json!([1, 2])),
            (json!("hola {{ who|upper }}: {{ n }}"), json!("hola ANA: 3")),
            (json!("{{ nothing.at.all }}"), json!(null)),
            (json!("<{{ nothing }}>"), json!("<>")),
            (json!("{{ {'a': n} }}"), json!({"a": 3})),
            (json!("{{ '}}' }}"), json!("}}")),
            (
                json!({"deep": ["{{ n }}", true, 1.5]}),
                json!({"deep": [3, true, 1.5]}),
            ),
            (json!("{% for x in y %}"), json!("{% for x in y %}")),
        ];
        for (parameter, expected) in rows {
            assert_eq!(
                resolved(parameter.clone(), &scope),
                Ok(expected),
                "{parameter}"
            );
        }
    }

    #[test]
    fn conditions_hold_or_not() {
        let scope = Jinja::from(Serde(json!({"n": 3, "tags": ["x"], "empty": []})));
        let rows = [
            ("n > 2", true),
            ("n > 2 and n < 3", false),
            ("'x' in tags", true),
            ("empty", false),
            ("missing.deeper", false),
            ("missing is defined", false),
            ("tags|length == 1", true),
        ];
        for (expression, expected) in rows {
            assert_eq!(
                holds(&environment(), expression, &scope),
                Ok(expected),
                "{expression}"
            );
        }
    }

    #[test]
    fn what_would_not_end_or_not_fit_is_refused() {
        let scope = json!({"s": "x".repeat(1000)});
        let large = "{{ s * 100 }}";
        assert_eq!(
            resolved(json!(large), &scope),
            Err(ExpressionError::TooLarge)
        );
        assert!(resolved(json!("{{ s * 100000000000 }}"), &scope).is_err());
        assert!(check(&"x".repeat(EXPRESSION_BYTES_MAX + 1)).is_err());
        assert!(check(&"(".repeat(900)).is_err());
        for bad in ["", "1 +", "{% if x %}", "a b"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(check_all(&json!("{{ open")), Err(ExpressionError::Open));
        assert!(check_all(&json!(["ok", {"bad": "{{ 1 + }}"}])).is_err());
        let nested = (0..100).fold(json!("x"), |inner, _| json!([inner]));
        assert_eq!(check_all(&nested), Err(ExpressionError::TooDeep));
        // Nothing to reach: no functions, no files, no environment.
        for reach in ["range(9)", "include('x')", "self", "debug()", "namespace()"] {
            let found = resolved(json!(format!("{{{{ {reach} }}}}")), &scope);
            assert!(
                found.is_err() || found == Ok(Value::Null),
                "{reach}: {found:?}"
            );
        }
    }
}
