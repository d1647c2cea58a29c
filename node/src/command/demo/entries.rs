//! The entries that the demo writes, what each must hold, and what its doors say. It knows names and values, and nothing of who
//! owns them.

use std::cell::Cell;
use std::time::Duration;

use super::ask::{Asker, Unanswered};

/// The code of a write of which nobody knows whether it was done.
const UNKNOWN: &str = "outcome_unknown";
/// The code of a request that nobody could serve within the time that the node itself waits; nothing was done.
const UNAVAILABLE: &str = "entry_unavailable";
/// How long a client tries again.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Entries by number.
pub(super) struct Entries {
    held: Vec<Held>,
    writes: u64,
    tried_again: Cell<u64>,
}

/// What an entry must hold.
struct Held {
    name: String,
    /// What was answered as written last.
    value: String,
    /// What a write of unknown outcome may have made of it.
    or: Option<String>,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    /// It was answered.
    Done,
    /// It was in doubt; the entry was read, was right, and the write was done again.
    DoneAgain,
}

/// What is not as it must be.
#[derive(Debug)]
pub(super) enum Amiss {
    /// The entry is gone, or is something else than what was written.
    Wrong(String),
    /// The node did not answer, or refused.
    Failed(String),
}

impl From<Unanswered> for Amiss {
    fn from(unanswered: Unanswered) -> Self {
        Self::Failed(unanswered.told)
    }
}

impl Entries {
    /// So many entries, none of which is written yet.
    pub(super) fn new(count: usize) -> Self {
        let held = (0..count).map(|number| Held {
            name: format!("demo-{number}"),
            value: String::new(),
            or: None,
        });
        Self {
            held: held.collect(),
            writes: 0,
            tried_again: Cell::new(0),
        }
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(|held| held.name.as_str())
    }

    /// How many.
    pub(super) const fn len(&self) -> usize {
        self.held.len()
    }

    /// Requests that were asked again because nobody could serve them for the moment.
    pub(super) const fn tried_again(&self) -> u64 {
        self.tried_again.get()
    }

    /// Gives an entry a value that it never had.
    pub(super) async fn write(&mut self, number: usize, door: &Asker) -> Result<Wrote, Amiss> {
        self.writes += 1;
        let value = format!("value {}", self.writes);
        let again = &self.tried_again;
        let Some(held) = self.held.get_mut(number) else {
            return Ok(Wrote::Done);
        };
        match put(door, again, &held.name, &value).await {
            Ok(()) => {
                held.written(value);
                return Ok(Wrote::Done);
            }
            // The owner was lost with the write in its hands. A client reads before it writes again.
            Err(unanswered) if unanswered.code == UNKNOWN => held.or = Some(value),
            Err(unanswered) => {
                held.or = Some(value);
                return Err(unanswered.into());
            }
        }
        held.judge(get(door, again, &held.name).await?)?;
        let value = format!("value {} again", self.writes);
        put(door, again, &held.name, &value).await?;
        held.written(value);
        Ok(Wrote::DoneAgain)
    }

    /// Reads an entry at a door and holds it against what was written.
    pub(super) async fn read(&self, number: usize, door: &Asker) -> Result<(), Amiss> {
        let Some(held) = self.held.get(number) else {
            return Ok(());
        };
        held.judge(get(door, &self.tried_again, &held.name).await?)
    }
}

async fn put(door: &Asker, again: &Cell<u64>, name: &str, value: &str) -> Result<(), Unanswered> {
    patiently(door, again, async || door.put_entry(name, value).await).await
}

async fn get(door: &Asker, again: &Cell<u64>, name: &str) -> Result<Option<String>, Unanswered> {
    patiently(door, again, async || door.entry(name).await).await
}

/// Asks as a client does: again, when the answer was that nobody serves this for the moment and nothing was done.
async fn patiently<T>(
    door: &Asker,
    again: &Cell<u64>,
    ask: impl AsyncFn() -> Result<T, Unanswered>,
) -> Result<T, Unanswered> {
    let deadline = door.clock().deadline(AGAIN_WITHIN);
    loop {
        match ask().await {
            Err(unanswered)
                if unanswered.code == UNAVAILABLE && !deadline.passed(door.clock().now()) =>
            {
                again.set(again.get() + 1);
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            answer => return answer,
        }
    }
}

impl Held {
    fn written(&mut self, value: String) {
        self.value = value;
        self.or = None;
    }

    fn judge(&self, found: Option<String>) -> Result<(), Amiss> {
        let Self { name, value, or } = self;
        match found {
            Some(found) if found == *value || or.as_ref() == Some(&found) => Ok(()),
            // Nothing was answered as written yet.
            None if value.is_empty() => Ok(()),
            None => Err(Amiss::Wrong(format!("the entry {name} is lost"))),
            Some(found) => Err(Amiss::Wrong(format!(
                "the entry {name} is {found:?}, and {value:?} was written"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_what_was_answered_or_what_is_in_doubt_and_nothing_else() {
        let mut held = Held {
            name: "demo-0".to_owned(),
            value: String::new(),
            or: None,
        };
        let said = |text: &str| Some(text.to_owned());
        assert!(held.judge(None).is_ok(), "it was never written");
        held.written("one".to_owned());
        assert!(held.judge(said("one")).is_ok());
        assert!(matches!(held.judge(None), Err(Amiss::Wrong(_))));
        assert!(matches!(held.judge(said("two")), Err(Amiss::Wrong(_))));
        held.or = said("two");
        assert!(held.judge(said("one")).is_ok());
        assert!(held.judge(said("two")).is_ok());
        held.written("three".to_owned());
        assert!(held.judge(said("two")).is_err(), "doubt ends with a write");
    }
}
