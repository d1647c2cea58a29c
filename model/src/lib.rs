//! The embedded engine: a Llama-family decoder whose keys and values live in our blocks.
