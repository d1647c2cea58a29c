//! The room as a whole: what is typed against what is meant, and wrong input against the words it is answered with.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::settings::{BlockEncoding, Devices, KvDtype, Rung, Settings, Strategy};
use crate::source::FlagValue;
use crate::{effective, to_yaml};

/// Settles a file called `kv.yaml`, variables and flags.
fn settled(
    yaml: &str,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kv.yaml");
    std::fs::write(&path, yaml).expect("a file");
    let sources = Sources {
        files: vec![path],
        env_files: Vec::new(),
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: flags
            .iter()
            .map(|(key, value)| FlagValue {
                key: (*key).to_owned(),
                value: (*value).to_owned(),
                flag: "--set".to_owned(),
            })
            .collect(),
        policies: Vec::new(),
    };
    load(&sources).map_err(|mut error| {
        let shown = folder.path().display().to_string();
        for problem in &mut error.problems {
            if let Origin::File { path, .. } = &mut problem.origin {
                *path = path.replace(&format!("{shown}/"), "");
            }
            problem.reason = problem.reason.replace(&format!("{shown}/"), "");
        }
        error
    })
}

fn meant(yaml: &str) -> Settings {
    settled(yaml, &[], &[])
        .unwrap_or_else(|error| panic!("{yaml}\n{error}"))
        .settings
}

#[track_caller]
fn refused(yaml: &str, expected: &str) {
    let error = settled(yaml, &[], &[]).expect_err(yaml);
    assert_eq!(error.to_string(), expected, "for\n{yaml}");
}

#[test]
fn nothing_typed_is_the_default_node() {
    for yaml in [
        "",
        "\n",
        "# only a comment\n",
        "---\n",
        "kv_cache:\n",
        "kv_cache: {}\nservices:\n",
        "null",
    ] {
        assert_eq!(meant(yaml), Settings::default(), "{yaml:?}");
    }
    assert_eq!(
        load(&Sources::default()).expect("defaults").settings,
        Settings::default()
    );
}

#[test]
fn documented_words_and_ours_mean_the_same() {
    let documented = meant(
        "kv_cache: {max_tokens: 4_096, max_memory_mb: 200, block_size: 128, cache_strategy: lfu, dtype: bfloat16, gc_threshold: 0.5, enabled: no}",
    );
    let ours = meant(
        "cache: {tokens_max: 4096, bytes_max: 200MiB, block_tokens: 128, strategy: LFU, watermark_high: 0.5, enabled: false}\nmodel: {kv_dtype: bfloat16}",
    );
    assert_eq!(documented, ours);
    assert_eq!(ours.cache.tokens_max, Some(4_096));
    assert_eq!(ours.cache.bytes_max, 200 << 20);
    assert_eq!(ours.cache.strategy, Strategy::Lfu);
    assert_eq!(ours.cache.policy_name(), "lfuda");
    assert_eq!(ours.model.kv_dtype, KvDtype::Bf16);
    assert!(
        (ours.cache.watermark_low - 0.4).abs() < 1e-9,
        "stops ten points below"
    );
}

#[test]
fn a_flag_wins_over_a_variable_over_a_file_over_a_preset() {
    let yaml = "preset: production\nkv_cache: {max_tokens: 1000}\n";
    let tokens = |env: &[(&str, &str)], flags: &[(&str, &str)]| {
        let loaded = settled(yaml, env, flags).expect("settles");
        (
            loaded.settings.cache.tokens_max,
            loaded.origins["cache.tokens_max"].clone(),
        )
    };
    assert_eq!(tokens(&[], &[]).0, Some(1_000));
    let env = [("KV_CACHE_MAX_TOKENS", "2000")];
    assert_eq!(tokens(&env, &[]).0, Some(2_000));
    let (value, origin) = tokens(&env, &[("cache.tokens_max", "3000")]);
    assert_eq!(
        (value, origin.to_string().as_str()),
        (Some(3_000), "flag --set")
    );
    let preset = settled("preset: production", &[], &[]).expect("settles");
    assert_eq!(preset.settings.cache.tokens_max, Some(16_384));
    assert_eq!(preset.settings.cache.bytes_max, 8 << 30);
    assert_eq!(preset.warnings, []);
    let env = [
        ("KV_CACHE_PRESET", "memory_efficient"),
        ("ULTRAKV_CACHE__BYTES_MAX", "64MiB"),
    ];
    let chosen = settled("preset: production", &env, &[])
        .expect("settles")
        .settings;
    assert_eq!(
        (chosen.cache.tokens_max, chosen.cache.bytes_max),
        (Some(4_096), 64 << 20)
    );
}

#[test]
fn a_later_file_wins_over_an_earlier_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let files = vec![
        write("a.yaml", "cache: {bytes_max: 1GiB, devices: 3}"),
        write("b.yaml", "cache: {bytes_max: 2GiB}"),
    ];
    let env_files = vec![write("c.env", "KV_CACHE_MAX_TOKENS=700\nIGNORED=1\n")];
    let loaded = load(&Sources {
        files,
        env_files,
        ..Sources::default()
    })
    .expect("settles");
    assert_eq!(loaded.settings.cache.bytes_max, 2 << 30);
    assert_eq!(loaded.settings.cache.devices, Devices::Count(3));
    assert_eq!(loaded.settings.cache.tokens_max, Some(700));
    let origin = loaded.origins["cache.tokens_max"].to_string();
    assert!(
        origin.ends_with("c.env:1 (KV_CACHE_MAX_TOKENS)"),
        "{origin}"
    );
}

#[test]
fn services_are_named_by_files_and_variables() {
    let env = [("ULTRAKV_SERVICES__BUL__SHARE_GROUP", "writers")];
    let settings = settled(
        "services:\n  gamma-app:\n  export.ia: {share_group: writers}\n",
        &env,
        &[],
    )
    .expect("settles")
    .settings;
    let names: Vec<&str> = settings.services.keys().map(String::as_str).collect();
    assert_eq!(names, ["bul", "default", "export.ia", "gamma-app"]);
    assert_eq!(
        settings.services["bul"].share_group.as_deref(),
        Some("writers")
    );
    assert_eq!(
        settings.services["export.ia"].share_group.as_deref(),
        Some("writers")
    );
    assert_eq!(settings.services["gamma-app"].share_group, None);
}

#[test]
fn a_service_has_a_strategy_of_its_own_which_is_shown_and_decides_how_its_blocks_are_stored() {
    let env = [("ULTRAKV_SERVICES__BUL__STRATEGY", "compressed")];
    let loaded = settled("services: {export.ia: {strategy: adaptive}}", &env, &[]);
    let loaded = loaded.expect("settles");
    let strategy = |name: &str| loaded.settings.services[name].strategy;
    assert_eq!(strategy("bul"), Some(Strategy::Compressed));
    assert_eq!(strategy("export.ia"), Some(Strategy::Adaptive));
    assert_eq!(strategy("default"), None);
    assert_eq!(loaded.warnings, []);
    let encoding = |name: &str| loaded.settings.block_encoding(name);
    let exact = BlockEncoding::Exact {
        coarsest: Rung::Planes,
    };
    assert_eq!(encoding("bul"), exact);
    assert_eq!(encoding("export.ia"), BlockEncoding::Raw);
    assert_eq!(encoding("default"), BlockEncoding::Raw);
    let again = settled(&to_yaml(&loaded), &[], &[]).expect("what is shown loads");
    assert_eq!(again.settings, loaded.settings);
}

#[test]
fn paged_is_in_small_pages_unless_somebody_says_how_large() {
    let page = |yaml: &str| meant(yaml).cache.page_bytes;
    assert_eq!(page("cache: {strategy: adaptive}"), 64 << 10);
    assert_eq!(page("cache: {strategy: paged}"), 16 << 10);
    assert_eq!(page("cache: {strategy: paged, page_bytes: 4KiB}"), 4 << 10);
}

#[test]
fn host_and_port_each_set_a_part_of_the_main_door() {
    let bind = |env: &[(&str, &str)]| settled("", env, &[]).expect("settles").settings.http.bind;
    assert_eq!(bind(&[("PORT", "0")]).to_string(), "127.0.0.1:0");
    assert_eq!(
        bind(&[("PORT", "81"), ("HOST", "127.0.0.2")]).to_string(),
        "127.0.0.2:81"
    );
    assert_eq!(bind(&[("HOST", "my-laptop")]).to_string(), "127.0.0.1:7800");
}

#[test]
fn a_plain_scalar_keeps_its_spelling() {
    let settings = meant("model: {name: 1.10}\nlog: {level: \"info\"}\nnode: {name: 0755}");
    assert_eq!(settings.model.name.as_deref(), Some("1.10"));
    assert_eq!(settings.node.name, "0755");
    let aliased = meant("cache: {lease_ms_max: &a 0_500}\nprocess: {queue_max: *a}");
    assert_eq!(
        (aliased.cache.lease_ms_max, aliased.process.queue_max),
        (500, 500)
    );
}

#[test]
fn wrong_input_is_answered_with_its_place_and_advice() {
    refused(
        "kv_cache:\n  max_token: 4096\n",
        "error[config.unknown_key]: kv_cache.max_token: is not a setting\n  --> kv.yaml:2:3\n  hint: did you mean `max_tokens`?",
    );
    refused(
        "kvcache:\n  max_tokens: 4096\n",
        "error[config.unknown_key]: kvcache: is not a setting\n  --> kv.yaml:1:1\n  hint: did you mean `kv_cache`?",
    );
    refused(
        "max_tokens: 4096\n",
        "error[config.unknown_key]: max_tokens: is not a setting\n  --> kv.yaml:1:1\n  hint: did you mean `kv_cache.max_tokens`?",
    );
    refused(
        "cache:\n  max_memory_mb: 200\n",
        "error[config.unknown_key]: cache.max_memory_mb: is not a setting\n  --> kv.yaml:2:3\n  hint: did you mean `kv_cache.max_memory_mb`?",
    );
    refused(
        "cache:\n  bytes_max: 0\n",
        "error[config.out_of_range]: cache.bytes_max: must be at least 1\n  --> kv.yaml:2:14\n  given: 0",
    );
    refused(
        "kv_cache: {max_tokens: 127}",
        "error[config.out_of_range]: kv_cache.max_tokens: must be at least 128\n  --> kv.yaml:1:24\n  given: 127",
    );
    refused(
        "kv_cache: {max_memory_mb: 99}",
        "error[config.out_of_range]: kv_cache.max_memory_mb: must be at least 100\n  --> kv.yaml:1:27\n  given: 99",
    );
    refused(
        "kv_cache: {cache_strategy: lruu}",
        "error[config.wrong_type]: kv_cache.cache_strategy: is none of the possible words\n  --> kv.yaml:1:28\n  given: lruu\n  hint: did you mean `lru`? Possible: `lru`, `lfu`, `adaptive`, `paged`, `compressed`, `quantized`",
    );
    refused(
        "limits: {request_timeout: 30}",
        "error[config.wrong_type]: limits.request_timeout: is not a span of time\n  --> kv.yaml:1:27\n  given: 30\n  hint: a number with its unit, such as `500ms`, `30s` or `1h`",
    );
    refused(
        "http: {bind: 0.0.0.0:7800}",
        "error[config.exposed_without_token]: http.bind: 0.0.0.0:7800 can be reached from other machines, and without auth.token_file anybody may come in\n  --> kv.yaml:1:14\n  hint: set auth.token_file (lines of `service token`), or bind 127.0.0.1",
    );
    refused(
        "admin: {bind: 127.0.0.1:7800}",
        "error[config.contradiction]: admin.bind: 127.0.0.1:7800 is the address of http.bind too\n  --> kv.yaml:1:15\n  hint: give each door a port of its own",
    );
    refused(
        "cache: {watermark_high: 0.5, watermark_low: 0.6}",
        "error[config.contradiction]: cache.watermark_low: 0.6 is not below cache.watermark_high, which is 0.5\n  --> kv.yaml:1:45\n  hint: eviction must stop below the level where it starts",
    );
    refused(
        "cache: {bytes_max: 200MiB}\nkv_cache: {max_memory_mb: 300}",
        "error[config.conflict]: kv_cache.max_memory_mb: says something else than cache.bytes_max (kv.yaml:1:20), and both mean cache.bytes_max\n  --> kv.yaml:2:27\n  given: 300\n  hint: keep one of the two",
    );
    refused(
        "cache: [1, 2]",
        "error[config.wrong_type]: cache: must be a mapping of settings\n  --> kv.yaml:1:8",
    );
    refused(
        "cache: {devices: [1]}",
        "error[config.wrong_type]: cache.devices: must be one value, not a list\n  --> kv.yaml:1:18",
    );
    refused(
        "services: {Bul: {}}",
        "error[config.wrong_type]: services.Bul: is not a name\n  --> kv.yaml:1:12\n  given: Bul\n  hint: 1 to 63 of a-z, 0-9, `-`, `_` and `.`",
    );
    refused(
        "services: {bul: {group: x}}",
        "error[config.unknown_key]: services.bul.group: is not a setting\n  --> kv.yaml:1:18\n  hint: a service has `share_group`, `strategy` and `error_max`",
    );
}

#[test]
fn yaml_that_is_not_yaml_is_told_with_its_place() {
    for (yaml, place, word) in [
        ("cache: {bytes_max: 1GiB", "kv.yaml:1:", ""),
        (
            "cache:\n  bytes_max: 1\n  bytes_max: 2\n",
            "kv.yaml:3:3",
            "duplicate",
        ),
        ("a: 1\n---\nb: 2\n", "kv.yaml:", ""),
        ("cache:\n\tbytes_max: 1\n", "kv.yaml:2:", ""),
        ("cache: *nobody\n", "kv.yaml:1:8", "unknown anchor"),
    ] {
        let error = settled(yaml, &[], &[]).expect_err(yaml);
        assert_eq!(error.code(), "config.bad_yaml", "{yaml:?}: {error}");
        let told = error.to_string();
        assert!(
            told.contains(place) && told.contains(word),
            "{yaml:?}: {told}"
        );
        assert_eq!(told.lines().count(), 2, "{told}");
    }
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}]\n"));
    }
    assert_eq!(
        settled(&bomb, &[], &[]).expect_err("a bomb").code(),
        "config.bad_yaml"
    );
}

#[test]
fn a_file_of_any_depth_and_width_is_refused_in_few_words() {
    let nested = |levels: usize| -> String {
        let line = |level| format!("{}a:\n", " ".repeat(level));
        (0..levels).map(line).collect()
    };
    let too_deep =
        "error[config.bad_yaml]: is nested more than 16 levels deep\n  --> kv.yaml:17:17";
    for levels in [17, 60, 1_000] {
        refused(&nested(levels), too_deep);
    }
    for opener in ["[", "{a: ", "- ", "? "] {
        let error = settled(&opener.repeat(200_000), &[], &[]).expect_err(opener);
        assert!(error.to_string().len() < 300, "{error}");
    }
    let long = format!("cache: {{bytes_max: {}}}", "1".repeat(900_000));
    let error = settled(&long, &[], &[]).expect_err("too long");
    assert!(error.to_string().len() < 300);
}

#[test]
fn every_problem_is_told_at_once() {
    let env = [
        ("KV_CACHE_MAX_TOKNS", "1"),
        ("ULTRAKV_CACHE__DEVICES", "none"),
        ("ULTRAKV_PORT", "7800"),
    ];
    let error = settled(
        "cache: {bytes_max: x}\nlog: {colour: red}\n",
        &env,
        &[("a.b", "1")],
    )
    .expect_err("four problems");
    let told: Vec<(&str, &str)> = error
        .problems
        .iter()
        .map(|problem| (problem.code, problem.key.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("config.wrong_type", "cache.bytes_max"),
            ("config.unknown_key", "log.colour"),
            ("config.unknown_variable", "KV_CACHE_MAX_TOKNS"),
            ("config.wrong_type", "ULTRAKV_CACHE__DEVICES"),
            ("config.unknown_variable", "ULTRAKV_PORT"),
            ("config.unknown_key", "a.b"),
        ]
    );
    assert_eq!(
        error.problems[2].hint.as_deref(),
        Some("did you mean `KV_CACHE_MAX_TOKENS`?")
    );
    assert_eq!(
        error.problems[2].to_string(),
        "error[config.unknown_variable]: KV_CACHE_MAX_TOKNS: is not a variable of this program\n  --> environment variable KV_CACHE_MAX_TOKNS\n  hint: did you mean `KV_CACHE_MAX_TOKENS`?"
    );
}

#[test]
fn variables_of_kubernetes_and_of_others_are_passed_over() {
    let env = [
        ("ULTRAKV_SERVICE_HOST", "10.0.0.1"),
        ("ULTRAKV_PORT", "tcp://10.0.0.1:7800"),
        ("ULTRAKV_PORT_7800_TCP_PROTO", "tcp"),
        ("ULTRAKV_URL", "http://127.0.0.1:7800"),
        ("KV_CACHE_MAX_TOKENS", ""),
        ("PATH", "/bin"),
        ("CACHE_BYTES_MAX", "1"),
    ];
    let loaded = settled("", &env, &[]).expect("settles");
    assert_eq!(
        (loaded.settings, loaded.warnings),
        (Settings::default(), Vec::new())
    );
}

#[test]
fn what_does_nothing_yet_is_a_warning_that_says_what_happens() {
    let env = [
        ("DATABASE_URL", "postgresql://u:hunter2@db/x"),
        ("KV_CACHE_COMPRESSION", "true"),
        ("BACKUP_ENABLED", "false"),
    ];
    let yaml = "kv_cache: {cache_strategy: quantized, use_compression: false, adaptive_quantization: true, tenant_isolation: false, max_tokens: 400}";
    let loaded = settled(yaml, &env, &[]).expect("settles");
    let told: Vec<(&str, &str)> = loaded
        .warnings
        .iter()
        .map(|warning| (warning.code, warning.key.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("config.not_yet", "kv_cache.adaptive_quantization"),
            ("config.not_possible", "kv_cache.tenant_isolation"),
            ("config.small", "kv_cache.max_tokens"),
            ("config.not_yet", "DATABASE_URL"),
        ]
    );
    let all = format!("{:?}", loaded);
    assert!(!all.contains("hunter2"), "a secret is kept nowhere: {all}");
    assert!(
        loaded.warnings[0].to_string().starts_with("warning[config.not_yet]: kv_cache.adaptive_quantization: is documented but not built yet: every block gets"),
        "{}",
        loaded.warnings[0]
    );
}

#[test]
fn a_secret_that_is_refused_is_not_shown() {
    let long = "hunter2".repeat(1_000);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.env");
    std::fs::write(&path, format!("SECRET_KEY={long}\n")).expect("a file");
    let error = load(&Sources {
        env_files: vec![path],
        ..Sources::default()
    })
    .expect_err("too long");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, b"node: {name: \xe9}").expect("a file");
    let large = folder.path().join("large.yaml");
    std::fs::write(&large, "#".repeat(2 << 20)).expect("a file");
    let files = vec![folder.path().join("absent.yaml"), latin, large];
    let error = load(&Sources {
        files,
        ..Sources::default()
    })
    .expect_err("none can be read");
    let reasons: Vec<&str> = error
        .problems
        .iter()
        .map(|problem| problem.reason.as_str())
        .collect();
    assert!(
        reasons[0].starts_with("cannot be read: No such file"),
        "{reasons:?}"
    );
    assert_eq!(reasons[1], "is not UTF-8: byte 13 begins no character");
    assert_eq!(reasons[2], "is longer than 1048576 bytes");
    assert!(
        error
            .problems
            .iter()
            .all(|problem| problem.code == "config.unreadable")
    );
}

#[test]
fn the_production_file_loads_as_it_is_and_carries_every_documented_key() {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/templates/kv_cache_production.yaml"
    ));
    let text = std::fs::read_to_string(&path).expect("the template");
    let loaded = load(&Sources {
        files: vec![path],
        ..Sources::default()
    })
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.settings.cache.tokens_max, Some(16_384));
    assert_eq!(loaded.settings.cache.bytes_max, 8 << 30);
    assert_eq!(loaded.settings.cache.block_tokens, 256);
    assert_eq!(loaded.settings.model.kv_dtype, KvDtype::F16);
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.key == "kv_cache.enable_persistence")
    );
    for key in crate::key::file_keys() {
        if let Some(word) = key.path.strip_prefix("kv_cache.") {
            assert!(
                text.contains(&format!("{word}: ")),
                "the template carries {word}"
            );
        }
    }
}

#[test]
fn the_production_environment_loads_as_it_is_and_carries_every_documented_variable() {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/templates/production.env.template"
    ));
    let text = std::fs::read_to_string(&path).expect("the template");
    let loaded = load(&Sources {
        env_files: vec![path],
        ..Sources::default()
    })
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.settings.cache.tokens_max, Some(16_384));
    assert_eq!(loaded.settings.http.bind.to_string(), "127.0.0.1:7800");
    assert_eq!(loaded.settings.log.level, "info");
    for name in crate::key::documented_variables() {
        // Two names that the original never had: they follow from the pattern.
        let derived = ["KV_CACHE_MODE", "ULTRAKV_PRESET"].contains(&name);
        assert!(
            derived || text.contains(&format!("{name}=")),
            "the template carries {name}"
        );
    }
}

#[test]
fn what_is_shown_reads_back_as_what_is_in_force() {
    let yaml = "preset: bulk_processing\nnode: {name: null}\nmodel: {folder: '/m: odd # path', name: 'true'}\nservices: {a.b: {share_group: g}, c: }\nlimits: {request_timeout: 1500ms}\nlog: {level: 'info,a=debug'}\n";
    let loaded = settled(yaml, &[("KV_CACHE_ENABLED", "false")], &[]).expect("settles");
    let shown = to_yaml(&loaded);
    let again = settled(&shown, &[], &[]).unwrap_or_else(|error| panic!("{shown}\n{error}"));
    assert_eq!(again.settings, loaded.settings, "{shown}");
    assert!(
        shown.contains("enabled: false  # environment variable KV_CACHE_ENABLED"),
        "{shown}"
    );
    assert!(
        shown.contains("queue_max: 4096  # preset bulk_processing"),
        "{shown}"
    );
    let bytes = effective(&loaded)
        .into_iter()
        .find(|setting| setting.key == "cache.bytes_max");
    assert_eq!(
        bytes.map(|setting| setting.value),
        Some(serde_json::json!(8_u64 << 30))
    );
}

#[test]
fn the_book_names_every_setting_with_its_default() {
    let book = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/configuration.md"
    ))
    .expect("the chapter");
    for setting in effective(&load(&Sources::default()).expect("defaults")) {
        if !setting.key.starts_with("services.") {
            let default = setting
                .text
                .map_or_else(|| "-".to_owned(), |text| format!("`{text}`"));
            let row = format!("| `{}` | {default} |", setting.key);
            assert!(book.contains(&row), "the book lacks: {row}");
        }
    }
    for preset in crate::key::PRESETS {
        assert!(
            book.contains(&format!("| `{preset}` |")),
            "the book lacks {preset}"
        );
    }
}

#[test]
fn the_schema_names_every_key_and_allows_no_other() {
    let schema = serde_json::to_value(crate::schema()).expect("a schema");
    let properties = &schema["properties"];
    for key in crate::key::file_keys() {
        let found = match key.path.split_once('.') {
            Some((section, word)) => &properties[section]["properties"][word],
            None => &properties[key.path],
        };
        assert_eq!(found["description"], key.doc, "{}", key.path);
    }
    assert_eq!(properties["kv_cache"]["additionalProperties"], false);
    assert_eq!(
        properties["kv_cache"]["properties"]["max_tokens"]["anyOf"][0]["minimum"],
        128
    );
    assert_eq!(schema["additionalProperties"], false);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let mut heard = Heard::default();
        yaml::read("x", &String::from_utf8_lossy(&bytes), Layer::File(0), &mut heard);
        let _ = settle(heard);
    }

    #[test]
    fn no_yaml_like_text_panics(
        words in proptest::collection::vec(
            prop_oneof![
                Just("kv_cache"), Just("cache"), Just("services"), Just("preset"), Just("max_tokens"), Just(":"),
                Just(": "), Just("\n"), Just("\n  "), Just("- "), Just("{"), Just("}"), Just("["), Just("]"),
                Just("&a "), Just("*a"), Just("<<"), Just("'"), Just("\""), Just("|"), Just("!!int "), Just("0"),
                Just("é"), Just("\t"), Just("#"), Just("production"), Just("? "), Just("---\n"),
            ],
            0..40,
        ),
    ) {
        let mut heard = Heard::default();
        yaml::read("x", &words.concat(), Layer::File(0), &mut heard);
        let _ = settle(heard);
    }

    #[test]
    fn no_variable_panics(name in "(ULTRAKV_|KV_CACHE_|)[A-Z_]{0,24}", value in ".{0,32}") {
        let mut heard = Heard::default();
        environment::read(&name, &value, Origin::Default, Layer::Environment, &mut heard);
        let _ = settle(heard);
    }

    #[test]
    fn any_settled_budget_is_one_a_cache_can_keep(
        bytes in 0_u64..1 << 34, page in 0_u32..1 << 20, high in 0.0_f64..1.2, tokens in 0_u64..1 << 20,
    ) {
        let yaml = format!("cache: {{bytes_max: {bytes}, page_bytes: {page}, watermark_high: {high}, tokens_max: {tokens}}}");
        let mut heard = Heard::default();
        yaml::read("x", &yaml, Layer::File(0), &mut heard);
        if let Ok(loaded) = settle(heard) {
            let cache = loaded.settings.cache;
            prop_assert!(cache.bytes_max >= u64::from(cache.page_bytes));
            prop_assert!(cache.page_bytes.is_power_of_two());
            prop_assert!(cache.watermark_low < cache.watermark_high && cache.watermark_high <= 1.0);
            prop_assert!(cache.entry_bytes_max <= cache.bytes_max);
            prop_assert!(cache.tokens_max.is_some_and(|tokens| tokens > 0));
        }
    }
}
