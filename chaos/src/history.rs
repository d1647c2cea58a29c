//! What clients asked for and what they were told, in the order in which it happened.
//!
//! Responsible for recording. It must never know how an answer came about, nor judge it.

use std::fmt;

use crate::network::Us;

/// One operation of a client on one key. Written values are unique within a history, and below `u64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Reads the value.
    Read,
    /// Sets the value.
    Write(u64),
    /// Sets the value if the present one is as expected.
    CompareAndSet {
        /// What must be there; `None` means nothing.
        expected: Option<u64>,
        /// What shall be there.
        value: u64,
    },
    /// Removes the value, whether one is there or not.
    Delete,
}

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A read found this.
    Value(Option<u64>),
    /// It was done.
    Done,
    /// A compare-and-set found something else than it expected, and changed nothing.
    Conflict,
    /// It certainly did not happen and never will.
    Refused,
    /// Nobody knows: it may take effect at any later time, or never.
    Unknown,
}

/// Names one call of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(usize);

/// One call: who asked what and when, and the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Who asked.
    pub client: u32,
    /// About which key.
    pub key: u32,
    /// What.
    pub op: Op,
    /// When it was asked.
    pub invoked: Us,
    /// What was answered.
    pub outcome: Outcome,
    /// When; `None` as long as there is no answer.
    pub completed: Option<Us>,
    /// The place of the question among all events: moments may be equal, events are not.
    pub(crate) began: u64,
    /// The place of the answer among all events.
    pub(crate) ended: Option<u64>,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "client {:>2}  {:>10} us .. ",
            self.client, self.invoked.0
        )?;
        match self.completed {
            Some(at) => write!(formatter, "{:>10} us", at.0)?,
            None => write!(formatter, "     never   ")?,
        }
        write!(formatter, "  {:?} -> {:?}", self.op, self.outcome)
    }
}

/// A recorded history.
#[derive(Debug, Clone, Default)]
pub struct History {
    calls: Vec<Call>,
    events: u64,
}

impl History {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client asks. Until it is completed the call is [`Outcome::Unknown`].
    pub fn invoke(&mut self, client: u32, key: u32, op: Op, at: Us) -> CallId {
        self.events += 1;
        self.calls.push(Call {
            client,
            key,
            op,
            invoked: at,
            outcome: Outcome::Unknown,
            completed: None,
            began: self.events,
            ended: None,
        });
        CallId(self.calls.len() - 1)
    }

    /// A client is answered; only the first answer to a call counts. Tells whether this was it.
    pub fn complete(&mut self, id: CallId, outcome: Outcome, at: Us) -> bool {
        let Some(call) = self.calls.get_mut(id.0) else {
            return false;
        };
        if call.ended.is_some() {
            return false;
        }
        self.events += 1;
        call.ended = Some(self.events);
        call.completed = Some(at);
        call.outcome = outcome;
        true
    }

    /// Every call, in the order of their questions.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// How many calls the reader finds `matching`.
    #[must_use]
    pub fn count(&self, matching: impl Fn(&Call) -> bool) -> usize {
        self.calls.iter().filter(|call| matching(call)).count()
    }
}
