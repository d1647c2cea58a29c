//! The admin door.

use std::collections::BTreeSet;

use reqwest::Method;
use ultrakv_config::{Origin, Warning};

use crate::house::{House, failure, json, send, settings};

/// Checks a text in Prometheus' format as far as a scrape would, and gives the names of its families.
fn families(text: &str) -> BTreeSet<String> {
    let mut families = BTreeSet::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            assert!(
                ["counter", "gauge", "summary", "histogram"].contains(&kind),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name.to_owned()), "{name} is there twice");
            name.clone_into(&mut current);
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(
                rest.split_once(' ')
                    .is_some_and(|(_, help)| !help.is_empty()),
                "{line}"
            );
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = sample.split('{').next().unwrap_or_default();
            assert!(name.starts_with(&current), "{line} is not of {current}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                "{line}"
            );
        }
    }
    families
}

#[tokio::test]
async fn metrics_have_our_names_and_the_documented_ones() {
    let house = House::open(settings()).await;
    // The client keeps its connection open, and it is counted.
    let healthy = send(house.http(Method::GET, "/health")).await;
    assert_eq!(
        healthy.text().await.expect("a body"),
        "{\"status\":\"healthy\"}"
    );
    let answer = send(house.admin(Method::GET, "/metrics")).await;
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer.text().await.expect("the metrics");
    let families = families(&text);
    for name in [
        "ultrakv_build_info",
        "ultrakv_ready",
        "ultrakv_process_requests_total",
        "ultrakv_process_latency_seconds",
        "ultrakv_budget_bytes",
        "kv_cache_hit_rate",
        "kv_cache_miss_rate",
        "kv_cache_latency_seconds",
        "kv_cache_throughput_rps",
        "kv_cache_requests_total",
        "kv_cache_memory_usage_bytes",
        "kv_cache_memory_limit_bytes",
        "kv_cache_size_bytes",
        "kv_cache_cache_hits_total",
        "kv_cache_cache_misses_total",
        "kv_cache_errors_total",
        "kv_cache_tokens_total",
        "kv_cache_cache_size",
        "kv_cache_response_time_p95_seconds",
        "kv_cache_memory_usage_ratio",
        "kv_cache_active_sessions",
        "system_requests_total",
        "system_errors_total",
        "system_active_connections",
    ] {
        assert!(families.contains(name), "{name} is missing");
    }
    assert!(text.contains("kv_cache_requests_total{status=\"hit\"} 0\n"));
    assert!(text.contains("ultrakv_ready 1\n"));
    assert!(text.contains("system_active_connections 1\n"), "{text}");
    assert!(text.contains(&format!("kv_cache_memory_limit_bytes {}\n", 64 << 20)));
    let summary = send(house.admin(Method::GET, "/metrics/summary")).await;
    let summary = summary.text().await.expect("the summary");
    assert!(
        summary.starts_with("ready | 0 requests") && summary.lines().count() == 1,
        "{summary}"
    );
}

#[tokio::test]
async fn health_is_short_and_readiness_tells_its_checks_when_asked() {
    let warning = Warning {
        code: "config.not_yet",
        key: "kv_cache.compression".to_owned(),
        origin: Origin::Default,
        message: "blocks are stored as they are".to_owned(),
        hint: None,
    };
    let house = House::try_open(settings(), vec![warning])
        .await
        .expect("the doors open");
    for (path, word) in [
        ("/livez", "alive"),
        ("/healthz", "healthy"),
        ("/health", "healthy"),
    ] {
        let (status, body) = json(house.admin(Method::GET, path)).await;
        assert_eq!(
            (status, body["status"].as_str()),
            (200, Some(word)),
            "{path}"
        );
    }
    let (status, short) = json(house.admin(Method::GET, "/readyz")).await;
    assert_eq!(
        (status, short),
        (200, serde_json::json!({"status": "ready"}))
    );
    let (_, verbose) = json(house.admin(Method::GET, "/readyz?verbose")).await;
    let checks = verbose["checks"].as_array().expect("checks");
    let names: BTreeSet<&str> = checks
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    assert!(
        names.is_superset(&BTreeSet::from(["actors", "quorum", "shards", "draining"])),
        "{names:?}"
    );
    assert_eq!(verbose["warnings"][0]["code"], "config.not_yet");
    assert_eq!(verbose["warnings"][0]["key"], "kv_cache.compression");
}

#[tokio::test]
async fn the_inside_of_the_node_can_be_looked_at() {
    let house = House::open(settings()).await;
    let (_, version) = json(house.admin(Method::GET, "/version")).await;
    assert_eq!(
        (version["name"].as_str(), version["node"].as_str()),
        (Some("ultrakv"), Some("ultrakv"))
    );
    let (_, status) = json(house.admin(Method::GET, "/status")).await;
    assert_eq!(status["cluster"]["slots_owned"], 16_384);
    assert_eq!(status["cluster"]["failover"]["promised"], false);
    assert_eq!(status["model"]["reference"], true);
    let (_, tree) = json(house.admin(Method::GET, "/v1/actors")).await;
    let actors = tree["actors"].as_array().expect("actors");
    let kinds: BTreeSet<&str> = actors
        .iter()
        .filter_map(|actor| actor["kind"].as_str())
        .collect();
    assert!(
        kinds.contains("ShardActor") && kinds.contains("MembershipActor"),
        "{kinds:?}"
    );
    assert!(kinds.contains("GatewayActor"), "{kinds:?}");
    assert!(
        actors.iter().all(|actor| actor["status"] == "running"),
        "{tree}"
    );
}

#[tokio::test]
async fn with_tokens_only_health_answers_strangers_and_only_admin_sees_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(
        &tokens,
        "default default-token-0123456\nadmin admin-token-0123456789\n",
    )
    .expect("written");
    let mut settings = settings();
    settings.auth.token_file = Some(tokens);
    let house = House::open(settings).await;
    for path in [
        "/livez",
        "/readyz",
        "/healthz",
        "/health",
        "/openapi.json",
        "/docs/",
    ] {
        assert_eq!(
            send(house.admin(Method::GET, path)).await.status(),
            200,
            "{path}"
        );
    }
    for path in [
        "/metrics",
        "/metrics/summary",
        "/version",
        "/status",
        "/v1/actors",
        "/v1/policy",
        "/v1/policy/explain?key=a",
        "/v1/prefetch",
    ] {
        let ask = |token: &str| house.admin(Method::GET, path).bearer_auth(token);
        assert_eq!(
            failure(house.admin(Method::GET, path)).await,
            (401, "token_missing".to_owned())
        );
        assert_eq!(
            failure(ask("default-token-0123456")).await,
            (403, "not_admin".to_owned())
        );
        let let_in = send(ask("admin-token-0123456789")).await.status();
        // There is no block to explain.
        let expected = if path.contains("explain") { 404 } else { 200 };
        assert_eq!(let_in, expected, "{path}");
    }
    let stats = house.http(Method::GET, "/api/v1/kv-cache/stats");
    assert_eq!(failure(stats).await, (401, "token_missing".to_owned()));
    let models = house.http(Method::GET, "/v1/models");
    let (status, body) = json(models).await;
    assert_eq!(
        (status, body["error"]["type"].as_str()),
        (401, Some("authentication_error"))
    );
    let verbose = json(house.admin(Method::GET, "/readyz?verbose")).await.1;
    let codes: Vec<_> = verbose["warnings"]
        .as_array()
        .expect("warnings")
        .iter()
        .collect();
    assert!(
        codes
            .iter()
            .any(|warning| warning["code"] == "auth.token_file_mode"),
        "{verbose}"
    );
}
