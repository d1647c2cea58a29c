//! Responsible for the promise of quality: a service states which error of the attention output it accepts, and each block gets
//! the smallest rung that keeps it, on evidence. It must never know who asks or where the block goes.
//!
//! A rung is tried on the block itself: encoded, decoded, and asked with seeded probes. It is taken when the largest error that *any*
//! query of the probes' length can see is accepted, or else when the error that the probes do see, and a margin, is. Both
//! are kept as evidence.
//!
//! # Source
//! `‖o' − o‖ ≤ (e^2d − 1) max‖v‖ + max‖dv‖` for logits that change by at most `d`: from the softmax's definition.

use super::element::{Bf16, Element, F16, F32};
use super::frame::Frame;
use super::isa::Isa;
use super::probe::{Probes, Seeded, head_of};
use super::shape::Shape;
use super::{Codec, Decoder, EncodeError, Encoded, Encoder, RawBlock};
use crate::layout::Dtype;

/// What the part of the error that keys make is multiplied by. Probes see how a block's keys, once changed, shift weights within the
/// block; queries over a whole sequence also see weights shift between blocks. The codec lab measures up to 1.9 times,
/// and 1 for the values' part.
pub const KEY_MARGIN: f32 = 2.0;

/// Probes a head. Errors are sums over all heads of a layer, so few a head are many a layer.
const PROBES: usize = 8;

/// What a service accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contract {
    /// Largest relative error of a layer's attention output, `sqrt(Σ‖o' − o‖² / Σ‖o‖²)` over its heads: 0.01 for one percent. 0 keeps
    /// every bit.
    pub output_error_max: f32,
    /// Standard deviation of the logits of one query over a block's tokens: how sharp the service's attention is. An error of a key
    /// costs in proportion.
    pub logit_deviation: f32,
    /// Whether the owner asked for archives, whose error is told but large.
    pub archive: bool,
    /// The rung furthest down that may be taken, however much error is accepted: where a size is wanted, nothing is lost beyond it.
    pub coarsest: Codec,
}

impl Contract {
    /// Accepts this error, from attention of ordinary sharpness, without archives.
    pub const fn accepting(output_error_max: f32) -> Self {
        Self {
            output_error_max,
            logit_deviation: 3.0,
            archive: false,
            coarsest: Codec::Archive,
        }
    }

    /// The rungs that may keep it, smallest first; exact ones come after.
    fn rungs(&self) -> impl Iterator<Item = Codec> + use<> {
        let (accepts, archive, coarsest) = (
            self.output_error_max > 0.0,
            self.archive,
            self.coarsest.code(),
        );
        let down = [
            Codec::Archive,
            Codec::Entropy,
            Codec::Int4,
            Codec::Fp8,
            Codec::Int8,
        ];
        down.into_iter().filter(move |codec| {
            accepts && codec.code() <= coarsest && (archive || *codec != Codec::Archive)
        })
    }
}

/// Why a rung was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Relative error of the worst layer's output under the probes; 0 for exact rungs.
    pub probed: f32,
    /// The same with [`KEY_MARGIN`]: what queries over a whole sequence are promised not to exceed.
    pub promised: f32,
    /// What no query of the probes' length can exceed, over the probes' mean output; the worst head's.
    pub bound: f32,
    /// Rungs that were tried before.
    pub refused: u8,
}

impl Evidence {
    const EXACT: Self = Self {
        probed: 0.0,
        promised: 0.0,
        bound: 0.0,
        refused: 0,
    };

    fn keeps(&self, contract: &Contract) -> bool {
        self.bound <= contract.output_error_max || self.promised <= contract.output_error_max
    }
}

/// Chooses rungs; keeps its buffers from block to block.
#[derive(Default)]
pub struct Chooser {
    encoder: Encoder,
    decoder: Decoder,
    coded: Vec<u8>,
}

impl Chooser {
    /// A chooser that works with these instructions.
    pub fn new(isa: Isa) -> Self {
        Self {
            encoder: Encoder::new(isa),
            decoder: Decoder::new(isa),
            coded: Vec::new(),
        }
    }

    /// Replaces what is in `out` by the smallest payload of `block` that keeps the contract, and says why. Blocks that went through a
    /// loss before, and opaque ones, are not judged: they are kept as exactly as they are.
    ///
    /// # Errors
    /// [`EncodeError`] when the numbers are not what the layout says.
    pub fn choose(
        &mut self,
        block: &RawBlock<'_>,
        contract: &Contract,
        seed: u64,
        out: &mut Vec<u8>,
    ) -> Result<(Encoded, Evidence), EncodeError> {
        if block.generation > 0 {
            return Ok((
                self.encoder.encode(Codec::Raw, block, out)?,
                Evidence::EXACT,
            ));
        }
        let mut refused = 0;
        if let Some(shape) = Shape::of(&block.layout, block.tokens, block.exact_tokens)
            && shape.suits_lossy()
        {
            let mut judge = None;
            for codec in contract.rungs() {
                let encoded = self.encoder.encode(codec, block, out)?;
                if encoded.codec != codec {
                    // Not one tile suits a lossy rung, so none suits another.
                    return Ok((
                        encoded,
                        Evidence {
                            refused,
                            ..Evidence::EXACT
                        },
                    ));
                }
                let judge = judge.get_or_insert_with(|| Judge::new(block, &shape, contract, seed));
                let evidence = self
                    .decoded(out, block.plain.len())
                    .map(|coded| judge.judge(coded));
                match evidence {
                    Some(evidence) if evidence.keeps(contract) => {
                        return Ok((
                            encoded,
                            Evidence {
                                refused,
                                ..evidence
                            },
                        ));
                    }
                    _ => refused += 1,
                }
            }
        }
        let encoded = self.encoder.encode(Codec::Planes, block, out)?;
        Ok((
            encoded,
            Evidence {
                refused,
                ..Evidence::EXACT
            },
        ))
    }

    /// What a payload that was just made decodes to; `None` should it not.
    fn decoded(&mut self, payload: &[u8], bytes: usize) -> Option<&[u8]> {
        let frame = Frame::parse(payload).ok()?;
        self.coded.resize(bytes, 0);
        self.decoder.decode(&frame, payload, &mut self.coded).ok()?;
        Some(&self.coded)
    }
}

/// A block's probes, and its own answers to them.
struct Judge<'a> {
    block: &'a RawBlock<'a>,
    shape: &'a Shape,
    /// A head's, layer by layer.
    probes: Vec<Probes>,
}

impl<'a> Judge<'a> {
    fn new(block: &'a RawBlock<'a>, shape: &'a Shape, contract: &Contract, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        let mut probes = Vec::with_capacity(shape.layers * shape.first.heads);
        for layer in block.plain.chunks_exact(shape.layer_bytes) {
            let numbers = numbers(block.layout.dtype, layer);
            for head in 0..shape.first.heads {
                let head = head_of(&numbers, &shape.first, head);
                probes.push(Probes::of(
                    &head,
                    PROBES,
                    contract.logit_deviation,
                    &mut seeded,
                ));
            }
        }
        Self {
            block,
            shape,
            probes,
        }
    }

    fn judge(&self, coded: &[u8]) -> Evidence {
        let (dtype, tensor) = (self.block.layout.dtype, self.shape.first);
        let mut worst = Evidence::EXACT;
        let layers = self.block.plain.chunks_exact(self.shape.layer_bytes);
        let pairs = layers.zip(coded.chunks_exact(self.shape.layer_bytes));
        for ((exact, coded), probes) in pairs.zip(self.probes.chunks_exact(tensor.heads)) {
            if exact == coded {
                continue;
            }
            let (exact, coded) = (numbers(dtype, exact), numbers(dtype, coded));
            let (mut error, mut with_margin, mut norm) = (0.0, 0.0, 0.0);
            for (head, probes) in probes.iter().enumerate() {
                let (exact, coded) = (
                    head_of(&exact, &tensor, head),
                    head_of(&coded, &tensor, head),
                );
                if are_same(exact.keys, coded.keys) && are_same(exact.values, coded.values) {
                    // Nothing moves; a head that is kept exactly because it holds NaN has no norm to add.
                    norm += Some(probes.norm())
                        .filter(|norm| norm.is_finite())
                        .unwrap_or(0.0);
                    continue;
                }
                let change = probes.change(&exact, &coded);
                error += change.error;
                with_margin += change.value_error + KEY_MARGIN * KEY_MARGIN * change.key_error;
                norm += change.norm;
                worst.bound = worst.bound.max(change.bound);
            }
            worst.probed = worst.probed.max(relative(error, norm));
            worst.promised = worst.promised.max(relative(with_margin, norm));
        }
        worst
    }
}

/// Root of the share; an output that is not a number convicts the rung.
fn relative(error: f32, norm: f32) -> f32 {
    let share = (error / norm).sqrt();
    if share.is_nan() { f32::INFINITY } else { share }
}

/// Bit by bit: NaN is the same as itself.
fn are_same(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Bytes as numbers.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    fn all<E: Element>(bytes: &[u8]) -> Vec<f32> {
        E::split(bytes)
            .iter()
            .map(|number| E::load(*number))
            .collect()
    }
    match dtype {
        Dtype::Bf16 => all::<Bf16>(bytes),
        Dtype::F16 => all::<F16>(bytes),
        Dtype::F32 => all::<F32>(bytes),
    }
}
