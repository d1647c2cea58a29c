//! Responsible for what one event changes in a run. It must never outlive the event.

mod moves;

use std::collections::{BTreeSet, VecDeque};

use minijinja::Environment;
use minijinja::value::Value as Jinja;
use serde_json::Value;

use super::expression;
use super::run::{
    Effect, Event, Frame, OUTPUTS_BYTES_MAX, Record, Run, RunError, Status, Strand, Wait,
};

/// Longest wait before an attempt, in milliseconds. The first retry waits a second, each further one twice as long.
const BACKOFF_MS_MAX: u64 = 60_000;
/// Longest reason kept, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

/// The handling of one event.
pub(super) struct Turn<'r> {
    run: &'r mut Run,
    now_ms: u64,
    effects: Vec<Effect>,
    environment: Environment<'static>,
    /// What expressions see, but for loops. Outputs change at most once an event, before anything is evaluated.
    scope: Option<Jinja>,
}

/// Why a run cannot go on.
struct Broken {
    code: &'static str,
    step: String,
    detail: String,
}

impl<'r> Turn<'r> {
    pub(super) fn new(run: &'r mut Run, now_ms: u64) -> Self {
        Self {
            run,
            now_ms,
            effects: Vec::new(),
            environment: expression::environment(),
            scope: None,
        }
    }

    /// Takes the event and everything that follows from it.
    pub(super) fn take(&mut self, event: Event) {
        let done = self.event(event).and_then(|()| {
            // A paused run whose last step ends has nothing left to begin: it is over.
            if self.run.status == Status::Paused && self.run.to_come().is_empty() {
                self.run.status = Status::Running;
            }
            self.advance()
        });
        if let Err(broken) = done {
            let Broken { code, step, detail } = broken;
            self.run.error = Some(RunError {
                code: code.to_owned(),
                step,
                detail,
            });
            self.end(Status::Failed);
        }
    }

    /// What is to be done.
    pub(super) fn finish(self) -> Vec<Effect> {
        let run = self.run;
        if !matches!(
            run.status,
            Status::Failed | Status::Cancelled | Status::Pending
        ) {
            let settled = run.workflow.len() - run.to_come().len();
            assert!(settled >= run.settled, "progress never falls");
            run.settled = settled;
        }
        self.effects
    }

    fn event(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Begin => self.begin_run(),
            Event::Finished { ticket, output } => self.finished(ticket, output)?,
            Event::Failed {
                ticket,
                reason,
                may_retry,
            } => {
                if let Some(id) = self.strand_of(ticket) {
                    self.failed(id, "step_failed", &reason, may_retry)?;
                }
            }
            Event::Tick => self.time_out()?,
            Event::Pause => {
                if self.run.status == Status::Running {
                    self.run.status = Status::Paused;
                }
            }
            Event::Resume => {
                if self.run.status == Status::Paused {
                    self.run.status = Status::Running;
                }
            }
            Event::Cancel => self.end(Status::Cancelled),
            Event::Adopt => {
                for strand in self.run.strands.values_mut() {
                    if let Wait::Step { step, attempt, .. } = &strand.wait {
                        strand.wait = Wait::Retry {
                            step: step.clone(),
                            attempt: *attempt,
                            at_ms: self.now_ms,
                        };
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_run(&mut self) {
        let first = self.run.workflow.first().map(str::to_owned);
        if self.run.status == Status::Pending {
            self.run.status = Status::Running;
            self.spawn(None, first.into_iter().collect());
        }
    }

    fn spawn(&mut self, parent: Option<u32>, steps: VecDeque<String>) {
        let strand = Strand {
            parent,
            frames: vec![Frame::Queue(steps)],
            wait: Wait::Turn,
        };
        self.run.strands.insert(self.run.next_strand, strand);
        self.run.next_strand += 1;
    }

    fn strand_of(&self, wanted: u64) -> Option<u32> {
        let mut strands = self.run.strands.iter();
        strands.find_map(|(id, strand)| {
            matches!(strand.wait, Wait::Step { ticket, .. } if ticket == wanted).then_some(*id)
        })
    }

    fn record(&mut self, step: &str) -> &mut Record {
        self.run.records.entry(step.to_owned()).or_default()
    }

    fn finished(&mut self, ticket: u64, output: Value) -> Result<(), Broken> {
        let Some(id) = self.strand_of(ticket) else {
            return Ok(());
        };
        let Some(Wait::Step { step, .. }) =
            self.run.strands.get(&id).map(|strand| strand.wait.clone())
        else {
            return Ok(());
        };
        let size = |value: &Value| serde_json::to_vec(value).map_or(usize::MAX, |json| json.len());
        let too_large = |detail: String| Broken {
            code: "outputs_too_large",
            step: step.clone(),
            detail,
        };
        let output = expression::bounded(output).map_err(|error| too_large(error.to_string()))?;
        self.run.outputs_bytes += size(&output);
        if let Some(before) = self.run.outputs.insert(step.clone(), output) {
            self.run.outputs_bytes -= size(&before);
        }
        if self.run.outputs_bytes > OUTPUTS_BYTES_MAX {
            return Err(too_large(format!(
                "outputs together have {} bytes",
                self.run.outputs_bytes
            )));
        }
        self.close(id, &step);
        Ok(())
    }

    /// Notes that a step ended well, and puts what follows it next.
    fn close(&mut self, id: u32, step: &str) {
        let now_ms = self.now_ms;
        self.record(step).ended_ms = Some(now_ms);
        self.follow(id, step);
    }

    /// Puts what follows a step next.
    fn follow(&mut self, id: u32, step: &str) {
        let next = self
            .run
            .workflow
            .step(step)
            .map(|(source, _)| source.next_steps.clone());
        if let Some(strand) = self.run.strands.get_mut(&id) {
            strand.wait = Wait::Turn;
            strand
                .frames
                .push(Frame::Queue(next.unwrap_or_default().into()));
        }
    }

    /// An attempt failed: another one, later, or the run's end.
    fn failed(
        &mut self,
        id: u32,
        code: &'static str,
        reason: &str,
        may_retry: bool,
    ) -> Result<(), Broken> {
        let Some(Wait::Step { step, attempt, .. }) =
            self.run.strands.get(&id).map(|strand| strand.wait.clone())
        else {
            return Ok(());
        };
        let reason: String = reason.chars().take(REASON_CHARACTERS_MAX).collect();
        let retries = self
            .run
            .workflow
            .step(&step)
            .map_or(0, |(source, _)| source.max_retries);
        let record = self.record(&step);
        record.failures += 1;
        record.error = Some(reason.clone());
        let wait_ms = (1000_u64 << (attempt - 1).min(16)).min(BACKOFF_MS_MAX);
        let at_ms = self.now_ms.saturating_add(wait_ms);
        match self.run.strands.get_mut(&id) {
            Some(strand) if may_retry && attempt <= retries => {
                strand.wait = Wait::Retry {
                    step,
                    attempt: attempt + 1,
                    at_ms,
                };
                Ok(())
            }
            // The attempt has ended by itself; only others are to be stopped.
            Some(strand) => {
                strand.wait = Wait::Turn;
                Err(Broken {
                    code,
                    step,
                    detail: reason,
                })
            }
            None => Ok(()),
        }
    }

    fn time_out(&mut self) -> Result<(), Broken> {
        let late: Vec<(u32, u64)> = self
            .run
            .strands
            .iter()
            .filter_map(|(id, strand)| match strand.wait {
                Wait::Step {
                    ticket,
                    deadline_ms,
                    ..
                } if deadline_ms <= self.now_ms => Some((*id, ticket)),
                _ => None,
            })
            .collect();
        for (id, ticket) in late {
            self.effects.push(Effect::Stop { ticket });
            self.failed(
                id,
                "step_timed_out",
                "the step took longer than its timeout",
                true,
            )?;
        }
        Ok(())
    }

    fn end(&mut self, status: Status) {
        // What was to begin in this very turn never begins, and needs no stop.
        let mut at_work: BTreeSet<u64> = self
            .run
            .at_work()
            .into_iter()
            .map(|(ticket, _)| ticket)
            .collect();
        self.effects.retain(|effect| match effect {
            Effect::Start(start) => !at_work.remove(&start.ticket),
            _ => true,
        });
        self.effects
            .extend(at_work.into_iter().map(|ticket| Effect::Stop { ticket }));
        self.effects.push(Effect::Ended { status });
        self.run.strands.clear();
        self.run.status = status;
    }
}
