//! What the six business services of UltraKV compute that is not inference: text analysis, documents, workflows, agents. Pure: no I/O,
//! no sockets, no clock, no threads of its own; time is an argument, and equal calls give equal answers.
//!
//! # Map
//! | Module | Knows | Must never know |
//! |---|---|---|
//! | [`analysis`] | how a text is built, repeats itself, resembles another, reads | requests, models |
//! | [`export`] | how a document becomes a file of eight formats, and how good it is | where files go |
//! | [`workflow`] | what comes next in a run of steps, and when it is over | how a step's work is done |
//! | [`agents`] | which agents there are, and what a model is asked for each capability | models, caches |
//!
//! # Invariants
//! 1. **Every input has a bound**, stated as a constant, refused with a stable code and a hint past it. Time and memory follow from it.
//! 2. **Text stays text**: nothing a caller writes becomes markup, a control word, a path, a script or an instruction.
//! 3. **Equal inputs give equal outputs**, to the byte, on every node: nothing here reads a clock, a seed of the process or an address.

pub mod agents;
pub mod analysis;
pub mod export;
pub mod workflow;
