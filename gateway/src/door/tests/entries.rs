//! `/v1/kv/entries/{key}`, as its users see it.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::rig::{Served, serve};

const ENTRY: &str = "/v1/kv/entries/tasks%2F7";

async fn put(
    served: &Served,
    query: &str,
    condition: Option<(&str, &str)>,
    value: &str,
) -> Response {
    let mut request = served.put(&format!("{ENTRY}{query}"), value);
    if let Some((name, tag)) = condition {
        request = request.header(name, tag);
    }
    request.send().await.expect("an answer")
}

async fn code(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body: Value = response.json().await.expect("a problem");
    (status, body["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_written_read_and_deleted_under_conditions() {
    let served = serve(|_| {}).await;
    let missing = served.get(ENTRY).send().await.unwrap();
    let missing = code(missing).await;
    assert_eq!(missing, (StatusCode::NOT_FOUND, json!("entry_missing")));

    let first = put(
        &served,
        "?ttl_ms=600000",
        Some(("if-none-match", "*")),
        "one",
    )
    .await;
    assert_eq!(first.status(), StatusCode::OK);
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let body: Value = first.json().await.unwrap();
    assert_eq!(tag, format!("\"{}\"", body["version"]));

    let again = put(&served, "", Some(("if-none-match", "*")), "two").await;
    assert_eq!(again.headers()["etag"], tag.as_str());
    let conflict = (StatusCode::PRECONDITION_FAILED, json!("entry_conflict"));
    assert_eq!(code(again).await, conflict);

    let found = served.get(ENTRY).send().await.unwrap();
    let header = |name: &str| found.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("etag"), header("x-ultrakv-class")),
        (tag.clone(), "kept".to_owned())
    );
    let left: u64 = header("x-ultrakv-ttl-ms").parse().unwrap();
    assert!((1..=600_000).contains(&left), "{left}");
    assert_eq!(found.text().await.unwrap(), "one");

    let second = put(&served, "?class=cached", Some(("if-match", &tag)), "").await;
    assert_eq!(second.status(), StatusCode::OK);
    let stale = served
        .delete(ENTRY)
        .header("if-match", &tag)
        .send()
        .await
        .unwrap();
    assert_eq!(code(stale).await, conflict);
    let found = served.get(ENTRY).send().await.unwrap();
    assert_eq!(found.headers()["x-ultrakv-class"], "cached");
    assert!(!found.headers().contains_key("x-ultrakv-ttl-ms"));
    assert_eq!(found.text().await.unwrap(), "");

    for expected in [true, false] {
        let deleted: Value = served
            .delete(ENTRY)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(deleted, json!({"deleted": expected}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_salts_have_entries_of_their_own_and_wrong_input_is_named() {
    let served = serve(|_| {}).await;
    assert_eq!(put(&served, "", None, "one").await.status(), StatusCode::OK);
    for (name, value) in [("x-ultrakv-service", "other"), ("x-ultrakv-salt", "s")] {
        let other = served.get(ENTRY).header(name, value).send().await.unwrap();
        assert_eq!(other.status(), StatusCode::NOT_FOUND, "{name}");
    }
    let wrong = put(&served, "", Some(("if-match", "one")), "two").await;
    assert_eq!(
        code(wrong).await,
        (StatusCode::BAD_REQUEST, json!("condition_invalid"))
    );
    let wrong = put(&served, "?class=gold", None, "two").await;
    assert_eq!(
        code(wrong).await,
        (StatusCode::BAD_REQUEST, json!("query_invalid"))
    );
    let name = format!("/v1/kv/entries/{}", "x".repeat(513));
    let wrong = served.put(&name, "two").send().await.unwrap();
    assert_eq!(
        code(wrong).await,
        (StatusCode::BAD_REQUEST, json!("name_invalid"))
    );
    let large = put(&served, "", None, &"x".repeat(1 << 20)).await;
    assert_eq!(
        code(large).await,
        (StatusCode::PAYLOAD_TOO_LARGE, json!("entry_too_large"))
    );
    let found = served.get(ENTRY).send().await.unwrap();
    assert_eq!(
        found.text().await.unwrap(),
        "one",
        "what was refused changed nothing"
    );
}
