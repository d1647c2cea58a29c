//! Who is calling: from a token, or on a loopback door without tokens from a header, to the name of a configured service.
//!
//! Everything fails closed. The check runs once, as a layer in front of every route of a door, and leaves a [`Caller`] in the
//! request; a handler that asks for a [`Caller`] on a route without the layer gets an error, not an anonymous caller. This file
//! knows services by name only; what a service may do is decided elsewhere.

pub mod browser;
pub mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ultrakv_config::{ADMIN_SERVICE, DEFAULT_SERVICE};

use self::tokens::Tokens;
use crate::problem::Problem;

/// The header that carries a token where `authorization` is taken.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The header that names the service on a loopback door without tokens.
pub const SERVICE: HeaderName = HeaderName::from_static("x-ultrakv-service");

/// The service on whose behalf a request is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// A name from `services` in the settings.
    pub service: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::internal("caller_unknown"))
    }
}

/// Which of the node's doors a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The main HTTP door: services and clients.
    Http,
    /// The admin door: operators.
    Admin,
}

impl Door {
    /// The door's name in logs, metrics and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Admin => "admin",
        }
    }

    /// Whether `path` answers without a token and however busy the door is: what a probe, or a person with a browser, needs
    /// before they have a token. Figures, names and data are not among it.
    #[must_use]
    pub(crate) fn is_public(self, path: &str) -> bool {
        const PAGE: &str = "/docs";
        let probes: &[&str] = match self {
            Self::Http => &["/health", "/api/v1/kv-cache/health", "/openapi.json"],
            Self::Admin => &["/livez", "/readyz", "/healthz", "/health", "/openapi.json"],
        };
        let page = path
            .strip_prefix(PAGE)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        page || probes.contains(&path)
    }
}

/// How callers prove who they are.
#[derive(Debug, Clone)]
pub struct Access {
    services: Arc<BTreeSet<String>>,
    /// None: there is no token file, and the door is on loopback.
    tokens: Option<Arc<Tokens>>,
}

impl Access {
    /// Access by the tokens of a file, or without any.
    pub fn new(services: impl IntoIterator<Item = String>, tokens: Option<Tokens>) -> Self {
        Self {
            services: Arc::new(services.into_iter().collect()),
            tokens: tokens.map(Arc::new),
        }
    }

    /// Whether callers need no token.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.tokens.is_none()
    }

    /// The caller that these headers prove.
    ///
    /// # Errors
    /// 401 without a token that we know; 403 when the token is another service's or opens another door; 400 when the headers
    /// contradict themselves or name no configured service.
    pub fn caller(&self, door: Door, headers: &HeaderMap) -> Result<Caller, Problem> {
        let named = single(headers, &SERVICE)?;
        let service = match &self.tokens {
            Some(tokens) => self.by_token(tokens, door, headers, named)?,
            None => named.unwrap_or(DEFAULT_SERVICE).to_owned(),
        };
        if self.services.contains(&service) || (door == Door::Admin && service == ADMIN_SERVICE) {
            return Ok(Caller { service });
        }
        Err(
            Problem::bad_request("service_unknown", "the named service is not configured")
                .hint("add it under services in the configuration, or name one that is there")
                .param(SERVICE.as_str()),
        )
    }

    fn by_token(
        &self,
        tokens: &Tokens,
        door: Door,
        headers: &HeaderMap,
        named: Option<&str>,
    ) -> Result<String, Problem> {
        let Some(token) = token(headers)? else {
            return Err(unauthorized("token_missing", "this door asks for a token"));
        };
        let Some(service) = tokens.service(token) else {
            return Err(unauthorized("token_unknown", "the token is not known here"));
        };
        if named.is_some_and(|named| named != service) {
            return Err(
                forbidden("service_mismatch", "the token belongs to another service")
                    .hint("leave out x-ultrakv-service: the token already names the service"),
            );
        }
        match (door, service == ADMIN_SERVICE) {
            (Door::Admin, true) | (Door::Http, false) => Ok(service.to_owned()),
            (Door::Admin, false) => Err(forbidden(
                "not_admin",
                "this token does not open the admin door",
            )
            .hint("use the token of the service admin")),
            (Door::Http, true) => Err(forbidden(
                "admin_only",
                "the admin token opens the admin door only",
            )
            .hint("use the token of a service")),
        }
    }
}

/// What the layer of one door needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) door: Door,
    pub(crate) access: Access,
}

/// The layer in front of every route of a door.
pub(crate) async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.admit(&request) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl Guard {
    /// The caller, or none on a public route.
    fn admit(&self, request: &Request) -> Result<Option<Caller>, Problem> {
        if self.access.is_open() {
            browser::check(request)?;
        }
        if self.door.is_public(request.uri().path()) {
            return Ok(None);
        }
        self.access.caller(self.door, request.headers()).map(Some)
    }
}

/// The token of a request: `authorization: Bearer …` or `x-api-key: …`.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let bearer = match single(headers, &header::AUTHORIZATION)? {
        None => None,
        Some(value) => match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
            _ => {
                return Err(unauthorized(
                    "scheme_unknown",
                    "the door knows only the scheme Bearer",
                ));
            }
        },
    };
    let api_key = single(headers, &API_KEY)?;
    if let (Some(bearer), Some(api_key)) = (bearer, api_key)
        && bearer != api_key
    {
        return Err(unauthorized(
            "token_twice",
            "authorization and x-api-key differ",
        ));
    }
    Ok(bearer.or(api_key))
}

/// The value of a header that may be sent once, as text.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::bad_request(
            "header_twice",
            format!("{name} was sent more than once"),
        )
        .hint("send it once")
        .param(name.as_str()));
    }
    first.map(HeaderValue::to_str).transpose().map_err(|_| {
        Problem::bad_request("header_invalid", format!("{name} is not visible ASCII"))
            .hint("send visible ASCII characters only")
            .param(name.as_str())
    })
}

fn unauthorized(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
        .hint("send authorization: Bearer <token> or x-api-key: <token> with a token of the token file")
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ultrakv\""))
}

fn forbidden(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALPHA: &str = "alpha-token-0123456789";
    const ADMIN: &str = "admin-token-0123456789";

    fn access(with_tokens: bool) -> Access {
        let services = ["default", "alpha"].map(str::to_owned);
        let file = format!("alpha {ALPHA}\nadmin {ADMIN}\n");
        let known = BTreeSet::from(services.clone());
        let tokens = Tokens::parse(&file, &known).expect("the file is well formed");
        Access::new(services, with_tokens.then_some(tokens))
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parse = |text: &str| HeaderValue::from_str(text).expect("a test's header is valid");
        let named = |text: &str| HeaderName::try_from(text).expect("a test's name is valid");
        pairs
            .iter()
            .map(|(name, value)| (named(name), parse(value)))
            .collect()
    }

    fn check(with_tokens: bool, door: Door, sent: &[(&str, &str)], expected: Result<&str, &str>) {
        let outcome = access(with_tokens).caller(door, &headers(sent));
        let outcome = outcome
            .as_ref()
            .map(|caller| caller.service.as_str())
            .map_err(Problem::code);
        assert_eq!(outcome, expected, "{sent:?}");
    }

    #[test]
    fn without_tokens_the_header_names_a_configured_service() {
        check(false, Door::Http, &[], Ok("default"));
        check(
            false,
            Door::Http,
            &[("x-ultrakv-service", "alpha")],
            Ok("alpha"),
        );
        check(
            false,
            Door::Http,
            &[("x-ultrakv-service", "gamma")],
            Err("service_unknown"),
        );
        check(
            false,
            Door::Http,
            &[("x-ultrakv-service", "admin")],
            Err("service_unknown"),
        );
        check(
            false,
            Door::Http,
            &[
                ("x-ultrakv-service", "alpha"),
                ("x-ultrakv-service", "default"),
            ],
            Err("header_twice"),
        );
    }

    #[test]
    fn with_tokens_only_a_known_token_names_its_service() {
        let bearer = format!("Bearer {ALPHA}");
        check(true, Door::Http, &[], Err("token_missing"));
        check(
            true,
            Door::Http,
            &[("x-ultrakv-service", "alpha")],
            Err("token_missing"),
        );
        check(true, Door::Http, &[("authorization", &bearer)], Ok("alpha"));
        check(true, Door::Http, &[("x-api-key", ALPHA)], Ok("alpha"));
        check(
            true,
            Door::Http,
            &[("authorization", &bearer), ("x-api-key", ALPHA)],
            Ok("alpha"),
        );
        check(
            true,
            Door::Http,
            &[("authorization", &bearer), ("x-api-key", ADMIN)],
            Err("token_twice"),
        );
        check(
            true,
            Door::Http,
            &[("x-api-key", "alpha-token-012345678")],
            Err("token_unknown"),
        );
        check(true, Door::Http, &[("x-api-key", "")], Err("token_unknown"));
        check(
            true,
            Door::Http,
            &[("authorization", ALPHA)],
            Err("scheme_unknown"),
        );
        check(
            true,
            Door::Http,
            &[("x-api-key", ALPHA), ("x-ultrakv-service", "default")],
            Err("service_mismatch"),
        );
    }

    #[test]
    fn the_admin_token_opens_the_admin_door_and_no_other() {
        check(true, Door::Admin, &[("x-api-key", ADMIN)], Ok("admin"));
        check(true, Door::Admin, &[("x-api-key", ALPHA)], Err("not_admin"));
        check(true, Door::Http, &[("x-api-key", ADMIN)], Err("admin_only"));
    }

    #[test]
    fn a_refusal_for_want_of_a_token_says_which_scheme_to_use() {
        let problem = access(true)
            .caller(Door::Http, &HeaderMap::new())
            .expect_err("no token");
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
