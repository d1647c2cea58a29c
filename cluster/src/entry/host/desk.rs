//! Whom a shard's replicas owe an answer.
//!
//! It must never know what was asked, nor of what slot.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use ultrakv_actors::GuestPermit;

use crate::entry::Answer;

/// Waits for an answer, with the right to do so.
#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Answer>,
    /// Given back with the answer.
    permit: GuestPermit,
}

/// Everybody who waits. As many as there are permits.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: BTreeMap<u64, Waiting>,
    last: u64,
}

impl Desk {
    /// Gives the number under which somebody waits.
    pub(super) fn wait(&mut self, reply: oneshot::Sender<Answer>, permit: GuestPermit) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, Waiting { reply, permit });
        self.last
    }

    /// Answers who waits under a number, if it still does.
    pub(super) fn answer(&mut self, ticket: u64, answer: Answer) {
        if let Some(Waiting { reply, permit }) = self.waiting.remove(&ticket) {
            // Before the answer, so that a caller who asks again at once finds room.
            drop(permit);
            let _ = reply.send(answer);
        }
    }

    /// Forgets who has left: what they asked may wait for a commit much longer than they did.
    pub(super) fn tidy(&mut self) {
        self.waiting.retain(|_, waiting| !waiting.reply.is_closed());
    }
}
