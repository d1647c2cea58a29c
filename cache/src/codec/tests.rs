//! Tests of the ladder as a whole: exact rungs give back every bit, lossy ones keep the bound that they state, every
//! instruction set writes the same bytes, and damaged bytes are an error, never a panic.

use proptest::prelude::*;

use super::*;
use crate::layout::{BlockKind, BlockLayout, Dtype};

const LOSSY: [Codec; 5] = [
    Codec::Int8,
    Codec::Fp8,
    Codec::Int4,
    Codec::Entropy,
    Codec::Archive,
];

/// A small generator of repeatable numbers.
struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Near enough to a bell for tests: twelve uniform numbers, less six.
    #[expect(clippy::as_conversions, reason = "16 bits are exact in an f32")]
    fn bell(&mut self) -> f32 {
        (0..12)
            .map(|_| (self.bits() & 0xffff) as f32 / 65536.0)
            .sum::<f32>()
            - 6.0
    }
}

fn layout(
    kind: BlockKind,
    dtype: Dtype,
    (layers, kv_heads, head_size): (u16, u16, u16),
) -> BlockLayout {
    BlockLayout {
        kind,
        dtype,
        layers,
        kv_heads,
        head_size,
    }
}

fn store(dtype: Dtype, value: f32) -> Vec<u8> {
    use super::element::{Bf16, Element, F16, F32};
    match dtype {
        Dtype::Bf16 => Bf16::store(value).to_vec(),
        Dtype::F16 => F16::store(value).to_vec(),
        Dtype::F32 => F32::store(value).to_vec(),
    }
}

fn load(dtype: Dtype, bytes: &[u8]) -> f32 {
    use super::element::{Bf16, Element, F16, F32};
    match dtype {
        Dtype::Bf16 => Bf16::load(bytes.try_into().unwrap()),
        Dtype::F16 => F16::load(bytes.try_into().unwrap()),
        Dtype::F32 => F32::load(bytes.try_into().unwrap()),
    }
}

/// Numbers with large means in some channels, as keys have them, of this scale.
fn plain(layout: &BlockLayout, tokens: u32, scale: f32, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let dims = usize::from(layout.head_size);
    let width = usize::try_from(layout.dtype.bytes()).unwrap();
    let count = usize::try_from(layout.payload_bytes(tokens).unwrap()).unwrap() / width;
    (0..count)
        .flat_map(|at| {
            let offset = if at % dims % 31 == 5 { 40.0 } else { 0.0 };
            store(layout.dtype, (numbers.bell() + offset) * scale)
        })
        .collect()
}

/// Encodes with every instruction set, which must agree, and decodes with every one, which must agree.
fn there_and_back(codec: Codec, block: &RawBlock<'_>) -> (Encoded, Vec<u8>, Vec<u8>) {
    let mut answers = Isa::available().into_iter().map(|isa| {
        let mut payload = Vec::new();
        let encoded = Encoder::new(isa)
            .encode(codec, block, &mut payload)
            .unwrap();
        if encoded.codec == Codec::Raw {
            return (encoded, payload.clone(), payload);
        }
        // What the buffer held before must not matter.
        let mut again = vec![0xee; block.plain.len() * 2];
        let same = Encoder::new(isa).encode(codec, block, &mut again).unwrap();
        assert_eq!((same, &again), (encoded, &payload), "{codec}");
        let frame = Frame::parse(&payload).unwrap();
        assert_eq!(frame.payload_bytes(), payload.len());
        let mut plain = vec![0xee; block.plain.len()];
        Decoder::new(isa)
            .decode(&frame, &payload, &mut plain)
            .unwrap();
        for layer in 0..frame.layers() {
            let (body, part) = (frame.body(layer).unwrap(), frame.plain(layer).unwrap());
            assert!(frame.verify_body(layer, &payload[body]));
            assert_eq!(
                frame.verify_plain(layer, &block.plain[part]),
                encoded.codec.is_exact()
            );
        }
        (encoded, payload, plain)
    });
    let first = answers.next().unwrap();
    for other in answers {
        assert_eq!(first, other, "{codec}: instruction sets differ");
    }
    first
}

fn worst_error(dtype: Dtype, a: &[u8], b: &[u8]) -> f32 {
    let width = usize::try_from(dtype.bytes()).unwrap();
    let pairs = a.chunks_exact(width).zip(b.chunks_exact(width));
    pairs
        .map(|(a, b)| (load(dtype, a) - load(dtype, b)).abs())
        .fold(0.0, f32::max)
}

fn dtypes() -> impl Strategy<Value = Dtype> {
    prop_oneof![Just(Dtype::Bf16), Just(Dtype::F16), Just(Dtype::F32)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exact_rungs_give_back_any_bits(
        dtype in dtypes(), latent: bool, shape in (1..4_u16, 1..4_u16, 1..40_u16), tokens in 1..40_u32, seed: u64, narrow: bool,
    ) {
        let kind = if latent { BlockKind::Latent } else { BlockKind::Kv };
        let layout = layout(kind, dtype, shape);
        let mut numbers = Numbers(seed);
        let bytes = usize::try_from(layout.payload_bytes(tokens).unwrap()).unwrap();
        let mask = if narrow { 0x03 } else { 0xff };
        let plain: Vec<u8> = (0..bytes).map(|_| numbers.bits().to_le_bytes()[0] & mask).collect();
        for codec in [Codec::Raw, Codec::Exponent, Codec::Planes] {
            let (encoded, payload, decoded) = there_and_back(codec, &RawBlock::new(layout, tokens, &plain));
            prop_assert_eq!(&decoded, &plain);
            prop_assert!(payload.len() <= plain.len());
            prop_assert!(encoded.codec.is_exact() && encoded.error_max == 0.0);
        }
    }

    #[test]
    fn exact_rungs_give_back_plausible_numbers_of_any_count(
        dtype in dtypes(), heads in 1..3_u16, dims in 1..150_u16, tokens in 1..90_u32, exponent in -12..4_i32, seed: u64,
    ) {
        let layout = layout(BlockKind::Kv, dtype, (1, heads, dims));
        let plain = plain(&layout, tokens, 2.0_f32.powi(exponent), seed);
        for codec in [Codec::Exponent, Codec::Planes] {
            let (_, _, decoded) = there_and_back(codec, &RawBlock::new(layout, tokens, &plain));
            prop_assert_eq!(&decoded, &plain);
        }
    }

    #[test]
    fn lossy_rungs_keep_the_bound_that_they_state(
        dtype in dtypes(), latent: bool, heads in 1..3_u16, dims in 8..150_u16, tokens in 1..300_u32, exact in 0..6_u16,
        exponent in -12..4_i32, seed: u64, pick in 0..5_usize,
    ) {
        let kind = if latent { BlockKind::Latent } else { BlockKind::Kv };
        let layout = layout(kind, dtype, (1, heads, dims));
        let plain = plain(&layout, tokens, 2.0_f32.powi(exponent), seed);
        let block = RawBlock { exact_tokens: exact, ..RawBlock::new(layout, tokens, &plain) };
        let (encoded, _, decoded) = there_and_back(LOSSY[pick], &block);
        let worst = worst_error(dtype, &plain, &decoded);
        prop_assert!(worst <= encoded.error_max, "{worst} above {}", encoded.error_max);
        if encoded.codec.is_exact() {
            prop_assert_eq!(&decoded, &plain);
        }
        let dims = usize::from(dims) * usize::try_from(dtype.bytes()).unwrap();
        let head = usize::try_from(tokens).unwrap() * dims;
        let kept = usize::from(exact).min(usize::try_from(tokens).unwrap()) * dims;
        for (before, after) in plain.chunks(head).zip(decoded.chunks(head)) {
            prop_assert_eq!(&before[..kept], &after[..kept]);
        }
    }

    #[test]
    fn damaged_payloads_are_errors_or_numbers_but_never_panics(
        dtype in dtypes(), tokens in 8..80_u32, seed: u64, pick in 1..8_usize, at: prop::sample::Index, flip in 1..=255_u8, cut: bool,
    ) {
        let layout = layout(BlockKind::Kv, dtype, (2, 1, 32));
        let plain = plain(&layout, tokens, 1.0, seed);
        let mut payload = Vec::new();
        let encoded = Encoder::default().encode(Codec::ALL[pick], &RawBlock::new(layout, tokens, &plain), &mut payload).unwrap();
        prop_assume!(encoded.codec != Codec::Raw);
        let frame = Frame::parse(&payload).unwrap();
        let at = at.index(payload.len());
        if cut { payload.truncate(at) } else { payload[at] ^= flip }
        if at < frame.head_bytes() {
            prop_assert!(Frame::parse(&payload).is_err());
            return Ok(());
        }
        let mut decoded = vec![0; plain.len()];
        let outcome = Decoder::default().decode(&frame, &payload, &mut decoded);
        if cut { prop_assert_eq!(outcome, Err(DecodeError::Short)) }
        let sound = (0..2).all(|layer| frame.body(layer).and_then(|body| payload.get(body)).is_some_and(|body| frame.verify_body(layer, body)));
        prop_assert!(!sound);
    }

    #[test]
    fn frames_of_any_bytes_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Frame::parse(&bytes).is_err());
    }
}

#[test]
fn what_a_lossy_rung_cannot_hold_is_kept_exactly_tile_by_tile() {
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        let layout = layout(BlockKind::Kv, dtype, (2, 3, 64));
        let width = usize::try_from(dtype.bytes()).unwrap();
        let tile = 64 * 64 * width;
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut plain = plain(&layout, 64, 1.0, 5);
            let bits = special.to_bits().to_le_bytes();
            let bytes = match dtype {
                Dtype::F32 => bits.to_vec(),
                Dtype::Bf16 => bits[2..].to_vec(),
                Dtype::F16 => (if special.is_nan() {
                    0x7e01_u16
                } else {
                    0x7c00 | u16::from(special < 0.0) << 15
                })
                .to_le_bytes()
                .to_vec(),
            };
            let at = tile * 7 + width * 100;
            plain[at..at + width].copy_from_slice(&bytes);
            for codec in LOSSY {
                let (encoded, _, decoded) =
                    there_and_back(codec, &RawBlock::new(layout, 64, &plain));
                assert_eq!(
                    (encoded.codec, encoded.kept_tiles),
                    (codec, 1),
                    "{dtype} {special}"
                );
                assert_eq!(decoded[tile * 7..tile * 8], plain[tile * 7..tile * 8]);
                assert_ne!(decoded[..tile], plain[..tile]);
            }
        }
    }
}

#[test]
fn numbers_at_the_ends_of_the_range_are_kept_exactly() {
    let layout = layout(BlockKind::Kv, Dtype::F32, (1, 1, 32));
    for scale in [1.0e-42_f32, 1.0e-33, 1.0e33, 1.0e37] {
        let plain = plain(&layout, 64, scale, 9);
        for codec in LOSSY {
            let (encoded, _, decoded) = there_and_back(codec, &RawBlock::new(layout, 64, &plain));
            assert!(encoded.codec.is_exact(), "{scale} {codec}");
            assert_eq!(decoded, plain);
        }
    }
    let zeros = vec![0; usize::try_from(layout.payload_bytes(64).unwrap()).unwrap()];
    for codec in LOSSY {
        assert_eq!(
            there_and_back(codec, &RawBlock::new(layout, 64, &zeros)).2,
            zeros,
            "{codec}"
        );
    }
}

#[test]
fn odd_shapes_become_exact_planes() {
    for (dims, tokens) in [(15, 64), (17, 64), (1026, 16), (32, 7), (1, 1)] {
        let layout = layout(BlockKind::Kv, Dtype::Bf16, (1, 1, dims));
        let plain = plain(&layout, tokens, 1.0, 3);
        for codec in LOSSY {
            let (encoded, _, decoded) =
                there_and_back(codec, &RawBlock::new(layout, tokens, &plain));
            assert!(encoded.codec.is_exact(), "{dims} x {tokens}");
            assert_eq!(decoded, plain);
        }
    }
}

#[test]
fn numbers_that_do_not_fill_the_last_group_keep_their_exponents() {
    for dtype in [Dtype::Bf16, Dtype::F32] {
        let layout = layout(BlockKind::Kv, dtype, (1, 1, 130));
        let plain = plain(&layout, 130, 1.0, 29);
        let (encoded, _, decoded) =
            there_and_back(Codec::Exponent, &RawBlock::new(layout, 130, &plain));
        assert_eq!(encoded.codec, Codec::Exponent);
        assert_eq!(decoded, plain);
    }
}

#[test]
fn opaque_bytes_are_only_ever_compressed_without_loss() {
    let text = b"the same words again and again, ".repeat(40);
    let noise: Vec<u8> = (0..999_u64)
        .map(|at| Numbers(at).bits().to_le_bytes()[0])
        .collect();
    for codec in Codec::ALL {
        let (encoded, payload, decoded) =
            there_and_back(codec, &RawBlock::new(BlockLayout::OPAQUE, 0, &text));
        assert_eq!(decoded, text);
        let wanted = if codec == Codec::Raw {
            Codec::Raw
        } else {
            Codec::Planes
        };
        assert_eq!(encoded.codec, wanted, "{codec}");
        assert!(codec == Codec::Raw || payload.len() * 4 < text.len());
        let (encoded, _, decoded) =
            there_and_back(codec, &RawBlock::new(BlockLayout::OPAQUE, 0, &noise));
        assert_eq!((encoded.codec, &decoded), (Codec::Raw, &noise));
    }
}

#[test]
fn a_layer_decodes_before_the_next_one_is_there() {
    let layout = layout(BlockKind::Kv, Dtype::Bf16, (4, 2, 64));
    let plain = plain(&layout, 64, 1.0, 11);
    for codec in LOSSY.into_iter().chain([Codec::Exponent, Codec::Planes]) {
        let (_, payload, whole) = there_and_back(codec, &RawBlock::new(layout, 64, &plain));
        let mut decoder = Decoder::default();
        let head = Frame::parse(&payload).unwrap().head_bytes();
        let frame = Frame::parse(&payload[..head]).unwrap();
        for layer in 0..4 {
            let part = frame.plain(layer).unwrap();
            let mut place = vec![0; part.len()];
            decoder
                .decode_layer(&frame, &payload[frame.body(layer).unwrap()], &mut place)
                .unwrap();
            assert_eq!(place, whole[part]);
        }
        assert!(Frame::parse(&payload[..head - 1]).is_err());
    }
}

#[test]
fn a_lossy_block_only_ever_becomes_coarser() {
    let layout = layout(BlockKind::Kv, Dtype::Bf16, (1, 2, 64));
    let plain = plain(&layout, 64, 1.0, 13);
    let block = RawBlock {
        exact_tokens: 4,
        ..RawBlock::new(layout, 64, &plain)
    };
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let (mut payload, mut next, mut decoded) = (Vec::new(), Vec::new(), vec![0; plain.len()]);
    for from in Codec::ALL.into_iter().skip(1) {
        for to in Codec::ALL {
            let first = encoder.encode(from, &block, &mut payload).unwrap();
            let outcome = decoder.recode(&mut encoder, &payload, to, &mut next);
            assert_eq!(
                outcome.is_ok(),
                from.is_exact() || (!to.is_exact() && to > from),
                "{from} to {to}"
            );
            if let Ok(second) = outcome
                && !to.is_exact()
            {
                let frame = Frame::parse(&next).unwrap();
                assert_eq!(
                    (frame.generation, frame.exact_tokens),
                    (if from.is_exact() { 1 } else { 2 }, 4)
                );
                decoder.decode(&frame, &next, &mut decoded).unwrap();
                assert!(second.error_max > first.error_max);
                assert!(
                    worst_error(Dtype::Bf16, &plain, &decoded) <= second.error_max,
                    "{from} to {to}"
                );
            }
        }
    }
}

#[test]
fn takes_the_room_that_the_ladder_promises() {
    let layout = layout(BlockKind::Kv, Dtype::Bf16, (2, 4, 128));
    let plain = plain(&layout, 64, 1.0, 17);
    for (codec, ratio) in [
        (Codec::Exponent, 1.33),
        (Codec::Int8, 1.9),
        (Codec::Fp8, 1.9),
        (Codec::Int4, 3.6),
        (Codec::Entropy, 4.9),
        (Codec::Archive, 5.7),
    ] {
        let (_, payload, _) = there_and_back(codec, &RawBlock::new(layout, 64, &plain));
        #[expect(
            clippy::as_conversions,
            reason = "lengths far below 2^52 become a ratio"
        )]
        let reached = plain.len() as f64 / payload.len() as f64;
        assert!(reached >= ratio, "{codec}: {reached}");
    }
}

#[test]
fn a_contract_gets_the_smallest_rung_that_keeps_it() {
    let layout = layout(BlockKind::Kv, Dtype::Bf16, (2, 2, 64));
    let plain = plain(&layout, 64, 1.0, 19);
    let block = RawBlock::new(layout, 64, &plain);
    let mut out = Vec::new();
    let mut last = (0, f32::INFINITY);
    let mut taken = Vec::new();
    for accepted in [10.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.0] {
        let contract = Contract {
            archive: accepted >= 0.5,
            ..Contract::accepting(accepted)
        };
        let (encoded, evidence) = Chooser::default()
            .choose(&block, &contract, 7, &mut out)
            .unwrap();
        assert!(evidence.promised <= accepted || evidence.bound <= accepted);
        assert!(
            evidence.probed <= evidence.bound.min(last.1),
            "{evidence:?}"
        );
        assert!(
            out.len() >= last.0,
            "a stricter contract must not be smaller"
        );
        last = (out.len(), accepted);
        taken.push(encoded.codec);
        let again = Chooser::new(Isa::PORTABLE)
            .choose(&block, &contract, 7, &mut out)
            .unwrap();
        assert_eq!(
            again,
            (encoded, evidence),
            "a seed decides alike everywhere"
        );
    }
    assert!(taken.is_sorted_by(|a, b| a >= b), "{taken:?}");
    taken.dedup();
    assert!(
        taken.len() >= 5 && taken.first() == Some(&Codec::Archive),
        "{taken:?}"
    );
    assert_eq!(taken.last(), Some(&Codec::Planes));
}

#[test]
fn a_contract_judges_no_block_that_was_lossy_and_none_that_is_opaque() {
    let layout = layout(BlockKind::Latent, Dtype::F16, (2, 1, 64));
    let plain = plain(&layout, 64, 0.1, 23);
    let mut out = Vec::new();
    let lossy = RawBlock {
        generation: 1,
        error_max: 0.5,
        ..RawBlock::new(layout, 64, &plain)
    };
    let (encoded, _) = Chooser::default()
        .choose(&lossy, &Contract::accepting(0.9), 1, &mut out)
        .unwrap();
    assert_eq!(
        (encoded.codec, encoded.error_max, &out),
        (Codec::Raw, 0.5, &plain)
    );
    let opaque = RawBlock::new(BlockLayout::OPAQUE, 0, &plain);
    let (encoded, evidence) = Chooser::default()
        .choose(&opaque, &Contract::accepting(0.9), 1, &mut out)
        .unwrap();
    assert!(encoded.codec.is_exact() && evidence.refused == 0);
    let latent = RawBlock::new(layout, 64, &plain);
    let (encoded, _) = Chooser::default()
        .choose(&latent, &Contract::accepting(0.9), 1, &mut out)
        .unwrap();
    assert_eq!(encoded.codec, Codec::Entropy);
}
