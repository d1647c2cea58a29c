//! The routes, one file a family. A handler parses, makes one call on a handle, and turns the outcome into an answer; limits,
//! identity and the rendering of errors happen before and after it.
//!
//! Each file offers `pub fn router() -> OpenApiRouter<AppState>`, so that a route cannot exist without its documentation.

pub mod openai;
pub mod process;
