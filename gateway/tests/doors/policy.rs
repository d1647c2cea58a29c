//! What operators are told of eviction: each shard's policy, the blocks that go next, and how one block or entry stands.

use reqwest::Method;
use serde_json::Value;

use crate::house::{House, failure, json, send, settings};

/// Stores a block as a service.
async fn put(house: &House, service: &str, name: &str, query: &str) {
    let path = format!("/v1/kv/blocks/{name}?tokens=4{query}");
    let request = house.http(Method::PUT, &path).body(vec![7_u8; 5_000]);
    let stored = send(request.header("x-ultrakv-service", service)).await;
    assert_eq!(stored.status(), 201, "{name}");
}

async fn explain(house: &House, query: &str) -> Value {
    let path = format!("/v1/policy/explain?{query}");
    let (status, told) = json(house.admin(Method::GET, &path)).await;
    assert_eq!(status, 200, "{query}: {told}");
    told
}

#[tokio::test]
async fn the_blocks_that_go_next_are_told_and_each_can_be_explained() {
    let house = House::open(settings()).await;
    for name in ["a", "b", "c"] {
        put(&house, "left", name, "&depth=5").await;
    }
    put(&house, "default", "pinned", "&pin=soft").await;
    let (status, told) = json(house.admin(Method::GET, "/v1/policy")).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(
        (&told["strategy"], &told["policy"]),
        (&"adaptive".into(), &"adaptive".into())
    );
    let shards = told["shards"].as_array().expect("shards");
    assert_eq!(shards.len(), 2);
    let mut next = Vec::new();
    for shard in shards {
        assert_eq!(shard["policy"], "adaptive");
        assert!(shard["figures"]["requests"].is_number(), "{shard}");
        let told = shard["next"].as_array().expect("blocks");
        assert_eq!(shard["blocks"].as_u64(), u64::try_from(told.len()).ok());
        next.extend(told);
    }
    assert_eq!(next.len(), 4, "{told}");
    for block in next {
        let key = block["key"].as_str().expect("a key");
        let told = explain(&house, &format!("key={key}")).await;
        assert_eq!(&told, block);
        assert_eq!(
            (&told["kind"], &told["can_go"]),
            (&"block".into(), &true.into())
        );
        assert_eq!(told["because"]["hits"], 0.0);
        if told["pin"] == "soft" {
            assert_eq!(told["services"], serde_json::json!(["default"]));
            assert!(
                told["reason"]
                    .as_str()
                    .is_some_and(|why| why.contains("pinned softly"))
            );
        } else {
            assert_eq!(told["services"], serde_json::json!(["left", "right"]));
            assert_eq!((&told["depth"], &told["tokens"]), (&5.into(), &4.into()));
        }
    }
    let (_, few) = json(house.admin(Method::GET, "/v1/policy?next=0")).await;
    assert_eq!(few["shards"][0]["next"], serde_json::json!([]));
    let many = failure(house.admin(Method::GET, "/v1/policy?next=257")).await;
    assert_eq!(many, (400, "next_invalid".to_owned()));
}

#[tokio::test]
async fn a_name_is_explained_as_the_block_or_the_entry_that_its_service_has() {
    let house = House::open(settings()).await;
    put(&house, "left", "both", "").await;
    for (name, class) in [("both", "kept"), ("answer", "cached")] {
        let path = format!("/v1/kv/entries/{name}?class={class}&ttl_ms=60000");
        let request = house.http(Method::PUT, &path).body("value");
        let written = send(request.header("x-ultrakv-service", "left")).await;
        assert_eq!(written.status(), 200, "{name}");
    }
    let block = explain(&house, "key=both&service=right").await;
    assert_eq!(
        (&block["kind"], &block["tokens"]),
        (&"block".into(), &4.into())
    );
    let entry = explain(&house, "key=both&service=left&kind=entry").await;
    assert_eq!(
        (&entry["kind"], &entry["class"]),
        (&"entry".into(), &"kept".into())
    );
    assert_eq!(
        (&entry["can_go"], &entry["score"]),
        (&false.into(), &Value::Null)
    );
    assert!(entry.get("shard").is_none(), "{entry}");
    let cached = explain(&house, "key=answer&service=left").await;
    assert_eq!(
        (&cached["class"], &cached["bytes"]),
        (&"cached".into(), &5.into())
    );
    assert!(cached["ttl_ms"].as_u64().is_some_and(|left| left <= 60_000));

    let refused = |query: &str| {
        let path = format!("/v1/policy/explain?{query}");
        failure(house.admin(Method::GET, &path))
    };
    let missing = (404, "explain_missing".to_owned());
    assert_eq!(refused("key=both").await, missing, "another service's");
    assert_eq!(refused("key=both&service=left&salt=x").await, missing);
    assert_eq!(refused("key=answer&service=left&kind=block").await, missing);
    assert_eq!(refused(&format!("key={}", "0".repeat(64))).await, missing);
    assert_eq!(refused("key=a&service=nobody").await.0, 404);
    assert_eq!(refused("").await.0, 400);
    assert_eq!(refused("key=").await, (400, "name_invalid".to_owned()));
    assert_eq!(refused("key=a&kind=thing").await.0, 400);
}

#[tokio::test]
async fn another_policy_tells_its_own_numbers() {
    let mut settings = settings();
    settings.cache.policy = Some("s3-fifo".to_owned());
    let house = House::open(settings).await;
    put(&house, "default", "a", "").await;
    let told = explain(&house, "key=a").await;
    assert_eq!(told["class"], "small");
    let (_, policy) = json(house.admin(Method::GET, "/v1/policy")).await;
    assert_eq!(policy["policy"], "s3-fifo");
    let classes = policy["shards"][0]["classes"].as_array().expect("classes");
    let names: Vec<_> = classes.iter().map(|class| &class["name"]).collect();
    assert_eq!(names, ["small", "main"]);
    let (_, status) = json(house.admin(Method::GET, "/status")).await;
    assert_eq!(status["policy"], "s3-fifo");
}
