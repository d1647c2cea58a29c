//! The documented routes around the cache.

use reqwest::Method;
use serde_json::json as value;

use crate::house::{House, failure, json, send, settings};

#[tokio::test]
async fn stats_have_the_documented_names() {
    let house = House::open(settings()).await;
    let (status, stats) = json(house.http(Method::GET, "/api/v1/kv-cache/stats")).await;
    assert_eq!(status, 200);
    for name in [
        "hit_rate",
        "miss_rate",
        "total_requests",
        "cached_requests",
        "memory_usage",
        "average_latency_ms",
        "p50_latency_ms",
        "p95_latency_ms",
        "p99_latency_ms",
        "throughput_rps",
    ] {
        assert!(stats[name].is_number(), "{name} in {stats}");
    }
    assert_eq!(stats["memory"]["limit_bytes"], 64 << 20);
    assert_eq!(stats["cache"]["shards"], 2);
}

#[tokio::test]
async fn a_cold_cache_is_healthy() {
    let house = House::open(settings()).await;
    let (status, health) = json(house.http(Method::GET, "/api/v1/kv-cache/health")).await;
    assert_eq!(
        (status, health["status"].as_str()),
        (200, Some("healthy")),
        "{health}"
    );
    let parts = value!({"cache": "healthy", "gpu": "absent", "persistence": "none"});
    assert_eq!(health["components"], parts);
    let figures = value!({"memory_usage": 0.0, "cache_size": 0, "active_sessions": 0});
    assert_eq!(health["metrics"], figures);
    let (status, short) = json(house.http(Method::GET, "/health")).await;
    assert_eq!((status, short), (200, value!({"status": "healthy"})));
}

#[tokio::test]
async fn a_flood_of_probes_does_not_make_a_healthy_node_look_ill() {
    let house = House::open(settings()).await;
    let probes = (0..300).map(|_| send(house.http(Method::GET, "/health")));
    let answers = futures::future::join_all(probes).await;
    let ill = answers
        .iter()
        .filter(|answer| answer.status() != 200)
        .count();
    assert_eq!(ill, 0, "of 300 probes");
}

#[tokio::test]
async fn clear_drops_what_the_callers_service_stored_and_nothing_else() {
    let house = House::open(settings()).await;
    let block = |method: Method, service: &str| {
        house
            .http(method, "/v1/kv/blocks/mine")
            .header("x-ultrakv-service", service)
    };
    for service in ["default", "left"] {
        assert_eq!(
            send(block(Method::PUT, service).body("x")).await.status(),
            201
        );
    }
    let clear = house
        .http(Method::POST, "/api/v1/kv-cache/clear")
        .header("x-ultrakv-service", "right");
    let (status, cleared) = json(clear).await;
    assert_eq!(
        (status, &cleared["generation"], &cleared["blocks"]),
        (200, &value!(1), &value!(1))
    );
    assert_eq!(cleared["shares"], "share group pair");
    assert_eq!(
        send(block(Method::GET, "left")).await.status(),
        404,
        "one group, one cache"
    );
    assert_eq!(send(block(Method::GET, "default")).await.status(), 200);
}

#[tokio::test]
async fn the_self_test_goes_through_the_process_path() {
    let house = House::open(settings()).await;
    let test = |body| {
        house
            .http(Method::POST, "/api/v1/kv-cache/test")
            .json(&body)
    };
    let (status, report) = json(test(value!({"iterations": 6, "concurrent": 2}))).await;
    assert_eq!(
        (status, &report["success"]),
        (200, &value!(true)),
        "{report}"
    );
    assert_eq!(
        (&report["answered"], &report["errors"]),
        (&value!(6), &value!(0))
    );
    assert_eq!(
        report["misses"], 1,
        "only the first request is cold: {report}"
    );
    assert_eq!(
        report["response_hits"], 3,
        "each request is sent twice: {report}"
    );
    assert_eq!(report["prefix_hits"], 2, "{report}");
    assert!(
        report["tokens_reused"]
            .as_u64()
            .is_some_and(|tokens| tokens > 0),
        "{report}"
    );
    assert!(
        report["p50_latency_ms"]
            .as_f64()
            .is_some_and(|latency| latency > 0.0),
        "{report}"
    );
    // Six requests, two at a time, cannot all have been quicker than a sixth of the whole.
    let (longest, whole) = (
        report["p99_latency_ms"].as_f64(),
        report["duration_ms"].as_f64(),
    );
    assert!(
        longest
            .zip(whole)
            .is_some_and(|(longest, whole)| longest * 6.0 > whole * 0.9),
        "{report}"
    );
    let (_, stats) = json(house.http(Method::GET, "/api/v1/kv-cache/stats")).await;
    assert_eq!(
        (&stats["total_requests"], &stats["cached_requests"]),
        (&value!(6), &value!(3))
    );
    for body in [
        value!({"iterations": 0}),
        value!({"iterations": 201}),
        value!({"concurrent": 17}),
    ] {
        assert_eq!(
            failure(test(body)).await,
            (400, "value_out_of_range".to_owned())
        );
    }
    assert_eq!(json(test(value!({}))).await.1["iterations"], 10);
    let bare = house.http(Method::POST, "/api/v1/kv-cache/test");
    assert_eq!(json(bare).await.1["iterations"], 10);
}
