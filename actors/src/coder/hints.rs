//! Where to begin on the ladder: what blocks of one shape and one wish became lately. It must never decide that a rung is good
//! enough: that is asked of every block.
//!
//! Trying every rung from the smallest costs several encodings a block, and neighbours mostly end at the same one. So a block
//! begins where the last one ended, and every so often one rung further down.

use std::collections::BTreeMap;

use ultrakv_cache::{BlockLayout, Codec};

use super::encoding::Encoding;

/// Blocks from one look further down to the next: costs a sixteenth of an encoding, and finds a smaller rung within 16 blocks.
const LOOK_EVERY: u32 = 16;
/// Shapes and wishes remembered. A node has a model or a few, and as many wishes as its services have contracts; what is more begins at the
/// bottom each time.
const KNOWN_MAX: usize = 256;

/// The rungs below [`Codec::Planes`], in order.
const LOSSY: [Codec; 5] = [
    Codec::Int8,
    Codec::Fp8,
    Codec::Int4,
    Codec::Entropy,
    Codec::Archive,
];

/// What was learned.
#[derive(Debug, Default)]
pub(super) struct Hints(BTreeMap<(BlockLayout, Encoding), Hint>);

#[derive(Debug)]
struct Hint {
    taken: Codec,
    blocks: u32,
}

impl Hints {
    /// Where to begin; none to begin at the bottom, knowing nothing.
    pub(super) fn begin(&mut self, layout: BlockLayout, encoding: Encoding) -> Option<Codec> {
        let hint = self.0.get_mut(&(layout, encoding))?;
        hint.blocks = hint.blocks.wrapping_add(1);
        let looks = hint.blocks.is_multiple_of(LOOK_EVERY);
        match encoding {
            // Two exact rungs only: a look compares them.
            Encoding::Raw | Encoding::Exact { .. } => (!looks).then_some(hint.taken),
            Encoding::Lossy(_) if looks => {
                let mut further = LOSSY.into_iter().filter(|codec| *codec > hint.taken);
                Some(further.next().unwrap_or(hint.taken))
            }
            Encoding::Lossy(_) => Some(hint.taken),
        }
    }

    /// What a block became.
    pub(super) fn learn(&mut self, layout: BlockLayout, encoding: Encoding, taken: Codec) {
        if let Some(hint) = self.0.get_mut(&(layout, encoding)) {
            hint.taken = taken;
        } else if self.0.len() < KNOWN_MAX {
            let hint = Hint { taken, blocks: 0 };
            self.0.insert((layout, encoding), hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_cache::{BlockKind, Dtype};

    use super::*;
    use crate::coder::Quality;

    const LAYOUT: BlockLayout = BlockLayout {
        kind: BlockKind::Kv,
        dtype: Dtype::Bf16,
        layers: 1,
        kv_heads: 1,
        head_size: 64,
    };

    #[test]
    fn a_block_begins_where_the_last_ended_and_now_and_then_one_rung_further_down() {
        let lossy = Encoding::Lossy(Quality {
            error_ppm: 10_000,
            coarsest: Codec::Entropy,
        });
        let mut hints = Hints::default();
        assert_eq!(hints.begin(LAYOUT, lossy), None);
        hints.learn(LAYOUT, lossy, Codec::Int8);
        let begun: Vec<_> = (0..LOOK_EVERY)
            .map(|_| hints.begin(LAYOUT, lossy))
            .collect();
        let (last, others) = begun.split_last().unwrap();
        assert!(others.iter().all(|codec| *codec == Some(Codec::Int8)));
        assert_eq!(*last, Some(Codec::Fp8));
        hints.learn(LAYOUT, lossy, Codec::Planes);
        assert_eq!(hints.begin(LAYOUT, lossy), Some(Codec::Planes));

        let exact = Encoding::Exact {
            coarsest: Codec::Planes,
        };
        assert_eq!(hints.begin(LAYOUT, exact), None, "another wish");
        hints.learn(LAYOUT, exact, Codec::Exponent);
        let begun = (0..LOOK_EVERY).map(|_| hints.begin(LAYOUT, exact));
        assert_eq!(begun.filter(Option::is_none).count(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut hints = Hints::default();
        for error_ppm in 0..1_000 {
            let lossy = Encoding::Lossy(Quality {
                error_ppm,
                coarsest: Codec::Int4,
            });
            hints.learn(LAYOUT, lossy, Codec::Int8);
        }
        assert_eq!(hints.0.len(), KNOWN_MAX);
    }
}
