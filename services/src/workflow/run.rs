//! Responsible for the state of one run: what is done, what goes on, what comes. It must never do a step's work nor read a clock.
//!
//! A run is one value: its workflow, its outputs, its strands. It can be written down after any event and continued elsewhere, where it
//! goes on equally; whoever continues it first says [`Event::Adopt`], for the steps that were at work there are lost. A step
//! may thus be done more than once, and its ticket tells its attempts apart: what comes late is ignored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::{StepType, Workflow};
use super::turn::Turn;

/// Most steps that a run begins, rounds of loops counted: every run ends.
pub const EXECUTIONS_MAX: u32 = 5000;
/// Most strands side by side.
pub const STRANDS_MAX: usize = 64;
/// Most bytes of outputs together, as JSON: a run is kept as one entry.
pub const OUTPUTS_BYTES_MAX: usize = 1 << 20;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not begun.
    Pending,
    /// Steps begin as their turn comes.
    Running,
    /// No step begins; those at work may end.
    Paused,
    /// All is done.
    Completed,
    /// A step failed for good, or the run broke a bound.
    Failed,
    /// Cancelled.
    Cancelled,
}

impl Status {
    /// Whether nothing more will happen.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What may happen to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Begins.
    Begin,
    /// A step's attempt ended well.
    Finished {
        /// The attempt.
        ticket: u64,
        /// What came of it.
        output: Value,
    },
    /// A step's attempt failed.
    Failed {
        /// The attempt.
        ticket: u64,
        /// Why, for people.
        reason: String,
        /// Whether another attempt may do better.
        may_retry: bool,
    },
    /// Time went by: attempts past their deadline have failed, waiting ones may begin.
    Tick,
    /// No step shall begin.
    Pause,
    /// Steps may begin again.
    Resume,
    /// Nothing more shall happen.
    Cancel,
    /// Whoever drives the run is new: attempts at work are lost, and begin again without counting as failed.
    Adopt,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Begin a step.
    Start(Box<Start>),
    /// Give an attempt up: its end no longer matters.
    Stop {
        /// The attempt.
        ticket: u64,
    },
    /// The run has ended.
    Ended {
        /// How.
        status: Status,
    },
}

/// A step to begin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// Names the attempt; its end is reported under it.
    pub ticket: u64,
    /// The step.
    pub step: String,
    /// What it does: work, never a step that only leads to others.
    pub step_type: StepType,
    /// The agent that does it.
    pub agent_type: Option<String>,
    /// What it is done with, expressions replaced.
    pub parameters: Map<String, Value>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When the attempt has failed, in milliseconds of the clock that events are told with.
    pub deadline_ms: u64,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// A stable name for programs: `step_failed`, `step_timed_out`, `expression_failed`, `outputs_too_large`, `run_too_long`,
    /// `run_too_wide`.
    pub code: String,
    /// The step.
    pub step: String,
    /// Why, for people.
    pub detail: String,
}

impl RunError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.code.as_str() {
            "step_failed" => "see the step's error; raise max_retries if it fails by chance",
            "step_timed_out" => "raise the step's timeout, or give it less to do",
            "expression_failed" => "correct the expression; steps are steps.NAME.output",
            "outputs_too_large" => "have steps return less: 64 KiB a step, 1 MiB a run",
            "run_too_long" => "lower max_iterations: a run begins at most 5000 steps",
            _ => "nest fewer parallel steps: at most 64 side by side",
        }
    }
}

/// What is known of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How often it began, attempts not counted.
    pub runs: u32,
    /// How often it was skipped, as its conditions did not hold.
    pub skips: u32,
    /// Attempts that failed.
    pub failures: u32,
    /// When it last began, in milliseconds.
    pub began_ms: Option<u64>,
    /// When it last ended well.
    pub ended_ms: Option<u64>,
    /// Why its last failed attempt failed.
    pub error: Option<String>,
}

/// A line of steps that come one after the other. A run has one, and one more for each step side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Strand {
    /// The strand that waits for this one.
    pub(super) parent: Option<u32>,
    /// What comes, the next last.
    pub(super) frames: Vec<Frame>,
    pub(super) wait: Wait,
}

/// What comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// Steps, one after the other.
    Queue(VecDeque<String>),
    /// A loop between two rounds.
    Loop { step: String, round: u64 },
    /// The end of a sequence.
    Close { step: String },
}

/// What a strand waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Wait {
    /// For its turn.
    Turn,
    /// For a step's attempt.
    Step {
        step: String,
        ticket: u64,
        attempt: u32,
        deadline_ms: u64,
    },
    /// For the time of a step's next attempt.
    Retry {
        step: String,
        attempt: u32,
        at_ms: u64,
    },
    /// For strands side by side.
    Join { step: String, open: usize },
}

/// One run of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub(super) workflow: Workflow,
    pub(super) status: Status,
    pub(super) variables: Map<String, Value>,
    pub(super) outputs: BTreeMap<String, Value>,
    pub(super) outputs_bytes: usize,
    pub(super) records: BTreeMap<String, Record>,
    pub(super) strands: BTreeMap<u32, Strand>,
    pub(super) next_strand: u32,
    pub(super) next_ticket: u64,
    pub(super) executions: u32,
    pub(super) settled: usize,
    pub(super) error: Option<RunError>,
}

impl Run {
    /// A run that has not begun. `inputs` stand over the workflow's variables of the same name.
    ///
    /// # Errors
    /// [`InputsTooLarge`] where inputs have more than 64 KiB.
    pub fn new(workflow: Workflow, inputs: Map<String, Value>) -> Result<Self, InputsTooLarge> {
        let Ok(Value::Object(inputs)) = super::expression::bounded(Value::Object(inputs)) else {
            return Err(InputsTooLarge);
        };
        let mut variables = workflow.definition().variables.clone();
        variables.extend(inputs);
        Ok(Self {
            workflow,
            status: Status::Pending,
            variables,
            outputs: BTreeMap::new(),
            outputs_bytes: 0,
            records: BTreeMap::new(),
            strands: BTreeMap::new(),
            next_strand: 0,
            next_ticket: 1,
            executions: 0,
            settled: 0,
            error: None,
        })
    }

    /// Takes an event and says what is to be done. Total: what does not fit the state is ignored.
    pub fn handle(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        if self.status.has_ended() {
            return Vec::new();
        }
        let mut turn = Turn::new(self, now_ms);
        turn.take(event);
        turn.finish()
    }

    /// Where it stands.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Why it failed.
    #[must_use]
    pub const fn error(&self) -> Option<&RunError> {
        self.error.as_ref()
    }

    /// The workflow.
    #[must_use]
    pub const fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// What came of each step, the last time it ended well.
    #[must_use]
    pub const fn outputs(&self) -> &BTreeMap<String, Value> {
        &self.outputs
    }

    /// What is known of each step that began or was skipped.
    #[must_use]
    pub const fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }

    /// The part of the steps that are settled, 0..1: done, or never to come. It never falls; it is 1 only when the run is completed, and
    /// stays where it was when the run fails or is cancelled.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let real = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        real(self.settled) / real(self.workflow.len().max(1))
    }

    /// When [`Event::Tick`] is next due, in milliseconds; `None` where time changes nothing.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        let waits = self
            .strands
            .values()
            .filter_map(|strand| match &strand.wait {
                Wait::Step { deadline_ms, .. } => Some(*deadline_ms),
                Wait::Retry { at_ms, .. } if self.status == Status::Running => Some(*at_ms),
                _ => None,
            });
        waits.min()
    }

    /// The attempts at work: ticket and step.
    #[must_use]
    pub fn at_work(&self) -> Vec<(u64, &str)> {
        let waits = self
            .strands
            .values()
            .filter_map(|strand| match &strand.wait {
                Wait::Step { ticket, step, .. } => Some((*ticket, step.as_str())),
                _ => None,
            });
        waits.collect()
    }

    /// The steps that may still come or are at work.
    pub(super) fn to_come(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for strand in self.strands.values() {
            match &strand.wait {
                Wait::Turn => {}
                Wait::Step { step, .. } | Wait::Retry { step, .. } | Wait::Join { step, .. } => {
                    self.after(step, &mut found);
                }
            }
            for frame in &strand.frames {
                match frame {
                    Frame::Queue(steps) => steps
                        .iter()
                        .for_each(|step| found.extend(self.workflow.reach(step))),
                    Frame::Loop { step, .. } => found.extend(self.workflow.reach(step)),
                    Frame::Close { step } => self.after(step, &mut found),
                }
            }
        }
        found
    }

    /// A step that goes on, and what follows it, without what is within it.
    fn after<'a>(&'a self, step: &str, found: &mut BTreeSet<&'a str>) {
        if let Some((source, _)) = self.workflow.step(step) {
            found.insert(&source.name);
            source
                .next_steps
                .iter()
                .for_each(|next| found.extend(self.workflow.reach(next)));
        }
    }
}

/// Inputs of a run have more than 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the inputs have more than 65536 bytes")]
pub struct InputsTooLarge;

impl InputsTooLarge {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "workflow_inputs_too_large"
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        "send less, or have a step fetch it"
    }
}
