//! A client of a running node: one request, one answer, and an exit status for every way it can go wrong.
//!
//! It knows HTTP and tokens; what the answer means is for the command that asked.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::{Failure, Status};

/// No answer a command asks for is this long.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A client of one node.
pub(crate) struct NodeClient {
    http: Client,
    base: String,
    /// How the operator names another door.
    flag: &'static str,
    token: Option<String>,
    timeout: Duration,
}

/// An answer that was understood.
pub(crate) struct Answer {
    url: String,
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) body: Value,
}

impl NodeClient {
    /// A client of the door at `base`, an address and port or a URL, which the operator names by `flag`.
    pub(crate) fn new(
        base: &str,
        flag: &'static str,
        token: Option<String>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let mut base = base.trim_end_matches('/').to_owned();
        if !base.contains("://") {
            base.insert_str(0, "http://");
        }
        if !base.starts_with("http://") {
            let message = format!("{base}: is not an http:// address");
            return Err(Failure::new(Status::Usage, message).hint(format!(
                "such as `{flag} http://127.0.0.1:7800`; doors speak plain HTTP today"
            )));
        }
        Ok(Self {
            http: plain_client()?,
            base,
            flag,
            token,
            timeout,
        })
    }

    /// Asks for `path`; any answer in JSON is an answer, whatever its status, but for a refused token.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// Asks for a change; answers are as those of [`Self::get`].
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        sent: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, &url).timeout(self.timeout);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(sent) = sent {
            request = request
                .header("content-type", "application/json")
                .body(sent.to_string());
        }
        let response = self.send(request, &url).await?;
        let status = response.status();
        let text = self.body(response, &url).await?;
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
            url,
            status,
            body: parsed,
        })
    }

    async fn send(&self, request: RequestBuilder, url: &str) -> Result<Response, Failure> {
        let sent = request.send().await;
        sent.map_err(|error| self.unreachable(url, &error))
    }

    async fn body(&self, mut response: Response, url: &str) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > ANSWER_BYTES_MAX => {
                    let message =
                        format!("{url}: the answer is longer than {ANSWER_BYTES_MAX} bytes");
                    return Err(Failure::new(Status::Failed, message));
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) => return Err(self.unreachable(url, &error)),
            }
        }
    }

    fn unreachable(&self, url: &str, error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            let limit = humantime::format_duration(self.timeout);
            return Failure::new(
                Status::Unreachable,
                format!("{url}: no answer within {limit}"),
            )
            .hint("--timeout waits longer");
        }
        let flag = self.flag;
        if error.is_builder() {
            return Failure::new(Status::Usage, format!("{url}: is not an address"))
                .hint(format!("such as `{flag} http://127.0.0.1:7800`"));
        }
        let mut reason = "cannot connect".to_owned();
        let mut cause = std::error::Error::source(error);
        while let Some(below) = cause {
            // The innermost cause is the system's own word, such as "Connection refused".
            reason = below.to_string();
            cause = below.source();
        }
        Failure::new(Status::Unreachable, format!("{url}: {reason}")).hint(format!(
            "is a node running there? `ultrakv start` starts one; {flag} names another"
        ))
    }
}

impl Answer {
    /// What was asked for, or why it was not granted.
    pub(crate) fn granted<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let Self { url, status, body } = self;
        if status.is_success() {
            return serde_json::from_value(body).map_err(|error| {
                let message = format!("{url}: the answer is not as expected: {error}");
                Failure::new(Status::Failed, message)
                    .hint("is the node of another version than this program?")
            });
        }
        let how = match status {
            StatusCode::BAD_REQUEST => Status::Usage,
            StatusCode::SERVICE_UNAVAILABLE => Status::Unhealthy,
            StatusCode::GATEWAY_TIMEOUT => Status::Unreachable,
            _ => Status::Failed,
        };
        let word = |name: &str| body.get(name).and_then(Value::as_str).map(one_line);
        let code = word("code").map_or_else(String::new, |code| format!("[{code}]"));
        let detail = word("detail").unwrap_or_else(|| format!("answered {status}"));
        let failure = Failure::new(how, format!("error{code}: {detail}"));
        Err(match word("hint").filter(|hint| !hint.is_empty()) {
            Some(hint) => failure.hint(hint),
            None => failure,
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

/// What a refused request was told: the problem's detail, or as much of the text as fits a line.
fn problem(status: StatusCode, text: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let detail = parsed
        .as_ref()
        .and_then(|problem| problem.get("detail").or_else(|| problem.get("title")))
        .and_then(Value::as_str)
        .unwrap_or_else(|| text.lines().next().unwrap_or_default());
    format!("answered {status}: {}", one_line(detail))
}

/// As much of somebody else's text as fits a line, and nothing that moves a terminal's cursor.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    text.chars()
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect()
}

/// The token of a file: that of the preferred service where a line names it, else the first line that is not a comment, with or
/// without the service's name before the token. So a node's own token file will do.
pub(crate) fn read_token(path: &Path, preferred: Option<&str>) -> Result<String, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Status::Usage, format!("{shown}: cannot be read: {error}"))
    })?;
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let of_preferred = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == preferred && words.next().is_some()
    };
    lines
        .clone()
        .find(of_preferred)
        .or_else(|| lines.next())
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
            read_token(&path, None).map_err(|failure| failure.status)
        };
        assert_eq!(
            read("# mine\n\n  default s3cret \n"),
            Ok("s3cret".to_owned())
        );
        assert_eq!(read("s3cret"), Ok("s3cret".to_owned()));
        assert_eq!(read("# nothing\n"), Err(Status::Usage));
        let admins = |text: &str| {
            std::fs::write(&path, text).expect("written");
            read_token(&path, Some("admin")).ok()
        };
        let both = "default s3cret\nadmin h1dden\n";
        assert_eq!(admins(both).as_deref(), Some("h1dden"));
        assert_eq!(read(both), Ok("s3cret".to_owned()));
        assert_eq!(admins("admin").as_deref(), Some("admin"), "a bare token");
        assert_eq!(admins("default s3cret").as_deref(), Some("s3cret"));
        let absent = read_token(&folder.path().join("absent"), None);
        assert_eq!(absent.map_err(|failure| failure.status), Err(Status::Usage));
    }

    #[test]
    fn a_refused_change_is_told_with_its_code_its_hint_and_a_status_of_its_own() {
        let told = |status: u16, body: Value| {
            let answer = Answer {
                url: "http://127.0.0.1:7801/v1".to_owned(),
                status: StatusCode::from_u16(status).expect("a status"),
                body,
            };
            answer.granted::<u64>().map_err(|failure| {
                let Failure {
                    status,
                    message,
                    hint,
                } = failure;
                (status, message.unwrap_or_default(), hint)
            })
        };
        assert_eq!(told(202, 7.into()), Ok(7));
        let problem = serde_json::json!({"code": "last_member", "detail": "it is the last\u{7}", "hint": "stop it"});
        assert_eq!(
            told(409, problem),
            Err((
                Status::Failed,
                "error[last_member]: it is the last".to_owned(),
                Some("stop it".to_owned())
            ))
        );
        let bare =
            |status| told(status, Value::Null).map_err(|(status, message, _)| (status, message));
        assert_eq!(
            bare(503),
            Err((
                Status::Unhealthy,
                "error: answered 503 Service Unavailable".to_owned()
            ))
        );
        assert_eq!(bare(504).map_err(|told| told.0), Err(Status::Unreachable));
        assert_eq!(bare(400).map_err(|told| told.0), Err(Status::Usage));
        assert_eq!(
            told(200, "seven".into()).map_err(|told| told.0),
            Err(Status::Failed)
        );
    }

    #[test]
    fn a_door_is_an_address_or_a_url() {
        let base = |text: &str| {
            NodeClient::new(text, "--admin", None, Duration::from_secs(1))
                .map(|client| client.base)
                .map_err(|failure| failure.status)
        };
        let expected = Ok("http://10.0.0.9:7801".to_owned());
        assert_eq!(base("10.0.0.9:7801"), expected);
        assert_eq!(base("http://10.0.0.9:7801/"), expected);
        assert_eq!(base("https://10.0.0.9:7801"), Err(Status::Usage));
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
