//! How blocks are to be stored, against what the services accept: a wish that no contract allows stops the start, and one
//! that nothing heeds is told.

use super::problem;
use crate::problem::{Origin, Problem, Warning};
use crate::settings::{EncodingSettings, KvDtype, Rung, Settings, Strategy};
use crate::settle::Loaded;

const CONTRADICTION: &str = "config.contradiction";

/// Every contradiction.
pub(super) fn check(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.settings;
    let asked = &settings.cache.encoding;
    let mut refuse = |key: &str, reason: String, hint: &str| {
        problems.push(problem(loaded, key, CONTRADICTION, reason, hint));
    };
    if settings.cache.strategy == Strategy::Compressed && asked.compress == Some(false) {
        let reason = "is false, and the strategy `compressed` is nothing else".to_owned();
        let hint = "drop one of the two; `adaptive` is the same order of eviction over raw blocks";
        refuse("cache.compress", reason, hint);
    }
    if settings.cache.strategy == Strategy::Quantized && asked.quantize == Some(false) {
        let reason = "is false, and the strategy `quantized` is nothing else".to_owned();
        let hint = "drop one of the two; `compressed` stores blocks smaller without loss";
        refuse("cache.quantize", reason, hint);
    }
    if let Some(bits) = asked
        .bits
        .filter(|bits| EncodingSettings::rung_of_bits(*bits).is_none())
    {
        let reason = format!("{bits} bits a number are not a rung of the ladder");
        refuse("cache.quantization_bits", reason, "write 8 or 4");
        return;
    }
    if !bound_services(settings).is_empty() {
        check_lossy(loaded, problems);
    } else if any_service(settings, Settings::is_encoded) {
        check_exact(loaded, problems);
    }
}

fn check_exact(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let (key, dtype) = ("cache.compression_ratio", loaded.settings.model.kv_dtype);
    let best = best_exact(dtype);
    let Some(wanted) = loaded.settings.cache.encoding.ratio else {
        return;
    };
    if wanted < best {
        let reason = format!(
            "{wanted} of the original size cannot be had without loss: {best} is the best ratio possible for {}",
            dtype.name()
        );
        let hint = "raise it to that, or let blocks lose what a service accepts: cache.quantize \
                    (use_quantization) and services.<name>.error_max";
        problems.push(problem(loaded, key, CONTRADICTION, reason, hint));
    }
}

fn check_lossy(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.settings;
    let asked = &settings.cache.encoding;
    let dtype = settings.model.kv_dtype;
    let by_bits = asked.bits.and_then(EncodingSettings::rung_of_bits);
    if let (Some(rung), Some(wanted)) = (by_bits, asked.ratio)
        && wanted < rung.ratio(dtype)
    {
        let reason = format!(
            "{wanted} of the original size is less than {} bits a number take, which is {} for {}",
            asked.bits.unwrap_or_default(),
            rung.ratio(dtype),
            dtype.name()
        );
        let hint = "drop cache.quantization_bits, or raise the ratio";
        problems.push(problem(
            loaded,
            "cache.compression_ratio",
            CONTRADICTION,
            reason,
            hint,
        ));
        return;
    }
    if let Some(wanted) = asked
        .ratio
        .filter(|wanted| *wanted < Rung::Entropy.ratio(dtype))
    {
        let best = Rung::Entropy.ratio(dtype);
        let reason = format!(
            "{wanted} of the original size cannot be had at any accepted error: {best} is the best ratio possible for {}",
            dtype.name()
        );
        problems.push(problem(
            loaded,
            "cache.compression_ratio",
            CONTRADICTION,
            reason,
            "raise it",
        ));
        return;
    }
    let (key, rung) = match (asked.ratio, by_bits) {
        (Some(_), _) => ("cache.compression_ratio", asked.coarsest_lossy(dtype)),
        (None, Some(rung)) => ("cache.quantization_bits", rung),
        (None, None) => return,
    };
    let is_exact_enough = asked
        .ratio
        .is_some_and(|wanted| wanted >= best_exact(dtype));
    for (service, accepted) in bound_services(settings) {
        if accepted >= rung.error_ppm() || is_exact_enough {
            continue;
        }
        let best = best_lossy(dtype, accepted);
        let reason = format!(
            "asks for {}, which costs attention about {} of its output, and the service `{service}` accepts {}: {best} is the \
             best ratio possible for it",
            rung.name(),
            share(rung.error_ppm()),
            share(accepted),
        );
        let hint = format!(
            "raise services.{service}.error_max to {}, or ask for a ratio that it allows",
            share(rung.error_ppm())
        );
        problems.push(problem(loaded, key, CONTRADICTION, reason, &hint));
    }
}

fn any_service(settings: &Settings, is_so: impl Fn(&Settings, &str) -> bool) -> bool {
    let mut services = settings.services.keys();
    services.any(|service| is_so(settings, service))
}

/// The services that a wish must be possible for: of those whose blocks are quantized, the ones that state what they accept, or
/// else the default of all. None where nothing is accepted.
fn bound_services(settings: &Settings) -> Vec<(&str, u32)> {
    let services = || {
        let services = settings.services.iter();
        services.filter(|(name, _)| settings.quantizes(name))
    };
    let stated = services()
        .filter_map(|(name, service)| Some((name.as_str(), service.error_ppm?)))
        .filter(|(_, accepted)| *accepted > 0);
    let stated: Vec<_> = stated.collect();
    if stated.is_empty() {
        let all = services().map(|(name, _)| (name.as_str(), settings.error_ppm(name)));
        all.filter(|(_, accepted)| *accepted > 0).take(1).collect()
    } else {
        stated
    }
}

fn best_exact(dtype: KvDtype) -> f64 {
    let ratios = Rung::EXACT.into_iter().map(|rung| rung.ratio(dtype));
    ratios.fold(1.0, f64::min)
}

fn best_lossy(dtype: KvDtype, accepted_ppm: u32) -> f64 {
    let kept = |rung: &Rung| rung.error_ppm() <= accepted_ppm;
    let ratios = Rung::LOSSY.into_iter().filter(kept);
    let ratios = ratios.map(|rung| rung.ratio(dtype));
    ratios.fold(best_exact(dtype), f64::min)
}

fn share(ppm: u32) -> String {
    (f64::from(ppm) / 1e6).to_string()
}

/// Words that nothing heeds.
pub(super) fn advise(loaded: &Loaded, warnings: &mut Vec<Warning>) {
    let settings = &loaded.settings;
    let mut unheeded = |key: &str, message: &str| {
        // What nobody typed needs no word.
        if let Some(origin) = loaded.origins.get(key) {
            warnings.push(warning(key, origin, message));
        }
    };
    let not_quantized =
        "has no effect: blocks are not quantized (cache.quantize, or the strategy `quantized`)";
    if !any_service(settings, Settings::quantizes) {
        unheeded("cache.quantization_bits", not_quantized);
    }
    for service in settings.services.keys() {
        if !settings.quantizes(service) {
            unheeded(&format!("services.{service}.error_max"), not_quantized);
        }
    }
    if !any_service(settings, Settings::is_encoded) {
        unheeded(
            "cache.compression_ratio",
            "has no effect: blocks are stored raw (cache.compress, or the strategy `compressed`)",
        );
    }
}

fn warning(key: &str, origin: &Origin, message: &str) -> Warning {
    Warning {
        code: "config.no_effect",
        key: key.to_owned(),
        origin: origin.clone(),
        message: message.to_owned(),
        hint: None,
    }
}

#[cfg(test)]
mod tests;
