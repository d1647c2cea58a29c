//! Environment variables as given values.
//!
//! Variables with one of our prefixes must be known, because a misspelled one would otherwise be obeyed by silence.
//! Those that Kubernetes injects for a service called `ultrakv` or `kv-cache` are not ours and are passed over, as is
//! everything without a prefix that the documentation does not name.

use crate::key::{self, SERVICES_SECTION};
use crate::problem::{Origin, Problem, Warning};
use crate::source::{Heard, Layer, Named, Place, Target};
use crate::suggest::closest;

/// What begins a name of ours or a documented one.
const PREFIXES: [&str; 2] = ["ULTRAKV_", "KV_CACHE_"];

/// Variables of the command line itself; they are read where the arguments are.
pub const COMMAND_LINE_VARIABLES: [&str; 7] = [
    "ULTRAKV_CONFIG",
    "ULTRAKV_ENV_FILE",
    "ULTRAKV_URL",
    "ULTRAKV_ADMIN_URL",
    "ULTRAKV_TOKEN_FILE",
    "ULTRAKV_TIMEOUT",
    "ULTRAKV_OUTPUT",
];

/// Whether a variable is one of ours or a documented one by its first letters, so that it may not be passed over.
#[must_use]
pub fn is_prefixed(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Reads one variable; an empty value means that it is not set, as templates with blanks intend.
pub(crate) fn read(name: &str, value: &str, origin: Origin, layer: Layer, heard: &mut Heard) {
    if value.trim().is_empty() || COMMAND_LINE_VARIABLES.contains(&name) {
        return;
    }
    let prefixed = is_prefixed(name);
    if prefixed && injected_by_kubernetes(name, value) {
        return;
    }
    let place = Place {
        written: name.to_owned(),
        origin,
        layer,
    };
    if let Some(found) = key::find_variable(name) {
        let target = Target {
            named: Named::Key(found),
            service: String::new(),
        };
        // A name that any program may use, set to what we cannot read, was meant for another program.
        let foreign = !prefixed && layer == Layer::Environment;
        if foreign && found.kind.parse(value).is_err() {
            return heard.warnings.push(Warning {
                code: "config.foreign_variable",
                key: name.to_owned(),
                origin: place.origin,
                message: "is not a value this setting can have; it was passed over, as meant for another program".to_owned(),
                hint: None,
            });
        }
        heard.hear(target, value, place);
    } else if let Some(target) = service_variable(name) {
        heard.hear_service(
            &target.service.clone(),
            Place {
                written: name.to_owned(),
                origin: place.origin.clone(),
                layer,
            },
        );
        heard.hear(target, value, place);
    } else if prefixed {
        unknown(name, place, heard);
    }
}

/// `ULTRAKV_SERVICES__BUL__SHARE_GROUP` is `services.bul.share_group`.
fn service_variable(name: &str) -> Option<Target> {
    let rest = name.strip_prefix("ULTRAKV_SERVICES__")?;
    let path = format!(
        "{SERVICES_SECTION}.{}",
        rest.to_ascii_lowercase().replace("__", ".")
    );
    Target::find(&path)
}

fn unknown(name: &str, place: Place, heard: &mut Heard) {
    let known = key::variable_names();
    let hint = match closest(name, known.iter().map(String::as_str)) {
        Some(known) => format!("did you mean `{known}`?"),
        None if name.starts_with("ULTRAKV_") => {
            "the variable of `cache.bytes_max` is `ULTRAKV_CACHE__BYTES_MAX`: section, two underscores, key".to_owned()
        }
        None => "`ultrakv config schema` lists every key; that of `kv_cache.max_tokens` is `KV_CACHE_MAX_TOKENS`".to_owned(),
    };
    heard.problems.push(Problem {
        code: "config.unknown_variable",
        key: place.written,
        origin: place.origin,
        given: None,
        reason: "is not a variable of this program".to_owned(),
        hint: Some(hint),
    });
}

/// Whether Kubernetes puts this variable into every pod of a namespace that has a service whose name, in capitals,
/// begins as ours do.
///
/// # Source
/// "Discovering services", and the Docker links format it imitates: `X_SERVICE_HOST`, `X_SERVICE_PORT[_name]`,
/// `X_PORT` with a URL, `X_PORT_<n>_<protocol>[_PROTO|_PORT|_ADDR]`.
fn injected_by_kubernetes(name: &str, value: &str) -> bool {
    // Our own names have two underscores in a row; Kubernetes makes none.
    if name.contains("__") {
        return false;
    }
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") {
        return true;
    }
    if name
        .split_once("_SERVICE_PORT_")
        .is_some_and(|(service, _)| !service.is_empty())
    {
        return true;
    }
    let url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    if name.ends_with("_PORT") && url {
        return true;
    }
    name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let mut parts = rest.split('_');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        let protocol = parts
            .next()
            .is_some_and(|part| matches!(part, "TCP" | "UDP" | "SCTP"));
        let field = parts
            .next()
            .is_none_or(|part| matches!(part, "PROTO" | "PORT" | "ADDR"));
        number && protocol && field && parts.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_injects_are_recognised_and_ours_are_not() {
        for (name, value) in [
            ("ULTRAKV_SERVICE_HOST", "10.0.0.1"),
            ("ULTRAKV_SERVICE_PORT", "7800"),
            ("ULTRAKV_SERVICE_PORT_HTTP", "7800"),
            ("ULTRAKV_PORT", "tcp://10.0.0.1:7800"),
            ("ULTRAKV_PORT_7800_TCP", "tcp://10.0.0.1:7800"),
            ("ULTRAKV_PORT_7800_TCP_ADDR", "10.0.0.1"),
            ("ULTRAKV_PORT_7800_TCP_PORT", "7800"),
            ("ULTRAKV_PORT_7800_TCP_PROTO", "tcp"),
            ("ULTRAKV_ADMIN_PORT", "tcp://10.0.0.1:7801"),
            ("KV_CACHE_SERVICE_HOST", "10.0.0.1"),
            ("KV_CACHE_PORT_53_UDP_ADDR", "10.0.0.1"),
        ] {
            assert!(injected_by_kubernetes(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("ULTRAKV_PORT", "7800"),
            ("ULTRAKV_HTTP__BIND", "tcp://x"),
            ("ULTRAKV_PORT_X_TCP", "1"),
            ("ULTRAKV_PORT_7800_TCP_ADDR_X", "1"),
            ("KV_CACHE_MAX_TOKENS", "4096"),
        ] {
            assert!(!injected_by_kubernetes(name, value), "{name}={value}");
        }
    }
}
