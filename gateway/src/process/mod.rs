//! The process path: request to canonical form, to response entry or prefix, to generation.

/// The process path's handle.
#[derive(Clone)]
pub struct Processor;
