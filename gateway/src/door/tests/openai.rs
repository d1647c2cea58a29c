//! The `OpenAI` routes, as that protocol's clients see them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::rig::{LONG, Served, events, read, serve};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn talk(question: &str) -> Value {
    let system = "You are the careful archivist of a very long river. ".repeat(4);
    json!({
        "model": "tiny",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
        "max_tokens": 8,
        "temperature": 0,
    })
}

async fn chat(served: &Served, body: &Value) -> Value {
    let (status, answer) = read(served.post(CHAT, body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

fn cached_tokens(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_listed_and_others_are_not_found() {
    let served = serve(|_| {}).await;
    let (_, list) = read(served.get("/v1/models")).await;
    assert_eq!(
        (&list["object"], &list["data"][0]["id"]),
        (&json!("list"), &json!("tiny"))
    );
    let (_, model) = read(served.get("/v1/models/tiny")).await;
    assert_eq!(model, list["data"][0]);
    for request in [
        served.get("/v1/models/huge"),
        served.post(CHAT, &{
            let mut body = talk("?");
            body["model"] = json!("huge");
            body
        }),
    ] {
        let (status, answer) = read(request).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let error = &answer["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("model_not_found"), &json!("model"))
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_answered_and_its_beginning_reused() {
    let served = serve(|_| {}).await;
    let first = chat(&served, &talk("Who?")).await;
    assert_eq!(first["object"], "chat.completion");
    assert_eq!(first["choices"][0]["message"]["role"], "assistant");
    assert_eq!(cached_tokens(&first), 0);
    let usage = &first["usage"];
    let sum =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    let other = chat(&served, &talk("Where?")).await;
    assert!(cached_tokens(&other) >= 192, "{other}");
    let again = chat(&served, &talk("Who?")).await;
    assert_eq!(again["choices"], first["choices"]);
    assert_eq!(cached_tokens(&again), again["usage"]["prompt_tokens"]);
    assert_ne!(again["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_the_same_and_ends_as_the_protocol_wants() {
    let served = serve(|_| {}).await;
    let whole = chat(&served, &talk("Who?")).await;
    let mut body = talk("Who?");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let answer = served
        .post(CHAT, &body)
        .header("cache-control", "no-cache")
        .send()
        .await
        .unwrap();
    let events = events(&answer.text().await.unwrap());
    let (end, chunks) = events.split_last().expect("events");
    assert_eq!(end.1, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|(_, data)| serde_json::from_str(data).expect("JSON"))
        .collect();
    assert_eq!(
        chunks[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(
        text,
        whole["choices"][0]["message"]["content"].as_str().unwrap()
    );
    let [.., last, usage] = &chunks[..] else {
        panic!("too few chunks")
    };
    assert_eq!(
        last["choices"][0]["finish_reason"],
        whole["choices"][0]["finish_reason"]
    );
    assert_eq!(
        (&usage["choices"], &last["usage"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(
        usage["usage"]["total_tokens"],
        whole["usage"]["total_tokens"]
    );
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_take_text_and_tokens_and_stream() {
    let served = serve(|_| {}).await;
    let ask = |prompt: Value| json!({"model": "tiny", "prompt": prompt, "temperature": 0});
    let (_, by_text) = read(served.post(COMPLETIONS, &ask(json!(["Once upon"])))).await;
    assert_eq!(by_text["object"], "text_completion");
    assert_eq!(by_text["usage"]["completion_tokens"], 16);
    let (status, by_tokens) = read(served.post(COMPLETIONS, &ask(json!([79, 110, 99])))).await;
    assert_eq!(
        (status, &by_tokens["usage"]["prompt_tokens"]),
        (StatusCode::OK, &json!(3))
    );
    let (status, unknown) = read(served.post(COMPLETIONS, &ask(json!([4_000_000])))).await;
    assert_eq!(
        (status, &unknown["error"]["param"]),
        (StatusCode::BAD_REQUEST, &json!("prompt"))
    );
    let mut body = ask(json!("Once upon"));
    body["stream"] = json!(true);
    let stream = served
        .post(COMPLETIONS, &body)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let events = events(&stream);
    let text: String = events
        .iter()
        .filter_map(|(_, data)| serde_json::from_str::<Value>(data).ok())
        .filter_map(|chunk| chunk["choices"][0]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, by_text["choices"][0]["text"].as_str().unwrap());
    assert!(!stream.contains("\"usage\""), "nobody asked for usage");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_reproducible_answers_are_kept() {
    let served = serve(|_| {}).await;
    let hot = |seed: Value| {
        let mut body = talk("Who?");
        body["temperature"] = json!(1.5);
        body["seed"] = seed;
        body
    };
    let all = |answer: &Value| cached_tokens(answer) == answer["usage"]["prompt_tokens"];
    chat(&served, &hot(Value::Null)).await;
    assert!(!all(&chat(&served, &hot(Value::Null)).await));
    let seeded = chat(&served, &hot(json!(7))).await;
    let again = chat(&served, &hot(json!(7))).await;
    assert!(all(&again));
    assert_eq!(again["choices"], seeded["choices"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_the_protocols_own() {
    let served = serve(|_| {}).await;
    let mut body = talk("Who?");
    body["tools"] = json!([{"type": "function"}]);
    let refused = served.post(CHAT, &body).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(refused.headers().contains_key("x-request-id"));
    let answer: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(answer["error"]["param"], "tools");
    assert_eq!(answer["error"]["code"], "unsupported_parameter");
    let long = json!({"model": "tiny", "prompt": "x".repeat(70_000)});
    let (status, answer) = read(served.post(COMPLETIONS, &long)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["error"]["code"], "context_length_exceeded");
    let unread = served.get(CHAT).body("x");
    assert!(read(unread).await.1["error"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_chat_stops_it() {
    let served = serve(|_| {}).await;
    let mut body = talk("Who?");
    body["max_tokens"] = json!(LONG);
    body["stream"] = json!(true);
    let mut answer = served.post(CHAT, &body).send().await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    served
        .until("ultrakv_generations_cancelled_total", 1.0)
        .await;
}
