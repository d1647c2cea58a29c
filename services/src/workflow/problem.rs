//! Responsible for what is wrong with a definition, in words and in codes. It must never know how it is found.

use serde::Serialize;

/// One thing wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of thing.
    pub kind: ProblemKind,
    /// The step it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What exactly.
    pub detail: String,
}

/// What can be wrong with a definition. Serialised as its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the hints say it")]
pub enum ProblemKind {
    WorkflowWithoutSteps,
    WorkflowTooLarge,
    StepNameMalformed,
    StepNameTwice,
    StepTypeUnknown,
    StepUnknown,
    StepUnreachable,
    StepsInACycle,
    StepsWithinMissing,
    StepsWithinMisplaced,
    ConditionsMissing,
    BranchMisplaced,
    ExpressionMalformed,
    LoopLimitOutOfRange,
    RetriesOutOfRange,
    TimeoutOutOfRange,
}

impl ProblemKind {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().0
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::WorkflowWithoutSteps => (
                "workflow_without_steps",
                "give the workflow at least one step",
            ),
            Self::WorkflowTooLarge => (
                "workflow_too_large",
                "use at most 200 steps and 256 KiB, or split the workflow",
            ),
            Self::StepNameMalformed => (
                "step_name_malformed",
                "name the step with 1 to 64 letters, digits, `_` or `-`, not beginning with a digit",
            ),
            Self::StepNameTwice => ("step_name_twice", "give each step a name of its own"),
            Self::StepTypeUnknown => (
                "step_type_unknown",
                "choose task, condition, parallel, sequence, loop, api_call, document_generation or notification",
            ),
            Self::StepUnknown => ("step_unknown", "name a step of this workflow"),
            Self::StepUnreachable => (
                "step_unreachable",
                "point to the step from another, or drop it",
            ),
            Self::StepsInACycle => (
                "steps_in_a_cycle",
                "repeat steps with a loop, which has a limit",
            ),
            Self::StepsWithinMissing => (
                "steps_within_missing",
                "name the steps within in parallel_steps",
            ),
            Self::StepsWithinMisplaced => (
                "steps_within_misplaced",
                "only parallel, sequence and loop have parallel_steps; others use next_steps",
            ),
            Self::ConditionsMissing => (
                "conditions_missing",
                "give the condition at least one expression with a next_step",
            ),
            Self::BranchMisplaced => (
                "branch_misplaced",
                "only a condition's conditions have a next_step",
            ),
            Self::ExpressionMalformed => (
                "expression_malformed",
                "write a Jinja expression of at most 1000 characters",
            ),
            Self::LoopLimitOutOfRange => (
                "loop_limit_out_of_range",
                "set parameters.max_iterations from 1 to 1000",
            ),
            Self::RetriesOutOfRange => ("retries_out_of_range", "set max_retries from 0 to 10"),
            Self::TimeoutOutOfRange => (
                "timeout_out_of_range",
                "set timeout from 1 to 86400 seconds",
            ),
        }
    }
}
