//! `POST /api/v1/kv-cache/process`: text in, continuation out, in the documented shapes.

use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

/// The routes of this door.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
}
