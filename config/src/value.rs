//! One typed value: what kinds there are, how each is spelled, and what to say when the spelling is wrong.
//!
//! A spelling means the same in a file, a variable and a flag. Nothing here knows which setting a value belongs to.

mod endpoint;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::suggest::closest;

/// What a key accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Yes or no.
    Flag,
    /// A whole number within bounds, both included.
    Count { min: u64, max: u64 },
    /// A number of bytes, with or without a unit, within bounds.
    Bytes { min: u64, max: u64 },
    /// A real number within bounds, both included.
    Ratio { min: f64, max: f64 },
    /// A span of time with its unit, within bounds in milliseconds.
    Time { min_ms: u64, max_ms: u64 },
    /// An IP address and a port.
    Address,
    /// An IP address.
    Host,
    /// A host, by name or address, and a port.
    Endpoint,
    /// Several of them.
    Endpoints,
    /// A path; it is opened by whoever needs it.
    Path,
    /// Free text that is not empty.
    Text,
    /// A short lower-case name, fit for metrics and file names.
    Name,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `auto`, or a number of devices.
    Devices,
}

/// What was meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing is set.
    Absent,
    /// Yes or no.
    Flag(bool),
    /// A count or a number of bytes.
    Count(u64),
    /// A number of bytes.
    Bytes(u64),
    /// A real number.
    Ratio(f64),
    /// A span of time.
    Time(Duration),
    /// An address.
    Address(SocketAddr),
    /// An IP address.
    Host(IpAddr),
    /// A path.
    Path(PathBuf),
    /// Text, names and choices in their one spelling.
    Text(String),
    /// Several texts without commas.
    List(Vec<String>),
}

/// Why a spelling was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `config.wrong_type` or `config.out_of_range`.
    pub(crate) code: &'static str,
    /// A sentence without its full stop.
    pub(crate) reason: String,
    /// What to write instead.
    pub(crate) hint: Option<String>,
}

/// The longest name of a service, node or share group.
const NAME_CHARS_MAX: usize = 63;
/// The longest text or path, a typing error being likelier than a need beyond it.
const TEXT_BYTES_MAX: usize = 4_096;
/// The most shards a node may be cut into.
pub(crate) const DEVICES_MAX: u64 = 1_024;

impl Kind {
    /// Whether a file may write it as a list.
    pub(crate) const fn is_list(self) -> bool {
        matches!(self, Self::Endpoints)
    }

    /// Reads `text` as this kind.
    pub(crate) fn parse(self, text: &str) -> Result<Value, Refusal> {
        let text = text.trim();
        if text.len() > TEXT_BYTES_MAX {
            return Err(out_of_range(
                format!("is longer than {TEXT_BYTES_MAX} bytes"),
                None,
            ));
        }
        match self {
            Self::Flag => parse_flag(text),
            Self::Count { min, max } => parse_count(text, min, max).map(Value::Count),
            Self::Bytes { min, max } => parse_bytes(text, min, max),
            Self::Ratio { min, max } => parse_ratio(text, min, max),
            Self::Time { min_ms, max_ms } => parse_time(text, min_ms, max_ms),
            Self::Address => parse_address(text),
            Self::Host => parse_host(text),
            Self::Endpoint => endpoint::parse_one(text),
            Self::Endpoints => endpoint::parse_list(text),
            Self::Path | Self::Text if text.is_empty() => {
                Err(wrong_type("must not be empty", None))
            }
            Self::Path => Ok(Value::Path(PathBuf::from(text))),
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Name => parse_name(text),
            Self::Choice(names) => parse_choice(text, names),
            Self::Devices if text.eq_ignore_ascii_case("auto") => {
                Ok(Value::Text("auto".to_owned()))
            }
            Self::Devices => {
                parse_count(text, 1, DEVICES_MAX)
                    .map(Value::Count)
                    .map_err(|refusal| Refusal {
                        hint: Some("`auto`, or a number".to_owned()),
                        ..refusal
                    })
            }
        }
    }
}

impl Value {
    /// The spelling that reads back as this value; `None` where there is nothing to spell.
    pub(crate) fn text(&self) -> Option<String> {
        Some(match self {
            Self::Absent => return None,
            Self::Flag(value) => value.to_string(),
            Self::Count(value) => value.to_string(),
            Self::Bytes(value) => bytes_text(*value),
            Self::Ratio(value) => value.to_string(),
            Self::Time(value) => humantime::format_duration(*value).to_string(),
            Self::Address(value) => value.to_string(),
            Self::Host(value) => value.to_string(),
            Self::Path(value) => value.display().to_string(),
            Self::Text(value) => value.clone(),
            Self::List(items) if items.is_empty() => return None,
            Self::List(items) => items.join(","),
        })
    }

    /// The value for machines: raw bytes and seconds, no units in strings.
    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Absent => serde_json::Value::Null,
            Self::Flag(value) => (*value).into(),
            Self::Count(value) | Self::Bytes(value) => (*value).into(),
            Self::Ratio(value) => (*value).into(),
            Self::Time(value) => value.as_secs_f64().into(),
            Self::Address(_) | Self::Host(_) | Self::Path(_) | Self::Text(_) => {
                self.text().unwrap_or_default().into()
            }
            Self::List(items) => items.clone().into(),
        }
    }
}

/// The largest binary unit that divides the number, so that nothing is rounded.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    UNITS
        .iter()
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
        .map_or_else(
            || bytes.to_string(),
            |(unit, size)| format!("{}{unit}", bytes / size),
        )
}

fn wrong_type(reason: impl Into<String>, hint: Option<&str>) -> Refusal {
    Refusal {
        code: "config.wrong_type",
        reason: reason.into(),
        hint: hint.map(str::to_owned),
    }
}

fn out_of_range(reason: String, hint: Option<String>) -> Refusal {
    Refusal {
        code: "config.out_of_range",
        reason,
        hint,
    }
}

fn parse_flag(text: &str) -> Result<Value, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(Value::Flag(true)),
        "false" | "no" | "off" | "0" => Ok(Value::Flag(false)),
        _ => Err(wrong_type(
            "is not a yes or no",
            Some("write `true` or `false`"),
        )),
    }
}

fn parse_count(text: &str, min: u64, max: u64) -> Result<u64, Refusal> {
    let digits = text.replace('_', "");
    let negative = digits
        .strip_prefix('-')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    if negative {
        return Err(out_of_range(format!("must be at least {min}"), None));
    }
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong_type(
            "is not a whole number",
            Some("digits only, such as `4096`"),
        ));
    }
    // Digits that do not fit in 64 bits are above every bound.
    let value = digits.parse().unwrap_or(u64::MAX);
    within(value, min, max, |bound| bound.to_string())
}

fn within(value: u64, min: u64, max: u64, show: fn(u64) -> String) -> Result<u64, Refusal> {
    if value < min {
        Err(out_of_range(
            format!("must be at least {}", show(min)),
            None,
        ))
    } else if value > max {
        Err(out_of_range(format!("must be at most {}", show(max)), None))
    } else {
        Ok(value)
    }
}

fn parse_bytes(text: &str, min: u64, max: u64) -> Result<Value, Refusal> {
    let hint = "a number with an optional unit, such as `512MiB`, `2GiB` or `1073741824`";
    let size: bytesize::ByteSize = text
        .parse()
        .map_err(|_| wrong_type("is not a number of bytes", Some(hint)))?;
    within(size.as_u64(), min, max, bytes_text).map(Value::Bytes)
}

fn parse_ratio(text: &str, min: f64, max: f64) -> Result<Value, Refusal> {
    let value: f64 = text
        .parse()
        .map_err(|_| wrong_type("is not a number", Some("such as `0.8`")))?;
    if value.is_finite() && (min..=max).contains(&value) {
        Ok(Value::Ratio(value))
    } else {
        Err(out_of_range(
            format!("must be between {min} and {max}"),
            None,
        ))
    }
}

fn parse_time(text: &str, min_ms: u64, max_ms: u64) -> Result<Value, Refusal> {
    let hint = "a number with its unit, such as `500ms`, `30s` or `1h`";
    let time = humantime::parse_duration(text)
        .map_err(|_| wrong_type("is not a span of time", Some(hint)))?;
    let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(max_ms));
    if time < min {
        let least = humantime::format_duration(min);
        Err(out_of_range(format!("must be at least {least}"), None))
    } else if time > max {
        let most = humantime::format_duration(max);
        Err(out_of_range(format!("must be at most {most}"), None))
    } else {
        Ok(Value::Time(time))
    }
}

fn parse_address(text: &str) -> Result<Value, Refusal> {
    let numeric = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    numeric
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map(Value::Address)
        .map_err(|_| {
            let hint =
                "an IP address and a port, such as `127.0.0.1:7800`; port 0 lets the system choose";
            wrong_type("is not an address", Some(hint))
        })
}

fn parse_host(text: &str) -> Result<Value, Refusal> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Value::Host(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    text.parse().map(Value::Host).map_err(|_| {
        wrong_type(
            "is not an IP address",
            Some("such as `127.0.0.1`; names are not looked up"),
        )
    })
}

fn parse_name(text: &str) -> Result<Value, Refusal> {
    let fits = !text.is_empty()
        && text.len() <= NAME_CHARS_MAX
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
        });
    if fits {
        return Ok(Value::Text(text.to_owned()));
    }
    let hint = format!("1 to {NAME_CHARS_MAX} of a-z, 0-9, `-`, `_` and `.`");
    Err(wrong_type("is not a name", Some(&hint)))
}

fn parse_choice(text: &str, names: &'static [&'static str]) -> Result<Value, Refusal> {
    let lower = text.to_ascii_lowercase();
    if let Some(name) = names.iter().find(|name| **name == lower) {
        return Ok(Value::Text((*name).to_owned()));
    }
    let all = names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let hint = match closest(&lower, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? Possible: {all}"),
        None => format!("possible: {all}"),
    };
    Err(wrong_type("is none of the possible words", Some(&hint)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(kind: Kind, text: &str, expected: Result<Value, &str>) {
        let found = kind.parse(text).map_err(|refusal| refusal.reason);
        assert_eq!(
            found,
            expected.map_err(str::to_owned),
            "{text:?} as {kind:?}"
        );
    }

    #[test]
    fn every_kind_reads_its_spellings_and_refuses_the_rest() {
        let count = Kind::Count { min: 1, max: 10 };
        check(count, "1_0", Ok(Value::Count(10)));
        check(count, "0", Err("must be at least 1"));
        check(count, "-3", Err("must be at least 1"));
        check(count, "99999999999999999999999", Err("must be at most 10"));
        check(count, "ten", Err("is not a whole number"));
        check(count, "1.5", Err("is not a whole number"));
        let bytes = Kind::Bytes {
            min: 1,
            max: 1 << 40,
        };
        check(bytes, "2GiB", Ok(Value::Bytes(2 << 30)));
        check(bytes, "2 GB", Ok(Value::Bytes(2_000_000_000)));
        check(bytes, "0", Err("must be at least 1"));
        check(bytes, "8 PiB", Err("must be at most 1TiB"));
        check(bytes, "lots", Err("is not a number of bytes"));
        let time = Kind::Time {
            min_ms: 1_000,
            max_ms: 60_000,
        };
        check(time, "30s", Ok(Value::Time(Duration::from_secs(30))));
        check(time, "30", Err("is not a span of time"));
        check(time, "1ms", Err("must be at least 1s"));
        check(time, "1h", Err("must be at most 1m"));
        check(Kind::Flag, "YES", Ok(Value::Flag(true)));
        check(Kind::Flag, "maybe", Err("is not a yes or no"));
        check(
            Kind::Ratio { min: 0.0, max: 1.0 },
            "NaN",
            Err("must be between 0 and 1"),
        );
        check(
            Kind::Address,
            "localhost:0",
            Ok(Value::Address(crate::ports::loopback(0))),
        );
        check(Kind::Address, "7800", Err("is not an address"));
        check(Kind::Name, "Upper Case", Err("is not a name"));
        check(
            Kind::Choice(&["lru", "lfu"]),
            "LRU",
            Ok(Value::Text("lru".to_owned())),
        );
        check(Kind::Devices, "auto", Ok(Value::Text("auto".to_owned())));
        check(Kind::Devices, "0", Err("must be at least 1"));
    }

    proptest! {
        #[test]
        fn bytes_are_spelled_so_that_they_read_back(bytes in 1_u64..=u64::MAX / 2) {
            let kind = Kind::Bytes { min: 0, max: u64::MAX };
            prop_assert_eq!(kind.parse(&bytes_text(bytes)), Ok(Value::Bytes(bytes)));
        }

        #[test]
        fn no_spelling_panics(text in ".{0,64}") {
            for kind in [
                Kind::Flag, Kind::Count { min: 3, max: 9 }, Kind::Bytes { min: 3, max: 9 },
                Kind::Ratio { min: 0.0, max: 1.0 }, Kind::Time { min_ms: 1, max_ms: 2 }, Kind::Address,
                Kind::Host, Kind::Endpoint, Kind::Endpoints, Kind::Path, Kind::Text, Kind::Name, Kind::Choice(&["a"]), Kind::Devices,
            ] {
                let _ = kind.parse(&text);
            }
        }
    }
}
