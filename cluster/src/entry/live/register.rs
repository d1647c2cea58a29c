//! A register that stands in for Raft: one word at a time, told to everybody a little later. It must never decide anything but
//! whether a change is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::super::{EntryHost, Ownership, Proposal, Proposer, Roll, SlotWord, Tenured, Wish};
use crate::{Epoch, Incarnation, NodeId};

/// A tenure that a test gives and takes.
pub(super) struct Cell(AtomicBool);

impl Cell {
    pub(super) const fn held() -> Self {
        Self(AtomicBool::new(true))
    }

    pub(super) fn set(&self, is_held: bool) {
        self.0.store(is_held, Ordering::SeqCst);
    }
}

impl Tenured for Cell {
    fn is_held(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct State {
    slots: BTreeMap<u16, SlotWord>,
    lives: BTreeMap<(NodeId, usize), Incarnation>,
    alive: BTreeSet<NodeId>,
    /// Everybody hears one thing after the other, each at a pace of its own.
    hosts: BTreeMap<NodeId, mpsc::UnboundedSender<(Roll, Vec<SlotWord>)>>,
}

pub(super) struct Register {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.state.lock().slots.values())
            .finish()
    }
}

impl Register {
    pub(super) fn new(slots: &BTreeSet<u16>, targets: &[NodeId]) -> Self {
        let word = |slot: &u16| SlotWord {
            slot: *slot,
            ownership: Ownership {
                epoch: Epoch(0),
                founded: Epoch(0),
                in_sync: Vec::new(),
            },
            wish: Wish::new(&targets.into(), |_| true),
        };
        Self {
            state: Mutex::new(State {
                slots: slots.iter().map(|slot| (*slot, word(slot))).collect(),
                alive: targets.iter().copied().collect(),
                ..State::default()
            }),
            changes: watch::Sender::new(0),
        }
    }

    /// Tells a host everything from now on, and hears of its lives: a new one ends the former.
    pub(super) fn follow(self: &Arc<Self>, id: NodeId, host: EntryHost) {
        let (say, mut said) = mpsc::unbounded_channel::<(Roll, Vec<SlotWord>)>();
        self.state.lock().hosts.insert(id, say);
        let listener = host.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Some((roll, words)) = said.recv().await {
                number += 1;
                tokio::time::sleep(Duration::from_millis(number % 3)).await;
                listener.set_roll(roll);
                listener.learn(words);
            }
        });
        let register = Arc::clone(self);
        let mut lives = host.lives();
        tokio::spawn(async move {
            loop {
                let now: Vec<_> = lives.borrow_and_update().clone();
                for (shard, boot) in (0..).zip(now) {
                    if let Some(boot) = boot {
                        register.shard_start(shard, Incarnation { node: id, boot });
                    }
                }
                if lives.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Tells a host nothing any more.
    pub(super) fn forget(&self, id: NodeId) {
        self.state.lock().hosts.remove(&id);
    }

    fn shard_start(&self, shard: usize, life: Incarnation) {
        let mut state = self.state.lock();
        let former = state.lives.insert((life.node, shard), life);
        if former == Some(life) {
            return;
        }
        for word in state.slots.values_mut() {
            let members = &mut word.ownership.in_sync;
            if former.is_some_and(|former| members.contains(&former)) {
                members.retain(|member| Some(*member) != former);
                word.ownership.epoch.0 += 1;
            }
        }
        self.tell(state);
    }

    /// A node's tenure is over: it leaves every set, but the last of a slot stays.
    pub(super) fn node_down(&self, node: NodeId) {
        let mut state = self.state.lock();
        state.alive.remove(&node);
        for word in state.slots.values_mut() {
            let members = &mut word.ownership.in_sync;
            if members.len() > 1 && members.iter().any(|member| member.node == node) {
                members.retain(|member| member.node != node);
                word.ownership.epoch.0 += 1;
            }
        }
        self.tell(state);
    }

    pub(super) fn node_up(&self, node: NodeId) {
        let mut state = self.state.lock();
        state.alive.insert(node);
        self.tell(state);
    }

    /// Another plan.
    pub(super) fn plan(&self, targets: impl Fn(u16) -> Vec<NodeId>) {
        let mut state = self.state.lock();
        for (slot, word) in &mut state.slots {
            word.wish = Wish::new(&targets(*slot).into(), |_| true);
        }
        self.tell(state);
    }

    fn decide(&self, slot: u16, change: impl FnOnce(&State, &mut Ownership) -> bool) {
        let mut state = self.state.lock();
        let Some(mut word) = state.slots.get(&slot).cloned() else {
            return;
        };
        if change(&state, &mut word.ownership) {
            word.ownership.epoch.0 += 1;
            if word.ownership.founded == Epoch(u64::MAX) {
                word.ownership.founded = word.ownership.epoch;
            }
            state.slots.insert(slot, word);
        }
        self.tell(state);
    }

    /// Tells every host all there is, soon.
    fn tell(&self, state: parking_lot::MutexGuard<'_, State>) {
        let words: Vec<SlotWord> = state.slots.values().cloned().collect();
        for (id, say) in &state.hosts {
            let lives = state.lives.iter().filter(|((node, _), _)| node == id);
            let roll = Roll {
                lives: lives
                    .map(|((_, shard), life)| (*shard, life.boot))
                    .collect(),
                alive: state.alive.clone(),
                retired: BTreeSet::new(),
            };
            let _ = say.send((roll, words.clone()));
        }
        drop(state);
        self.changes.send_modify(|number| *number += 1);
    }

    pub(super) fn is_settled(&self) -> bool {
        let state = self.state.lock();
        state.slots.values().all(|word| {
            let members = word.ownership.in_sync.iter().map(|member| member.node);
            let held: BTreeSet<NodeId> = members.clone().collect();
            members.clone().next() == word.wish.plan.first().copied()
                && held == word.wish.plan.iter().copied().collect()
        })
    }

    pub(super) fn word(&self, slot: u16) -> SlotWord {
        self.state.lock().slots[&slot].clone()
    }

    pub(super) fn slots(&self) -> Vec<u16> {
        self.state.lock().slots.keys().copied().collect()
    }

    /// Waits until something holds of the register.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        while !holds(self) {
            changes.changed().await.unwrap();
        }
    }
}

/// A node's way to the register.
pub(super) struct Voice(pub(super) Arc<Register>);

impl Proposer for Voice {
    fn propose_slot(&self, slot: u16, proposal: Proposal, _can_wait: bool) -> bool {
        let register = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            register.decide(slot, |state, ownership| {
                let is_known = |member: &Incarnation| {
                    ownership.in_sync.contains(member)
                        || state.alive.contains(&member.node)
                            && state.lives.values().any(|life| life == member)
                };
                let is_valid = ownership.epoch == proposal.epoch
                    && !proposal.in_sync.is_empty()
                    && proposal.in_sync.iter().all(is_known);
                if is_valid {
                    ownership.in_sync.clone_from(&proposal.in_sync);
                }
                is_valid
            });
        });
        true
    }

    fn claim_slot(&self, slot: u16, epoch: Epoch, member: Incarnation) -> bool {
        let register = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            register.decide(slot, |state, ownership| {
                let is_known = state.lives.values().any(|life| *life == member);
                let is_valid = ownership.epoch == epoch && ownership.in_sync.is_empty() && is_known;
                if is_valid {
                    ownership.in_sync = vec![member];
                    ownership.founded = Epoch(u64::MAX); // Becomes the new epoch.
                }
                is_valid
            });
        });
        true
    }
}
