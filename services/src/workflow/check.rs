//! Responsible for turning a definition into a [`Workflow`], which cannot be wrong. It must never run anything.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{Definition, StepSource};
use super::expression;
use super::problem::{Problem, ProblemKind};

/// Most steps.
pub const STEPS_MAX: usize = 200;
/// Most bytes of a definition as JSON: it travels with its run.
pub const DEFINITION_BYTES_MAX: usize = 256 * 1024;
/// Most rounds of a loop.
pub const ROUNDS_MAX: u64 = 1000;
/// Rounds of a loop where none are given.
pub const ROUNDS_DEFAULT: u64 = 10;
/// Most retries of a step.
pub const RETRIES_MAX: u32 = 10;
/// Most seconds of an attempt: a day.
pub const TIMEOUT_S_MAX: u64 = 86_400;
const NAME_CHARACTERS_MAX: usize = 64;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepType {
    /// Work of an agent.
    Task,
    /// Chooses what follows.
    Condition,
    /// Steps side by side; goes on when all are done.
    Parallel,
    /// Steps one after the other.
    Sequence,
    /// Steps one after the other, again and again.
    Loop,
    /// A call to a configured target.
    ApiCall,
    /// A document made.
    DocumentGeneration,
    /// Somebody told.
    Notification,
}

impl StepType {
    /// All of them, in the order of the original's list.
    pub const ALL: [Self; 8] = [
        Self::Task,
        Self::Condition,
        Self::Parallel,
        Self::Sequence,
        Self::Loop,
        Self::ApiCall,
        Self::DocumentGeneration,
        Self::Notification,
    ];

    /// Its name in definitions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Condition => "condition",
            Self::Parallel => "parallel",
            Self::Sequence => "sequence",
            Self::Loop => "loop",
            Self::ApiCall => "api_call",
            Self::DocumentGeneration => "document_generation",
            Self::Notification => "notification",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it has steps within.
    pub(crate) const fn has_within(self) -> bool {
        matches!(self, Self::Parallel | Self::Sequence | Self::Loop)
    }
}

/// A definition that was checked: every step that is named exists, nothing repeats but loops, every expression parses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Definition", into = "Definition")]
pub struct Workflow {
    definition: Definition,
    steps: BTreeMap<String, (usize, StepType)>,
    /// For each step, every step that may still come once it begins, itself among them.
    reach: BTreeMap<String, BTreeSet<String>>,
}

/// Everything wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workflow has {} problems, the first: {}", .0.len(), .0.first().map_or("", |problem| problem.detail.as_str()))]
pub struct Problems(pub Vec<Problem>);

impl Workflow {
    /// Checks a definition.
    ///
    /// # Errors
    /// Every [`Problem`] found, not only the first.
    pub fn new(definition: Definition) -> Result<Self, Problems> {
        let mut found = Vec::new();
        let steps = check_steps(&definition, &mut found);
        if found.is_empty() {
            check_cycles(&definition, &mut found);
        }
        if !found.is_empty() {
            return Err(Problems(found));
        }
        let reach = reaches(&definition);
        let first = definition
            .steps
            .first()
            .and_then(|step| reach.get(&step.name));
        let unreachable = definition
            .steps
            .iter()
            .filter(|step| first.is_some_and(|first| !first.contains(&step.name)));
        for step in unreachable {
            note(
                &mut found,
                ProblemKind::StepUnreachable,
                step,
                format!("nothing leads to `{}`", step.name),
            );
        }
        if found.is_empty() {
            Ok(Self {
                definition,
                steps,
                reach,
            })
        } else {
            Err(Problems(found))
        }
    }

    /// What was checked.
    #[must_use]
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The first step's name.
    pub(crate) fn first(&self) -> Option<&str> {
        self.definition.steps.first().map(|step| step.name.as_str())
    }

    /// A step and its type.
    pub(crate) fn step(&self, name: &str) -> Option<(&StepSource, StepType)> {
        let (index, kind) = self.steps.get(name)?;
        Some((self.definition.steps.get(*index)?, *kind))
    }

    /// Every step that may still come once `name` begins.
    pub(crate) fn reach(&self, name: &str) -> impl Iterator<Item = &str> {
        self.reach
            .get(name)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// How many steps there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.definition.steps.len()
    }

    /// Never: a workflow has steps.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.definition.steps.is_empty()
    }
}

impl TryFrom<Definition> for Workflow {
    type Error = Problems;

    fn try_from(definition: Definition) -> Result<Self, Problems> {
        Self::new(definition)
    }
}

impl From<Workflow> for Definition {
    fn from(workflow: Workflow) -> Self {
        workflow.definition
    }
}

fn note(found: &mut Vec<Problem>, kind: ProblemKind, step: &StepSource, detail: String) {
    // The name is cut: it may be what is wrong.
    let step = Some(step.name.chars().take(NAME_CHARACTERS_MAX).collect());
    found.push(Problem { kind, step, detail });
}

fn check_steps(
    definition: &Definition,
    found: &mut Vec<Problem>,
) -> BTreeMap<String, (usize, StepType)> {
    let mut steps = BTreeMap::new();
    let bytes = serde_json::to_vec(definition).map_or(usize::MAX, |json| json.len());
    if definition.steps.is_empty() {
        let detail = "the workflow has no steps".to_owned();
        found.push(Problem {
            kind: ProblemKind::WorkflowWithoutSteps,
            step: None,
            detail,
        });
    }
    if definition.steps.len() > STEPS_MAX || bytes > DEFINITION_BYTES_MAX {
        let detail = format!(
            "the workflow has {} steps in {bytes} bytes",
            definition.steps.len()
        );
        found.push(Problem {
            kind: ProblemKind::WorkflowTooLarge,
            step: None,
            detail,
        });
        return steps;
    }
    for (index, step) in definition.steps.iter().enumerate() {
        let kind = StepType::parse(&step.step_type);
        match kind {
            Some(kind) => {
                if steps.insert(step.name.clone(), (index, kind)).is_some() {
                    note(
                        found,
                        ProblemKind::StepNameTwice,
                        step,
                        format!("two steps are named `{}`", step.name),
                    );
                }
                check_shape(step, kind, found);
            }
            None => {
                let given: String = step.step_type.chars().take(32).collect();
                note(
                    found,
                    ProblemKind::StepTypeUnknown,
                    step,
                    format!("`{given}` is not a type of step"),
                );
            }
        }
    }
    let names: BTreeSet<&str> = definition
        .steps
        .iter()
        .map(|step| step.name.as_str())
        .collect();
    for step in &definition.steps {
        for target in step.targets().filter(|target| !names.contains(target)) {
            let target: String = target.chars().take(NAME_CHARACTERS_MAX).collect();
            note(
                found,
                ProblemKind::StepUnknown,
                step,
                format!("`{}` leads to `{target}`, which is no step", step.name),
            );
        }
    }
    steps
}

fn check_shape(step: &StepSource, kind: StepType, found: &mut Vec<Problem>) {
    let name = &step.name;
    let letters = name
        .chars()
        .all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '-');
    let begins = name
        .chars()
        .next()
        .is_some_and(|letter| !letter.is_numeric() && letter != '-');
    let branches = step
        .conditions
        .iter()
        .filter(|condition| condition.next_step().is_some())
        .count();
    let rounds = rounds(step);
    let tests = [
        (
            !letters || !begins || name.chars().count() > NAME_CHARACTERS_MAX,
            ProblemKind::StepNameMalformed,
        ),
        (
            kind.has_within() && step.parallel_steps.is_empty(),
            ProblemKind::StepsWithinMissing,
        ),
        (
            !kind.has_within() && !step.parallel_steps.is_empty(),
            ProblemKind::StepsWithinMisplaced,
        ),
        (
            kind == StepType::Condition && branches == 0,
            ProblemKind::ConditionsMissing,
        ),
        (
            kind != StepType::Condition && branches > 0,
            ProblemKind::BranchMisplaced,
        ),
        (
            kind == StepType::Loop && rounds.is_none(),
            ProblemKind::LoopLimitOutOfRange,
        ),
        (
            step.max_retries > RETRIES_MAX,
            ProblemKind::RetriesOutOfRange,
        ),
        (
            !(1..=TIMEOUT_S_MAX).contains(&step.timeout),
            ProblemKind::TimeoutOutOfRange,
        ),
    ];
    for (_, kind) in tests.into_iter().filter(|(applies, _)| *applies) {
        let shown: String = name.chars().take(NAME_CHARACTERS_MAX).collect();
        note(
            found,
            kind,
            step,
            format!("step `{shown}`: {}", kind.hint()),
        );
    }
    let conditions = step
        .conditions
        .iter()
        .map(|condition| expression::check(condition.expression()));
    let parameters = step.parameters.values().map(expression::check_all);
    for error in conditions.chain(parameters).filter_map(Result::err) {
        note(
            found,
            ProblemKind::ExpressionMalformed,
            step,
            format!("step `{name}`: {error}"),
        );
    }
}

/// The rounds a loop may take; `None` where what is given is out of range.
pub(crate) fn rounds(step: &StepSource) -> Option<u64> {
    match step.parameters.get("max_iterations") {
        None => Some(ROUNDS_DEFAULT),
        Some(value) => Value::as_u64(value).filter(|rounds| (1..=ROUNDS_MAX).contains(rounds)),
    }
}

/// Finds steps that lead back to themselves. A loop repeats by itself, and nothing within leads out to it again.
fn check_cycles(definition: &Definition, found: &mut Vec<Problem>) {
    let by_name: BTreeMap<&str, &StepSource> = definition
        .steps
        .iter()
        .map(|step| (step.name.as_str(), step))
        .collect();
    // Takes away, again and again, steps to which nothing leads any more; what is left is in a cycle or behind one.
    let mut leads: BTreeMap<&str, usize> = by_name.keys().map(|name| (*name, 0)).collect();
    for target in definition.steps.iter().flat_map(StepSource::targets) {
        leads.entry(target).and_modify(|count| *count += 1);
    }
    let mut free: Vec<&str> = leads
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| *name)
        .collect();
    let mut left: BTreeSet<&str> = by_name.keys().copied().collect();
    while let Some(name) = free.pop() {
        left.remove(name);
        for target in by_name
            .get(name)
            .into_iter()
            .flat_map(|step| step.targets())
        {
            if let Some(count) = leads.get_mut(target) {
                *count -= 1;
                if *count == 0 {
                    free.push(target);
                }
            }
        }
    }
    if let Some(step) = left.iter().next().and_then(|name| by_name.get(name)) {
        let names: Vec<&str> = left.iter().copied().take(8).collect();
        note(
            found,
            ProblemKind::StepsInACycle,
            step,
            format!("steps lead back to themselves: {}", names.join(", ")),
        );
    }
}

/// For each step, all that follows. The steps have no cycle, so that each is settled after all it names.
fn reaches(definition: &Definition) -> BTreeMap<String, BTreeSet<String>> {
    let by_name: BTreeMap<&str, &StepSource> = definition
        .steps
        .iter()
        .map(|step| (step.name.as_str(), step))
        .collect();
    let mut settled: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut stack: Vec<&str> = by_name.keys().copied().collect();
    while let Some(name) = stack.last().copied() {
        let targets = || {
            by_name
                .get(name)
                .into_iter()
                .flat_map(|step| step.targets())
        };
        let open: Vec<&str> = targets()
            .filter(|target| !settled.contains_key(*target))
            .collect();
        if open.is_empty() {
            let mut all: BTreeSet<String> = targets()
                .filter_map(|target| settled.get(target))
                .flatten()
                .cloned()
                .collect();
            all.insert(name.to_owned());
            settled.insert(name.to_owned(), all);
            stack.pop();
        } else {
            stack.extend(open);
        }
    }
    settled
}
