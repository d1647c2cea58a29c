//! Hosts with ports: where something is dialled, as opposed to where something listens.
//!
//! A name is kept as it is and looked up by whoever dials, each time: behind one name may be several addresses, and other
//! ones tomorrow.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Refusal, Value, out_of_range, wrong_type};
use crate::source::shown;

/// The longest name that DNS carries.
const HOST_BYTES_MAX: usize = 253;
/// The longest part of a name between two dots.
const LABEL_BYTES_MAX: usize = 63;
/// More seeds than anybody types; one that answers is enough.
pub(super) const ENDPOINTS_MAX: usize = 64;

const HINT: &str = "a host and a port, such as `node-1:7802`, `10.0.0.7:7802` or `[fd00::7]:7802`";

/// One host and port.
pub(super) fn parse_one(text: &str) -> Result<Value, Refusal> {
    if is_endpoint(text) {
        Ok(Value::Text(text.to_owned()))
    } else {
        Err(wrong_type("is not a host and a port", Some(HINT)))
    }
}

/// Hosts and ports, separated by commas; none at all is an empty list.
pub(super) fn parse_list(text: &str) -> Result<Value, Refusal> {
    if text.is_empty() {
        return Ok(Value::List(Vec::new()));
    }
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    if items.len() > ENDPOINTS_MAX {
        return Err(out_of_range(
            format!("lists more than {ENDPOINTS_MAX} addresses"),
            None,
        ));
    }
    match items.iter().find(|item| !is_endpoint(item)) {
        Some(wrong) => {
            let reason = format!("lists `{}`, which is not a host and a port", shown(wrong));
            Err(wrong_type(reason, Some(HINT)))
        }
        None => Ok(Value::List(items.into_iter().map(str::to_owned).collect())),
    }
}

fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    // Port 0 means "any" where something listens, and nothing where something is dialled.
    let dialled = digits && port.parse::<u16>().is_ok_and(|port| port > 0);
    dialled && is_host(host)
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner
            .strip_suffix(']')
            .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    host.parse::<Ipv4Addr>().is_ok() || is_name(host)
}

/// A name as DNS and containers have them. One whose last part is a number is a mistyped address.
fn is_name(host: &str) -> bool {
    let mut labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let fits = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= HOST_BYTES_MAX
        && labels.clone().all(fits)
        && labels.next_back().is_some_and(|last| !number(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port_to_dial() {
        for good in [
            "node-1:7802",
            "ultrakv-0.ultrakv.default.svc.cluster.local:7802",
            "project_node-1_1:1",
            "10.0.0.7:65535",
            "[fd00::7]:7802",
            "localhost:7802",
            "a.:7802",
        ] {
            assert_eq!(parse_one(good), Ok(Value::Text(good.to_owned())), "{good}");
        }
        for wrong in [
            "",
            ":",
            "node-1",
            "node-1:",
            ":7802",
            "node-1:0",
            "node-1:65536",
            "node-1:+1",
            "node 1:7802",
            "fd00::7:7802",
            "[fd00::7]",
            "[10.0.0.7]:1",
            "300.1.1.1:7802",
            "-a:1",
            "a-:1",
            "a..b:1",
            "a/b:1",
            "é:1",
            "http://node-1:7802",
            "user@node-1:7802",
        ] {
            assert!(parse_one(wrong).is_err(), "{wrong}");
        }
        assert!(parse_one(&format!("{}:1", "a".repeat(64))).is_err());
        assert!(parse_one(&format!("{}a:1", "a.".repeat(127))).is_err());
    }

    #[test]
    fn a_list_is_all_right_or_says_which_item_is_not() {
        let list =
            |items: &[&str]| Value::List(items.iter().map(|item| (*item).to_owned()).collect());
        assert_eq!(parse_list(""), Ok(list(&[])));
        assert_eq!(parse_list("a:1 , b:2"), Ok(list(&["a:1", "b:2"])));
        for (text, named) in [("a:1,b", "`b`"), ("a:1,,b:2", "``"), ("a:1,", "``")] {
            let refusal = parse_list(text).expect_err(text);
            assert!(refusal.reason.contains(named), "{}", refusal.reason);
        }
        let many = vec!["a:1"; ENDPOINTS_MAX + 1].join(",");
        assert_eq!(
            parse_list(&many).expect_err("many").code,
            "config.out_of_range"
        );
    }
}
