//! Puts small blocks of every kind through the exact rungs, and larger ones through every rung, for as many cases as asked: `cargo run --release -p ultrakv-lab --example
//! codec_fuzz -- CASES SEED`. Exact rungs must give back every bit, lossy ones keep the bound that they state, damaged payloads be
//! errors or numbers, and all instruction sets agree. The last line is JSON.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints its figures, and tells a person what it does"
)]

use std::process::ExitCode;

use half::{bf16, f16};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ultrakv_cache::codec::{Decoder, Encoder, Frame, Isa, RawBlock};
use ultrakv_cache::{BlockKind, BlockLayout, Codec, Dtype};

/// How often the other instruction sets repeat a case: equal answers cost further runs.
const COMPARE_EVERY: u64 = 8;

struct Fuzz {
    chance: ChaCha8Rng,
    encoder: Encoder,
    decoder: Decoder,
    others: Vec<(Encoder, Decoder)>,
    plain: Vec<u8>,
    payload: Vec<u8>,
    decoded: Vec<u8>,
    counts: Counts,
}

#[derive(Default, serde::Serialize)]
struct Counts {
    exact: u64,
    lossy: u64,
    damaged: u64,
    damage_refused: u64,
    compared: u64,
    failures: Vec<String>,
}

impl Fuzz {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.chance.random_range(0..from.len());
        from.get(at)
            .copied()
            .unwrap_or_else(|| unreachable!("a place of the list"))
    }

    /// A layout, its tokens, and numbers: any bits, few bits, one number again and again, or plausible ones.
    fn block(&mut self, large: bool) -> (BlockLayout, u32) {
        let dtype = self.pick(&[Dtype::Bf16, Dtype::F16, Dtype::F32]);
        let kind = self.pick(&[
            BlockKind::Kv,
            BlockKind::Kv,
            BlockKind::Latent,
            BlockKind::Opaque,
        ]);
        let (dims, tokens) = if large {
            (
                self.pick(&[16, 18, 24, 32, 48, 64]),
                self.pick(&[8_u32, 9, 16, 31, 48, 50]),
            )
        } else {
            (
                self.chance.random_range(1..12_u16),
                self.chance.random_range(1..7_u32),
            )
        };
        let layout = if kind == BlockKind::Opaque && !large {
            BlockLayout::OPAQUE
        } else {
            let kind = if kind == BlockKind::Opaque {
                BlockKind::Kv
            } else {
                kind
            };
            BlockLayout {
                kind,
                dtype,
                layers: self.pick(&[1, 1, 2]),
                kv_heads: self.pick(&[1, 1, 2]),
                head_size: dims,
            }
        };
        let bytes = layout.payload_bytes(tokens).map_or_else(
            || self.chance.random_range(1..200),
            |bytes| usize::try_from(bytes).unwrap_or(1),
        );
        self.plain.resize(bytes, 0);
        if large {
            self.numbers(dtype, dims);
        } else {
            self.bits();
        }
        (layout, tokens)
    }

    fn bits(&mut self) {
        let style = self.chance.random_range(0..4);
        let mut bytes = std::mem::take(&mut self.plain);
        self.chance.fill_bytes(&mut bytes);
        match style {
            // Any bits at all: NaN, infinities and subnormal numbers come by themselves.
            0 | 1 => {}
            2 => bytes.iter_mut().for_each(|byte| *byte &= 0x81),
            _ => {
                let one: [u8; 4] = self.chance.random();
                for (byte, same) in bytes.iter_mut().zip(one.iter().cycle()) {
                    *byte = *same;
                }
            }
        }
        self.plain = bytes;
    }

    fn numbers(&mut self, dtype: Dtype, dims: u16) {
        let scale = f32::exp2(self.chance.random_range(-12.0..6.0));
        let offset: f32 = self.pick(&[0.0, 1.0, 40.0]);
        let special = self.chance.random_range(0..16) == 0;
        let mut bytes = std::mem::take(&mut self.plain);
        let width = usize::try_from(dtype.bytes()).unwrap_or(4);
        for (at, place) in bytes.chunks_exact_mut(width).enumerate() {
            let noise: f32 = (0..3)
                .map(|_| self.chance.random_range(-1.0..1.0_f32))
                .sum();
            let shifted = at % usize::from(dims) % 13 == 5;
            let mut number = scale * (noise + if shifted { offset } else { 0.0 });
            if special && self.chance.random_range(0..64) == 0 {
                number = self.pick(&[
                    f32::NAN,
                    f32::INFINITY,
                    f32::NEG_INFINITY,
                    0.0,
                    -0.0,
                    1.0e-41,
                    f32::MAX,
                ]);
            }
            match dtype {
                Dtype::Bf16 => place.copy_from_slice(&bf16::from_f32(number).to_le_bytes()),
                Dtype::F16 => place.copy_from_slice(&f16::from_f32(number).to_le_bytes()),
                Dtype::F32 => place.copy_from_slice(&number.to_le_bytes()),
            }
        }
        self.plain = bytes;
    }

    /// Encodes and decodes the block; what is wrong, if anything.
    fn there_and_back(
        &mut self,
        codec: Codec,
        block: (BlockLayout, u32),
        exact_tokens: u16,
        compare: bool,
    ) -> Result<(), String> {
        let raw = RawBlock {
            exact_tokens,
            ..RawBlock::new(block.0, block.1, &self.plain)
        };
        let encoded = self
            .encoder
            .encode(codec, &raw, &mut self.payload)
            .map_err(|error| error.to_string())?;
        self.decoded.clear();
        self.decoded.resize(self.plain.len(), 0xee);
        if encoded.codec == Codec::Raw {
            self.decoded.copy_from_slice(&self.payload);
        } else {
            let frame = Frame::parse(&self.payload).map_err(|error| error.to_string())?;
            self.decoder
                .decode(&frame, &self.payload, &mut self.decoded)
                .map_err(|error| error.to_string())?;
            self.counts.compared += u64::from(compare);
            let others = self.others.iter_mut();
            for (encoder, decoder) in others.take(if compare { usize::MAX } else { 0 }) {
                let mut payload = Vec::new();
                let again = encoder
                    .encode(codec, &raw, &mut payload)
                    .map_err(|error| error.to_string())?;
                let mut decoded = vec![0; self.plain.len()];
                decoder
                    .decode(&frame, &payload, &mut decoded)
                    .map_err(|error| error.to_string())?;
                if again != encoded || payload != self.payload || decoded != self.decoded {
                    return Err("instruction sets differ".to_owned());
                }
            }
        }
        if encoded.codec.is_exact() {
            return if self.decoded == self.plain {
                Ok(())
            } else {
                Err("bits differ".to_owned())
            };
        }
        self.within(block.0.dtype, encoded.error_max)
    }

    fn within(&self, dtype: Dtype, bound: f32) -> Result<(), String> {
        let width = usize::try_from(dtype.bytes()).unwrap_or(4);
        for (a, b) in self
            .plain
            .chunks_exact(width)
            .zip(self.decoded.chunks_exact(width))
        {
            if a != b {
                let error = (load(dtype, a) - load(dtype, b)).abs();
                // Not "above": an error that is not a number must fail too.
                if !matches!(
                    error.partial_cmp(&bound),
                    Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
                ) {
                    return Err(format!("error {error} above the bound {bound}"));
                }
            }
        }
        Ok(())
    }

    /// Damages the payload and decodes it: an error or numbers, never a panic.
    fn damage(&mut self) {
        let Ok(frame) = Frame::parse(&self.payload) else {
            return;
        };
        let head = frame.head_bytes();
        if self.payload.len() <= head {
            return;
        }
        for _ in 0..self.chance.random_range(1..4) {
            let at = self.chance.random_range(head..self.payload.len());
            let byte = self.chance.random();
            if let Some(place) = self.payload.get_mut(at) {
                *place = byte;
            }
        }
        self.counts.damaged += 1;
        let outcome = self
            .decoder
            .decode(&frame, &self.payload, &mut self.decoded);
        self.counts.damage_refused += u64::from(outcome.is_err());
    }

    /// A small case of an exact rung, or a large one, with plausible numbers, of any.
    fn case(&mut self, at: u64, large: bool) {
        let block = self.block(large);
        let rungs: &[Codec] = if large {
            &[
                Codec::Exponent,
                Codec::Planes,
                Codec::Int8,
                Codec::Fp8,
                Codec::Int4,
                Codec::Entropy,
                Codec::Archive,
            ]
        } else {
            &[Codec::Exponent, Codec::Planes]
        };
        let codec = self.pick(rungs);
        let exact_tokens = if large { self.pick(&[0, 0, 4]) } else { 0 };
        if let Err(what) =
            self.there_and_back(codec, block, exact_tokens, at.is_multiple_of(COMPARE_EVERY))
        {
            self.counts
                .failures
                .push(format!("case {at}, {codec}, {block:?}: {what}"));
        }
        if codec.is_exact() {
            self.counts.exact += 1
        } else {
            self.counts.lossy += 1
        }
        if at.is_multiple_of(4) {
            self.damage();
        }
    }
}

fn load(dtype: Dtype, bytes: &[u8]) -> f32 {
    match (dtype, bytes) {
        (Dtype::Bf16, [a, b]) => bf16::from_le_bytes([*a, *b]).to_f32(),
        (Dtype::F16, [a, b]) => f16::from_le_bytes([*a, *b]).to_f32(),
        (Dtype::F32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
        _ => f32::NAN,
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse::<u64>());
    let (Some(Ok(cases)), Some(Ok(seed))) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: codec_fuzz CASES SEED");
        return ExitCode::from(2);
    };
    let isa = Isa::detect();
    let mut fuzz = Fuzz {
        chance: ChaCha8Rng::seed_from_u64(seed),
        encoder: Encoder::new(isa),
        decoder: Decoder::new(isa),
        others: Isa::available()
            .into_iter()
            .filter(|other| *other != isa)
            .map(|other| (Encoder::new(other), Decoder::new(other)))
            .collect(),
        plain: Vec::new(),
        payload: Vec::new(),
        decoded: Vec::new(),
        counts: Counts::default(),
    };
    for at in 0..cases {
        fuzz.case(at, false);
        // One large case for every sixteen small ones.
        if at.is_multiple_of(16) {
            fuzz.case(at, true);
        }
        if at.is_multiple_of(1_000_000) {
            eprintln!("{at} of {cases}");
        }
    }
    match serde_json::to_string(&fuzz.counts) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("{error}"),
    }
    if fuzz.counts.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
