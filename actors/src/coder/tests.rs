//! What goes in comes out: exactly, or within what was accepted, or not at all.

use std::time::Duration;

use bytes::Bytes;
use ultrakv_cache::{
    ArenaId, BlockHeader, BlockKind, BlockLayout, DomainSecret, Dtype, KeyInputs, KeySpace, Pin,
    opaque_key,
};

use super::*;
use crate::DomainTag;

const PAGE: u32 = 4_096;
const TOKENS: u32 = 64;
/// 2 layers, K and V, 2 heads, 64 tokens, 64 numbers of 2 bytes: 16 pages.
const LAYOUT: BlockLayout = BlockLayout {
    kind: BlockKind::Kv,
    dtype: Dtype::Bf16,
    layers: 2,
    kv_heads: 2,
    head_size: 64,
};
const EXACT: Encoding = Encoding::Exact {
    coarsest: Codec::Planes,
};

const fn lossy(error_ppm: u32, coarsest: Codec) -> Encoding {
    Encoding::Lossy(Quality {
        error_ppm,
        coarsest,
    })
}

fn coder() -> Coder {
    Coder::new(PAGE, Clock::machine())
}

fn deadline(coder: &Coder) -> Deadline {
    coder.inner.clock.deadline(Duration::from_secs(10))
}

fn plain_domain() -> Domain {
    let effective = DomainSecret::from_bytes([5; 32]).effective(0, b"");
    Domain::new(effective, ArenaId(1), DomainTag([5; 16]))
}

/// Addresses of a chain of `blocks` in a domain.
fn chain(domain: &Domain, blocks: u32) -> Vec<BlockAddress> {
    let inputs = KeyInputs {
        weights: [1; 32],
        adapter: [0; 32],
        rope: [2; 32],
        layout: LAYOUT,
        block_tokens: TOKENS,
    };
    let tokens: Vec<u32> = (0..blocks * TOKENS).collect();
    KeySpace::new(&domain.effective, &inputs).chain(&tokens)
}

/// Numbers near a bell curve, as keys and values are: sums of twelve uniform ones, from a seed.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 40).unwrap()) / f64::from(1 << 24)
    };
    (0..count)
        .map(|_| {
            let sum: f64 = (0..12).map(|_| uniform()).sum();
            format!("{:.6}", sum - 6.0).parse().unwrap()
        })
        .collect()
}

fn payload(seed: u64) -> Bytes {
    let count = usize::try_from(LAYOUT.payload_bytes(TOKENS).unwrap()).unwrap() / 2;
    let halves = numbers(seed, count)
        .into_iter()
        .flat_map(|number| u16::try_from(number.to_bits() >> 16).unwrap().to_le_bytes());
    halves.collect()
}

fn block(address: &BlockAddress, parent: Option<BlockKey>, seed: u64) -> BlockPut {
    let payload = payload(seed);
    BlockPut {
        address: *address,
        parent,
        depth: 0,
        header: BlockHeader::seal(LAYOUT, TOKENS, &address.key, &payload),
        payload,
        pin: Pin::None,
        ttl_ms: None,
    }
}

fn opaque(domain: &Domain, name: &[u8], payload: Bytes) -> BlockPut {
    let key = opaque_key(&domain.effective, name);
    BlockPut {
        address: BlockAddress { key, run: key },
        parent: None,
        depth: 0,
        header: BlockHeader::seal(BlockLayout::OPAQUE, 64, &key, &payload),
        payload,
        pin: Pin::None,
        ttl_ms: None,
    }
}

fn stored(put: &BlockPut) -> LeasedBlock {
    LeasedBlock {
        header: put.header,
        payload: put.payload.clone(),
        ttl_ms: Some(7),
    }
}

async fn decoded(coder: &Coder, domain: &Domain, puts: &[BlockPut]) -> Vec<Option<LeasedBlock>> {
    let addresses: Vec<_> = puts.iter().map(|put| put.address).collect();
    let blocks = puts.iter().map(|put| Some(stored(put))).collect();
    let until = deadline(coder);
    coder.decode(domain, &addresses, blocks, until).await
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let halves = bytes.chunks_exact(2);
    halves
        .map(|half| f32::from_bits(u32::from(u16::from_le_bytes([half[0], half[1]])) << 16))
        .collect()
}

#[tokio::test]
async fn without_loss_every_bit_comes_back_from_less() {
    let (coder, domain) = (coder(), plain_domain().for_numbers(EXACT));
    let mut puts = Vec::new();
    for (seed, address) in (0..).zip(&chain(&domain, 5)) {
        let put = block(address, None, seed);
        let coded = coder.encode(&domain, put.clone(), deadline(&coder)).await;
        assert!(coded.header.codec != Codec::Raw && coded.header.is_exact());
        assert!(coded.payload.len() * 100 < put.payload.len() * 85);
        assert!(coded.header.verify(&address.key, &coded.payload));
        puts.push(coded);
    }
    let blocks = decoded(&coder, &domain, &puts).await;
    for (seed, (put, found)) in (0..).zip(puts.iter().zip(blocks)) {
        let found = found.expect("decoded");
        assert_eq!(found.payload, payload(seed));
        assert_eq!((found.header.codec, found.ttl_ms), (Codec::Raw, Some(7)));
        assert!(found.header.verify(&put.address.key, &found.payload));
    }
}

#[tokio::test]
async fn with_loss_a_block_is_as_small_as_its_rung_and_within_the_bound_that_it_states() {
    let coder = coder();
    for (encoding, codec, ratio) in [
        (lossy(20_000, Codec::Int8), Codec::Int8, 58),
        (lossy(300_000, Codec::Int4), Codec::Int4, 33),
        (lossy(500_000, Codec::Entropy), Codec::Entropy, 25),
    ] {
        let domain = plain_domain().for_numbers(encoding);
        let addresses = chain(&domain, 2);
        let put = block(&addresses[1], Some(addresses[0].key), 3);
        let coded = coder.encode(&domain, put.clone(), deadline(&coder)).await;
        assert_eq!(coded.header.codec, codec, "{encoding:?}");
        let percent = coded.payload.len() * 100 / put.payload.len();
        assert!(percent < ratio, "{codec}: {percent}");
        let found = decoded(&coder, &domain, &[coded]).await.remove(0).unwrap();
        assert!(found.header.error_max > 0.0 && !found.header.is_exact());
        assert!(found.header.verify(&put.address.key, &found.payload));
        let (exact, coarse) = (floats(&put.payload), floats(&found.payload));
        let worst = exact.iter().zip(&coarse).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst > 0.0 && worst <= found.header.error_max, "{worst}");
    }
}

#[tokio::test]
async fn a_stricter_contract_takes_a_finer_rung_and_the_strictest_keeps_every_bit() {
    let coder = coder();
    let mut last = usize::MAX;
    for error_ppm in [1, 10_000, 150_000, 500_000] {
        let domain = plain_domain().for_numbers(lossy(error_ppm, Codec::Entropy));
        let put = block(&chain(&domain, 1)[0], None, 9);
        let coded = coder.encode(&domain, put.clone(), deadline(&coder)).await;
        assert!(coded.payload.len() <= last, "{error_ppm}");
        last = coded.payload.len();
        if error_ppm == 1 {
            assert!(coded.header.is_exact());
            let found = decoded(&coder, &domain, &[coded]).await.remove(0).unwrap();
            assert_eq!(found.payload, put.payload);
        }
    }
}

#[tokio::test]
async fn who_accepts_no_error_gets_no_lossy_block_whatever_lies_under_the_key() {
    let coder = coder();
    let theirs = plain_domain().for_numbers(lossy(200_000, Codec::Int4));
    let put = block(&chain(&theirs, 1)[0], None, 3);
    let coded = coder.encode(&theirs, put, deadline(&coder)).await;
    assert!(!coded.header.is_exact());
    // By its keys an exact reader cannot even ask for it; should the bytes come under a key of its own, they are a miss.
    for reader in [Encoding::Raw, EXACT] {
        let ours = plain_domain().for_numbers(reader);
        assert_ne!(chain(&ours, 1)[0].key, coded.address.key);
        let found = decoded(&coder, &ours, std::slice::from_ref(&coded)).await;
        assert!(found[0].is_none(), "{reader:?}");
        // Numbers that were lossy once and lie raw are no better.
        let mut raw = decoded(&coder, &theirs, std::slice::from_ref(&coded)).await;
        let block = raw.remove(0);
        assert!(block.is_some());
        let (names, until) = ([coded.address], deadline(&coder));
        let again = coder.decode(&ours, &names, vec![block], until).await;
        assert!(again[0].is_none());
    }
    assert!(decoded(&coder, &theirs, &[coded]).await[0].is_some());
}

#[tokio::test]
async fn opaque_bytes_are_returned_as_they_were_put_and_never_approximated() {
    let coder = coder();
    let domain = plain_domain().for_bytes(lossy(900_000, Codec::Archive));
    let text = Bytes::from("every token counts ".repeat(2_000));
    let noise: Bytes = numbers(4, 9_000)
        .iter()
        .flat_map(|number| number.to_bits().to_le_bytes())
        .collect();
    let mut puts = Vec::new();
    for (name, payload) in [(&b"text"[..], &text), (b"noise", &noise)] {
        let put = opaque(&domain, name, payload.clone());
        puts.push(coder.encode(&domain, put, deadline(&coder)).await);
    }
    assert!(puts[0].payload.len() < text.len() / 20);
    assert!(puts.iter().all(|put| put.header.is_exact()));
    let found = decoded(&coder, &domain, &puts).await;
    for (found, payload) in found.iter().zip([&text, &noise]) {
        let found = found.as_ref().unwrap();
        assert_eq!(found.payload, *payload);
        assert_eq!(
            (found.header.layout, found.header.tokens),
            (BlockLayout::OPAQUE, 64)
        );
    }
}

#[tokio::test]
async fn what_saves_no_page_stays_raw() {
    let (coder, domain) = (coder(), plain_domain().for_bytes(EXACT));
    for bytes in [1, 100, 4_096] {
        let put = opaque(&domain, b"small", vec![7; bytes].into());
        let coded = coder.encode(&domain, put, deadline(&coder)).await;
        assert_eq!(coded.header.codec, Codec::Raw);
    }
    // Two pages that would be two pages.
    let hardly: Vec<u8> = numbers(1, 2_000)
        .iter()
        .flat_map(|number| number.to_bits().to_le_bytes())
        .collect();
    let put = opaque(&domain, b"hardly", hardly.into());
    let coded = coder.encode(&domain, put, deadline(&coder)).await;
    assert_eq!(coded.header.codec, Codec::Raw);
}

#[tokio::test]
async fn damage_is_a_miss_and_bytes_that_were_wrong_before_are_not_blessed() {
    let (coder, domain) = (coder(), plain_domain().for_numbers(EXACT));
    let addresses = chain(&domain, 2);
    let good = block(&addresses[0], None, 1);
    let coded = coder.encode(&domain, good.clone(), deadline(&coder)).await;
    for at in [0, 45, coded.payload.len() / 2, coded.payload.len() - 1] {
        let mut bytes = coded.payload.to_vec();
        bytes[at] ^= 1;
        let bad = BlockPut {
            payload: bytes.into(),
            ..coded.clone()
        };
        assert!(decoded(&coder, &domain, &[bad]).await[0].is_none(), "{at}");
    }
    let elsewhere = BlockPut {
        address: addresses[1],
        ..coded.clone()
    };
    assert!(decoded(&coder, &domain, &[elsewhere]).await[0].is_none());

    let mut wrong = good;
    wrong.payload = payload(2);
    let coded = coder.encode(&domain, wrong.clone(), deadline(&coder)).await;
    assert!(!coded.header.verify(&coded.address.key, &coded.payload));
}

#[tokio::test]
async fn while_all_turns_are_taken_blocks_are_stored_raw_and_reads_miss_at_their_deadline() {
    let (coder, domain) = (coder(), plain_domain().for_numbers(EXACT));
    let put = block(&chain(&domain, 1)[0], None, 1);
    let coded = coder.encode(&domain, put.clone(), deadline(&coder)).await;
    let turns = u32::try_from(coder.inner.turns_max).unwrap();
    let taken = coder.inner.turns.acquire_many(turns).await.unwrap();
    let soon = || coder.inner.clock.deadline(Duration::from_millis(20));
    let raw = coder.encode(&domain, put.clone(), soon()).await;
    assert_eq!((raw.header, &raw.payload), (put.header, &put.payload));
    let (names, blocks) = ([put.address], vec![Some(stored(&coded))]);
    let missed = coder.decode(&domain, &names, blocks, soon()).await;
    assert!(missed[0].is_none());
    drop(taken);
    assert!(decoded(&coder, &domain, &[coded]).await[0].is_some());
}

#[tokio::test]
async fn numbers_are_counted_until_their_reader_is_done() {
    let (coder, domain) = (coder(), plain_domain().for_numbers(EXACT));
    let put = block(&chain(&domain, 1)[0], None, 1);
    let kib = put.payload.len() / 1024;
    let coded = coder.encode(&domain, put, deadline(&coder)).await;
    let before = coder.inner.room.available_permits();
    let found = decoded(&coder, &domain, &[coded.clone(), coded]).await;
    assert_eq!(coder.inner.room.available_permits(), before - 2 * kib);
    drop(found);
    assert_eq!(coder.inner.room.available_permits(), before);
}
