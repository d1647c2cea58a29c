//! What keeps web pages away from a door that asks for no token.
//!
//! A loopback door trusts whoever can reach it, and a browser on the same machine can. A page from elsewhere reaches it either
//! directly, and then the browser says where the page is from, or under a name that it pointed at this machine (DNS rebinding),
//! and then the request names a host that is not this machine. Programs send neither and are not concerned.
//!
//! # Source
//! RFC 9110, section 7.4 (rejecting misdirected requests); Fetch standard, `Origin` and `Sec-Fetch-Site`.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Request, StatusCode, header};

use crate::problem::Problem;

/// Refuses requests that a web page from elsewhere made.
///
/// # Errors
/// 400 without a host, 421 for a host that is not this machine, 403 for a page of another site.
pub fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    let Some(host) = host(request) else {
        return Err(
            Problem::bad_request("host_missing", "the request names no valid host")
                .hint("send one header host, as HTTP/1.1 asks"),
        );
    };
    if !is_this_machine(host.host()) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host_foreign",
            "without a token file this door answers only under the names of this machine",
        )
        .hint("use localhost, 127.0.0.1 or [::1], or configure auth.token_file"));
    }
    if is_cross_site(request.headers(), &host) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "without a token file this door does not answer pages of other sites",
        )
        .hint("call from a program or from a page of this door, or configure auth.token_file"));
    }
    Ok(())
}

/// The host a request is for: HTTP/2 says it in the target, HTTP/1.1 in a header.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    let mut values = request.headers().get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Authority::try_from(value.as_bytes()).ok().filter(is_whole),
        _ => None,
    }
}

/// Whether nothing but digits follows the host's colon; what is parsed as an authority would let a name through there.
fn is_whole(authority: &Authority) -> bool {
    let port = authority
        .as_str()
        .rsplit_once(']')
        .map_or(authority.as_str(), |(_, rest)| rest);
    port.split_once(':')
        .is_none_or(|(_, port)| port.is_empty() || port.parse::<u16>().is_ok())
}

fn is_this_machine(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether a browser says that another site's page is behind the request.
fn is_cross_site(headers: &HeaderMap, host: &Authority) -> bool {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        return authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host.as_str()));
    }
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|sent| sent == value);
    // Following a link to the API's page is harmless: nothing of the answer reaches the page the link is on.
    says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_row(sent: &[(&str, &str)], expected: Result<(), &str>) {
        let mut request = Request::builder().uri("/v1/models");
        for (name, value) in sent {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a test's request is valid");
        assert_eq!(
            check(&request).map_err(|problem| problem.code()),
            expected,
            "{sent:?}"
        );
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        check_row(&[("host", "localhost")], Ok(()));
        check_row(&[("host", "LOCALHOST:7800")], Ok(()));
        check_row(&[("host", "127.0.0.1:7800")], Ok(()));
        check_row(&[("host", "127.1.2.3")], Ok(()));
        check_row(&[("host", "[::1]:7800")], Ok(()));
        check_row(&[], Err("host_missing"));
        check_row(&[("host", "")], Err("host_missing"));
        check_row(
            &[("host", "localhost"), ("host", "localhost")],
            Err("host_missing"),
        );
        check_row(&[("host", "evil.example:7800")], Err("host_foreign"));
        check_row(&[("host", "localhost.evil.example")], Err("host_foreign"));
        check_row(&[("host", "127.0.0.1.evil.example")], Err("host_foreign"));
        check_row(&[("host", "10.0.0.1")], Err("host_foreign"));
        check_row(
            &[("host", "127.0.0.1:7800.evil.example")],
            Err("host_missing"),
        );
        check_row(&[("host", "[::1]:x")], Err("host_missing"));
    }

    #[test]
    fn pages_of_other_sites_are_not_answered() {
        let host = ("host", "localhost:7800");
        check_row(&[host, ("origin", "http://localhost:7800")], Ok(()));
        check_row(
            &[host, ("origin", "http://localhost:3000")],
            Err("cross_site"),
        );
        check_row(
            &[host, ("origin", "https://evil.example")],
            Err("cross_site"),
        );
        check_row(&[host, ("origin", "null")], Err("cross_site"));
        check_row(&[host, ("sec-fetch-site", "cross-site")], Err("cross_site"));
        check_row(&[host, ("sec-fetch-site", "same-origin")], Ok(()));
        check_row(
            &[
                host,
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
            ],
            Ok(()),
        );
    }

    #[test]
    fn the_target_names_the_host_in_http2() {
        let request = Request::builder()
            .uri("http://evil.example/health")
            .body(());
        let problem = check(&request.expect("a valid request")).expect_err("not this machine");
        assert_eq!(problem.code(), "host_foreign");
    }
}
