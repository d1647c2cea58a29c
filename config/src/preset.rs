//! The five documented presets, as values of ours that stand between the defaults and the operator's files.
//!
//! The original documentation has three sets of presets that contradict each other. What is taken from them here is
//! what exists: budgets, block size, watermark and how many generations run at once. Where the three disagree, the
//! figure that two of them share is taken, and else the one of the production template. A preset never names a
//! feature that does not exist, so choosing one raises no warning.

/// The values of a preset: our paths and their spellings.
pub(crate) fn values(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "development" => &[
            ("cache.tokens_max", "2048"),
            ("cache.bytes_max", "1GiB"),
            ("process.generations_concurrent_max", "2"),
            ("log.level", "debug"),
        ],
        "production" => &[
            ("cache.tokens_max", "16384"),
            ("cache.bytes_max", "8GiB"),
            ("cache.watermark_high", "0.8"),
            ("process.generations_concurrent_max", "8"),
        ],
        "high_performance" => &[
            ("cache.tokens_max", "16384"),
            ("cache.bytes_max", "16GiB"),
            ("cache.watermark_high", "0.9"),
            ("process.generations_concurrent_max", "16"),
            ("process.queue_max", "1024"),
        ],
        "memory_efficient" => &[
            ("cache.tokens_max", "4096"),
            ("cache.bytes_max", "2GiB"),
            ("cache.watermark_high", "0.6"),
            ("process.generations_concurrent_max", "2"),
        ],
        "bulk_processing" => &[
            ("cache.tokens_max", "16384"),
            ("cache.bytes_max", "8GiB"),
            ("process.generations_concurrent_max", "16"),
            ("process.queue_max", "4096"),
            ("limits.request_timeout", "10m"),
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{self, PRESETS};

    #[test]
    fn every_preset_sets_settings_of_ours_within_their_bounds() {
        for preset in PRESETS {
            assert_ne!(values(preset), [], "{preset}");
            for (path, text) in values(preset) {
                let key = key::find(path).unwrap_or_else(|| panic!("{preset}: {path}"));
                assert!(key.kind.parse(text).is_ok(), "{preset}: {path}");
            }
        }
    }
}
