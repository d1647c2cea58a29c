//! The whole stack over real sockets, around routes that only test it.
//!
//! Requests are written byte by byte where it matters that they are odd; nothing sleeps: a test waits for the server's answer,
//! for the end of its connection, or for a signal from a handler.

mod rig;

use std::time::Duration;

use rig::{Answer, Connection, Rig, RigPlan};

const TOKENS: &str = "default default-token-0123456\nadmin admin-token-0123456789\n";

/// A request with this head and no body.
fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
}

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (status, Some(code)),
        "{answer:?}"
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let body = answer.json();
    for field in ["type", "title", "detail", "hint", "request_id"] {
        let text = body[field].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "no {field} in {body}");
    }
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
}

#[tokio::test]
async fn a_request_is_answered_and_keeps_its_id() {
    let rig = Rig::start(RigPlan::default());
    let mut connection = rig.connect().await;
    let answer = connection
        .ask(&post(
            "/echo",
            "x-request-id: mine-1\r\n",
            r#"{"text":"a"}"#,
        ))
        .await;
    assert_eq!(
        (answer.status, answer.json()["text"].as_str()),
        (200, Some("a"))
    );
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    let answer = connection.ask(&get("/who", "")).await;
    assert_eq!(
        answer.text(),
        "default",
        "the same connection is used again"
    );
}

#[tokio::test]
async fn http2_is_served_on_the_same_port() {
    let rig = Rig::start(RigPlan::default());
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let url = format!("http://127.0.0.1:{}/who", rig.address().port());
    let answer = client.get(url).send().await.expect("an answer");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.expect("a body"), "default");
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_unread() {
    let rig = Rig::start(RigPlan {
        body_bytes_max: 1_024,
        ..RigPlan::default()
    });
    let body = "x".repeat(1 << 20);
    let answer = rig.connect().await.ask(&post("/echo", "", &body)).await;
    assert_problem(&answer, 413, "body_too_large");
    assert_eq!(answer.json()["documented_code"], "A002");
}

#[tokio::test]
async fn a_chunked_body_is_refused_where_it_becomes_too_large() {
    let rig = Rig::start(RigPlan {
        body_bytes_max: 1_024,
        ..RigPlan::default()
    });
    let mut connection = rig.connect().await;
    let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    connection.send(head).await;
    // The body never ends; the answer comes all the same.
    for _ in 0..8 {
        connection
            .send(&format!("100\r\n{}\r\n", "x".repeat(256)))
            .await;
    }
    assert_problem(&connection.answer().await, 413, "body_too_large");
}

#[tokio::test]
async fn a_connection_that_does_not_finish_its_head_is_closed() {
    let header_timeout = Duration::from_millis(50);
    let rig = Rig::start(RigPlan {
        header_timeout,
        ..RigPlan::default()
    });
    let started = [
        "",
        "G",
        "GET / HTTP/1.1\r\nhost: loc",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for sent in started {
        let mut connection = rig.connect().await;
        connection.send(sent).await;
        connection.assert_closed().await;
    }
    let answer = rig.connect().await.ask(&get("/who", "")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_given_up() {
    let request_timeout = Duration::from_millis(100);
    let rig = Rig::start(RigPlan {
        request_timeout,
        ..RigPlan::default()
    });
    let mut connection = rig.connect().await;
    let whole = post("/echo", "", r#"{"text":"never finished"}"#);
    connection.send(&whole[..whole.len() - 5]).await;
    assert_problem(&connection.answer().await, 408, "body_too_slow");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let request_timeout = Duration::from_millis(100);
    let rig = Rig::start(RigPlan {
        request_timeout,
        ..RigPlan::default()
    });
    let answer = rig.connect().await.ask(&get("/wait", "")).await;
    assert_problem(&answer, 504, "deadline");
}

#[tokio::test]
async fn as_many_requests_as_may_are_in_progress_and_no_more() {
    let mut rig = Rig::start(RigPlan {
        requests_concurrent_max: 1,
        ..RigPlan::default()
    });
    let mut first = rig.connect().await;
    first.send(&get("/wait", "")).await;
    rig.waiting().await;
    let answer = rig.connect().await.ask(&get("/who", "")).await;
    assert_problem(&answer, 429, "busy");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        rig.connect().await.ask(&get("/health", "")).await.status,
        200,
        "probes get in"
    );
    rig.release();
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(rig.connect().await.ask(&get("/who", "")).await.status, 200);
}

#[tokio::test]
async fn at_the_cap_the_longest_idle_connection_makes_room() {
    let rig = Rig::start(RigPlan {
        connections_max: 2,
        ..RigPlan::default()
    });
    let mut oldest = rig.connect().await;
    assert_eq!(oldest.ask(&get("/who", "")).await.status, 200);
    let mut younger = rig.connect().await;
    assert_eq!(younger.ask(&get("/who", "")).await.status, 200);
    let mut newcomer = rig.connect().await;
    assert_eq!(newcomer.ask(&get("/who", "")).await.status, 200);
    oldest.assert_closed().await;
    assert_eq!(younger.ask(&get("/who", "")).await.status, 200);
}

#[tokio::test]
async fn at_the_cap_with_none_idle_the_newcomer_is_told() {
    let mut rig = Rig::start(RigPlan {
        connections_max: 1,
        ..RigPlan::default()
    });
    let mut busy = rig.connect().await;
    busy.send(&get("/wait", "")).await;
    rig.waiting().await;
    let refused = rig.connect().await.ask(&get("/who", "")).await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (503, Some("connections_full"))
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    rig.release();
    assert_eq!(busy.answer().await.status, 200);
}

#[tokio::test]
async fn a_thousand_silent_connections_do_not_keep_a_client_out() {
    let rig = Rig::start(RigPlan {
        connections_max: 16,
        ..RigPlan::default()
    });
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(rig.connect().await);
    }
    assert_eq!(rig.connect().await.ask(&get("/who", "")).await.status, 200);
}

#[tokio::test]
async fn with_a_token_file_only_tokens_open_the_door() {
    let rig = Rig::start(RigPlan {
        tokens: Some(TOKENS),
        ..RigPlan::default()
    });
    let mut connection = rig.connect().await;
    let rows = [
        ("", 401, "token_missing"),
        ("x-ultrakv-service: default\r\n", 401, "token_missing"),
        (
            "authorization: Bearer wrong-token-0123456\r\n",
            401,
            "token_unknown",
        ),
        (
            "authorization: Basic ZGVmYXVsdA==\r\n",
            401,
            "scheme_unknown",
        ),
        ("x-api-key: admin-token-0123456789\r\n", 403, "admin_only"),
    ];
    for (headers, status, code) in rows {
        let answer = connection.ask(&get("/who", headers)).await;
        assert_problem(&answer, status, code);
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        let unknown = connection.ask(&get("/nowhere", headers)).await;
        assert_eq!(
            unknown.status, status,
            "a stranger does not learn which routes there are"
        );
    }
    let token = "authorization: Bearer default-token-0123456\r\n";
    assert_eq!(connection.ask(&get("/who", token)).await.text(), "default");
    assert_eq!(connection.ask(&get("/health", "")).await.status, 200);
}

#[tokio::test]
async fn without_a_token_file_web_pages_from_elsewhere_are_kept_out() {
    let rig = Rig::start(RigPlan::default());
    let ask = async |head: &str| rig.connect().await.ask(&format!("{head}\r\n\r\n")).await;
    let answer = ask("GET /who HTTP/1.1\r\nhost: evil.example:7800").await;
    assert_problem(&answer, 421, "host_foreign");
    let answer = ask("GET /who HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example").await;
    assert_problem(&answer, 403, "cross_site");
    let answer = ask("GET /who HTTP/1.0\r\nconnection: close").await;
    assert_problem(&answer, 400, "host_missing");
    let answer = ask("GET /who HTTP/1.1\r\nhost: [::1]:7800\r\norigin: http://[::1]:7800").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn routes_and_methods_that_do_not_exist_are_told_so() {
    let rig = Rig::start(RigPlan::default());
    let mut connection = rig.connect().await;
    let answer = connection.ask(&get("/ecko", "")).await;
    assert_problem(&answer, 404, "route_unknown");
    assert!(
        answer.json()["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("/echo"))
    );
    let answer = connection.ask(&get("/echo", "")).await;
    assert_problem(&answer, 405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = connection.ask(&get("/v1/models/none", "")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    assert_eq!(answer.json()["error"]["code"], "route_unknown");
}

#[tokio::test]
async fn bodies_that_are_not_what_the_route_reads_are_told_so() {
    let rig = Rig::start(RigPlan::default());
    let mut connection = rig.connect().await;
    let rows: [(&[u8], &str); 6] = [
        (b"{\"text\":\"a\"", "json_invalid"),
        (b"{\"text\":\"\xff\"}", "invalid_utf8"),
        (b"{\"text\":7}", "field_invalid"),
        (b"{\"text\":\"a\",\"more\":1}", "field_invalid"),
        (b"{}", "field_invalid"),
        (b"", "json_invalid"),
    ];
    for (body, code) in rows {
        let mut request = post("/echo", "", &" ".repeat(body.len())).into_bytes();
        let at = request.len() - body.len();
        request.splice(at.., body.iter().copied());
        connection.send_bytes(&request).await;
        assert_problem(&connection.answer().await, 400, code);
    }
    let plain = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";
    assert_problem(&connection.ask(plain).await, 415, "not_json");
}

#[tokio::test]
async fn a_panic_is_one_failed_request_and_nothing_more() {
    let rig = Rig::start(RigPlan::default());
    let mut connection = rig.connect().await;
    let answer = connection.ask(&get("/panic", "")).await;
    assert_problem(&answer, 500, "panic");
    assert!(
        !answer.text().contains("secret"),
        "what the panic said stays in the log"
    );
    assert_eq!(connection.ask(&get("/who", "")).await.status, 200);
}

#[tokio::test]
async fn closing_lets_requests_that_have_begun_finish() {
    let mut rig = Rig::start(RigPlan::default());
    let mut begun = rig.connect().await;
    begun.send(&get("/wait", "")).await;
    rig.waiting().await;
    let mut idle = rig.connect().await;
    assert_eq!(idle.ask(&get("/who", "")).await.status, 200);
    let closing = rig.close(Duration::from_secs(30));
    idle.assert_closed().await;
    rig.assert_refuses().await;
    rig.release();
    let answer = begun.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "released"));
    assert!(
        closing.await.expect("the closing ends"),
        "nothing was cut off"
    );
}

#[tokio::test]
async fn closing_ends_at_its_deadline() {
    let mut rig = Rig::start(RigPlan::default());
    let mut begun = rig.connect().await;
    begun.send(&get("/wait", "")).await;
    rig.waiting().await;
    let closed = rig
        .close(Duration::from_millis(20))
        .await
        .expect("the closing ends");
    assert!(!closed, "a request was cut off, and it is said");
    begun.assert_closed().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let mut rig = Rig::start(RigPlan::default());
    let mut connection: Connection = rig.connect().await;
    connection.send(&get("/wait", "")).await;
    rig.waiting().await;
    drop(connection);
    rig.abandoned().await;
}
