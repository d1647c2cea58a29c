//! `POST /api/v1/kv-cache/process`, as its users see it.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::rig::{LONG, PROCESS, Served, WITHIN, events, read, serve};

const TEXT: &str = "The archive of the long river keeps every letter that was ever sent along it.";

fn ask(text: &str) -> Value {
    json!({"text": text, "max_length": 12, "temperature": 0})
}

fn as_service(request: RequestBuilder, service: &str) -> RequestBuilder {
    request.header("x-ultrakv-service", service)
}

fn metadata<'a>(answer: &'a Value, field: &str) -> &'a Value {
    &answer["metadata"][field]
}

/// Starts a long streamed generation and returns once its first text is there.
async fn begin_long(served: &Served, text: &str) -> reqwest::Response {
    let body = json!({"text": text, "max_length": LONG, "temperature": 0, "stream": true});
    let mut answer = served.post(PROCESS, &body).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.chunk().await.expect("a stream").is_some());
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_holds_all_three_documented_shapes() {
    let served = serve(|_| {}).await;
    let mut body = ask(TEXT);
    body["session_id"] = json!("s-1");
    let request = served.post(PROCESS, &body).header("x-request-id", "r-1");
    let (status, answer) = read(request).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let text = answer["result"].as_str().expect("text");
    assert_eq!(answer["response"], json!({"text": text, "cached": false}));
    assert_eq!(
        (&answer["success"], &answer["cache_hit"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&answer["error"], &answer["gpu_used"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(answer["session_id"], "s-1");
    assert_eq!(answer["latency"], answer["latency_ms"]);
    let (ms, s) = (
        answer["latency_ms"].as_f64(),
        answer["processing_time"].as_f64(),
    );
    assert!((ms.expect("ms") - s.expect("s") * 1_000.0).abs() < 1e-6);
    assert_eq!(metadata(&answer, "request_id"), "r-1");
    assert_eq!(metadata(&answer, "model"), "tiny");
    assert_eq!(metadata(&answer, "completion_tokens"), 12);
    assert_eq!(metadata(&answer, "finish_reason"), "length");
    assert_eq!(metadata(&answer, "cache"), "none");
    assert!(metadata(&answer, "time_to_first_token_ms").as_f64() <= ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn reuse_answers_the_same_with_less_and_no_store_leaves_nothing() {
    let served = serve(|_| {}).await;
    let send = async |control: &str| {
        let request = served
            .post(PROCESS, &ask(TEXT))
            .header("cache-control", control);
        let (status, answer) = read(request).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    };
    let unseen = send("no-store").await;
    let cold = send("max-age=60").await;
    let warm = send("no-cache").await;
    let hit = send("max-age=60").await;
    let caches = [&unseen, &cold, &warm, &hit].map(|answer| metadata(answer, "cache").clone());
    assert_eq!(caches, ["none", "none", "prefix", "response"]);
    for answer in [&cold, &warm, &hit] {
        assert_eq!(answer["result"], unseen["result"]);
    }
    let tokens = metadata(&warm, "prompt_tokens").as_u64().expect("tokens");
    let reused = metadata(&warm, "reused_tokens").as_u64().expect("tokens");
    assert_eq!(reused, (tokens - 1) / 16 * 16);
    assert_eq!(metadata(&warm, "computed_tokens"), tokens - reused);
    assert_eq!(metadata(&hit, "computed_tokens"), 0);
    assert_eq!(hit["response"]["cached"], true);
    assert_eq!(
        served.figure("ultrakv_generations_cancelled_total").await,
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn services_share_only_within_their_group_and_salts_separate() {
    let served = serve(|_| {}).await;
    let cache = async |service: &str, body: &Value| {
        let (status, answer) = read(as_service(served.post(PROCESS, body), service)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        metadata(&answer, "cache").clone()
    };
    let salted = json!({"text": TEXT, "max_length": 12, "temperature": 0, "cache_salt": "x"});
    assert_eq!(cache("default", &ask(TEXT)).await, "none");
    assert_eq!(cache("other", &ask(TEXT)).await, "none");
    assert_eq!(cache("default", &salted).await, "none");
    assert_eq!(cache("left", &ask(TEXT)).await, "none");
    assert_eq!(cache("right", &ask(TEXT)).await, "response");
    assert_eq!(cache("right", &ask(&format!("{TEXT}?"))).await, "prefix");
    assert_eq!(cache("default", &ask(TEXT)).await, "response");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_is_the_whole_answer_in_pieces() {
    let served = serve(|_| {}).await;
    let (_, whole) = served.process(&ask(TEXT)).await;
    for control in ["no-cache", "max-age=60"] {
        let request = served
            .post(PROCESS, &ask(TEXT))
            .header("cache-control", control);
        let answer = request
            .header("accept", "text/event-stream")
            .send()
            .await
            .expect("events");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let events = events(&answer.text().await.expect("a stream"));
        let (done, tokens) = events.split_last().expect("events");
        let pieces: String = tokens
            .iter()
            .map(|(event, data)| {
                assert_eq!(event, "token");
                let data: Value = serde_json::from_str(data).expect("JSON");
                data["text"].as_str().expect("text").to_owned()
            })
            .collect();
        assert_eq!(done.0, "done");
        let done: Value = serde_json::from_str(&done.1).expect("JSON");
        assert_eq!(done["result"], whole["result"]);
        assert_eq!(pieces, whole["result"].as_str().expect("text"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_stops_its_generation_streaming_or_not() {
    let served = serve(|_| {}).await;
    drop(begin_long(&served, "a reader that leaves").await);
    served
        .until("ultrakv_generations_cancelled_total", 1.0)
        .await;
    served.until("ultrakv_generations_active", 0.0).await;

    let body = json!({"text": "a caller that leaves", "max_length": LONG, "temperature": 0});
    let caller = tokio::spawn(served.post(PROCESS, &body).send());
    served.until("ultrakv_generations_active", 1.0).await;
    caller.abort();
    served
        .until("ultrakv_generations_cancelled_total", 2.0)
        .await;
    served.until("ultrakv_generations_active", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_at_once_compute_once() {
    let served = serve(|settings| settings.process.generations_concurrent_max = 8).await;
    let body = json!({"text": TEXT, "max_length": 400, "temperature": 1.0});
    let answers = futures::future::join_all((0..16).map(|_| served.process(&body))).await;
    let (_, first) = &answers[0];
    for (status, answer) in &answers {
        assert_eq!(*status, StatusCode::OK);
        assert_eq!(
            answer["result"], first["result"],
            "sampled once, without a seed"
        );
    }
    let computed = answers
        .iter()
        .filter(|(_, answer)| metadata(answer, "cache") == "none");
    assert_eq!(computed.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_house_says_busy_and_when_to_come_back() {
    let served = serve(|settings| {
        settings.process.generations_concurrent_max = 1;
        settings.process.queue_max = 0;
    })
    .await;
    let running = begin_long(&served, "the only slot").await;
    let refused = served
        .post(PROCESS, &ask(TEXT))
        .send()
        .await
        .expect("an answer");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(
        (&problem["code"], &problem["documented_code"]),
        (&json!("busy"), &json!("S004"))
    );
    drop(running);
    served.until("ultrakv_generations_active", 0.0).await;
    assert_eq!(served.process(&ask(TEXT)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_before_and_within_a_stream() {
    let served =
        serve(|settings| settings.limits.request_timeout = Duration::from_millis(400)).await;
    let body = json!({"text": TEXT, "max_length": LONG, "temperature": 0});
    let (status, problem) = served.process(&body).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::GATEWAY_TIMEOUT, &json!("deadline"))
    );
    let answer = begin_long(&served, "a stream that is too long").await;
    let events = events(&answer.text().await.expect("an end"));
    let (event, data) = events.last().expect("an event");
    let problem: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(
        (event.as_str(), &problem["code"]),
        ("error", &json!("deadline"))
    );
    served
        .until("ultrakv_generations_cancelled_total", 2.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_told_its_own_figures_and_no_others() {
    let served = serve(|_| {}).await;
    for _ in 0..3 {
        read(as_service(served.post(PROCESS, &ask(TEXT)), "other")).await;
    }
    let figures = async |service: &str| {
        let request = as_service(served.get("/api/v1/kv-cache/stats"), service);
        read(request).await.1["service"].clone()
    };
    let other = figures("other").await;
    assert_eq!(
        (&other["requests"], &other["response_hits"]),
        (&json!(3), &json!(2)),
        "{other}"
    );
    assert_eq!(other["tokens_generated"], 12);
    assert_eq!(figures("default").await["requests"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_turned_off_computes_everything() {
    let served = serve(|settings| settings.cache.enabled = false).await;
    for _ in 0..2 {
        let (_, answer) = served.process(&ask(TEXT)).await;
        assert_eq!(metadata(&answer, "cache"), "none");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_actor_is_replaced_and_running_generations_end_well() {
    let served = serve(|settings| settings.process.generations_concurrent_max = 1).await;
    let body = json!({"text": "runs on", "max_length": 600, "temperature": 0, "stream": true});
    let mut running = served.post(PROCESS, &body).send().await.expect("an answer");
    assert!(running.chunk().await.expect("a stream").is_some());
    assert!(served.node.kill("node/gateway/gateway"));
    let text = running.text().await.expect("the rest");
    assert!(text.contains("event: done"), "{text}");
    // While the actor is down a request is told so; soon one is served.
    loop {
        let (status, answer) = served.process(&ask(TEXT)).await;
        if status == StatusCode::OK {
            break;
        }
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("stopped"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shard_costs_computing_again_and_changes_no_answer() {
    let served = serve(|settings| settings.limits.request_timeout = WITHIN).await;
    let (_, expected) = served.process(&ask(TEXT)).await;
    let shards: Vec<String> = served
        .node
        .tree()
        .into_iter()
        .filter(|actor| actor.kind == "ShardActor")
        .map(|actor| actor.path)
        .collect();
    assert!(!shards.is_empty());
    let asking = futures::future::join_all((0..24).map(async |number| {
        if number % 8 == 3 {
            for shard in &shards {
                let _between_two_lives = served.node.kill(shard);
            }
        }
        let control = if number % 2 == 0 {
            "no-cache"
        } else {
            "max-age=60"
        };
        read(
            served
                .post(PROCESS, &ask(TEXT))
                .header("cache-control", control),
        )
        .await
    }));
    for (status, answer) in asking.await {
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["result"], expected["result"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_told_what_is_wrong() {
    let served = serve(|_| {}).await;
    let rows = [
        (json!({}), 400, "field_missing", "text"),
        (
            json!({"text": "a", "max_lenght": 1}),
            400,
            "field_unknown",
            "max_lenght",
        ),
        (
            json!({"text": "a", "temperature": 3}),
            400,
            "field_invalid",
            "temperature",
        ),
        (
            json!({"text": "x".repeat(70_000)}),
            400,
            "context_length_exceeded",
            "text",
        ),
    ];
    for (body, status, code, param) in rows {
        let (answered, problem) = served.process(&body).await;
        assert_eq!(
            (answered.as_u16(), &problem["code"]),
            (status, &json!(code)),
            "{problem}"
        );
        assert_eq!(problem["param"].as_str().unwrap_or_default(), param);
    }
    let request = served
        .post(PROCESS, &ask(TEXT))
        .header("accept", "image/png");
    assert_eq!(read(request).await.0, StatusCode::NOT_ACCEPTABLE);
    let (status, _) = read(as_service(served.post(PROCESS, &ask(TEXT)), "nobody")).await;
    assert!(status.is_client_error());
}
