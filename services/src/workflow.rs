//! Responsible for Business Agents' workflows as a pure state machine: what is checked, what comes next, when it is over. It must never do
//! a step's work.
//!
//! ```text
//!  Definition ──check──▶ Workflow ──new──▶ Run ──serde──▶ an entry of the cluster, and back, on any node
//!                                           │ ▲
//!                             Effect::Start │ │ Event::Finished, Failed, Tick, Pause, …
//!                                           ▼ │
//!                                     whoever does the work
//! ```
//!
//! # What steps mean
//! A run begins with the first step. When a step is done, its `next_steps` follow one after the other, each with all that follows it.
//! `parallel` begins its `parallel_steps` side by side and goes on when all of them, with what follows each, are done; `sequence` has
//! them one after the other; `loop` again and again, while its conditions hold, at most `parameters.max_iterations` times.
//! `condition` takes the way of the first condition that holds, or else its `next_steps`. Any other step whose conditions do not all
//! hold is skipped. A failed attempt is repeated up to `max_retries` times, after 1, 2, 4 … seconds; a step that fails for good
//! fails the run.
//!
//! # Invariants
//! 1. Every run ends: what it begins is bounded, every attempt has a deadline.
//! 2. Equal runs that take equal events give equal effects, wherever they were written down and read in between.
//! 3. Progress never falls.
//! 4. An attempt ends once: by its own event, by a stop, or by adoption.

mod check;
mod definition;
mod expression;
mod problem;
mod run;
mod turn;

pub use check::{
    DEFINITION_BYTES_MAX, Problems, RETRIES_MAX, ROUNDS_DEFAULT, ROUNDS_MAX, STEPS_MAX, StepType,
    TIMEOUT_S_MAX, Workflow,
};
pub use definition::{Condition, Definition, RETRIES_DEFAULT, StepSource, TIMEOUT_S_DEFAULT};
pub use expression::{EXPRESSION_BYTES_MAX, RESULT_BYTES_MAX};
pub use problem::{Problem, ProblemKind};
pub use run::{
    EXECUTIONS_MAX, Effect, Event, InputsTooLarge, OUTPUTS_BYTES_MAX, Record, Run, RunError,
    STRANDS_MAX, Start, Status,
};

#[cfg(test)]
mod tests;
