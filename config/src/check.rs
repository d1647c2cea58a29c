//! What no single value can tell: settings that contradict each other.
//!
//! Each check names the key the operator can change, and where it was typed. Nothing here looks at the machine.

mod cluster;
mod encoding;
mod policy;

use crate::problem::{Origin, Problem, Warning};
use crate::settings::{DEFAULT_SERVICE, DoorSettings};
use crate::settle::Loaded;

/// Every contradiction. `policies` are the names that a policy may have.
pub(crate) fn check(loaded: &Loaded, policies: &[&'static str]) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_cache(loaded, &mut problems);
    policy::check(loaded, policies, &mut problems);
    check_doors(loaded, &mut problems);
    encoding::check(loaded, &mut problems);
    cluster::check(loaded, &mut problems);
    problems
}

/// What is no contradiction and still worth a word.
pub(crate) fn advise(loaded: &Loaded) -> Vec<Warning> {
    let mut warnings = Vec::new();
    encoding::advise(loaded, &mut warnings);
    cluster::advise(loaded, &mut warnings);
    warnings
}

fn problem(loaded: &Loaded, key: &str, code: &'static str, reason: String, hint: &str) -> Problem {
    let origin = loaded.origins.get(key).cloned().unwrap_or(Origin::Default);
    Problem {
        code,
        key: key.to_owned(),
        origin,
        given: None,
        reason,
        hint: Some(hint.to_owned()),
    }
}

fn check_cache(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let cache = &loaded.settings.cache;
    let contradiction = "config.contradiction";
    let mut refuse = |key: &str, reason: String, hint: &str| {
        problems.push(problem(loaded, key, contradiction, reason, hint));
    };
    if cache.watermark_low >= cache.watermark_high {
        let reason = format!(
            "{} is not below cache.watermark_high, which is {}",
            cache.watermark_low, cache.watermark_high
        );
        refuse(
            "cache.watermark_low",
            reason,
            "eviction must stop below the level where it starts",
        );
    }
    if !cache.page_bytes.is_power_of_two() {
        let reason = format!("{} is not a power of two", cache.page_bytes);
        refuse("cache.page_bytes", reason, "such as 4KiB, 64KiB or 2MiB");
    }
    if cache.bytes_max < u64::from(cache.page_bytes) {
        let reason = format!(
            "{} bytes do not hold one page of {} bytes",
            cache.bytes_max, cache.page_bytes
        );
        refuse(
            "cache.bytes_max",
            reason,
            "raise the budget or lower cache.page_bytes",
        );
    }
    if cache.entry_bytes_max > cache.bytes_max {
        let reason = format!(
            "{} bytes are more than cache.bytes_max, which is {}",
            cache.entry_bytes_max, cache.bytes_max
        );
        refuse(
            "cache.entry_bytes_max",
            reason,
            "entries take a part of the budget",
        );
    }
    let process = &loaded.settings.process;
    if process.default_max_length > process.max_length_max {
        let reason = format!(
            "{} is more than process.max_length_max, which is {}",
            process.default_max_length, process.max_length_max
        );
        refuse(
            "process.default_max_length",
            reason,
            "lower it, or raise process.max_length_max",
        );
    }
}

fn check_doors(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.settings;
    let (http, admin) = (settings.http.bind, settings.admin.bind);
    if http == admin && http.port() != 0 {
        let reason = format!("{admin} is the address of http.bind too");
        let hint = "give each door a port of its own";
        problems.push(problem(
            loaded,
            "admin.bind",
            "config.contradiction",
            reason,
            hint,
        ));
    }
    if settings.auth.token_file.is_none() {
        let doors: [(&str, &DoorSettings); 2] = [
            ("http.bind", &settings.http),
            ("admin.bind", &settings.admin),
        ];
        for (key, door) in doors {
            if !door.bind.ip().is_loopback() {
                let reason = format!(
                    "{} can be reached from other machines, and without auth.token_file anybody may come in",
                    door.bind
                );
                let hint = "set auth.token_file (lines of `service token`), or bind 127.0.0.1";
                problems.push(problem(
                    loaded,
                    key,
                    "config.exposed_without_token",
                    reason,
                    hint,
                ));
            }
        }
    }
    debug_assert!(
        settings.services.contains_key(DEFAULT_SERVICE),
        "the default service is never removed"
    );
}
