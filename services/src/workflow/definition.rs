//! Responsible for a workflow as a caller sends it. It must never judge it: that is [`super::check`]'s.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Retries of a step where none are given, as the original documents.
pub const RETRIES_DEFAULT: u32 = 3;
/// Seconds a step may take where none are given, as the original documents.
pub const TIMEOUT_S_DEFAULT: u64 = 300;

/// A workflow as a caller sends it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The area of business it belongs to.
    #[serde(default)]
    pub business_area: String,
    /// Its steps; it begins with the first.
    pub steps: Vec<StepSource>,
    /// What expressions may use, by name.
    #[serde(default)]
    pub variables: Map<String, Value>,
}

/// A step as a caller sends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSource {
    /// Its name, by which others point to it.
    pub name: String,
    /// What it does: see [`super::StepType`].
    pub step_type: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The agent that does it, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// What it is done with. Strings may hold `{{ expressions }}`.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// For `condition`, the ways on, the first true one taken; for `loop`, what must hold for another round; for others, what must
    /// hold for the step not to be skipped.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// What follows, one after the other; for `condition`, what follows where no condition holds.
    #[serde(default)]
    pub next_steps: Vec<String>,
    /// The steps within: side by side for `parallel`, one after the other for `sequence` and `loop`.
    #[serde(default)]
    pub parallel_steps: Vec<String>,
    /// How often a failed attempt is repeated.
    #[serde(default = "retries_default")]
    pub max_retries: u32,
    /// Seconds that an attempt may take.
    #[serde(default = "timeout_default")]
    pub timeout: u64,
}

const fn retries_default() -> u32 {
    RETRIES_DEFAULT
}

const fn timeout_default() -> u64 {
    TIMEOUT_S_DEFAULT
}

impl StepSource {
    /// A step of this name and type, all else as by default.
    #[must_use]
    pub fn new(name: &str, step_type: &str) -> Self {
        Self {
            name: name.to_owned(),
            step_type: step_type.to_owned(),
            description: String::new(),
            agent_type: None,
            parameters: Map::new(),
            conditions: Vec::new(),
            next_steps: Vec::new(),
            parallel_steps: Vec::new(),
            max_retries: RETRIES_DEFAULT,
            timeout: TIMEOUT_S_DEFAULT,
        }
    }

    /// Every step it names.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &str> {
        let branches = self.conditions.iter().filter_map(Condition::next_step);
        let named = self
            .parallel_steps
            .iter()
            .chain(&self.next_steps)
            .map(String::as_str);
        branches.chain(named)
    }
}

/// A condition: an expression alone, or with the step that follows where it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Condition {
    /// An expression.
    Holds(String),
    /// An expression and a way on.
    Branch {
        /// The expression.
        expression: String,
        /// The step that follows where it holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_step: Option<String>,
    },
}

impl Condition {
    /// The expression.
    #[must_use]
    pub fn expression(&self) -> &str {
        match self {
            Self::Holds(expression) | Self::Branch { expression, .. } => expression,
        }
    }

    /// The step that follows where it holds.
    #[must_use]
    pub fn next_step(&self) -> Option<&str> {
        match self {
            Self::Holds(_) => None,
            Self::Branch { next_step, .. } => next_step.as_deref(),
        }
    }
}
