//! The routes, one file a family. A handler parses, makes one call on a handle, and turns the outcome into an answer; limits,
//! identity and the rendering of errors happen before and after it.
//!
//! Each file offers `router() -> OpenApiRouter<AppState>`, so that a route cannot exist without its documentation.

pub(crate) mod admin;
pub(crate) mod blocks;
pub(crate) mod cache_admin;
pub(crate) mod entries;
pub(crate) mod events;
pub(crate) mod fields;
mod name;
pub mod openai;
pub(crate) mod operate;
pub(crate) mod policy;
pub mod process;
pub(crate) mod request_head;
pub(crate) mod self_test;

#[cfg(test)]
mod tests;

use utoipa_axum::router::OpenApiRouter;

use crate::auth::Door;
use crate::openapi;
use crate::state::AppState;

/// All routes of a door.
pub(crate) fn routes(door: Door) -> OpenApiRouter<AppState> {
    let described = openapi::described(door);
    match door {
        Door::Http => described
            .merge(process::router())
            .merge(openai::router())
            .merge(cache_admin::router())
            .merge(blocks::router())
            .merge(entries::router()),
        Door::Admin => described
            .merge(admin::router())
            .merge(policy::router())
            .merge(operate::router()),
    }
}
