//! What happened to one slot, in lines for people, the latest ones only.
//!
//! Nothing is written unless somebody asked for it: a run is traced when it is replayed. It must never know what is wrong.

use std::collections::VecDeque;

use super::words::Msg;
use crate::network::{Place, Us};

/// Lines that are kept.
const LINES_MAX: usize = 400;

/// The last lines about a slot.
#[derive(Debug, Default)]
pub(super) struct Trace {
    slot: Option<u16>,
    /// Nothing is kept of what came later; 0 when nobody wants lines.
    until: Us,
    lines: VecDeque<String>,
}

impl Trace {
    /// Lines about one slot, or of none in particular, up to a moment.
    pub(super) const fn of(slot: Option<u16>, until: Us) -> Self {
        Self {
            slot,
            until,
            lines: VecDeque::new(),
        }
    }

    /// A line that is about a slot, or about all.
    pub(super) fn line(&mut self, at: Us, slot: Option<u16>, text: impl FnOnce() -> String) {
        if at > self.until || slot.is_some() && slot != self.slot {
            return;
        }
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        // Ids are small numbers here, and long lines hide what matters.
        let text = text().replace(&"0".repeat(30), "");
        self.lines.push_back(format!("{:>10} us  {text}", at.0));
    }

    pub(super) fn message(&mut self, at: Us, to: Place, from: Option<Place>, message: &Msg) {
        if at > self.until {
            return;
        }
        let about = match message {
            Msg::Entry { slot, .. } | Msg::Ops { slot, .. } => Some(*slot),
            Msg::Wish(_) => None,
            _ => return,
        };
        self.line(at, about, || match from {
            Some(from) => format!("{from} to {to}: {message:?}"),
            None => format!("to {to}: {message:?}"),
        });
    }

    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }
}
