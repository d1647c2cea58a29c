//! Responsible for how strands move: which step comes next, what begins, where a way parts or joins. It must never know events.

use minijinja::context;
use minijinja::value::{Serde, Value as Jinja};
use serde_json::{Map, Value, json};

use super::{Broken, Turn};
use crate::workflow::check::{StepType, rounds};
use crate::workflow::definition::{Condition, StepSource};
use crate::workflow::expression::{self, ExpressionError};
use crate::workflow::run::{EXECUTIONS_MAX, Effect, Frame, Run, STRANDS_MAX, Start, Status, Wait};

impl Turn<'_> {
    /// Lets every strand whose turn it is go on until it waits.
    pub(super) fn advance(&mut self) -> Result<(), Broken> {
        while self.run.status == Status::Running {
            let now_ms = self.now_ms;
            let ready = self
                .run
                .strands
                .iter()
                .find(|(_, strand)| match strand.wait {
                    Wait::Turn => true,
                    Wait::Retry { at_ms, .. } => at_ms <= now_ms,
                    _ => false,
                });
            let Some((id, strand)) = ready.map(|(id, strand)| (*id, strand.wait.clone())) else {
                return Ok(());
            };
            match strand {
                Wait::Retry { step, attempt, .. } => self.attempt(id, &step, attempt)?,
                _ => self.next(id)?,
            }
        }
        Ok(())
    }

    /// One move of a strand whose turn it is.
    fn next(&mut self, id: u32) -> Result<(), Broken> {
        let Some(strand) = self.run.strands.get_mut(&id) else {
            return Ok(());
        };
        match strand.frames.last_mut() {
            None => self.leave(id),
            Some(Frame::Queue(steps)) => match steps.pop_front() {
                None => drop(strand.frames.pop()),
                Some(step) => self.begin(id, &step)?,
            },
            Some(Frame::Close { step }) => {
                let step = step.clone();
                strand.frames.pop();
                self.close(id, &step);
            }
            Some(Frame::Loop { step, .. }) => {
                let step = step.clone();
                self.round(id, &step)?;
            }
        }
        Ok(())
    }

    /// A strand has nothing left.
    fn leave(&mut self, id: u32) {
        let parent = self
            .run
            .strands
            .remove(&id)
            .and_then(|strand| strand.parent);
        let Some(parent) = parent else {
            self.run.status = Status::Completed;
            self.effects.push(Effect::Ended {
                status: Status::Completed,
            });
            return;
        };
        let joined = match self
            .run
            .strands
            .get_mut(&parent)
            .map(|strand| &mut strand.wait)
        {
            Some(Wait::Join { step, open }) => {
                *open -= 1;
                (*open == 0).then(|| step.clone())
            }
            _ => None,
        };
        if let Some(step) = joined {
            self.close(parent, &step);
        }
    }

    /// Begins a step.
    fn begin(&mut self, id: u32, name: &str) -> Result<(), Broken> {
        let Some((source, kind)) = self.run.workflow.step(name) else {
            return Ok(());
        };
        let source = source.clone();
        self.run.executions += 1;
        if self.run.executions > EXECUTIONS_MAX {
            let detail = format!("the run began more than {EXECUTIONS_MAX} steps");
            return Err(Broken {
                code: "run_too_long",
                step: source.name,
                detail,
            });
        }
        let is_guarded = !matches!(kind, StepType::Condition | StepType::Loop);
        if is_guarded && !self.all_hold(id, &source)? {
            self.record(name).skips += 1;
            self.follow(id, name);
            return Ok(());
        }
        let now_ms = self.now_ms;
        let record = self.record(name);
        record.runs += 1;
        record.began_ms = Some(now_ms);
        match kind {
            StepType::Condition => self.branch(id, &source)?,
            StepType::Parallel => self.fork(id, &source)?,
            StepType::Sequence => {
                let within = source.parallel_steps.into();
                self.push(
                    id,
                    [Frame::Close { step: source.name }, Frame::Queue(within)],
                );
            }
            StepType::Loop => self.push(
                id,
                [Frame::Loop {
                    step: source.name,
                    round: 0,
                }],
            ),
            _ => self.attempt(id, name, 1)?,
        }
        Ok(())
    }

    fn push<const N: usize>(&mut self, id: u32, frames: [Frame; N]) {
        if let Some(strand) = self.run.strands.get_mut(&id) {
            strand.frames.extend(frames);
        }
    }

    fn branch(&mut self, id: u32, source: &StepSource) -> Result<(), Broken> {
        for condition in &source.conditions {
            if self.holds(id, source, condition)? {
                let now_ms = self.now_ms;
                self.record(&source.name).ended_ms = Some(now_ms);
                match condition.next_step() {
                    Some(next) => self.push(id, [Frame::Queue([next.to_owned()].into())]),
                    None => self.follow(id, &source.name),
                }
                return Ok(());
            }
        }
        self.close(id, &source.name);
        Ok(())
    }

    fn fork(&mut self, id: u32, source: &StepSource) -> Result<(), Broken> {
        let open = source.parallel_steps.len();
        if self.run.strands.len() + open > STRANDS_MAX {
            let detail = format!("more than {STRANDS_MAX} steps would go on side by side");
            return Err(Broken {
                code: "run_too_wide",
                step: source.name.clone(),
                detail,
            });
        }
        if let Some(strand) = self.run.strands.get_mut(&id) {
            strand.wait = Wait::Join {
                step: source.name.clone(),
                open,
            };
        }
        for step in &source.parallel_steps {
            self.spawn(Some(id), [step.clone()].into());
        }
        Ok(())
    }

    /// A loop's next round, or its end.
    fn round(&mut self, id: u32, name: &str) -> Result<(), Broken> {
        let Some((source, _)) = self.run.workflow.step(name) else {
            return Ok(());
        };
        let source = source.clone();
        let most = rounds(&source).unwrap_or(0);
        let Some(Frame::Loop { round, .. }) = self
            .run
            .strands
            .get(&id)
            .and_then(|strand| strand.frames.last())
        else {
            return Ok(());
        };
        if *round < most && self.all_hold(id, &source)? {
            if let Some(Frame::Loop { round, .. }) = self
                .run
                .strands
                .get_mut(&id)
                .and_then(|strand| strand.frames.last_mut())
            {
                *round += 1;
            }
            // A round counts as a step begun, so that an empty one costs too.
            self.run.executions += 1;
            self.push(id, [Frame::Queue(source.parallel_steps.into())]);
        } else {
            if let Some(strand) = self.run.strands.get_mut(&id) {
                strand.frames.pop();
            }
            self.close(id, name);
        }
        Ok(())
    }

    /// Begins an attempt at a step's work.
    fn attempt(&mut self, id: u32, name: &str, attempt: u32) -> Result<(), Broken> {
        let Some((source, step_type)) = self.run.workflow.step(name) else {
            return Ok(());
        };
        let source = source.clone();
        let scope = self.scope(id);
        let parameters = expression::resolve(
            &self.environment,
            &Value::Object(source.parameters.clone()),
            &scope,
        );
        let parameters = parameters.map_err(|error| broken(&source, &error))?;
        let ticket = self.run.next_ticket;
        self.run.next_ticket += 1;
        let deadline_ms = self.now_ms.saturating_add(source.timeout * 1000);
        if let Some(strand) = self.run.strands.get_mut(&id) {
            strand.wait = Wait::Step {
                step: source.name.clone(),
                ticket,
                attempt,
                deadline_ms,
            };
        }
        let Value::Object(parameters) = parameters else {
            return Ok(());
        };
        self.effects.push(Effect::Start(Box::new(Start {
            ticket,
            step: source.name,
            step_type,
            agent_type: source.agent_type,
            parameters,
            attempt,
            deadline_ms,
        })));
        Ok(())
    }

    fn all_hold(&mut self, id: u32, source: &StepSource) -> Result<bool, Broken> {
        for condition in &source.conditions {
            if !self.holds(id, source, condition)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn holds(
        &mut self,
        id: u32,
        source: &StepSource,
        condition: &Condition,
    ) -> Result<bool, Broken> {
        let scope = self.scope(id);
        let holds = expression::holds(&self.environment, condition.expression(), &scope);
        holds.map_err(|error| broken(source, &error))
    }

    /// What expressions of a strand see: the variables by name, `steps.NAME.output`, `workflow`, and `loop.index` of its innermost loop,
    /// which counts from 1 within a round and is the number of rounds done between two.
    fn scope(&mut self, id: u32) -> Jinja {
        let run = &*self.run;
        let base = self.scope.get_or_insert_with(|| base(run)).clone();
        context! { loop => context! { index => round_of(run, id) }, ..base }
    }
}

fn base(run: &Run) -> Jinja {
    let outputs = run
        .outputs
        .iter()
        .map(|(step, output)| (step.clone(), json!({ "output": output })));
    let steps: Map<String, Value> = outputs.collect();
    let mut scope = run.variables.clone();
    let definition = run.workflow.definition();
    scope.insert(
        "workflow".to_owned(),
        json!({ "name": definition.name, "business_area": definition.business_area }),
    );
    scope.insert("steps".to_owned(), Value::Object(steps));
    Jinja::from(Serde(scope))
}

/// The round of the innermost loop around a strand, or around the strands that wait for it.
fn round_of(run: &Run, id: u32) -> Option<u64> {
    let mut strand = run.strands.get(&id);
    while let Some(inner) = strand {
        let mut frames = inner.frames.iter().rev();
        let round = frames.find_map(|frame| match frame {
            Frame::Loop { round, .. } => Some(*round),
            _ => None,
        });
        if round.is_some() {
            return round;
        }
        strand = inner.parent.and_then(|parent| run.strands.get(&parent));
    }
    None
}

fn broken(source: &StepSource, error: &ExpressionError) -> Broken {
    Broken {
        code: "expression_failed",
        step: source.name.clone(),
        detail: error.to_string(),
    }
}
