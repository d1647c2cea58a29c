//! What becomes of a domain's blocks on their way in, and what its readers take. It must never know services, nor where a
//! block lies.

use ultrakv_cache::codec::Contract;
use ultrakv_cache::{BlockHeader, Codec};
use ultrakv_config::{BlockEncoding, Rung};

/// The first version of how a contract is spelled in keys.
const TERMS_VERSION: u8 = 1;

/// How blocks are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// As they came.
    #[default]
    Raw,
    /// Smaller where that pays, with every bit kept.
    Exact {
        /// The rung furthest down that is wanted: [`Codec::Exponent`] or [`Codec::Planes`].
        coarsest: Codec,
    },
    /// With as much error as a contract accepts.
    Lossy(Quality),
}

/// What a service accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quality {
    /// Largest relative error of a layer's attention output, in millionths: 10 000 for one percent.
    pub error_ppm: u32,
    /// The rung furthest down that is wanted: nothing is lost for more than the size that was asked for.
    pub coarsest: Codec,
}

impl Quality {
    /// The contract as the ladder knows it.
    #[must_use]
    pub fn contract(&self) -> Contract {
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "millionths up to a million are exact in single precision"
        )]
        let accepted = self.error_ppm.min(1_000_000) as f32 / 1e6;
        Contract {
            archive: self.coarsest == Codec::Archive,
            coarsest: self.coarsest,
            ..Contract::accepting(accepted)
        }
    }
}

impl Encoding {
    /// What the settings ask for.
    #[must_use]
    pub fn from_settings(settings: &BlockEncoding) -> Self {
        match *settings {
            BlockEncoding::Raw => Self::Raw,
            BlockEncoding::Exact { coarsest } => Self::Exact {
                coarsest: codec(coarsest),
            },
            BlockEncoding::Lossy {
                error_ppm,
                coarsest,
            } => Self::Lossy(Quality {
                error_ppm,
                coarsest: codec(coarsest),
            }),
        }
    }

    /// The same without loss: for bytes of which nobody knows what an error would do.
    #[must_use]
    pub const fn exact(self) -> Self {
        match self {
            Self::Lossy(_) => Self::Exact {
                coarsest: Codec::Planes,
            },
            exact => exact,
        }
    }

    /// Whether a reader takes this block. Who accepts no error takes only what never lost a bit.
    #[must_use]
    pub fn takes(&self, header: &BlockHeader) -> bool {
        self.takes_loss() || header.is_exact()
    }

    /// Whether a reader takes numbers that are not those that were computed.
    #[must_use]
    pub const fn takes_loss(&self) -> bool {
        matches!(self, Self::Lossy(_))
    }

    /// On what terms values are interchangeable; none where they are exact. The rung is no part of it: whatever a contract's
    /// readers take keeps the contract.
    pub(crate) fn terms(&self) -> Option<[u8; 6]> {
        let Self::Lossy(quality) = self else {
            return None;
        };
        let [a, b, c, d] = quality.error_ppm.to_le_bytes();
        let archive = u8::from(quality.contract().archive);
        Some([TERMS_VERSION, a, b, c, d, archive])
    }
}

const fn codec(rung: Rung) -> Codec {
    match rung {
        Rung::Exponent => Codec::Exponent,
        Rung::Planes => Codec::Planes,
        Rung::Int8 => Codec::Int8,
        Rung::Int4 => Codec::Int4,
        Rung::Entropy => Codec::Entropy,
    }
}
