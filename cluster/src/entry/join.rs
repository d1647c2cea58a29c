//! How a replica becomes a member: it copies what is committed, part by part, while writes stream in, until it has all.
//!
//! It must never know why the plan wants it.
//!
//! Parts and stream overlap. A part shows its keys as of write *c*. A streamed write above *c* that was applied before
//! the part arrived is newer than the part, so what all writes applied since the question was sent did is remembered,
//! and a part gives way to it: to a value or delete as a whole, to a new time to live in that alone. Writes at or below
//! *c* that arrive later are applied over the part; that goes back and forth again, and is over when *c* is reached.
//! Only then is the copy called whole.

use std::collections::BTreeMap;

use ultrakv_cache::Now;

use super::follow::send;
use super::list::{List, Prepared};
use super::message::{Effect, Message};
use super::owner::{JOINERS_MAX, Joiner, Owner, Peer, Serving, backed_off};
use super::replica::{Replica, Role};
use super::types::{Change, CopyEntry, Key, Seq};
use super::world::World;
use crate::Incarnation;

/// Bytes of one part of a copy, about.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Keys remembered between a question and its answer, at most. Past it the answer is not used and the question
/// repeated.
const TOUCHED_MAX: usize = 4096;

/// What streamed writes did to a key since a question.
#[derive(Debug, Default)]
struct Touched {
    /// Number of the last put or delete.
    written: Seq,
    /// Number of the last change of its time, and the time.
    expired: Option<(Seq, Option<Now>)>,
}

impl Touched {
    /// What is left to do for an entry that a part shows as of a number.
    fn overlay(&self, mut entry: CopyEntry, as_of: Seq, now: Now) -> Option<CopyEntry> {
        if self.written > as_of {
            return None;
        }
        if let Some((_, expires)) = self.expired.filter(|(seq, _)| *seq > as_of) {
            entry.ttl_ms = expires.map(|expires| expires.since_ms(now));
        }
        Some(entry)
    }
}

/// The joiner's side of a copy.
#[derive(Debug)]
pub(super) struct Joining {
    from: Incarnation,
    /// Whether the first part came, so that the stream has something to stand on.
    has_base: bool,
    /// The last key copied.
    after: Option<Key>,
    /// The number of the question that began the copy.
    copy: u64,
    ask: u64,
    asked_at: Now,
    /// How often it was said again since without an answer.
    repeats: u32,
    /// What was applied to keys since the question; none when they were too many.
    touched: Option<BTreeMap<Key, Touched>>,
    is_copied: bool,
    /// The last write that any part reflects.
    as_of_max: Seq,
    is_whole: bool,
}

impl Joining {
    pub(super) const fn has_base(&self) -> bool {
        self.has_base
    }

    pub(super) const fn copy(&self) -> u64 {
        self.copy
    }

    /// Whether everything committed is here: from then on it is as good as a follower, and Raft may make it one.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// A streamed write was applied.
    pub(super) fn applied(&mut self, write: &Prepared) {
        let seq = write.seq();
        if self.is_copied {
            self.is_whole |= seq >= self.as_of_max;
            return;
        }
        if let Some(touched) = &mut self.touched {
            let touched_key = touched.entry(write.key().clone()).or_default();
            match write.expiry() {
                Some(expires) => touched_key.expired = Some((seq, expires)),
                None => touched_key.written = seq,
            }
            if touched.len() > TOUCHED_MAX {
                self.touched = None;
            }
        }
    }

    fn ask(&mut self, number: &mut u64, now: Now) {
        *number += 1;
        self.ask = *number;
        self.asked_at = now;
        self.repeats = 0;
        self.touched = Some(BTreeMap::new());
    }
}

impl Replica {
    /// Begins, or begins again, to copy from the present owner, if the plan wants it and there is one.
    pub(super) fn start_joining(&mut self, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        let owner = self.ownership.as_ref().and_then(super::Ownership::owner);
        let (true, Role::Idle, Some(from)) = (self.is_wanted, &self.role, owner) else {
            return;
        };
        world.store.clear();
        self.list = List::default();
        let mut joining = Joining {
            from,
            has_base: false,
            after: None,
            copy: 0,
            ask: 0,
            asked_at: world.now,
            repeats: 0,
            touched: None,
            is_copied: false,
            as_of_max: Seq(0),
            is_whole: false,
        };
        joining.ask(&mut self.ask, world.now);
        joining.copy = joining.ask;
        self.role = Role::Joining(Box::new(joining));
        self.ask_part(effects);
    }

    /// The plan wants it no more. Once it called its copy whole Raft may have been asked to add it, so it keeps what it
    /// has until a new epoch tells: if it is a member then, only its owner's proposal ends that.
    pub(super) fn leave(&mut self, world: &mut World<'_>) {
        self.is_wanted = false;
        if !matches!(&self.role, Role::Joining(joining) if joining.is_whole) {
            self.drop_copy(world);
        }
    }

    /// Stops to copy. If Raft adds it nevertheless, it fails and asks to go.
    pub(super) fn drop_copy(&mut self, world: &mut World<'_>) {
        self.is_wanted = false;
        if matches!(self.role, Role::Joining(_)) {
            self.role = Role::Idle;
            self.list = List::default();
            world.store.clear();
        }
    }

    fn ask_part(&self, effects: &mut Vec<Effect>) {
        if let Role::Joining(joining) = &self.role {
            let message = Message::CopyAsk {
                epoch: self.epoch(),
                ask: joining.ask,
                after: joining.after.clone(),
            };
            send(joining.from, message, effects);
        }
    }

    /// Says again what was not answered.
    pub(super) fn tick_joining(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let resend_ms = self.timing.resend_ms;
        let epoch = self.epoch();
        let Role::Joining(joining) = &mut self.role else {
            return;
        };
        if now.since_ms(joining.asked_at) < backed_off(resend_ms, joining.repeats) {
            return;
        }
        joining.asked_at = now;
        joining.repeats = joining.repeats.saturating_add(1);
        if joining.is_copied {
            let from = joining.from;
            self.ack(from, epoch, effects);
        } else {
            self.ask_part(effects);
        }
    }

    /// The owner's answer: the next part of the copy.
    pub(super) fn chunk(
        &mut self,
        message: Message,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Message::Chunk {
            epoch,
            ask,
            as_of,
            entries,
            is_last,
        } = message
        else {
            return;
        };
        let Role::Joining(joining) = &mut self.role else {
            return;
        };
        if joining.ask != ask || joining.is_copied {
            return;
        }
        if !joining.has_base {
            joining.has_base = true;
            self.list = List::after(as_of);
        }
        if let Some(touched) = joining.touched.take() {
            joining.after = entries
                .last()
                .map_or_else(|| joining.after.take(), |entry| Some(entry.key.clone()));
            joining.as_of_max = joining.as_of_max.max(as_of);
            joining.is_copied = is_last;
            joining.is_whole = is_last && self.list.committed() >= joining.as_of_max;
            for entry in entries {
                let entry = match touched.get(&entry.key) {
                    Some(touched) => touched.overlay(entry, as_of, world.now),
                    None => Some(entry),
                };
                if !entry.is_none_or(|entry| store(entry, world)) {
                    self.drop_copy(world);
                    return;
                }
            }
        }
        if joining.is_copied {
            let from = joining.from;
            self.ack(from, epoch, effects);
        } else {
            joining.ask(&mut self.ask, world.now);
            self.ask_part(effects);
        }
    }

    /// The owner does not know this copy, and never asked Raft to add it: whole or not, it is worth nothing.
    pub(super) fn copy_void(&mut self, ask: u64, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        let Role::Joining(joining) = &self.role else {
            return;
        };
        if joining.ask != ask && joining.copy != ask {
            return;
        }
        if self.is_wanted {
            self.role = Role::Idle;
            self.start_joining(world, effects);
        } else {
            self.drop_copy(world);
        }
    }

    /// Serves a part of the copy to a joiner.
    pub(super) fn copy(
        &mut self,
        from: Incarnation,
        ask: u64,
        after: Option<Key>,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let (epoch, as_of) = (self.epoch(), self.list.committed());
        let Role::Owner(owner) = &mut self.role else {
            return;
        };
        if owner.serving != Serving::Open || owner.peers.contains_key(&from) {
            return;
        }
        match owner.admit(from, ask, after.is_none(), as_of, world.now) {
            Admitted::Yes => {
                let page = world.store.page(after.as_ref(), CHUNK_BYTES_MAX, world.now);
                let message = Message::Chunk {
                    epoch,
                    ask,
                    as_of,
                    entries: page.entries,
                    is_last: page.is_last,
                };
                send(from, message, effects);
            }
            Admitted::Unknown => send(from, Message::CopyVoid { epoch, ask }, effects),
            Admitted::No => {}
        }
    }
}

/// Whether a question for a part is served.
enum Admitted {
    Yes,
    /// It belongs to a copy that is not under way here.
    Unknown,
    /// It is old, or there is no place.
    No,
}

impl Owner {
    fn admit(
        &mut self,
        from: Incarnation,
        ask: u64,
        is_first: bool,
        as_of: Seq,
        now: Now,
    ) -> Admitted {
        let (places, is_void) = (self.joiners.len(), self.is_void(from, ask));
        match self.joiners.get_mut(&from) {
            Some(joiner) if ask < joiner.ask || joiner.is_required => return Admitted::No,
            Some(joiner) if ask == joiner.ask || !is_first => {
                joiner.ask = ask;
                joiner.peer.owes_since = now;
                return Admitted::Yes;
            }
            Some(_) => {}
            None if !is_first || is_void => {
                self.void(from, ask);
                return Admitted::Unknown;
            }
            None if places >= JOINERS_MAX => return Admitted::No,
            None => {}
        }
        let joiner = Joiner {
            peer: Peer::new(as_of, true, now),
            copy: ask,
            ask,
            is_whole: false,
            is_required: false,
        };
        self.joiners.insert(from, joiner);
        Admitted::Yes
    }
}

/// Puts a copied entry into the store; whether there was room.
fn store(entry: CopyEntry, world: &mut World<'_>) -> bool {
    let change = Change::Put {
        value: entry.value,
        class: entry.class,
        ttl_ms: entry.ttl_ms,
    };
    let applied = world
        .store
        .apply(&entry.key, &change, entry.version, world.now);
    applied.is_ok()
}
