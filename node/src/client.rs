//! A client of a running node: one request, one answer, and an exit status for every way it can go wrong.
//!
//! It knows HTTP and tokens; what the answer means is for the command that asked.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::args::ClientArguments;
use crate::exit::{Failure, Status};

/// No answer a command asks for is this long.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A client of one node.
pub(crate) struct NodeClient {
    http: Client,
    base: String,
    token: Option<String>,
    timeout: Duration,
}

/// An answer that was understood.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) body: Value,
}

impl NodeClient {
    /// A client of the node at `base`.
    pub(crate) fn new(arguments: &ClientArguments, base: &str) -> Result<Self, Failure> {
        let token = arguments
            .token_file
            .as_deref()
            .map(read_token)
            .transpose()?;
        let base = base.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            let message = format!("{base}: is not an http:// address");
            return Err(Failure::new(Status::Usage, message)
                .hint("such as `--url http://127.0.0.1:7800`; doors speak plain HTTP today"));
        }
        Ok(Self {
            http: plain_client()?,
            base,
            token,
            timeout: arguments.timeout,
        })
    }

    /// Asks for `path`; any answer in JSON is an answer, whatever its status, but for a refused token.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.get(&url).timeout(self.timeout);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = send(request, &url, self.timeout).await?;
        let status = response.status();
        let text = body(response, &url, self.timeout).await?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Failure::new(
                Status::Unauthorized,
                format!("{url}: {}", problem(status, &text)),
            )
            .hint("give a token the node knows: --token-file FILE"));
        }
        let parsed = serde_json::from_str(&text).map_err(|_| {
            let message = format!("{url}: {}", problem(status, &text));
            Failure::new(Status::Failed, message).hint("is this the address of an UltraKV node?")
        })?;
        Ok(Answer {
            status,
            body: parsed,
        })
    }
}

/// A client without proxies: a node on this machine must not be asked through one.
pub(crate) fn plain_client() -> Result<Client, Failure> {
    Client::builder()
        .no_proxy()
        .build()
        .map_err(|error| Failure::caused("making an HTTP client", &error))
}

async fn send(request: RequestBuilder, url: &str, timeout: Duration) -> Result<Response, Failure> {
    request
        .send()
        .await
        .map_err(|error| unreachable(url, timeout, &error))
}

async fn body(mut response: Response, url: &str, timeout: Duration) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > ANSWER_BYTES_MAX => {
                let message = format!("{url}: the answer is longer than {ANSWER_BYTES_MAX} bytes");
                return Err(Failure::new(Status::Failed, message));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => return Err(unreachable(url, timeout, &error)),
        }
    }
}

fn unreachable(url: &str, timeout: Duration, error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        let limit = humantime::format_duration(timeout);
        return Failure::new(
            Status::Unreachable,
            format!("{url}: no answer within {limit}"),
        )
        .hint("--timeout waits longer");
    }
    if error.is_builder() {
        return Failure::new(Status::Usage, format!("{url}: is not an address"))
            .hint("such as `--url http://127.0.0.1:7800`");
    }
    let mut reason = "cannot connect".to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(below) = cause {
        // The innermost cause is the system's own word, such as "Connection refused".
        reason = below.to_string();
        cause = below.source();
    }
    Failure::new(Status::Unreachable, format!("{url}: {reason}"))
        .hint("is a node running there? `ultrakv start` starts one; --url names another")
}

/// What a refused request was told: the problem's detail, or as much of the text as fits a line.
fn problem(status: StatusCode, text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let detail = parsed
        .as_ref()
        .and_then(|problem| problem.get("detail").or_else(|| problem.get("title")))
        .and_then(Value::as_str)
        .unwrap_or_else(|| text.lines().next().unwrap_or_default());
    let detail: String = detail
        .chars()
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect();
    format!("answered {status}: {detail}")
}

/// The token of a file: its first line that is not a comment, with or without the service's name before it.
fn read_token(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Status::Usage, format!("{shown}: cannot be read: {error}"))
    })?;
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .and_then(|line| line.split_whitespace().next_back())
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(Status::Usage, format!("{shown}: holds no token")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_a_line_with_or_without_its_service() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            read_token(&path).map_err(|failure| failure.status)
        };
        assert_eq!(
            read("# mine\n\n  default s3cret \n"),
            Ok("s3cret".to_owned())
        );
        assert_eq!(read("s3cret"), Ok("s3cret".to_owned()));
        assert_eq!(read("# nothing\n"), Err(Status::Usage));
        let absent = read_token(&folder.path().join("absent"));
        assert_eq!(absent.map_err(|failure| failure.status), Err(Status::Usage));
    }

    #[test]
    fn a_problem_is_told_by_its_detail_and_other_text_by_its_first_line() {
        let detail = r#"{"title": "t", "detail": "no such service"}"#;
        assert_eq!(
            problem(StatusCode::NOT_FOUND, detail),
            "answered 404 Not Found: no such service"
        );
        let page = "<html>\u{7}\n<body>";
        assert_eq!(
            problem(StatusCode::BAD_GATEWAY, page),
            "answered 502 Bad Gateway: <html>"
        );
    }
}
