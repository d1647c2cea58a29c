//! The doors' own description: OpenAPI 3.1, made from the handlers themselves, and a page to read it with.
//!
//! A handler documents its request and its success; what every route has in common (failures, tokens, the request id) is added
//! here once. The page needs nothing from the network: it is inside the binary.

use axum::Extension;
use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, Ref, RefOr, ResponseBuilder, SecurityRequirement,
};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::auth::{API_KEY, Door, SERVICE};
use crate::problem::{OpenAiError, OpenAiErrorBody, PROBLEM_JSON, ProblemBody, Shape};
use crate::state::AppState;

/// Failures that any route may answer with, and when.
const FAILURES: [(&str, &str); 8] = [
    (
        "400",
        "The request is wrong; `code` says how and `param` where.",
    ),
    ("403", "The caller may not do this here."),
    ("408", "The body did not arrive in time."),
    ("413", "The body is larger than the door takes."),
    (
        "429",
        "As much is in progress as may be; come back after `Retry-After`.",
    ),
    (
        "500",
        "A fault of the server; the log has the cause under the request's id.",
    ),
    (
        "503",
        "A part of the node is down or stopping; come back after `Retry-After`.",
    ),
    ("504", "The deadline passed before the answer was ready."),
];

/// The document of the main HTTP door.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "UltraKV",
        description = "The cached process path, the OpenAI-compatible routes and the block API of one node. \
            Errors are `application/problem+json` (RFC 9457) with a stable `code` and a `hint`; on the OpenAI routes \
            they are that protocol's error object. Every answer carries `x-request-id`.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    components(schemas(ProblemBody, OpenAiErrorBody, OpenAiError)),
    modifiers(&Schemes),
    tags(
        (name = "process", description = "Text in, text out, through the cache."),
        (name = "openai", description = "The same path in OpenAI's protocol."),
        (name = "cache", description = "Figures, health and clearing of the caller's cache."),
        (name = "blocks", description = "K/V blocks by name, for inference engines. Bytes travel as octet streams, never in JSON."),
        (name = "entries", description = "Small values by name, with a version and a time to live: linearizable for each name."),
        (name = "documentation", description = "This document. `/docs` shows it as a page."),
    ),
)]
struct HttpDocument;

/// The document of the admin door.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "UltraKV admin",
        description = "Health, metrics and the inside of one node, for operators. Health routes ask for no token; with a token \
            file the others ask for the token of the service `admin`.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    components(schemas(ProblemBody)),
    modifiers(&Schemes),
    tags(
        (name = "health", description = "For probes: short, and without a token."),
        (name = "metrics", description = "Figures for Prometheus and for people."),
        (name = "node", description = "What the node is and what it is doing."),
        (name = "policy", description = "Which blocks give way next, and why."),
        (name = "cluster", description = "Members and where the slots are; joining, draining, leaving, and the jobs that move slots."),
        (name = "documentation", description = "This document. `/docs` shows it as a page."),
    ),
)]
struct AdminDocument;

/// How callers prove who they are.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token of the token file; it names the calling service.",
            ))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let in_header = |name: &str, text: &str| {
            let value = ApiKeyValue::with_description(name.to_owned(), text.to_owned());
            SecurityScheme::ApiKey(ApiKey::Header(value))
        };
        let api_key = in_header(API_KEY.as_str(), "The same token in a header of its own.");
        components.add_security_scheme("api_key", api_key);
        let service = in_header(
            SERVICE.as_str(),
            "Only on a loopback door without a token file: the name of the calling service; `default` when absent.",
        );
        components.add_security_scheme("loopback_service", service);
    }
}

/// The finished document, as it is sent.
#[derive(Debug, Clone)]
struct Document(Bytes);

/// The description of this door.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documentation",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
async fn openapi_json(Extension(Document(json)): Extension<Document>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], json)
}

/// An empty router that the routes of `door` are merged into.
pub(crate) fn described(door: Door) -> OpenApiRouter<AppState> {
    let document = match door {
        Door::Http => HttpDocument::openapi(),
        Door::Admin => AdminDocument::openapi(),
    };
    OpenApiRouter::with_openapi(document).routes(routes!(openapi_json))
}

/// Completes the description, adds the page, and hands out the router and the paths it has.
pub(crate) fn finish(
    door: Door,
    router: OpenApiRouter<AppState>,
) -> (Router<AppState>, Vec<String>) {
    let (router, mut document) = router.split_for_parts();
    complete(door, &mut document);
    let mut paths: Vec<String> = document.paths.paths.keys().cloned().collect();
    paths.push("/docs".to_owned());
    let json = document.to_pretty_json().unwrap_or_default();
    let page = SwaggerUi::new("/docs").config(Config::from("/openapi.json").validator_url("none"));
    let router = router
        .merge(page)
        .layer(Extension(Document(Bytes::from(json))));
    (router, paths)
}

/// Adds what all routes have in common.
fn complete(door: Door, document: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let shape = Shape::of(path);
        let methods = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.head,
            &mut item.patch,
        ];
        for operation in methods.into_iter().flatten() {
            add_failures(operation, shape, FAILURES);
            if door.is_public(path) {
                operation.security = Some(Vec::new());
            } else {
                add_failures(
                    operation,
                    shape,
                    [("401", "The door asks for a token that it knows.")],
                );
                operation.security = Some(security(door));
            }
        }
    }
}

/// Adds the failures that the handler did not describe itself.
fn add_failures<const N: usize>(
    operation: &mut Operation,
    shape: Shape,
    failures: [(&str, &str); N],
) {
    let (media_type, schema) = match shape {
        Shape::Problem => (PROBLEM_JSON, "Problem"),
        Shape::OpenAi => ("application/json", "OpenAiErrorBody"),
    };
    for (status, when) in failures {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(schema)))
            .build();
        let response = ResponseBuilder::new()
            .description(when)
            .content(media_type, content)
            .build();
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert(RefOr::T(response));
    }
}

/// Any one of these lets a caller in.
fn security(door: Door) -> Vec<SecurityRequirement> {
    let schemes: &[&str] = match door {
        Door::Http => &["bearer", "api_key", "loopback_service"],
        Door::Admin => &["bearer", "api_key"],
    };
    let none: [String; 0] = [];
    schemes
        .iter()
        .map(|scheme| SecurityRequirement::new(*scheme, none.clone()))
        .collect()
}
