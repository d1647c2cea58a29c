//! Responsible for the command line's part of the lab: what is asked for, read, done, and told as asked. It must never print or
//! exit: that is for whoever owns the terminal.
//!
//! The codec lab's part is [`crate::codecs::run`](mod@crate::codecs::run).

mod generate;
mod replay;

pub use generate::{GenerateArgs, GenerateError, generate};
pub use replay::{ReplayArgs, ReplayError, TraceForm, replay};
