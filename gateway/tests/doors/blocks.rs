//! Blocks by name: stored once, read whole or in part, one or many at a time, each service its own.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json as value};
use xxhash_rust::xxh3::xxh3_64;

use crate::house::{House, failure, json, send, settings};

const FRAMES: &str = "application/vnd.ultrakv.blocks";

fn put(house: &House, name: &str, payload: &[u8]) -> RequestBuilder {
    house
        .http(Method::PUT, &format!("/v1/kv/blocks/{name}"))
        .body(payload.to_vec())
}

fn get(house: &House, name: &str) -> RequestBuilder {
    house.http(Method::GET, &format!("/v1/kv/blocks/{name}"))
}

fn exists(house: &House, body: &Value) -> RequestBuilder {
    house.http(Method::POST, "/v1/kv/exists").json(body)
}

/// One frame of a batch put, as a client writes it.
fn frame(name: &str, parent: &str, tokens: u32, checksum: Option<u64>, payload: &[u8]) -> Vec<u8> {
    let flags = u16::from(checksum.is_some()) + 2 * u16::from(!parent.is_empty());
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&flags.to_le_bytes());
    for length in [name.len(), parent.len(), 0] {
        bytes.extend_from_slice(&u16::try_from(length).expect("short").to_le_bytes());
    }
    bytes.extend_from_slice(&tokens.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&u64::try_from(payload.len()).expect("small").to_le_bytes());
    bytes.extend_from_slice(&checksum.unwrap_or(0).to_le_bytes());
    for part in [name.as_bytes(), parent.as_bytes(), payload] {
        bytes.extend_from_slice(part);
    }
    bytes
}

#[tokio::test]
async fn a_block_is_stored_once_and_read_whole_or_in_part() {
    let house = House::open(settings()).await;
    let payload: Vec<u8> = (0..200_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let checksum = format!("{:016x}", xxh3_64(&payload));
    let stored =
        put(&house, "chain%2F0?tokens=16", &payload).header("x-ultrakv-checksum", &checksum);
    assert_eq!(
        json(stored).await,
        (
            201,
            value!({"stored": true, "outcome": "stored", "copies": 1})
        )
    );
    let again = put(&house, "chain%2F0", b"something else");
    assert_eq!(
        json(again).await,
        (
            200,
            value!({"stored": true, "outcome": "known", "copies": null})
        )
    );

    let whole = send(get(&house, "chain%2F0")).await;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()["x-ultrakv-tokens"], "16");
    assert_eq!(whole.headers()["x-ultrakv-checksum"], checksum.as_str());
    assert_eq!(whole.headers()["content-length"], "200000");
    assert_eq!(whole.bytes().await.expect("the block"), payload);

    let part = send(get(&house, "chain%2F0").header("range", "bytes=10-19")).await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 10-19/200000");
    assert_eq!(
        part.bytes().await.expect("the part").as_ref(),
        &payload[10..20]
    );
    let beyond = get(&house, "chain%2F0").header("range", "bytes=200000-");
    assert_eq!(
        failure(beyond).await,
        (416, "range_unsatisfiable".to_owned())
    );

    let head = send(house.http(Method::HEAD, "/v1/kv/blocks/chain%2F0")).await;
    assert_eq!(head.headers()["content-length"], "200000");
    let removed = house.http(Method::DELETE, "/v1/kv/blocks/chain%2F0");
    assert_eq!(json(removed).await, (200, value!({"removed": true})));
    let removed = house.http(Method::DELETE, "/v1/kv/blocks/chain%2F0");
    assert_eq!(json(removed).await, (200, value!({"removed": false})));
    let (status, problem) = json(get(&house, "chain%2F0")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (404, Some("block_missing"))
    );
    assert_eq!(problem["documented_code"], "E002");
}

#[tokio::test]
async fn names_belong_to_a_service_and_its_salt() {
    let house = House::open(settings()).await;
    let as_service =
        |request: RequestBuilder, service: &str| request.header("x-ultrakv-service", service);
    send(as_service(
        put(&house, "shared-name", b"of the pair"),
        "left",
    ))
    .await;
    let found = |service: &'static str, salt: &'static str| {
        let request =
            as_service(get(&house, "shared-name"), service).header("x-ultrakv-salt", salt);
        async { send(request).await.status().as_u16() }
    };
    assert_eq!(found("left", "").await, 200);
    assert_eq!(found("right", "").await, 200, "the same share group");
    assert_eq!(found("default", "").await, 404, "another domain");
    assert_eq!(found("left", "salted").await, 404, "another salt");
    let unknown = as_service(get(&house, "shared-name"), "nobody");
    assert_eq!(failure(unknown).await, (400, "service_unknown".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_a_block_is_refused() {
    let house = House::open(settings()).await;
    let check = async |request: RequestBuilder, status: u16, code: &str| {
        assert_eq!(failure(request).await, (status, code.to_owned()));
    };
    check(put(&house, "empty", b""), 400, "block_empty").await;
    check(put(&house, &"n".repeat(513), b"x"), 400, "name_invalid").await;
    check(put(&house, "%ff%fe", b"x"), 400, "name_invalid").await;
    check(put(&house, "a?tokens=9999999", b"x"), 400, "tokens_invalid").await;
    check(put(&house, "a?pin=hard", b"x"), 400, "query_invalid").await;
    check(put(&house, "a?tokenz=1", b"x"), 400, "query_invalid").await;
    check(put(&house, "a?ack=some", b"x"), 400, "query_invalid").await;
    let batch = |query: &str| {
        let path = format!("/v1/kv/put?{query}");
        let request = house
            .http(Method::POST, &path)
            .header("content-type", FRAMES);
        request.body(frame("a", "", 16, None, b"x"))
    };
    check(batch("ack=some"), 400, "query_invalid").await;
    check(batch("pin=soft"), 400, "query_invalid").await;
    let wrong = put(&house, "a", b"x").header("x-ultrakv-checksum", "0000000000000000");
    check(wrong, 400, "checksum_mismatch").await;
    let odd = put(&house, "a", b"x").header("x-ultrakv-checksum", "xxh3");
    check(odd, 400, "checksum_invalid").await;
    assert_eq!(
        send(get(&house, "a")).await.status(),
        404,
        "nothing of it was stored"
    );
    let many: Vec<String> = (0..1_025).map(|number| number.to_string()).collect();
    check(exists(&house, &value!({"keys": many})), 400, "batch_size").await;
    check(exists(&house, &value!({"keys": []})), 400, "batch_size").await;
    check(exists(&house, &value!({"keys": [""]})), 400, "name_invalid").await;
    check(
        exists(&house, &value!({"keys": ["a"], "lease_ms": 0})),
        400,
        "lease_invalid",
    )
    .await;
    check(
        exists(&house, &value!({"keys": ["a"], "leese": 1})),
        400,
        "field_invalid",
    )
    .await;
}

#[tokio::test]
async fn exists_tells_the_leading_run_and_can_hold_it() {
    let house = House::open(settings()).await;
    for name in ["a", "b", "d"] {
        send(put(&house, name, name.as_bytes())).await;
    }
    let keys = value!(["a", "b", "c", "d"]);
    let (status, answer) = json(exists(&house, &value!({"keys": keys}))).await;
    let expected =
        value!({"present": [true, true, false, true], "prefix_blocks": 2, "lease": null});
    assert_eq!((status, answer), (200, expected));
    let (_, answer) = json(exists(&house, &value!({"keys": keys, "lease_ms": 30_000}))).await;
    let lease = answer["lease"]["id"].as_str().expect("a lease").to_owned();
    let release = |service: &'static str| {
        let request = house.http(Method::DELETE, &format!("/v1/kv/leases/{lease}"));
        json(request.header("x-ultrakv-service", service))
    };
    assert_eq!(
        release("left").await.1["released"],
        false,
        "another service's lease"
    );
    assert_eq!(release("default").await.1["released"], true);
    assert_eq!(release("default").await.1["released"], false);
    let (_, answer) = json(exists(&house, &value!({"keys": ["c"], "lease_ms": 30_000}))).await;
    assert_eq!(
        answer,
        value!({"present": [false], "prefix_blocks": 0, "lease": null})
    );
}

#[tokio::test]
async fn batches_store_and_read_block_by_block() {
    let house = House::open(settings()).await;
    let good = vec![7_u8; 3_000];
    let mut body = frame("first", "", 16, Some(xxh3_64(&good)), &good);
    body.extend(frame("second", "first", 16, None, b"two"));
    body.extend(frame("broken", "", 16, Some(1), b"three"));
    body.extend(frame("", "", 16, None, b"four"));
    let request = house
        .http(Method::POST, "/v1/kv/put")
        .header("content-type", FRAMES)
        .body(body);
    let (status, answer) = json(request).await;
    assert_eq!((status, &answer["stored"]), (200, &value!(2)), "{answer}");
    assert_eq!(answer["results"][0]["outcome"], "stored");
    assert_eq!(answer["results"][1]["outcome"], "stored");
    assert_eq!(answer["results"][2]["code"], "checksum_mismatch");
    assert_eq!(answer["results"][3]["code"], "name_invalid");

    let keys = value!({"keys": ["first", "broken", "second"]});
    let answer = send(house.http(Method::POST, "/v1/kv/get").json(&keys)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], FRAMES);
    let length: usize = answer.headers()["content-length"]
        .to_str()
        .expect("digits")
        .parse()
        .expect("a length");
    let body = answer.bytes().await.expect("frames");
    assert_eq!(body.len(), length);
    assert_eq!(length, 3 * 24 + 3_000 + 3);
    let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!((body[0], number(8), number(16)), (1, 3_000, xxh3_64(&good)));
    assert_eq!(&body[24..3_024], good.as_slice());
    assert_eq!(&body[3_024..3_048], [0; 24], "the missing block");
    assert_eq!((body[3_048], number(3_056)), (1, 3));
    assert_eq!(&body[3_072..], b"two");

    let twice = value!({"keys": ["first", "second", "first"]});
    let twice = house.http(Method::POST, "/v1/kv/get").json(&twice);
    assert_eq!(failure(twice).await, (400, "batch_repeats".to_owned()));

    let cut = house
        .http(Method::POST, "/v1/kv/put")
        .header("content-type", FRAMES)
        .body("short");
    assert_eq!(failure(cut).await, (400, "frames_invalid".to_owned()));
    let plain = house.http(Method::POST, "/v1/kv/put").body("short");
    assert_eq!(failure(plain).await, (415, "not_frames".to_owned()));
}

#[tokio::test]
async fn a_put_is_answered_when_as_much_is_done_as_was_asked() {
    let house = House::open(settings()).await;
    for ack in ["one", "all", "committed"] {
        let stored = put(&house, &format!("{ack}?ack={ack}"), b"bytes");
        let expected = value!({"stored": true, "outcome": "stored", "copies": 1});
        assert_eq!(json(stored).await, (201, expected), "{ack}");
        let known = put(&house, &format!("{ack}?ack={ack}"), b"bytes");
        assert_eq!(json(known).await.1["outcome"], "known", "{ack}");
        let name = format!("{ack}-of-many");
        let request = house.http(Method::POST, &format!("/v1/kv/put?ack={ack}"));
        let request = request
            .header("content-type", FRAMES)
            .body(frame(&name, "", 16, None, b"more"));
        let (status, answer) = json(request).await;
        assert_eq!((status, &answer["stored"]), (200, &value!(1)), "{answer}");
        assert_eq!(send(get(&house, &name)).await.status(), 200);
    }
}

#[tokio::test]
async fn a_block_larger_than_the_budget_is_refused_for_good() {
    let mut settings = settings();
    settings.cache.bytes_max = 4 << 20;
    settings.cache.entry_bytes_max = 1 << 20;
    let house = House::open(settings).await;
    let (status, code) = failure(put(&house, "huge", &vec![1; 8 << 20])).await;
    assert_eq!(status, 413, "{code}");
}
