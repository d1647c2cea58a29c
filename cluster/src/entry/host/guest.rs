//! The replicas of the slots that live in one shard, in one life of it.
//!
//! Everything happens within the shard's turn, so nothing waits: questions and notes come in windows, answers and notes go out
//! at the end of the turn. It must never know which other shards there are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use metrics::counter;
use tokio::sync::oneshot;
use ultrakv_actors::{
    BootId, Deadline, DomainTag, GuestMessage, GuestPermit, GuestWorld, ShardGuest,
};
use ultrakv_cache::{EntryBox, Now};

use super::desk::Desk;
use super::meters::{Meters, PROPOSALS, label};
use super::note::{self, Note};
use super::pace::Pace;
use super::plan::{Wanted, wanted};
use super::store::BoxStore;
use super::sweep::Sweep;
use super::words::{Roll, SlotWord};
use super::{Shared, Tenured};
use crate::entry::{
    Answer, Delay, Effect, Event, Message, Op, Proposal, Refusal, Replica, Request, Tenure, Why,
    Wish, World,
};
use crate::{Incarnation, NodeId};

/// Restless replicas ticked in one turn: a replica's tick takes about a microsecond, and each has its own next turn.
const TICKS_MAX: usize = 512;

/// Slots brought a step nearer to the plan in one turn.
const STEPS_MAX: usize = 64;

/// Slots of one shard that join at a time, those included that have their copy and wait for Raft's word: each costs its owner
/// a little, and the writes that come meanwhile.
const JOINING_MAX: usize = 128;

/// Boxes with entries whose time is over that are looked at in one turn.
const DUE_MAX: usize = 1_024;

/// How often it is looked at who has left.
const TIDY_MS: u64 = 250;

/// A copy that was given up for want of room is begun again after this long at first, then twice as long each time.
const REJOIN_MS: u64 = 200;
const REJOIN_DOUBLINGS_MAX: u32 = 7;

/// What a guest is told.
pub(super) enum Told {
    /// A client's question, of this node or another.
    Ask {
        slot: u16,
        request: Request,
        deadline: Deadline,
        reply: oneshot::Sender<Answer>,
    },
    /// What replicas of a peer say.
    Notes(Vec<Note>),
    /// A domain is void.
    Retire {
        tag: DomainTag,
        reply: oneshot::Sender<u64>,
    },
}

/// When a slot may be copied again.
#[derive(Debug, Default)]
struct Patience {
    failures: u32,
    again_at: Now,
}

/// The replicas of one life of a shard.
pub(super) struct Guest {
    shared: Arc<Shared>,
    shard: usize,
    me: Incarnation,
    roll: Arc<Roll>,
    replicas: BTreeMap<u16, Replica>,
    desk: Desk,
    /// Replicas that need ticks, and where the last turn stopped.
    restless: BTreeSet<u16>,
    ticked: Option<u16>,
    /// Slots of which the plan asks something of us, and where the last turn stopped.
    unsettled: BTreeSet<u16>,
    stepped: Option<u16>,
    joining: BTreeSet<u16>,
    /// Those of them whose copy is not whole yet.
    copying: BTreeSet<u16>,
    patience: BTreeMap<u16, Patience>,
    claimed_at: BTreeMap<u16, Now>,
    pace: Pace,
    /// What prepared entries of all slots will be charged.
    promised_bytes: u64,
    outbox: BTreeMap<NodeId, Vec<Note>>,
    sweeps: Vec<Sweep>,
    /// Retired domains, and how many entries of each this life has dropped.
    swept: BTreeMap<DomainTag, u64>,
    effects: Vec<Effect>,
    tidied_at: Now,
    meters: Meters,
}

/// The node's tenure, as a replica asks for it.
struct Held<'a>(&'a dyn Tenured);

impl Tenure for Held<'_> {
    fn is_held(&mut self) -> bool {
        self.0.is_held()
    }
}

impl Guest {
    pub(super) fn new(shared: Arc<Shared>, shard: usize, life: BootId) -> Self {
        let roll = shared.words.roll();
        Self {
            me: Incarnation {
                node: shared.plan.me,
                boot: life,
            },
            // A new life has nothing of domains that were retired before.
            swept: roll.retired.iter().map(|tag| (*tag, 0)).collect(),
            roll,
            shard,
            replicas: BTreeMap::new(),
            desk: Desk::default(),
            restless: BTreeSet::new(),
            ticked: None,
            unsettled: BTreeSet::new(),
            // Nodes that join the same slots begin at different ones: whoever is added ends the other's copy.
            stepped: Some(first_step(shared.plan.me)),
            joining: BTreeSet::new(),
            copying: BTreeSet::new(),
            patience: BTreeMap::new(),
            claimed_at: BTreeMap::new(),
            pace: Pace::default(),
            promised_bytes: 0,
            outbox: BTreeMap::new(),
            sweeps: Vec::new(),
            effects: Vec::new(),
            tidied_at: Now::default(),
            meters: Meters::new(shard),
            shared,
        }
    }

    /// Hears what is new of slots and lives.
    fn hear(&mut self, world: &mut GuestWorld<'_>) {
        let roll = self.shared.words.roll();
        let is_new = !Arc::ptr_eq(&roll, &self.roll);
        let others_live =
            is_new && (roll.lives != self.roll.lives || roll.alive != self.roll.alive);
        self.roll = roll;
        if is_new {
            self.begin_sweeps();
        }
        let news = self.shared.words.take_news(self.shard);
        for slot in news {
            let Some(word) = self.shared.words.get(slot) else {
                continue;
            };
            if self.replicas.contains_key(&slot) {
                self.feed(slot, Event::Ownership(word.ownership.clone()), world);
            }
            self.look(&word);
        }
        if others_live {
            self.look_at_all();
        }
    }

    fn begin_sweeps(&mut self) {
        for tag in &self.roll.retired {
            if !self.swept.contains_key(tag) {
                self.swept.insert(*tag, 0);
                self.sweeps.push(Sweep::new(*tag, 0));
            }
        }
    }

    fn is_listed(&self) -> bool {
        self.roll.lives.get(&self.shard) == Some(&self.me.boot)
    }

    fn wanted(&self, word: &SlotWord) -> Wanted {
        let replica = self.replicas.get(&word.slot);
        let known = replica.and_then(Replica::ownership);
        let newest = known.filter(|known| known.epoch > word.ownership.epoch);
        let ownership = newest.unwrap_or(&word.ownership);
        let is_listed = self.is_listed();
        wanted(ownership, &word.wish, self.me, is_listed, &self.roll.alive)
    }

    /// Notes whether the plan asks something of us for a slot.
    fn look(&mut self, word: &SlotWord) {
        let is_asked = match self.wanted(word) {
            Wanted::Nothing => false,
            Wanted::Leave => self.joining.contains(&word.slot),
            Wanted::Claim | Wanted::Join | Wanted::HandOver(_) | Wanted::Dismiss(_) => true,
        };
        if is_asked {
            self.unsettled.insert(word.slot);
        } else {
            self.settled(word.slot);
        }
    }

    fn settled(&mut self, slot: u16) {
        self.unsettled.remove(&slot);
        self.claimed_at.remove(&slot);
        if !self.joining.contains(&slot) {
            self.patience.remove(&slot);
        }
    }

    fn look_at_all(&mut self) {
        let shared = Arc::clone(&self.shared);
        for slot in shared.slots_of(self.shard) {
            if let Some(word) = shared.words.get(slot) {
                self.look(&word);
            }
        }
    }

    /// Brings some slots a step nearer to the plan.
    fn step(&mut self, world: &mut GuestWorld<'_>) {
        for slot in some_after(&self.unsettled, &mut self.stepped, STEPS_MAX) {
            let Some(word) = self.shared.words.get(slot) else {
                continue;
            };
            match self.wanted(&word) {
                Wanted::Nothing => self.settled(slot),
                Wanted::Claim => self.claim(&word, world.now),
                Wanted::Join => self.join(slot, world),
                Wanted::Leave => {
                    if self.joining.contains(&slot) {
                        self.feed(slot, Event::Leave, world);
                    }
                    self.settled(slot);
                }
                Wanted::HandOver(to) => {
                    let replica = self.replicas.get(&slot);
                    let can = replica.is_some_and(|replica| replica.can_hand_over(to));
                    if can && (self.is_going(&word) || self.pace.may_hand_over(world.now)) {
                        self.feed(slot, Event::HandOver { to }, world);
                    }
                }
                Wanted::Dismiss(member) => self.feed(slot, Event::Dismiss { member }, world),
            }
        }
    }

    /// Whether this node gives up a slot for good, or for as long as it is away: then nothing waits for those who ask.
    fn is_going(&self, word: &SlotWord) -> bool {
        !word.wish.ready.contains(&self.me.node)
    }

    fn claim(&mut self, word: &SlotWord, now: Now) {
        let again_ms = self.shared.plan.timing.propose_ms;
        let asked_at = self.claimed_at.get(&word.slot);
        if asked_at.is_none_or(|at| now.since_ms(*at) >= again_ms) {
            let proposer = &self.shared.links.proposer;
            proposer.claim_slot(word.slot, word.ownership.epoch, self.me);
            self.claimed_at.insert(word.slot, now);
        }
    }

    fn join(&mut self, slot: u16, world: &mut GuestWorld<'_>) {
        if self.joining.contains(&slot) {
            // Had it been told to leave when its copy was whole already, it stays, and is now wanted again.
            self.feed(slot, Event::Join, world);
            return;
        }
        let is_due = self
            .patience
            .get(&slot)
            .is_none_or(|patience| patience.again_at <= world.now);
        let has_place =
            self.copying.len() < self.shared.joins_max() && self.joining.len() < JOINING_MAX;
        if is_due && has_place {
            self.feed(slot, Event::Join, world);
        }
    }

    /// Hands one event to a slot's replica and does what it wants; makes it if it is not there yet.
    fn feed(&mut self, slot: u16, event: Event, world: &mut GuestWorld<'_>) {
        if !self.replicas.contains_key(&slot) {
            let timing = self.shared.plan.timing;
            self.replicas.insert(slot, Replica::new(self.me, timing));
            if let Some(word) = self.shared.words.get(slot) {
                self.handle_one(slot, Event::Ownership(word.ownership.clone()), world);
            }
        }
        self.handle_one(slot, event, world);
    }

    fn handle_one(&mut self, slot: u16, event: Event, world: &mut GuestWorld<'_>) {
        let Some(replica) = self.replicas.get_mut(&slot) else {
            return;
        };
        let bytes = |replica: &Replica| u64::try_from(replica.prepared_bytes()).unwrap_or(u64::MAX);
        self.promised_bytes = self.promised_bytes.saturating_sub(bytes(replica));
        let mut store = BoxStore {
            entries: &mut world.entries,
            at: EntryBox(slot),
            retired: &self.roll.retired,
            promised_bytes: self.promised_bytes,
        };
        let mut tenure = Held(&*self.shared.links.tenure);
        let word = self.shared.words.get(slot);
        let nothing = Wish::default();
        let mut around = World {
            now: world.now,
            store: &mut store,
            tenure: &mut tenure,
            wish: word.as_ref().map_or(&nothing, |word| &word.wish),
        };
        let mut effects = std::mem::take(&mut self.effects);
        replica.handle(event, &mut around, &mut effects);
        self.promised_bytes = self.promised_bytes.saturating_add(bytes(replica));
        if replica.is_restless() {
            self.restless.insert(slot);
        } else {
            self.restless.remove(&slot);
        }
        self.note_joining(slot, world.now);
        for effect in effects.drain(..) {
            self.carry_out(slot, effect, world);
        }
        self.effects = effects;
    }

    /// Notes whether a slot is being copied, and has a copy that was given up wait before it begins again.
    fn note_joining(&mut self, slot: u16, now: Now) {
        let Some(replica) = self.replicas.get(&slot) else {
            return;
        };
        if replica.is_copying() {
            self.copying.insert(slot);
        } else {
            self.copying.remove(&slot);
        }
        if replica.is_joining() {
            self.joining.insert(slot);
        } else if self.joining.remove(&slot) {
            if replica.is_member() {
                self.patience.remove(&slot);
                return;
            }
            let patience = self.patience.entry(slot).or_default();
            let doublings = patience.failures.min(REJOIN_DOUBLINGS_MAX);
            patience.failures += 1;
            patience.again_at = now.add_ms(REJOIN_MS << doublings);
        }
    }

    fn carry_out(&mut self, slot: u16, effect: Effect, world: &mut GuestWorld<'_>) {
        match effect {
            Effect::Answer { ticket, answer } => {
                if let Answer::Found(found) = &answer {
                    world.entries.count_lookup(found.is_some());
                }
                self.desk.answer(ticket, answer);
            }
            Effect::Send { to, message } => {
                let note = Note {
                    slot,
                    from: self.me,
                    to,
                    message,
                };
                self.outbox.entry(to.node).or_default().push(note);
            }
            Effect::Propose(proposal) => {
                counter!(PROPOSALS, "why" => label(proposal.why)).increment(1);
                let can_wait = self.can_wait(slot, &proposal, world.now);
                // One that finds no room is proposed again.
                let proposer = &self.shared.links.proposer;
                proposer.propose_slot(slot, proposal, can_wait);
            }
        }
    }

    /// Whether a change of a slot is a step of a move that is in no hurry: clients ask, and nobody waits for it.
    fn can_wait(&self, slot: u16, proposal: &Proposal, now: Now) -> bool {
        let is_step = match proposal.why {
            Why::Add(_) | Why::Dismiss(_) => true,
            Why::Remove(_) | Why::HandOver(_) | Why::Renew => false,
        };
        let word = self.shared.words.get(slot);
        let is_going = word.is_some_and(|word| self.is_going(&word));
        is_step && !is_going && self.pace.is_busy(now)
    }

    /// Takes a question up, unless it is answered already.
    fn admit(
        &mut self,
        (mut request, deadline): (Request, Deadline),
        reply: oneshot::Sender<Answer>,
        permit: GuestPermit,
        now: Now,
    ) -> Option<Request> {
        if reply.is_closed() {
            return None;
        }
        let is_void = self.roll.retired.contains(&request.key.tag());
        let at_once = match &request.op {
            _ if deadline.passed(now) => Some(Answer::Retry(Delay::Busy)),
            Op::Get if is_void => Some(Answer::Found(None)),
            _ if is_void => Some(Answer::Refused(Refusal::Purged)),
            _ => None,
        };
        if let Some(answer) = at_once {
            drop(permit);
            let _ = reply.send(answer);
            return None;
        }
        request.ticket = self.desk.wait(reply, permit);
        Some(request)
    }

    fn notes(&mut self, notes: Vec<Note>, world: &mut GuestWorld<'_>) {
        for Note {
            slot,
            from,
            to,
            message,
        } in notes
        {
            // Meant for a former life; it could not be answered anyway.
            if to == self.me && !self.waits_its_turn(slot, &message, world.now) {
                self.feed(slot, Event::Message { from, to, message }, world);
                self.tell_newer(slot);
            }
        }
    }

    /// Whether a copy that could begin here is put off: it only changes places, and clients ask. Its joiner asks again.
    fn waits_its_turn(&mut self, slot: u16, message: &Message, now: Now) -> bool {
        let Message::CopyAsk { after: None, .. } = message else {
            return false;
        };
        let word = self.shared.words.get(slot);
        let is_move =
            word.is_some_and(|word| word.ownership.in_sync.len() >= word.wish.ready.len());
        is_move && !self.pace.may_begin(now)
    }

    /// A replica that has heard a newer word than this node has it known.
    fn tell_newer(&self, slot: u16) {
        let replica = self.replicas.get(&slot);
        if let Some(newest) = replica.and_then(Replica::ownership) {
            let word = self.shared.words.get(slot);
            if word.is_none_or(|word| word.ownership.epoch < newest.epoch) {
                self.shared.learn_ownership(slot, newest.clone());
            }
        }
    }

    /// Sends what the turn has to say, one frame a peer where it fits.
    fn send(&mut self) {
        for (peer, notes) in std::mem::take(&mut self.outbox) {
            match note::pack(&notes) {
                Ok(parcels) => {
                    for parcel in parcels {
                        // What is lost is said again.
                        self.shared.links.callers.post(peer, parcel);
                    }
                }
                Err(error) => tracing::warn!(%peer, %error, "notes were not sent"),
            }
        }
    }

    fn sweep(&mut self, world: &mut GuestWorld<'_>) {
        if let Some(sweep) = self.sweeps.first_mut() {
            let is_over = sweep.step(&mut world.entries);
            self.swept.insert(sweep.tag(), sweep.dropped());
            if is_over {
                self.sweeps.remove(0);
            }
        }
    }

    /// Has somebody told when all of a domain is gone.
    fn retire(&mut self, tag: DomainTag, reply: oneshot::Sender<u64>) {
        let mut sweeps = self.sweeps.iter_mut();
        if let Some(sweep) = sweeps.find(|sweep| sweep.tag() == tag) {
            sweep.tell(reply);
            return;
        }
        let dropped = self.swept.get(&tag).copied().unwrap_or(0);
        let mut sweep = Sweep::new(tag, dropped);
        sweep.tell(reply);
        self.sweeps.push(sweep);
    }

    /// Ticks replicas that need it, and owners of entries whose time is over.
    fn tick_replicas(&mut self, world: &mut GuestWorld<'_>) {
        let due = world.entries.due_boxes(world.now, DUE_MAX);
        let mut slots = some_after(&self.restless, &mut self.ticked, TICKS_MAX);
        slots.extend(due.into_iter().map(|at| at.0));
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            if self.replicas.contains_key(&slot) {
                self.handle_one(slot, Event::Tick, world);
            }
        }
    }
}

impl ShardGuest for Guest {
    fn handle(&mut self, messages: Vec<GuestMessage>, world: &mut GuestWorld<'_>) {
        self.hear(world);
        // A window's questions about one slot are one event.
        let mut windows: BTreeMap<u16, Vec<Request>> = BTreeMap::new();
        for GuestMessage { body, permit } in messages {
            let Ok(told) = body.downcast::<Told>() else {
                tracing::warn!("a shard's guest was told what it does not know");
                continue;
            };
            match *told {
                Told::Ask {
                    slot,
                    request,
                    deadline,
                    reply,
                } => {
                    let admitted = self.admit((request, deadline), reply, permit, world.now);
                    if let Some(request) = admitted {
                        windows.entry(slot).or_default().push(request);
                    }
                }
                Told::Notes(notes) => self.notes(notes, world),
                Told::Retire { tag, reply } => self.retire(tag, reply),
            }
        }
        for (slot, requests) in windows {
            self.pace.asked(requests.len(), world.now);
            self.feed(slot, Event::Requests(requests), world);
        }
        self.step(world);
        self.sweep(world);
        self.send();
    }

    fn tick(&mut self, world: &mut GuestWorld<'_>) {
        self.hear(world);
        self.tick_replicas(world);
        self.step(world);
        self.sweep(world);
        if world.now.since_ms(self.tidied_at) >= TIDY_MS {
            self.tidied_at = world.now;
            self.desk.tidy();
            self.meters.publish(self.replicas.len(), self.joining.len());
        }
        self.send();
    }

    fn is_restless(&self) -> bool {
        !self.restless.is_empty() || !self.unsettled.is_empty() || !self.sweeps.is_empty()
    }
}

/// The slot behind which a node begins to see to slots.
fn first_step(me: NodeId) -> u16 {
    let spread = me.to_u128() % u128::from(ultrakv_cache::SLOT_COUNT);
    u16::try_from(spread).unwrap_or(0)
}

/// Some of a set, beginning behind where the last turn stopped, and at the front again after the end.
fn some_after(set: &BTreeSet<u16>, stopped: &mut Option<u16>, count: usize) -> Vec<u16> {
    let from = stopped.map_or(Bound::Unbounded, Bound::Excluded);
    let behind = set.range((from, Bound::Unbounded));
    let before = set.iter().take_while(|slot| Some(**slot) <= *stopped);
    let some: Vec<u16> = behind.chain(before).take(count).copied().collect();
    *stopped = some.last().copied();
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_and_leave_nobody_out() {
        let set = BTreeSet::from([1, 4, 9, 12]);
        let mut stopped = None;
        assert_eq!(some_after(&set, &mut stopped, 3), [1, 4, 9]);
        assert_eq!(some_after(&set, &mut stopped, 3), [12, 1, 4]);
        assert_eq!(some_after(&set, &mut stopped, 9), [9, 12, 1, 4]);
        assert_eq!(
            some_after(&BTreeSet::new(), &mut stopped, 3),
            Vec::<u16>::new()
        );
        assert_eq!(some_after(&set, &mut stopped, 1), [1]);
    }
}
