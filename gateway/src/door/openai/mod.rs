//! The `OpenAI` protocol over the process path: models, chat completions, completions.

use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

/// The routes of this door.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
}
