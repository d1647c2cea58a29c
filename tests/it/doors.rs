//! Real requests to a real process, as a user sends them: reuse, isolation, wrong input, signals.

use std::net::TcpListener;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use ultrakv_tests::{Node, ultrakv};

const COMMAND_WITHIN: Duration = Duration::from_secs(30);
const PROCESS: &str = "/api/v1/kv-cache/process";
/// Two services that share nothing, and two that share one group.
const SERVICES: &str = "services:\n  alone: {}\n  other: {}\n  left: { share_group: pair }\n  right: { share_group: pair }\n";

fn long_text(end: &str) -> String {
    format!(
        "{}{end}",
        "The same long beginning, sentence after sentence. ".repeat(12)
    )
}

async fn process(node: &Node, text: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let body = json!({"text": text, "max_length": 12, "temperature": 0});
    let mut request = reqwest::Client::new().post(node.http(PROCESS)).json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.send().await.expect("an answer")).await
}

async fn read(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn number(value: &Value, path: &str) -> u64 {
    let found = value.pointer(path).and_then(Value::as_u64);
    assert!(found.is_some(), "{path} in {value}");
    found.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_with_the_same_prefix_computes_less_and_answers_the_same() {
    let node = Node::start("", &[]).expect("a node");
    let text = long_text("What follows?");

    let (status, fresh) = process(&node, &text, &[("cache-control", "no-store")]).await;
    assert_eq!(status, StatusCode::OK, "{fresh}");
    assert_eq!(number(&fresh, "/metadata/reused_tokens"), 0);

    let (_, cold) = process(&node, &text, &[]).await;
    assert_eq!(
        number(&cold, "/metadata/reused_tokens"),
        0,
        "no-store left nothing behind"
    );

    let (_, warm) = process(&node, &text, &[("cache-control", "no-cache")]).await;
    assert_eq!(warm["metadata"]["cache"], "prefix");
    assert!(number(&warm, "/metadata/reused_tokens") >= 512, "{warm}");
    assert_eq!(
        number(&warm, "/metadata/reused_tokens") + number(&warm, "/metadata/computed_tokens"),
        number(&warm, "/metadata/prompt_tokens")
    );

    let (_, hit) = process(&node, &text, &[]).await;
    assert_eq!(hit["metadata"]["cache"], "response");
    assert_eq!(hit["cache_hit"], true);
    for answer in [&cold, &warm, &hit] {
        assert_eq!(answer["result"], fresh["result"]);
        assert_eq!(answer["success"], true);
        assert_eq!(answer["response"]["text"], fresh["result"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_share_blocks_only_through_a_share_group() {
    let node = Node::start(SERVICES, &[]).expect("a node");
    let text = long_text("Whose is it?");
    let as_service = |name: &'static str| [("x-ultrakv-service", name)];
    let (status, first) = process(&node, &text, &as_service("alone")).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let (_, other) = process(&node, &text, &as_service("other")).await;
    assert_eq!(other["metadata"]["cache"], "none", "{other}");
    let (_, left) = process(&node, &text, &as_service("left")).await;
    assert_eq!(left["metadata"]["cache"], "none", "{left}");
    let changed = long_text("Whose is that?");
    let (_, right) = process(&node, &changed, &as_service("right")).await;
    assert_eq!(right["metadata"]["cache"], "prefix", "{right}");
    let (status, _) = process(&node, &text, &as_service("nobody")).await;
    assert!(status.is_client_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_makes_a_service_cold_and_leaves_the_others_warm() {
    let node = Node::start(SERVICES, &[]).expect("a node");
    let text = long_text("Is it still here?");
    for service in ["alone", "other"] {
        process(&node, &text, &[("x-ultrakv-service", service)]).await;
    }
    let cleared = reqwest::Client::new()
        .post(node.http("/api/v1/kv-cache/clear"))
        .header("x-ultrakv-service", "alone")
        .send()
        .await
        .expect("an answer");
    assert_eq!(cleared.status(), StatusCode::OK);
    let (_, alone) = process(&node, &text, &[("x-ultrakv-service", "alone")]).await;
    assert_eq!(alone["metadata"]["cache"], "none", "{alone}");
    let (_, other) = process(&node, &text, &[("x-ultrakv-service", "other")]).await;
    assert_eq!(other["metadata"]["cache"], "response", "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bodies_get_a_problem_and_harm_nothing() {
    let mut node = Node::start("limits: { body_bytes_max: 1MiB }\n", &[]).expect("a node");
    let rows: Vec<(&str, Vec<u8>, StatusCode)> = vec![
        ("not JSON", b"{".to_vec(), StatusCode::BAD_REQUEST),
        (
            "invalid UTF-8",
            b"{\"text\": \"\xff\xfe\"}".to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        ("no text", b"{}".to_vec(), StatusCode::BAD_REQUEST),
        (
            "empty text",
            br#"{"text": ""}"#.to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            "wrong type",
            br#"{"text": 5}"#.to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            "unknown field",
            br#"{"text": "a", "max_lenght": 5}"#.to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            "too hot",
            br#"{"text": "a", "temperature": 9}"#.to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            "too large",
            vec![b' '; 2 << 20],
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ];
    for (what, body, expected) in rows {
        let request = reqwest::Client::new()
            .post(node.http(PROCESS))
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.expect("an answer");
        let kind = answer.headers().get("content-type").cloned();
        let (status, problem) = read(answer).await;
        assert_eq!(status, expected, "{what}: {problem}");
        assert_eq!(kind.expect("a type"), "application/problem+json", "{what}");
        for field in [
            "type",
            "title",
            "status",
            "detail",
            "code",
            "hint",
            "request_id",
        ] {
            assert!(!problem[field].is_null(), "{what}: no {field} in {problem}");
        }
    }
    assert!(node.is_alive());
    let (status, _) = process(&node, "still here", &[]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_starts_again_and_sigterm_ends_it_cleanly() {
    let mut node = Node::start("", &[]).expect("a node");
    let (status, _) = process(&node, "before", &[]).await;
    assert_eq!(status, StatusCode::OK);
    node.signal("KILL").expect("sent");
    node.wait(COMMAND_WITHIN).expect("gone");

    let node = Node::start("", &[]).expect("a node again");
    let (status, _) = process(&node, "after", &[]).await;
    assert_eq!(status, StatusCode::OK);
    let ready = reqwest::get(node.admin("/readyz"))
        .await
        .expect("an answer");
    assert_eq!(ready.status(), StatusCode::OK);
    let ended = node.stop().expect("it stops");
    assert_eq!(ended.code(), Some(0));
}

/// Runs the binary; it must end with `code`, say each of `words`, and never panic.
fn says(arguments: &[&str], code: i32, words: &[&str]) {
    let said = ultrakv(arguments, &[], COMMAND_WITHIN).expect("it runs");
    let text = format!("{}{}", said.out, said.err);
    assert_eq!(said.code, Some(code), "{arguments:?}: {text}");
    for word in words {
        assert!(
            text.contains(word),
            "{arguments:?} does not say {word:?}: {text}"
        );
    }
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
}

#[test]
fn wrong_settings_are_told_with_their_place_and_exit_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: [(&str, &[u8], &[&str]); 3] = [
        (
            "unknown.yaml",
            b"kv_cache:\n  max_tokenz: 4096\n",
            &["2:3", "max_tokens"],
        ),
        ("bad.yaml", b"kv_cache: [\n", &["bad.yaml"]),
        (
            "zero.yaml",
            b"cache:\n  bytes_max: 0\n",
            &["cache.bytes_max"],
        ),
    ];
    for (name, text, words) in rows {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        says(
            &["config", "check", "--config", &path.to_string_lossy()],
            2,
            words,
        );
    }
}

#[test]
fn commands_say_what_is_wrong_and_exit_as_documented() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("its address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), b"{}").expect("written");
    let broken = folder.path().to_string_lossy();
    let any = "127.0.0.1:0";
    says(&["start", "--http", &taken, "--admin", any], 1, &[&taken]);
    says(
        &["start", "--http", "0.0.0.0:0", "--admin", any],
        2,
        &["token"],
    );
    says(
        &["start", "--http", any, "--admin", any, "--model", &broken],
        1,
        &["config.json"],
    );
    let nowhere = "/nowhere/at/all";
    says(
        &["start", "--http", any, "--admin", any, "--model", nowhere],
        1,
        &[nowhere],
    );
    says(
        &["stats", "--url", "http://127.0.0.1:9"],
        3,
        &["127.0.0.1:9"],
    );
    says(&["frobnicate"], 2, &["frobnicate"]);
}

#[test]
fn operators_ask_the_cluster_and_are_told_what_one_node_cannot_do() {
    let node = Node::start("node: {name: one}", &[]).expect("a node");
    let admin = node.admin("");
    let ask = |words: &[&str], code: i32, told: &[&str]| {
        says(&[words, &["--admin", &admin]].concat(), code, told);
    };
    ask(&["cluster", "status"], 0, &["1 of 1 voters answer", "one"]);
    ask(
        &["cluster", "layout"],
        0,
        &["one (asked)", "16 384", "plan 1"],
    );
    ask(
        &["cluster", "layout", "-o", "json"],
        0,
        &["\"owned\": 16384"],
    );
    ask(&["cluster", "layout", "-o", "yaml"], 0, &["owned: 16384"]);
    ask(&["cluster", "jobs"], 0, &["no jobs"]);
    let id = "3f0b0000000000000000000000000000";
    ask(
        &["cluster", "job", &id[..4]],
        2,
        &["no job's id begins", "hint:"],
    );
    ask(
        &["cluster", "job", id, "--cancel"],
        1,
        &["error[unknown_job]", "hint:"],
    );
    ask(
        &["cluster", "rebalance", "--wait"],
        1,
        &["error[no_cluster]", "--certs"],
    );
    ask(
        &["node", "drain", "one", "--leave"],
        1,
        &["error[last_member]"],
    );
    ask(&["node", "drain", "two"], 2, &["no member is called two"]);
    ask(
        &["node", "forget", "one"],
        1,
        &["error[member_state]", "down"],
    );
    ask(&["node", "join", "node-1:7802"], 1, &["error[no_cluster]"]);
    assert_eq!(node.stop().expect("it stops").code(), Some(0));
    ask(&["cluster", "status"], 3, &["refused", "--admin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_ask_which_blocks_go_next_and_why() {
    let node = Node::start("", &[]).expect("a node");
    let (status, _) = process(&node, &long_text("Who goes first?"), &[]).await;
    assert_eq!(status, StatusCode::OK);
    let admin = node.admin("");
    let json = |words: &[&str]| -> Value {
        let words = [words, &["-o", "json", "--admin", &admin]].concat();
        let said = ultrakv(&words, &[], COMMAND_WITHIN).expect("it runs");
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        serde_json::from_str(&said.out).expect("one JSON object")
    };
    let policy = json(&["policy"]);
    assert_eq!(policy["policy"], "adaptive");
    let shards = policy["shards"].as_array().expect("shards");
    let next = shards.iter().find_map(|shard| shard["next"].get(0));
    let next = next.expect("a block that may go");
    let key = next["key"].as_str().expect("its key");
    let told = json(&["explain", key]);
    assert_eq!(
        (&told["key"], &told["can_go"]),
        (&next["key"], &true.into())
    );
    assert_eq!(told["services"], json!(["default"]));

    let ask = |words: &[&str], code: i32, told: &[&str]| {
        says(&[words, &["--admin", &admin]].concat(), code, told);
    };
    ask(
        &["policy", "--classes"],
        0,
        &["policy adaptive", "would go next", key, "ghosts", "turn 1"],
    );
    ask(
        &["explain", key],
        0,
        &[key, "class", "score", "hits", "nothing holds it"],
    );
    ask(
        &["explain", "nobody", "--kind", "block"],
        1,
        &["error[explain_missing]", "hint:"],
    );
    ask(&["policy", "--next", "257"], 2, &["257"]);
    ask(&["explain", "a", "--kind", "thing"], 2, &["entry"]);
}

#[test]
fn a_policy_that_nobody_registered_keeps_the_node_from_starting() {
    let start = |set: &str, told: &[&str]| {
        says(&["start", "--set", set], 2, told);
    };
    start(
        "cache.policy=s3fifo",
        &[
            "error[config.unknown_policy]",
            "did you mean `s3-fifo`",
            "`adaptive`",
        ],
    );
    start(
        "services.bul.strategy=lru",
        &[
            "error[config.contradiction]",
            "`lru`",
            "`adaptive`",
            "one order",
        ],
    );
}

#[test]
fn the_lab_makes_and_replays_traces() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (trace, picture) = (path("chat.jsonl"), path("curves.svg"));
    let generate = [
        "lab",
        "generate",
        "chat",
        "--requests",
        "200",
        "--out",
        &trace,
    ];
    says(&generate, 0, &["chat-1: 200 requests"]);
    let replay = ["lab", "replay", &trace, "--policies", "lru,adaptive"];
    let drawn = [&replay[..], &["--picture", &picture]].concat();
    says(
        &drawn,
        0,
        &["lru", "adaptive", "opt", "hits 2.5 %", "replayed 100 %"],
    );
    let svg = std::fs::read_to_string(&picture).expect("a picture");
    assert!(svg.starts_with("<svg"));
    let said = ultrakv(
        &[&replay[..], &["--capacities", "50", "--format", "json"]].concat(),
        &[],
        COMMAND_WITHIN,
    );
    let said = said.expect("it runs");
    let table: Value = serde_json::from_str(&said.out).expect("data alone on stdout");
    assert_eq!(table["cells"].as_array().map(Vec::len), Some(3));

    says(
        &["lab", "replay", "/nowhere"],
        1,
        &["error[trace_unreadable]", "hint:"],
    );
    says(
        &["lab", "replay", &trace, "--policies", "lruu"],
        2,
        &["'lru'"],
    );
    says(
        &["lab", "replay", &trace, "--capacities", "0"],
        2,
        &["percent"],
    );
    says(&["lab", "generate", "chatt"], 2, &["'chat'"]);
}

#[test]
fn the_lab_measures_codecs() {
    let words = "lab codecs --profile qwen --contract 5 --tokens 64 --heads 1 --dims 32 --queries 2 --rounds 0";
    let words: Vec<&str> = words.split(' ').collect();
    says(&words, 0, &["int4", "promised", "making qwen"]);
    says(
        &["lab", "codecs", "--dims", "31"],
        1,
        &["error[codecs_shape]"],
    );
}

#[test]
fn a_member_is_started_with_all_it_needs_or_not_at_all() {
    let start = |words: &[&str], told: &[&str]| {
        says(&[&["start"], words].concat(), 2, told);
    };
    start(&["--certs", "c"], &["cluster.certs", "needs node.data"]);
    start(
        &["--join", "node-1:7802"],
        &["cluster.join", "needs cluster.certs"],
    );
    start(
        &["--join", "node-1"],
        &["lists `node-1`", "host and a port"],
    );
    start(&["--found", "--join", "a:1"], &["cannot be used with"]);
}

#[test]
fn the_templates_load_as_they_are() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/templates");
    let yaml = format!("{root}/kv_cache_production.yaml");
    let env = format!("{root}/production.env.template");
    let arguments = ["config", "check", "--config", &yaml, "--env-file", &env];
    let said = ultrakv(&arguments, &[], COMMAND_WITHIN).expect("it runs");
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(
        format!("{}{}", said.out, said.err).contains("not built yet"),
        "{}{}",
        said.out,
        said.err
    );
}

#[test]
fn the_demo_loses_a_node_gains_one_and_leaves_nothing_running() {
    let _alone = crate::cluster::alone();
    let within = Duration::from_secs(170);
    let said = ultrakv(&["demo", "-o", "json"], &[], within).expect("it runs");
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let report: Value = serde_json::from_str(&said.out).expect("one JSON object");
    assert_eq!(report["right"], true, "{report}");
    for some in [
        "/prefix_hits",
        "/response_hits",
        "/tokens_reused",
        "/answers_equal",
        "/entries_right",
        "/kill/slots_owned",
        "/kill/before/hits",
        "/kill/after/hits",
        "/kill/after/entries",
    ] {
        assert!(number(&report, some) > 0, "{some}: {report}");
    }
    assert_eq!(number(&report, "/wrong") + number(&report, "/failed"), 0);
    let nodes = report["nodes"].as_array().expect("nodes");
    let states: Vec<&Value> = nodes.iter().map(|node| &node["state"]).collect();
    assert_eq!(states, ["killed", "up", "up", "up"], "{report}");
    let slots: u64 = nodes.iter().map(|node| number(node, "/slots")).sum();
    assert_eq!(slots, 16_384, "{report}");
    assert!(number(&nodes[3], "/slots") > 0 && number(&nodes[3], "/hits") > 0);
    for node in nodes {
        let pid = number(node, "/pid");
        let process = format!("/proc/{pid}");
        assert!(
            !std::path::Path::new(&process).exists(),
            "{node} still runs"
        );
    }
}
