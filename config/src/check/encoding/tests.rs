//! Wishes for smaller blocks against what services accept, as they are typed.

use crate::settings::{BlockEncoding, Rung};
use crate::{ConfigError, FlagValue, Loaded, Sources, load, to_yaml};

/// Settles `--set` flags, for bf16.
fn settled(pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let dtype = [("model.kv_dtype", "bfloat16")];
    let flags = dtype.iter().chain(pairs).map(|(key, value)| FlagValue {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        flag: "--set".to_owned(),
    });
    load(&Sources {
        flags: flags.collect(),
        ..Sources::default()
    })
}

#[track_caller]
fn becomes(pairs: &[(&str, &str)], encoding: BlockEncoding) -> Loaded {
    let loaded = settled(pairs).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.settings.block_encoding("default"), encoding);
    loaded
}

#[track_caller]
fn refused(pairs: &[(&str, &str)], key: &str, names: &str) {
    let error = settled(pairs).expect_err(key);
    let problem = &error.problems[0];
    assert_eq!(
        (problem.code, problem.key.as_str()),
        ("config.contradiction", key),
        "{error}"
    );
    assert!(problem.reason.contains(names), "{error}");
    assert!(problem.hint.is_some(), "{error}");
}

#[track_caller]
fn warned(pairs: &[(&str, &str)], key: &str) {
    let loaded = settled(pairs).unwrap_or_else(|error| panic!("{error}"));
    let is_told = loaded
        .warnings
        .iter()
        .any(|warning| (warning.code, warning.key.as_str()) == ("config.no_effect", key));
    assert!(is_told, "{:?}", loaded.warnings);
}

const fn exact(coarsest: Rung) -> BlockEncoding {
    BlockEncoding::Exact { coarsest }
}

const fn lossy(error_ppm: u32, coarsest: Rung) -> BlockEncoding {
    BlockEncoding::Lossy {
        error_ppm,
        coarsest,
    }
}

#[test]
fn the_documented_words_do_what_they_say_under_any_strategy() {
    becomes(&[], BlockEncoding::Raw);
    becomes(&[("kv_cache.use_compression", "true")], exact(Rung::Planes));
    becomes(
        &[("cache.strategy", "lfu"), ("cache.compress", "true")],
        exact(Rung::Planes),
    );
    becomes(
        &[
            ("kv_cache.use_compression", "true"),
            ("kv_cache.compression_ratio", "0.8"),
        ],
        exact(Rung::Exponent),
    );
    becomes(
        &[
            ("kv_cache.use_quantization", "true"),
            ("kv_cache.quantization_bits", "8"),
        ],
        lossy(20_000, Rung::Int8),
    );
    becomes(
        &[
            ("kv_cache.cache_strategy", "quantized"),
            ("kv_cache.quantization_bits", "4"),
            ("services.default.error_max", "0.2"),
        ],
        lossy(200_000, Rung::Int4),
    );
    becomes(
        &[
            ("cache.quantize", "true"),
            ("cache.compression_ratio", "0.3"),
            ("services.default.error_max", "0.25"),
        ],
        lossy(250_000, Rung::Int4),
    );
}

#[test]
fn a_service_that_accepts_nothing_stays_exact_beside_one_that_does() {
    let loaded = becomes(
        &[
            ("cache.strategy", "quantized"),
            ("services.default.error_max", "0"),
            ("services.a.b.error_max", "0.05"),
        ],
        exact(Rung::Planes),
    );
    let settings = &loaded.settings;
    assert_eq!(settings.block_encoding("a.b"), lossy(50_000, Rung::Entropy));
    let shown = to_yaml(&loaded);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shown.yaml");
    std::fs::write(&path, &shown).expect("a file");
    let again = load(&Sources {
        files: vec![path],
        ..Sources::default()
    });
    let again = again.unwrap_or_else(|error| panic!("{shown}\n{error}"));
    assert_eq!(again.settings, loaded.settings, "{shown}");
}

#[test]
fn a_ratio_that_no_contract_allows_stops_the_start_and_names_the_best() {
    let ratio = "cache.compression_ratio";
    // The documented 0.3, without leave to lose anything.
    refused(
        &[
            ("kv_cache.use_compression", "true"),
            ("kv_cache.compression_ratio", "0.3"),
        ],
        ratio,
        "0.7 is the best ratio possible for bfloat16",
    );
    refused(
        &[("cache.strategy", "quantized"), (ratio, "0.3")],
        ratio,
        "the service `default` accepts 0.02: 0.53 is the best ratio possible",
    );
    refused(
        &[
            ("cache.strategy", "quantized"),
            (ratio, "0.6"),
            ("services.default.error_max", "0.001"),
        ],
        ratio,
        "the service `default` accepts 0.001: 0.7 is the best ratio possible",
    );
    refused(
        &[
            ("cache.strategy", "quantized"),
            (ratio, "0.05"),
            ("services.default.error_max", "1"),
        ],
        ratio,
        "cannot be had at any accepted error: 0.2 is the best",
    );
    refused(
        &[
            ("cache.strategy", "quantized"),
            ("cache.quantization_bits", "8"),
            (ratio, "0.3"),
            ("services.default.error_max", "0.5"),
        ],
        ratio,
        "less than 8 bits a number take, which is 0.53",
    );
    // Who states nothing is not asked, when somebody states enough.
    let stated = [
        ("cache.strategy", "quantized"),
        (ratio, "0.3"),
        ("services.bul.error_max", "0.2"),
    ];
    assert!(settled(&stated).is_ok());
}

#[test]
fn wishes_that_contradict_each_other_stop_the_start() {
    refused(
        &[("cache.strategy", "compressed"), ("cache.compress", "no")],
        "cache.compress",
        "`compressed` is nothing else",
    );
    refused(
        &[("cache.strategy", "quantized"), ("cache.quantize", "no")],
        "cache.quantize",
        "`quantized` is nothing else",
    );
    refused(
        &[("cache.quantize", "yes"), ("cache.quantization_bits", "6")],
        "cache.quantization_bits",
        "6 bits a number",
    );
    refused(
        &[("cache.quantize", "yes"), ("cache.quantization_bits", "4")],
        "cache.quantization_bits",
        "int4, which costs attention about 0.2",
    );
}

#[test]
fn what_nothing_heeds_is_told() {
    warned(
        &[("cache.quantization_bits", "8")],
        "cache.quantization_bits",
    );
    warned(
        &[("cache.compression_ratio", "0.5")],
        "cache.compression_ratio",
    );
    warned(
        &[("services.default.error_max", "0.1")],
        "services.default.error_max",
    );
}

#[test]
fn a_service_of_its_own_strategy_is_held_to_that_and_bound_by_nothing_else() {
    let loaded = becomes(
        &[
            ("services.bul.strategy", "quantized"),
            ("services.bul.error_max", "0.05"),
        ],
        BlockEncoding::Raw,
    );
    let settings = &loaded.settings;
    assert_eq!(settings.block_encoding("bul"), lossy(50_000, Rung::Entropy));
    assert_eq!(loaded.warnings, []);
    refused(
        &[
            ("services.bul.strategy", "quantized"),
            ("services.bul.error_max", "0.05"),
            ("cache.quantization_bits", "4"),
        ],
        "cache.quantization_bits",
        "the service `bul` accepts 0.05",
    );
    refused(
        &[
            ("services.bul.strategy", "compressed"),
            ("cache.compression_ratio", "0.3"),
        ],
        "cache.compression_ratio",
        "0.7 is the best ratio possible for bfloat16",
    );
    // One that is stored raw under a node that quantizes accepts no error that anybody would have to keep.
    let raw = [
        ("cache.strategy", "quantized"),
        ("cache.compression_ratio", "0.53"),
        ("services.bul.strategy", "adaptive"),
        ("services.bul.error_max", "0.001"),
    ];
    warned(&raw, "services.bul.error_max");
    let loaded = becomes(&raw, lossy(20_000, Rung::Int8));
    assert_eq!(loaded.settings.block_encoding("bul"), BlockEncoding::Raw);
}
