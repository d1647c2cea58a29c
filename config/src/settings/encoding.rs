//! How blocks are stored: what was asked for, and what follows from it for each service.
//!
//! Rungs are the ladder's, by name. Their sizes and errors here are typical, measured on the codec lab's profiles: good for
//! refusing what cannot be, never for deciding what a block becomes. Nothing here knows a block.

use super::{KvDtype, Settings, Strategy};

/// The error of the attention output that is accepted, in millionths, where blocks are to be quantized and a service does not
/// say: two percent. Eight bits are promised to cost 0.6 to 1.2 percent, so nearly every block reaches them.
pub const ERROR_PPM_DEFAULT: u32 = 20_000;

/// What the operator asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodingSettings {
    /// Whether blocks are made smaller without loss; as the strategy says where nothing is said.
    pub compress: Option<bool>,
    /// Whether blocks may lose what their service accepts; as the strategy says where nothing is said.
    pub quantize: Option<bool>,
    /// Bits of a number: 8 or 4. Blocks become no smaller than that.
    pub bits: Option<u32>,
    /// Stored bytes over original bytes that are wanted. Blocks become no smaller than the rung that reaches it.
    pub ratio: Option<f64>,
}

/// A rung of the ladder that settings may end at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Frequent exponents in four bits.
    Exponent,
    /// Byte planes, compressed.
    Planes,
    /// Eight bits a number.
    Int8,
    /// Four bits a number.
    Int4,
    /// Steps of half a deviation, entropy-coded.
    Entropy,
}

/// What the blocks of a service become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockEncoding {
    /// They stay as they are.
    Raw,
    /// Smaller, with every bit.
    Exact {
        /// The smallest rung that is wanted.
        coarsest: Rung,
    },
    /// As small as the accepted error allows.
    Lossy {
        /// The accepted relative error of the attention output, in millionths.
        error_ppm: u32,
        /// The smallest rung that is wanted.
        coarsest: Rung,
    },
}

impl Rung {
    /// The rungs that lose nothing.
    pub(crate) const EXACT: [Self; 2] = [Self::Exponent, Self::Planes];
    /// The rungs that lose something.
    pub(crate) const LOSSY: [Self; 3] = [Self::Int8, Self::Int4, Self::Entropy];

    /// The name in `docs/codecs.md`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exponent => "exponent",
            Self::Planes => "planes",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Entropy => "entropy",
        }
    }

    /// Stored bytes over original bytes, typically.
    #[must_use]
    pub const fn ratio(self, dtype: KvDtype) -> f64 {
        match (self, dtype) {
            (Self::Exponent, KvDtype::Bf16) => 0.76,
            (Self::Planes, KvDtype::Bf16) => 0.70,
            (Self::Exponent | Self::Planes, KvDtype::F16) => 0.86,
            (Self::Exponent, KvDtype::F32) => 0.88,
            (Self::Planes, KvDtype::F32) => 0.86,
            (Self::Int8, KvDtype::Bf16 | KvDtype::F16) => 0.53,
            (Self::Int4, KvDtype::Bf16 | KvDtype::F16) => 0.28,
            (Self::Entropy, KvDtype::Bf16 | KvDtype::F16) => 0.20,
            (Self::Int8, KvDtype::F32) => 0.27,
            (Self::Int4, KvDtype::F32) => 0.14,
            (Self::Entropy, KvDtype::F32) => 0.10,
        }
    }

    /// The accepted error, in millionths, at which most blocks reach this rung.
    #[must_use]
    pub const fn error_ppm(self) -> u32 {
        match self {
            Self::Exponent | Self::Planes => 0,
            Self::Int8 => 10_000,
            Self::Int4 => 200_000,
            Self::Entropy => 300_000,
        }
    }
}

impl Settings {
    /// What the blocks of a service become: as its own strategy says, or else as the node's settings do.
    #[must_use]
    pub fn block_encoding(&self, service: &str) -> BlockEncoding {
        let (asked, dtype) = (&self.cache.encoding, self.model.kv_dtype);
        let error_ppm = self.error_ppm(service);
        if self.quantizes(service) && error_ppm > 0 {
            let coarsest = asked.coarsest_lossy(dtype);
            BlockEncoding::Lossy {
                error_ppm,
                coarsest,
            }
        } else if self.is_encoded(service) {
            let enough = |rung: &Rung| {
                asked
                    .ratio
                    .is_some_and(|wanted| rung.ratio(dtype) <= wanted)
            };
            let coarsest = Rung::EXACT.into_iter().find(enough);
            BlockEncoding::Exact {
                coarsest: coarsest.unwrap_or(Rung::Planes),
            }
        } else {
            BlockEncoding::Raw
        }
    }

    /// Whether the service's blocks may lose what it accepts.
    pub(crate) fn quantizes(&self, service: &str) -> bool {
        let cache = &self.cache;
        match self.own_strategy(service) {
            Some(own) => own == Strategy::Quantized,
            None => {
                let by_strategy = cache.strategy == Strategy::Quantized;
                cache.encoding.quantize.unwrap_or(by_strategy)
            }
        }
    }

    /// Whether the service's blocks are made smaller, with or without loss.
    pub(crate) fn is_encoded(&self, service: &str) -> bool {
        let cache = &self.cache;
        let compresses = match self.own_strategy(service) {
            Some(own) => own == Strategy::Compressed,
            None => {
                let by_strategy = cache.strategy == Strategy::Compressed;
                cache.encoding.compress.unwrap_or(by_strategy)
            }
        };
        compresses || self.quantizes(service)
    }

    /// The strategy that the service has of its own. It is about this service alone, so it counts before anything that is said
    /// of the whole node.
    fn own_strategy(&self, service: &str) -> Option<Strategy> {
        self.services.get(service).and_then(|it| it.strategy)
    }

    /// What a service accepts while blocks are quantized.
    pub(crate) fn error_ppm(&self, service: &str) -> u32 {
        let stated = self.services.get(service).and_then(|it| it.error_ppm);
        stated.unwrap_or(ERROR_PPM_DEFAULT)
    }
}

impl EncodingSettings {
    /// The lossy rung that is enough for what was asked: the smallest one when nothing was.
    pub(crate) fn coarsest_lossy(&self, dtype: KvDtype) -> Rung {
        let by_bits = self.bits.and_then(Self::rung_of_bits);
        let by_ratio = self.ratio.map(|wanted| {
            let mut rungs = Rung::LOSSY.into_iter();
            let enough = rungs.find(|rung| rung.ratio(dtype) <= wanted);
            enough.unwrap_or(Rung::Entropy)
        });
        match (by_bits, by_ratio) {
            (Some(bits), Some(ratio)) => bits.min(ratio),
            (Some(rung), None) | (None, Some(rung)) => rung,
            (None, None) => Rung::Entropy,
        }
    }

    /// The rung with so many bits a number.
    pub(crate) const fn rung_of_bits(bits: u32) -> Option<Rung> {
        match bits {
            8 => Some(Rung::Int8),
            4 => Some(Rung::Int4),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encodings(change: impl FnOnce(&mut Settings)) -> BlockEncoding {
        let mut settings = Settings::default();
        settings.model.kv_dtype = KvDtype::Bf16;
        change(&mut settings);
        settings.block_encoding("default")
    }

    #[test]
    fn the_strategy_decides_where_nothing_else_is_said() {
        let of = |strategy| encodings(|settings| settings.cache.strategy = strategy);
        for strategy in [Strategy::Lru, Strategy::Lfu, Strategy::Adaptive] {
            assert_eq!(of(strategy), BlockEncoding::Raw);
        }
        assert_eq!(
            of(Strategy::Compressed),
            BlockEncoding::Exact {
                coarsest: Rung::Planes
            }
        );
        assert_eq!(
            of(Strategy::Quantized),
            BlockEncoding::Lossy {
                error_ppm: ERROR_PPM_DEFAULT,
                coarsest: Rung::Entropy
            }
        );
    }

    #[test]
    fn a_services_own_strategy_decides_for_its_blocks_alone() {
        let mut settings = Settings::default();
        settings.cache.encoding.compress = Some(true);
        let own = [
            ("exact", Strategy::Compressed),
            ("lossy", Strategy::Quantized),
            ("raw", Strategy::Adaptive),
        ];
        for (name, strategy) in own {
            let service = settings.services.entry(name.to_owned()).or_default();
            service.strategy = Some(strategy);
        }
        let exact = BlockEncoding::Exact {
            coarsest: Rung::Planes,
        };
        assert_eq!(settings.block_encoding("default"), exact);
        assert_eq!(settings.block_encoding("exact"), exact);
        assert_eq!(settings.block_encoding("raw"), BlockEncoding::Raw);
        let lossy = BlockEncoding::Lossy {
            error_ppm: ERROR_PPM_DEFAULT,
            coarsest: Rung::Entropy,
        };
        assert_eq!(settings.block_encoding("lossy"), lossy);
        settings.cache.encoding.compress = Some(false);
        settings.cache.encoding.quantize = Some(false);
        assert_eq!(settings.block_encoding("default"), BlockEncoding::Raw);
        assert_eq!(settings.block_encoding("exact"), exact);
        assert_eq!(settings.block_encoding("lossy"), lossy);
    }

    #[test]
    fn a_ratio_or_a_number_of_bits_is_a_floor_and_exactness_is_kept_where_it_is_stated() {
        let lossy = |bits, ratio| {
            encodings(|settings| {
                settings.cache.encoding = EncodingSettings {
                    quantize: Some(true),
                    bits,
                    ratio,
                    ..EncodingSettings::default()
                };
            })
        };
        let floor = |encoding| match encoding {
            BlockEncoding::Lossy { coarsest, .. } => Some(coarsest),
            _ => None,
        };
        assert_eq!(floor(lossy(Some(8), None)), Some(Rung::Int8));
        assert_eq!(floor(lossy(Some(4), None)), Some(Rung::Int4));
        assert_eq!(floor(lossy(None, Some(0.9))), Some(Rung::Int8));
        assert_eq!(floor(lossy(None, Some(0.3))), Some(Rung::Int4));
        assert_eq!(floor(lossy(None, Some(0.2))), Some(Rung::Entropy));
        assert_eq!(floor(lossy(Some(4), Some(0.6))), Some(Rung::Int8));
        let exact = encodings(|settings| {
            settings.cache.strategy = Strategy::Quantized;
            settings
                .services
                .entry("default".to_owned())
                .or_default()
                .error_ppm = Some(0);
        });
        assert_eq!(
            exact,
            BlockEncoding::Exact {
                coarsest: Rung::Planes
            }
        );
        let cheap = encodings(|settings| {
            settings.cache.encoding.compress = Some(true);
            settings.cache.encoding.ratio = Some(0.8);
        });
        assert_eq!(
            cheap,
            BlockEncoding::Exact {
                coarsest: Rung::Exponent
            }
        );
    }
}
