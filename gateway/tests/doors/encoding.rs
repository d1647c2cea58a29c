//! Blocks that are stored encoded, as clients and the model meet them: the same answers without loss, answers within what was
//! accepted with it, and never a loss for who accepts none.

use std::time::Duration;

use reqwest::Method;
use serde_json::json as value;
use ultrakv_cache::KeySpace;
use ultrakv_config::{EncodingSettings, ServiceSettings, Settings, Strategy};
use ultrakv_model::ReferenceConfig;

use crate::house::{House, json, send, settings};

const BLOCK_TOKENS: usize = 64;
/// Numbers of a head, heads and layers of the model below.
const DIMS: usize = 32;
const HEADS: usize = 2;
const LAYERS: usize = 2;
/// Held-out queries a head.
const QUERIES: usize = 32;

fn model() -> ReferenceConfig {
    ReferenceConfig {
        layers: LAYERS,
        hidden: 64,
        intermediate: 96,
        heads: HEADS,
        kv_heads: HEADS,
        head_size: DIMS,
        ..ReferenceConfig::standard(11)
    }
}

/// Small pages, so that a smaller block takes fewer of them; no stored answers, so that blocks are asked for.
fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    settings.cache.block_tokens = 64;
    settings.cache.page_bytes = 4 << 10;
    settings.process.response_cache = false;
    change(&mut settings);
    settings
}

async fn open(change: impl FnOnce(&mut Settings)) -> House {
    House::open_with(with(change), &model()).await
}

/// A text of which every part differs.
fn text() -> String {
    (0..60)
        .map(|at| format!("line {at} says {}; ", at * at))
        .collect()
}

/// Answer and reused tokens.
async fn ask(house: &House, service: &str) -> (String, u64) {
    let body = value!({"text": text(), "max_length": 24, "temperature": 0});
    let request = house
        .http(Method::POST, "/api/v1/kv-cache/process")
        .header("x-ultrakv-service", service)
        .json(&body);
    let (status, answer) = json(request).await;
    assert_eq!(status, 200, "{answer}");
    let reused = answer["metadata"]["reused_tokens"].as_u64();
    let told = answer["result"].as_str().map(str::to_owned);
    (told.expect("text"), reused.expect("a count"))
}

/// The K/V of the text's whole blocks as a reader of the service gets them.
async fn numbers(house: &House, service: &str) -> Vec<Vec<u8>> {
    let domain = house.cluster().numbers_domain(service, None);
    let domain = domain.expect("a service");
    let tokens = house.engine().encode(&text()).expect("tokens");
    let chain = KeySpace::new(&domain.effective, &house.engine().key_inputs()).chain(&tokens);
    let deadline = house.cluster().clock().deadline(Duration::from_secs(10));
    let found = house.cluster().get_prefix(&domain, &chain, deadline).await;
    let found = found.expect("an answer");
    found.iter().map(|block| block.payload.to_vec()).collect()
}

async fn used_bytes(house: &House) -> u64 {
    let deadline = house.cluster().clock().deadline(Duration::from_secs(10));
    let reports = house.cluster().stats(deadline).await.expect("figures");
    reports.iter().map(|report| report.stats.usage.bytes).sum()
}

/// Keys and values of one head of one layer over all blocks, `[token][dim]`.
fn head(blocks: &[Vec<u8>], layer: usize, head: usize) -> [Vec<f64>; 2] {
    let tensor = |which: usize| {
        let at = ((layer * 2 + which) * HEADS + head) * BLOCK_TOKENS * DIMS * 4;
        let bytes = blocks
            .iter()
            .flat_map(|block| block[at..at + BLOCK_TOKENS * DIMS * 4].chunks_exact(4));
        bytes
            .map(|number| {
                f64::from(f32::from_le_bytes([
                    number[0], number[1], number[2], number[3],
                ]))
            })
            .collect()
    };
    [tensor(0), tensor(1)]
}

fn tokens([keys, _]: &[Vec<f64>; 2]) -> f64 {
    f64::from(u32::try_from(keys.len() / DIMS).expect("few"))
}

/// What attention answers to a query over all tokens.
fn answer(query: &[f64], [keys, values]: &[Vec<f64>; 2]) -> Vec<f64> {
    let dot = |key: &[f64]| query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>();
    let weights: Vec<f64> = keys.chunks_exact(DIMS).map(|key| dot(key).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut output = vec![0.0; DIMS];
    for (weight, value) in weights.iter().zip(values.chunks_exact(DIMS)) {
        for (sum, value) in output.iter_mut().zip(value) {
            *sum += weight / total * value;
        }
    }
    output
}

/// The largest relative error of a layer's attention output, over queries that no probe was made from.
fn output_error(exact: &[Vec<u8>], coarse: &[Vec<u8>]) -> f64 {
    let mut state = 1_u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(u32::try_from(state >> 40).expect("24 bits")) / f64::from(1 << 24) - 0.5
    };
    let mut worst: f64 = 0.0;
    for layer in 0..LAYERS {
        let (mut error, mut norm) = (0.0, 0.0);
        for at in 0..HEADS {
            let (exact, coarse) = (head(exact, layer, at), head(coarse, layer, at));
            let squares: f64 = exact[0].iter().map(|k| k * k).sum();
            // By token, so that the number of dimensions is in it.
            let norm_of_key = (squares / tokens(&exact)).sqrt();
            for _ in 0..QUERIES {
                // Logits with a deviation of about two: attention of ordinary sharpness.
                let scale = 2.0 * 12_f64.sqrt() / norm_of_key;
                let query: Vec<f64> = (0..DIMS).map(|_| uniform() * scale).collect();
                let (a, b) = (answer(&query, &exact), answer(&query, &coarse));
                error += a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                norm += a.iter().map(|a| a * a).sum::<f64>();
            }
        }
        worst = worst.max((error / norm).sqrt());
    }
    worst
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_loss_the_model_answers_bit_for_bit_what_it_answers_over_raw_blocks() {
    let raw = open(|_| {}).await;
    let small = open(|settings| settings.cache.strategy = Strategy::Compressed).await;
    let (told, reused) = ask(&raw, "default").await;
    assert_eq!(reused, 0);
    assert_eq!(ask(&small, "default").await, (told.clone(), 0));
    let again = ask(&small, "default").await;
    assert_eq!(again.0, told);
    assert!(again.1 >= 5 * 64, "{} tokens reused", again.1);
    assert_eq!(again, ask(&raw, "default").await);
    let (plain, stored) = (
        numbers(&raw, "default").await,
        numbers(&small, "default").await,
    );
    assert!(plain.len() >= 6);
    assert_eq!(plain, stored, "every bit of every block");
    assert!(used_bytes(&small).await < used_bytes(&raw).await);
    assert!(raw.close().await && small.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_loss_blocks_shrink_by_their_rung_and_attention_stays_within_what_was_accepted() {
    let raw = open(|_| {}).await;
    ask(&raw, "default").await;
    let (exact, raw_bytes) = (numbers(&raw, "default").await, used_bytes(&raw).await);
    assert!(raw.close().await);
    for (error_ppm, bits, percent_max) in [(None, 8, 35), (Some(300_000), 4, 22)] {
        let house = open(|settings| {
            settings.cache.strategy = Strategy::Quantized;
            settings.cache.encoding.bits = Some(bits);
            let service = settings.services.entry("default".to_owned()).or_default();
            service.error_ppm = error_ppm;
        })
        .await;
        ask(&house, "default").await;
        let percent = used_bytes(&house).await * 100 / raw_bytes;
        assert!(percent <= percent_max, "{bits} bits take {percent} %");
        let coarse = numbers(&house, "default").await;
        assert_eq!(coarse.len(), exact.len());
        assert_ne!(coarse, exact);
        let accepted = f64::from(error_ppm.unwrap_or(ultrakv_config::ERROR_PPM_DEFAULT)) / 1e6;
        let error = output_error(&exact, &coarse);
        assert!(error > 0.0 && error <= accepted, "{bits} bits: {error}");
        let (_, reused) = ask(&house, "default").await;
        assert!(reused >= 5 * 64, "{reused} tokens reused");
        assert!(house.close().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_accepts_no_error_gets_nothing_of_a_lossy_partner_of_its_share_group() {
    let exact = open(|_| {}).await;
    let (told, _) = ask(&exact, "left").await;
    assert!(exact.close().await);
    let house = open(|settings| {
        settings.cache.strategy = Strategy::Quantized;
        // Stored answers too: one that came of coarse numbers is coarse itself.
        settings.process.response_cache = true;
        for (name, error_ppm) in [("left", 0), ("right", 250_000)] {
            let service = ServiceSettings {
                share_group: Some("pair".to_owned()),
                error_ppm: Some(error_ppm),
                ..ServiceSettings::default()
            };
            settings.services.insert(name.to_owned(), service);
        }
    })
    .await;
    ask(&house, "right").await;
    assert!(!numbers(&house, "right").await.is_empty());
    assert!(numbers(&house, "left").await.is_empty());
    assert_eq!(ask(&house, "left").await, (told.clone(), 0));
    let bits = numbers(&house, "left").await;
    assert!(!bits.is_empty());
    assert_ne!(bits, numbers(&house, "right").await);
    assert!(house.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_chooses_how_its_blocks_are_stored_and_its_partners_read_them_bit_for_bit() {
    // The node says nothing, so its other services stay raw.
    let house = open(|settings| {
        let service = settings.services.entry("left".to_owned()).or_default();
        service.strategy = Some(Strategy::Compressed);
    })
    .await;
    let before = used_bytes(&house).await;
    let (told, _) = ask(&house, "left").await;
    let small = used_bytes(&house).await - before;
    assert_eq!(ask(&house, "default").await, (told.clone(), 0));
    let raw = used_bytes(&house).await - before - small;
    assert!(small > 0 && small < raw, "{small} and {raw} bytes");
    let exact = numbers(&house, "default").await;
    assert!(exact.len() >= 6);
    assert_eq!(numbers(&house, "right").await, exact);
    let (answer, reused) = ask(&house, "right").await;
    assert_eq!(answer, told);
    assert!(reused >= 5 * 64, "{reused} tokens reused");
    assert!(house.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opaque_blocks_come_back_as_they_were_put_whatever_is_accepted() {
    let house = open(|settings| {
        settings.cache.encoding = EncodingSettings {
            quantize: Some(true),
            ..EncodingSettings::default()
        };
    })
    .await;
    let payload: Vec<u8> = (0..300_000_u32)
        .flat_map(|at| (at / 7).to_le_bytes())
        .collect();
    let path = "/v1/kv/blocks/numbers";
    let stored = send(house.http(Method::PUT, path).body(payload.clone())).await;
    assert_eq!(stored.status(), 201);
    let raw_bytes = u64::try_from(payload.len()).expect("small");
    assert!(used_bytes(&house).await < raw_bytes / 2, "kept smaller");
    let found = send(house.http(Method::GET, path)).await;
    assert_eq!(found.status(), 200);
    assert_eq!(found.bytes().await.expect("a body"), payload);
    let part = house
        .http(Method::GET, path)
        .header("range", "bytes=4000-4099");
    let part = send(part).await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.expect("a body"), payload[4_000..4_100]);
    let batch = house
        .http(Method::POST, "/v1/kv/get")
        .json(&value!({"keys": ["numbers"]}));
    let batch = send(batch).await.bytes().await.expect("a body");
    assert!(batch.ends_with(&payload));
    assert!(house.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_dies_costs_its_blocks_and_no_answer() {
    let house = open(|settings| settings.cache.strategy = Strategy::Compressed).await;
    let (told, _) = ask(&house, "default").await;
    for shard in ["node/cache/shard-0", "node/cache/shard-1"] {
        let dies = async { assert!(house.kill(shard)) };
        let (answer, ()) = tokio::join!(ask(&house, "default"), dies);
        assert_eq!(answer.0, told);
    }
    let (again, _) = ask(&house, "default").await;
    assert_eq!(again, told);
    assert!(house.close().await);
}
