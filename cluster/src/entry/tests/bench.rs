//! A small cluster in memory: replicas, a register of Raft's words, a wire that the test empties as it likes, and an
//! oracle that knows every write that any replica ever committed. It must never decide by itself what happens next.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ultrakv_actors::BootId;
use ultrakv_cache::{EntryClass, Now};

use crate::entry::*;
use crate::{Epoch, Incarnation, NodeId};

pub(super) const TIMING: Timing = Timing {
    resend_ms: 10,
    silence_ms_max: 60,
    propose_ms: 20,
};

/// A write without its remaining time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Put(Vec<u8>),
    Delete,
    Expire,
}

/// Everything that anybody has committed; all must agree on it.
#[derive(Default)]
pub(super) struct Oracle {
    log: BTreeMap<Seq, (Version, Key, Outcome)>,
    /// The highest number that a client knows to be committed.
    pub(super) floor: Seq,
    /// Reads and writes that were answered.
    pub(super) done: usize,
}

impl Oracle {
    fn committed(&mut self, key: &Key, change: &Change, version: Version) {
        let outcome = match change {
            Change::Put { value, .. } => Outcome::Put(value.to_vec()),
            Change::Delete => Outcome::Delete,
            Change::Expire { .. } => Outcome::Expire,
        };
        let told = (version, key.clone(), outcome);
        let known = self.log.entry(version.seq()).or_insert(told.clone());
        assert_eq!(
            *known,
            told,
            "two writes were committed at {:?}",
            version.seq()
        );
    }

    /// What a key holds after a number.
    fn state(&self, key: &Key, at: Seq) -> Option<(Version, &[u8])> {
        let mut about = self.log.range(..=at).rev().map(|(_, write)| write);
        about.find_map(|(version, of, outcome)| match outcome {
            Outcome::Put(value) if of == key => Some(Some((*version, value.as_slice()))),
            Outcome::Delete if of == key => Some(None),
            _ => None,
        })?
    }
}

#[derive(Default)]
pub(super) struct MapStore {
    pub(super) entries: BTreeMap<Key, Stored>,
    pub(super) entries_max: usize,
    applied: Vec<(Key, Change, Version)>,
}

impl Store for MapStore {
    fn get(&mut self, key: &Key) -> Option<Stored> {
        self.entries.get(key).cloned()
    }

    fn apply(
        &mut self,
        key: &Key,
        change: &Change,
        version: Version,
        now: Now,
    ) -> Result<(), Full> {
        match change {
            Change::Put {
                value,
                class,
                ttl_ms,
            } => {
                if !self.entries.contains_key(key) && self.entries.len() >= self.entries_max {
                    return Err(Full);
                }
                let stored = Stored {
                    value: Arc::clone(value),
                    version,
                    class: *class,
                    expires: ttl_ms.map(|ms| now.add_ms(ms)),
                };
                self.entries.insert(key.clone(), stored);
            }
            Change::Delete => {
                self.entries.remove(key);
            }
            Change::Expire { ttl_ms } => {
                if let Some(stored) = self.entries.get_mut(key) {
                    stored.expires = ttl_ms.map(|ms| now.add_ms(ms));
                }
            }
        }
        self.applied.push((key.clone(), change.clone(), version));
        Ok(())
    }

    fn has_room(&mut self, key: &Key, _: usize, _: usize) -> bool {
        self.entries.contains_key(key) || self.entries.len() < self.entries_max
    }

    /// One entry a page, so that copies take long.
    fn page(&mut self, after: Option<&Key>, _: usize, now: Now) -> Page {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = self.entries.range((from, Bound::Unbounded));
        let entries: Vec<CopyEntry> = range
            .by_ref()
            .take(1)
            .map(|(key, stored)| CopyEntry {
                key: key.clone(),
                value: Arc::clone(&stored.value),
                version: stored.version,
                class: stored.class,
                ttl_ms: stored.expires.map(|expires| expires.since_ms(now)),
            })
            .collect();
        Page {
            is_last: range.next().is_none(),
            entries,
        }
    }

    fn due(&mut self, now: Now, keys_max: usize) -> Vec<Key> {
        let over = self
            .entries
            .iter()
            .filter(|(_, stored)| stored.is_over(now));
        over.map(|(key, _)| key.clone()).take(keys_max).collect()
    }

    fn clear(&mut self) {
        self.entries.clear();
    }
}

pub(super) struct Held(pub(super) bool);

impl Tenure for Held {
    fn is_held(&mut self) -> bool {
        self.0
    }
}

pub(super) struct Node {
    pub(super) me: Incarnation,
    pub(super) replica: Replica,
    pub(super) store: MapStore,
    /// False from before Raft is told that it is down.
    pub(super) is_held: bool,
    /// Raft's words that it has heard.
    heard: usize,
}

pub(super) struct Bench {
    pub(super) nodes: Vec<Node>,
    pub(super) raft: Vec<Ownership>,
    pub(super) wire: Vec<(Incarnation, Incarnation, Message)>,
    pub(super) proposals: Vec<Proposal>,
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) oracle: Oracle,
    pub(super) now: Now,
    /// Who is to hold the slot, known to all at once.
    pub(super) wish: Wish,
    /// It and all former ones.
    wishes: Vec<Wish>,
    asked: BTreeMap<u64, Key>,
    lives: u128,
    make: fn(Incarnation) -> Replica,
}

pub(super) fn key(number: u8) -> Key {
    Key {
        domain: [7; 32],
        name: [number].as_slice().into(),
    }
}

pub(super) fn put(value: u8, only_if: OnlyIf, ttl_ms: Option<u64>) -> Op {
    Op::Put {
        value: [value].as_slice().into(),
        class: EntryClass::Kept,
        ttl_ms,
        only_if,
    }
}

impl Bench {
    /// `all` replicas, of which the first `members` found the slot.
    pub(super) fn new(all: usize, members: usize) -> Self {
        Self::of(all, members, |me| Replica::new(me, TIMING))
    }

    /// The same of replicas that are made another way.
    pub(super) fn of(all: usize, members: usize, make: fn(Incarnation) -> Replica) -> Self {
        let mut bench = Self {
            nodes: Vec::new(),
            raft: Vec::new(),
            wire: Vec::new(),
            proposals: Vec::new(),
            answers: BTreeMap::new(),
            oracle: Oracle::default(),
            now: Now(1),
            wish: Wish::default(),
            wishes: Vec::new(),
            asked: BTreeMap::new(),
            lives: 0,
            make,
        };
        for number in 0..all {
            let node = NodeId::from_u128(u128::try_from(number).unwrap());
            let life = bench.born(node);
            bench.nodes.push(life);
        }
        bench.raft.push(Ownership {
            epoch: Epoch(1),
            founded: Epoch(1),
            in_sync: bench.nodes[..members].iter().map(|node| node.me).collect(),
        });
        bench
    }

    fn born(&mut self, node: NodeId) -> Node {
        self.lives += 1;
        let boot = BootId::from_u128(self.lives);
        let me = Incarnation { node, boot };
        Node {
            me,
            replica: (self.make)(me),
            store: MapStore {
                entries_max: usize::MAX,
                ..MapStore::default()
            },
            is_held: true,
            heard: 0,
        }
    }

    pub(super) fn handle(&mut self, at: usize, event: Event) {
        let node = &mut self.nodes[at];
        let mut effects = Vec::new();
        let mut world = World {
            now: self.now,
            store: &mut node.store,
            tenure: &mut Held(node.is_held),
            wish: &self.wish,
        };
        node.replica.handle(event, &mut world, &mut effects);
        assert!(node.replica.committed() <= node.replica.last());
        for (key, change, version) in std::mem::take(&mut node.store.applied) {
            self.oracle.committed(&key, &change, version);
        }
        let (me, committed) = (node.me, node.replica.committed());
        for effect in effects {
            match effect {
                Effect::Answer { ticket, answer } => self.answered(ticket, answer, committed),
                Effect::Send { to, message } => self.wire.push((me, to, message)),
                Effect::Propose(proposal) => self.proposals.push(proposal),
            }
        }
    }

    fn answered(&mut self, ticket: u64, answer: Answer, committed: Seq) {
        let key = &self.asked[&ticket];
        match &answer {
            Answer::Found(found) => {
                assert!(
                    committed >= self.oracle.floor,
                    "a read at {committed:?} after an answer at {:?}",
                    self.oracle.floor
                );
                let found = found.as_ref().map(|found| (found.version, &*found.value));
                assert_eq!(
                    found,
                    self.oracle.state(key, committed),
                    "what was committed"
                );
                self.oracle.floor = committed;
                self.oracle.done += 1;
            }
            Answer::Done { version, .. } => {
                let Some((_, of, _)) = self.oracle.log.get(&version.seq()) else {
                    panic!("{version:?} was answered, and nobody has committed it");
                };
                assert_eq!(of, key);
                self.oracle.floor = self.oracle.floor.max(version.seq());
                self.oracle.done += 1;
            }
            _ => {}
        }
        let before = self.answers.insert(ticket, answer);
        assert_eq!(before, None, "a question is answered once");
    }

    /// From now on the plan names these nodes, of which some are up.
    pub(super) fn plan(
        &mut self,
        nodes: impl IntoIterator<Item = usize>,
        up: impl Fn(usize) -> bool,
    ) {
        let all: Vec<NodeId> = self.nodes.iter().map(|node| node.me.node).collect();
        let plan = nodes.into_iter().map(|at| all[at]).collect();
        self.wish = Wish::new(&plan, |node| {
            all.iter().position(|other| other == node).is_some_and(&up)
        });
        self.wishes.push(self.wish.clone());
    }

    /// Asks at a node, with the epoch that Raft has now.
    pub(super) fn ask(&mut self, at: usize, key: Key, op: Op) -> u64 {
        let epoch = self.raft.last().unwrap().epoch;
        let ticket = u64::try_from(self.asked.len()).unwrap();
        self.asked.insert(ticket, key.clone());
        let request = Request {
            ticket,
            epoch,
            key,
            op,
        };
        self.handle(at, Event::Requests(vec![request]));
        ticket
    }

    /// Delivers a message of the wire.
    pub(super) fn deliver(&mut self, index: usize, is_kept: bool) {
        let (from, to, message) = if is_kept {
            self.wire[index].clone()
        } else {
            self.wire.swap_remove(index)
        };
        let at = self.nodes.iter().position(|node| node.me.node == to.node);
        if let Some(at) = at {
            self.handle(at, Event::Message { from, to, message });
        }
    }

    /// Raft decides a proposal: compared and set, and newcomers must be alive.
    pub(super) fn decide(&mut self, proposal: Proposal) {
        let now = self.raft.last().unwrap();
        let is_alive = |member: &Incarnation| {
            now.in_sync.contains(member)
                || self
                    .nodes
                    .iter()
                    .any(|node| node.me == *member && node.is_held)
        };
        if proposal.epoch == now.epoch && proposal.in_sync.iter().all(is_alive) {
            self.check_lost(&proposal);
            self.set(proposal.in_sync);
        }
    }

    /// Nobody goes with a newcomer or a hand-over who was needed: all that the plan names stay, and hold what was answered.
    fn check_lost(&self, proposal: &Proposal) {
        if !matches!(proposal.why, Why::Add(_) | Why::HandOver(_)) {
            return;
        }
        let has = |set: &[Incarnation], node: NodeId| set.iter().any(|member| member.node == node);
        for gone in &self.raft.last().unwrap().in_sync {
            if has(&proposal.in_sync, gone.node) {
                continue;
            }
            let Some(wish) = self
                .wishes
                .iter()
                .find(|wish| wish.is_dispensable(gone.node, |node| has(&proposal.in_sync, node)))
            else {
                panic!(
                    "{gone:?} goes by {proposal:?}, and no plan of {:?} does without",
                    self.wishes
                );
            };
            for member in &proposal.in_sync {
                let node = self.nodes.iter().find(|node| node.me == *member);
                if wish.plan.contains(&member.node)
                    && let Some(node) = node
                {
                    assert!(
                        node.replica.last() >= self.oracle.floor,
                        "{member:?} lacks what was answered"
                    );
                }
            }
        }
    }

    fn set(&mut self, in_sync: Vec<Incarnation>) {
        let now = self.raft.last().unwrap();
        self.raft.push(Ownership {
            epoch: Epoch(now.epoch.0 + 1),
            founded: now.founded,
            in_sync,
        });
    }

    /// Tells a node Raft's next word, or the last one.
    pub(super) fn hear(&mut self, at: usize, is_last: bool) {
        let heard = &mut self.nodes[at].heard;
        let next = if is_last { self.raft.len() } else { *heard + 1 };
        if next > *heard && next <= self.raft.len() {
            *heard = next;
            let ownership = self.raft[next - 1].clone();
            self.handle(at, Event::Ownership(ownership));
        }
    }

    /// A node's tenure runs out, then Raft is told that it is down. It does not know. Not if it is the last member.
    pub(super) fn depose(&mut self, at: usize) {
        let me = self.nodes[at].me;
        let mut in_sync = self.raft.last().unwrap().in_sync.clone();
        let had = in_sync.len();
        in_sync.retain(|member| *member != me);
        if in_sync.is_empty() {
            return;
        }
        self.nodes[at].is_held = false;
        if in_sync.len() < had {
            self.set(in_sync);
        }
    }

    /// A node loses everything and comes back as another life, after Raft was told.
    pub(super) fn restart(&mut self, at: usize) {
        self.depose(at);
        if !self.nodes[at].is_held {
            let node = self.nodes[at].me.node;
            self.nodes[at] = self.born(node);
        }
    }

    pub(super) fn owner(&self) -> usize {
        let owner = self.raft.last().unwrap().owner();
        let mut nodes = self.nodes.iter();
        nodes.position(|node| Some(node.me) == owner).unwrap()
    }

    /// No fault any more: all is delivered, decided and heard, for as long as `ms`.
    pub(super) fn calm(&mut self, ms: u64) {
        for _ in 0..ms / 5 {
            for at in 0..self.nodes.len() {
                self.hear(at, true);
            }
            for _ in 0..self.wire.len().min(200) {
                let (from, to, message) = self.wire.remove(0);
                let known = self.nodes.iter().position(|node| node.me.node == to.node);
                if let Some(at) = known {
                    self.handle(at, Event::Message { from, to, message });
                }
            }
            for proposal in std::mem::take(&mut self.proposals) {
                self.decide(proposal);
            }
            self.now = self.now.add_ms(5);
            for at in 0..self.nodes.len() {
                self.handle(at, Event::Tick);
            }
        }
    }

    /// After a calm, every member's store is the owner's, and that is what was committed.
    pub(super) fn check_agreement(&self) {
        let owner = &self.nodes[self.owner()];
        let (committed, last) = (owner.replica.committed(), owner.replica.last());
        assert_eq!(committed, last, "nothing is under way");
        assert!(committed >= self.oracle.floor);
        let shown = |store: &MapStore| {
            let entries = store.entries.iter();
            entries
                .map(|(key, stored)| (key.clone(), stored.version, Arc::clone(&stored.value)))
                .collect::<Vec<_>>()
        };
        for member in &self.raft.last().unwrap().in_sync {
            let node = self.nodes.iter().find(|node| node.me == *member).unwrap();
            assert_eq!(node.replica.committed(), committed);
            assert_eq!(shown(&node.store), shown(&owner.store));
        }
        for (key, version, value) in shown(&owner.store) {
            let state = self.oracle.state(&key, committed);
            assert_eq!(state, Some((version, &*value)));
        }
    }
}
