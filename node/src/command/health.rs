//! `ultrakv health`: is the node well, and with `--ready`, should it be sent requests?

use crate::args::HealthArguments;
use crate::client::{NodeClient, read_token};
use crate::exit::{Failure, Status};
use crate::output;

/// Asks and says.
pub(super) async fn run(arguments: &HealthArguments) -> Result<(), Failure> {
    let (base, flag, path) = if arguments.ready {
        (&arguments.admin_url, "--admin-url", "/readyz?verbose")
    } else {
        (&arguments.client.url, "--url", "/api/v1/kv-cache/health")
    };
    let token_file = arguments.client.token_file.as_deref();
    let token = token_file.map(|path| read_token(path, None)).transpose()?;
    let client = NodeClient::new(base, flag, token, arguments.client.timeout)?;
    let answer = client.get(path).await?;
    let said = answer
        .body
        .get("status")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("unknown");
    output::result(arguments.client.output, &answer.body, || {
        output::print_words(&rows(said, &answer.body))
    })?;
    if answer.status.is_success() {
        return Ok(());
    }
    Err(Failure::new(
        Status::Unhealthy,
        format!("{base}{path} answered {}: {said}", answer.status),
    ))
}

/// The status and every part of it: components, metrics, checks, warnings.
fn rows(said: &str, body: &serde_json::Value) -> Vec<Vec<String>> {
    let mut rows = vec![vec!["status".to_owned(), said.to_owned()]];
    for part in ["components", "metrics"] {
        let fields = body.get(part).and_then(serde_json::Value::as_object);
        for (name, value) in fields.into_iter().flatten() {
            rows.push(vec![name.clone(), plain(value)]);
        }
    }
    let checks = body.get("checks").and_then(serde_json::Value::as_array);
    for check in checks.into_iter().flatten() {
        let name = check.get("name").map_or_else(String::new, plain);
        let ok = check
            .get("ok")
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(false);
        let detail = check.get("detail").map_or_else(String::new, plain);
        rows.push(vec![
            name,
            if ok { "ok" } else { "not ok" }.to_owned(),
            detail,
        ]);
    }
    let warnings = body.get("warnings").and_then(serde_json::Value::as_array);
    for warning in warnings.into_iter().flatten() {
        let field = |name: &str| warning.get(name).map_or_else(String::new, plain);
        rows.push(vec![field("key"), "warning".to_owned(), field("message")]);
    }
    rows
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(fields) => fields
            .get("status")
            .map_or_else(|| value.to_string(), plain),
        value => value.to_string(),
    }
}
