//! The layers around a door's routes, in the one order that holds: edge, panics, limits, identity, routes.
//!
//! From the outside in: the edge names the request and shapes every failure; a panic becomes a failure; limits bound the request
//! before anybody looks at it; identity decides who it is from. Routes come last and can rely on all of it. The stack knows no
//! route.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use tower_http::catch_panic::CatchPanicLayer;
use ultrakv_actors::clock::Clock;

use crate::auth::{self, Access, Door, Guard};
use crate::edge::{self, Edge};
use crate::limits::{self, Limits};

/// What stands around the routes of one door.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) door: Door,
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
}

impl Stack {
    /// The door's routes with everything around them. `paths` are what an unknown path is compared with.
    pub(crate) fn around(self, routes: Router, paths: Vec<String>) -> Router {
        let paths: Arc<[String]> = paths.into();
        let unknown = move |uri: Uri| {
            let problem = edge::no_such_route(uri.path(), &paths);
            async move { problem }
        };
        let edge = Edge {
            door: self.door,
            clock: self.clock,
        };
        let guard = Guard {
            door: self.door,
            access: self.access,
        };
        routes
            .fallback(unknown)
            .method_not_allowed_fallback(edge::no_such_method)
            .layer(from_fn_with_state(guard, auth::guard))
            // Our own extractor bounds bodies and says so in our words; axum's bound would cut in below it.
            .layer(DefaultBodyLimit::disable())
            .layer(from_fn_with_state(self.limits, limits::hold))
            .layer(CatchPanicLayer::custom(edge::panicked))
            .layer(from_fn_with_state(edge, edge::edge))
    }
}

#[cfg(test)]
mod tests;
