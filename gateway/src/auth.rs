//! Who is calling: from a token, or on a loopback door without tokens from a header, to the name of a configured service.
//!
//! Everything fails closed. The check runs once, as a layer in front of every route of a door, and leaves a [`Caller`] in the
//! request; a handler that asks for a [`Caller`] on a route without the layer gets an error, not an anonymous caller. This file
//! knows services by name only; what a service may do is decided elsewhere.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::problem::Problem;

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
