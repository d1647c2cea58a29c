//! What every handler may reach: handles and settings, cheap to clone. It holds no request's data and decides nothing.

use crate::process::Processor;

/// The state behind every route.
#[derive(Clone)]
pub struct AppState {
    /// The path that turns prompts into answers.
    pub processor: Processor,
}
