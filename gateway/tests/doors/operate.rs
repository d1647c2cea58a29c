//! The cluster's routes at the admin door, asked of a cluster of one.

use reqwest::Method;
use serde_json::json as body;
use ultrakv_cluster::{LayoutReport, NodeId};

use crate::house::{House, failure, json, send, settings};

/// A job that there is not.
const JOB: &str = "00000000000000000000000000000003";

#[tokio::test]
async fn one_node_shows_its_cluster_and_says_what_it_cannot_do_alone() {
    let house = House::open(settings()).await;
    let (status, cluster) = json(house.admin(Method::GET, "/v1/cluster/status")).await;
    assert_eq!(
        (status, cluster["slots_owned"].as_u64()),
        (200, Some(16_384))
    );
    let (status, layout) = json(house.admin(Method::GET, "/v1/cluster/layout")).await;
    assert_eq!(status, 200);
    let layout: LayoutReport = serde_json::from_value(layout).expect("a layout");
    assert_eq!(cluster["node_id"], layout.node_id.to_string());
    assert_eq!((layout.nodes.len(), layout.nodes[0].owned), (1, 16_384));
    let (status, jobs) = json(house.admin(Method::GET, "/v1/cluster/jobs")).await;
    assert_eq!((status, jobs), (200, body!({"jobs": []})));

    let own = layout.node_id;
    let nobody = NodeId::from_u128(7);
    let post = |path: String| house.admin(Method::POST, &path);
    for (path, status, code) in [
        (format!("/v1/nodes/{own}/drain"), 409, "last_member"),
        (format!("/v1/nodes/{own}/leave"), 409, "last_member"),
        (format!("/v1/nodes/{own}/forget"), 409, "member_state"),
        (format!("/v1/nodes/{nobody}/drain"), 404, "unknown_member"),
        (format!("/v1/nodes/{nobody}/forget"), 404, "unknown_member"),
        ("/v1/nodes/node-1/drain".to_owned(), 400, "node_id_invalid"),
        ("/v1/cluster/rebalance".to_owned(), 409, "no_cluster"),
        (format!("/v1/cluster/jobs/{JOB}/cancel"), 404, "unknown_job"),
        (
            "/v1/cluster/jobs/x/cancel".to_owned(),
            400,
            "job_id_invalid",
        ),
        ("/v1/node/join".to_owned(), 415, "not_json"),
    ] {
        let told = failure(post(path.clone())).await;
        assert_eq!(told, (status, code.to_owned()), "{path}");
    }
    let absent = failure(house.admin(Method::GET, &format!("/v1/cluster/jobs/{JOB}"))).await;
    assert_eq!(absent, (404, "unknown_job".to_owned()));
    let (_, problem) = json(post("/v1/cluster/rebalance".to_owned())).await;
    assert!(
        problem["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("--certs")),
        "{problem}"
    );
}

#[tokio::test]
async fn bodies_are_read_or_refused_before_the_cluster_is_asked() {
    let house = House::open(settings()).await;
    let own = house.node_id();
    let throttle = format!("/v1/cluster/jobs/{JOB}/throttle");
    let drain = format!("/v1/nodes/{own}/drain");
    let join = "/v1/node/join".to_owned();
    for (path, sent, status, code) in [
        (&drain, body!({"leave": true}), 409, "last_member"),
        (
            &drain,
            body!({"throttle_bytes_per_second": 1}),
            409,
            "last_member",
        ),
        (
            &drain,
            body!({"throttle_bytes_per_second": 0}),
            400,
            "field_invalid",
        ),
        (&drain, body!({"lave": true}), 400, "field_invalid"),
        (
            &throttle,
            body!({"throttle_bytes_per_second": null}),
            404,
            "unknown_job",
        ),
        (
            &throttle,
            body!({"throttle_bytes_per_second": 9}),
            404,
            "unknown_job",
        ),
        (&throttle, body!({}), 400, "field_invalid"),
        (&join, body!({"seeds": ["node-1:7802"]}), 409, "no_cluster"),
        (&join, body!({"seeds": []}), 400, "seeds_count"),
        (&join, body!({"seeds": vec!["a:1"; 65]}), 400, "seeds_count"),
        (&join, body!({"seeds": [7]}), 400, "field_invalid"),
        (&join, body!({}), 400, "field_invalid"),
    ] {
        let told = failure(house.admin(Method::POST, path).json(&sent)).await;
        assert_eq!(told, (status, code.to_owned()), "{path} {sent}");
    }
}

#[tokio::test]
async fn with_tokens_only_admin_operates_the_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    let text = "default default-token-0123456\nadmin admin-token-0123456789\n";
    std::fs::write(&tokens, text).expect("written");
    let mut settings = settings();
    settings.auth.token_file = Some(tokens);
    let house = House::open(settings).await;
    let own = house.node_id();
    for (method, path) in [
        (Method::GET, "/v1/cluster/status".to_owned()),
        (Method::GET, "/v1/cluster/layout".to_owned()),
        (Method::GET, "/v1/cluster/jobs".to_owned()),
        (Method::GET, format!("/v1/cluster/jobs/{JOB}")),
        (Method::POST, format!("/v1/cluster/jobs/{JOB}/cancel")),
        (Method::POST, format!("/v1/cluster/jobs/{JOB}/throttle")),
        (Method::POST, "/v1/cluster/rebalance".to_owned()),
        (Method::POST, format!("/v1/nodes/{own}/drain")),
        (Method::POST, format!("/v1/nodes/{own}/leave")),
        (Method::POST, format!("/v1/nodes/{own}/forget")),
        (Method::POST, "/v1/node/join".to_owned()),
    ] {
        let ask = || house.admin(method.clone(), &path);
        let stranger = failure(ask()).await;
        assert_eq!(stranger, (401, "token_missing".to_owned()), "{path}");
        let other = failure(ask().bearer_auth("default-token-0123456")).await;
        assert_eq!(other, (403, "not_admin".to_owned()), "{path}");
        let admin = send(ask().bearer_auth("admin-token-0123456789")).await;
        assert!(![401, 403].contains(&admin.status().as_u16()), "{path}");
    }
}

#[tokio::test]
async fn a_node_that_is_about_to_stop_says_so_and_serves_on() {
    let house = House::open(settings()).await;
    house.announce_stop();
    let (status, readiness) = json(house.admin(Method::GET, "/readyz?degraded=ok")).await;
    assert_eq!(
        (status, readiness["status"].as_str()),
        (503, Some("draining"))
    );
    let checks = readiness["checks"].as_array().expect("checks");
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(
        (failed.len(), failed[0]["name"].as_str()),
        (1, Some("draining"))
    );
    let (status, _) = json(house.http(Method::GET, "/v1/models")).await;
    assert_eq!(status, 200);
    assert!(house.close().await);
}
