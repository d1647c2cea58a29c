//! The leader's desk: takes questions, runs rounds of the [`Grantor`] while this node leads, and says who is down.
//!
//! Responsible for one grantor a leadership and for the order confirm, look at the state, grant. It must never know how
//! leadership is confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{Grantor, GrantorTiming, TenureAnswer, TenureAsk, WAITING_MAX};
use crate::metadata::{Command, MemberState, View};
use crate::raft::{Consensus, micros};
use crate::{Incarnation, NodeId};

/// How often the desk looks up by itself.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long a proposal may take before it is unknown what becomes of it.
const PROPOSE_MAX: Duration = Duration::from_secs(5);

type Waiting = BTreeMap<Incarnation, (TenureAsk, oneshot::Sender<TenureAnswer>)>;

/// Questions that wait for the next round.
pub(super) struct Desk {
    /// None once it is closed.
    waiting: Mutex<Option<Waiting>>,
    news: Notify,
}

/// Whether the state knows this life as one that may serve.
pub(super) fn is_alive(view: &View, life: Incarnation) -> bool {
    let record = view.members().get(life.node);
    record.is_some_and(|record| record.boot == life.boot && serves(record.state))
}

const fn serves(state: MemberState) -> bool {
    matches!(
        state,
        MemberState::Joining | MemberState::Up | MemberState::Draining
    )
}

fn alive(view: &View) -> Vec<Incarnation> {
    let alive = view.members().present();
    let alive = alive.filter(|(_, record)| serves(record.state));
    alive
        .map(|(node, record)| Incarnation {
            node,
            boot: record.boot,
        })
        .collect()
}

impl Desk {
    /// Without a question.
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Some(Waiting::new())),
            news: Notify::new(),
        }
    }

    /// Answers nobody any more.
    pub(super) fn close(&self) {
        *self.waiting.lock() = None;
    }

    /// What waits, and an empty list in its place.
    fn take(&self) -> Waiting {
        let mut waiting = self.waiting.lock();
        waiting.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes a question; a life's later one takes the place of its earlier one. None when too many wait, or it is
    /// closed.
    pub(super) fn ask(&self, ask: TenureAsk) -> Option<oneshot::Receiver<TenureAnswer>> {
        let mut desk = self.waiting.lock();
        let waiting = desk.as_mut()?;
        let known = waiting.get(&ask.holder);
        if known.is_some_and(|(known, _)| known.number > ask.number)
            || known.is_none() && waiting.len() >= WAITING_MAX
        {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        waiting.insert(ask.holder, (ask, sender));
        drop(desk);
        self.news.notify_one();
        Some(answer)
    }

    /// Serves for as long as the node lives.
    pub(super) async fn run(self: Arc<Self>, consensus: Consensus) {
        let mut former = None;
        loop {
            // A leader that is silent for a while leads on in its term, and what it proposed may still be decided: it
            // keeps its grantor.
            match consensus.leads() {
                Some(term) => {
                    let mut leadership = Leadership::new(consensus.clone(), former);
                    while consensus.leads() == Some(term) {
                        leadership.step(&self).await;
                    }
                }
                None => {
                    // Whoever asks here asks the wrong node.
                    drop(self.take());
                    former = consensus.leader().or(former);
                    consensus.leadership_changed().await;
                }
            }
        }
    }
}

/// What became of a proposal: whether that is certain.
enum Proposed {
    Down(Declared, bool),
    Excused(Incarnation),
}

/// One leadership of this node.
struct Leadership {
    consensus: Consensus,
    longest_us: u64,
    grantor: Grantor,
    /// Lives that a purge need not wait for, and whose proposal is on its way.
    excused: BTreeSet<Incarnation>,
    proposals: FuturesUnordered<BoxFuture<'static, Proposed>>,
    unsure: Vec<Declared>,
    /// Since when rounds were confirmed without a long gap, and the last that was.
    steady_us: Option<(u64, u64)>,
}

impl Leadership {
    fn new(consensus: Consensus, former: Option<NodeId>) -> Self {
        let longest_us = micros(consensus.timing().election_max);
        let view = consensus.view();
        let former = former.and_then(|node| {
            let boot = view.members().get(node)?.boot;
            Some(Incarnation { node, boot })
        });
        Self {
            grantor: Grantor::new(GrantorTiming::of_election_timeout(longest_us)).after(former),
            excused: BTreeSet::new(),
            proposals: FuturesUnordered::new(),
            unsure: Vec::new(),
            steady_us: None,
            longest_us,
            consensus,
        }
    }

    async fn step(&mut self, desk: &Desk) {
        tokio::select! {
            () = desk.news.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(proposed) = self.proposals.next() => match proposed {
                Proposed::Down(declared, true) => self.grantor.decided(declared.life),
                Proposed::Down(declared, false) => self.unsure.push(declared),
                // Asked for again while the state shows that it was not done.
                Proposed::Excused(life) => {
                    self.excused.remove(&life);
                }
            },
        }
        if self.consensus.leading().is_none() {
            drop(desk.take());
        } else if self.round(desk).await {
            let now_us = self.consensus.clock().boot_us();
            let last = self.steady_us.filter(|(_, last_us)| {
                // Whoever could not ask while this node could not answer needs time to ask.
                now_us.saturating_sub(*last_us) < self.longest_us
            });
            let since_us = last.map_or(now_us, |(since_us, _)| since_us);
            self.steady_us = Some((since_us, now_us));
            self.judge(now_us.saturating_sub(since_us));
        }
    }

    /// Looks who ran out, right after a round was confirmed.
    /// Rounds were confirmed without a long gap for `steady_us`.
    fn judge(&mut self, steady_us: u64) {
        let view = self.consensus.view();
        for over in self
            .unsure
            .extract_if(.., |declared| declared.is_over(&view))
        {
            self.grantor.decided(over.life);
        }
        self.grantor.forget(|life| is_alive(&view, life));
        let now_us = self.consensus.clock().boot_us();
        for life in self.grantor.overdue(alive(&view), now_us) {
            let is_steady = steady_us >= self.grantor.steady_us_min(life);
            let Some(record) = view.members().get(life.node).filter(|_| is_steady) else {
                continue;
            };
            if self.grantor.is_barred(life) || self.grantor.declare_down(life, now_us).is_err() {
                continue;
            }
            tracing::warn!(node = %life.node, "its tenure ran out: the node is down");
            metrics::counter!("ultrakv_tenure_down_total").increment(1);
            let declared = Declared {
                life,
                changed_index: record.changed_index,
            };
            let proposal = propose(self.consensus.clone(), declared.command());
            let proposal = proposal.map(move |is_decided| Proposed::Down(declared, is_decided));
            self.proposals.push(proposal.boxed());
        }
        for life in excusable(&view) {
            if self.excused.insert(life) {
                tracing::info!(node = %life.node, "it is no member any more: no purge waits for it");
                let proposal = propose(self.consensus.clone(), Command::LeaseLost { life });
                let proposal = proposal.map(move |_| Proposed::Excused(life));
                self.proposals.push(proposal.boxed());
            }
        }
    }

    /// One round, if one is due. Whether leadership was confirmed.
    async fn round(&mut self, desk: &Desk) -> bool {
        if let Some(waiting) = &*desk.waiting.lock() {
            for (ask, _) in waiting.values() {
                self.grantor.asked(*ask);
            }
        }
        let consensus = &self.consensus;
        let began_us = consensus.clock().boot_us();
        let Some(round) = self.grantor.begin(began_us) else {
            return false;
        };
        // Only what came before the round is confirmed is answered by it.
        let mut answering = desk.take();
        consensus
            .give_no_vote_before(began_us.saturating_add(self.longest_us))
            .await;
        let within = consensus.timing().election_max;
        let confirming = tokio::time::timeout(within, consensus.confirm_leadership());
        let Ok(Ok(read_index)) = confirming.await else {
            self.grantor.unconfirmed(round);
            metrics::counter!("ultrakv_tenure_rounds_unconfirmed_total").increment(1);
            return false;
        };
        let view = consensus.view();
        let alive_since = |life: Incarnation| {
            let record = view.members().get(life.node);
            record
                .filter(|_| is_alive(&view, life))
                .map(|record| record.changed_index)
        };
        let grants = self.grantor.confirmed(round, alive_since);
        for grant in grants {
            let asked = answering.get(&grant.holder);
            if asked.is_some_and(|(ask, _)| ask.number == grant.number)
                && let Some((_, answer)) = answering.remove(&grant.holder)
            {
                // Who waits no longer asks again.
                let _ = answer.send(TenureAnswer {
                    grant: Some(grant),
                    read_index,
                });
            }
        }
        for (_, answer) in answering.into_values() {
            let _ = answer.send(TenureAnswer {
                grant: None,
                read_index,
            });
        }
        true
    }
}

/// Lives whose word some purge waits for and that are no members any more: they were drained, or an operator said that
/// they are gone for good. One that is down is waited for: it may go on serving blocks by itself.
fn excusable(view: &View) -> Vec<Incarnation> {
    let keyrings = view.services().iter().map(|(_, _, keyring)| keyring);
    keyrings
        .flat_map(|keyring| keyring.waiting_for(keyring.generation))
        .filter(|life| !view.members().is_present(*life))
        .collect()
}

/// Proposes something once and from this node only. Whether it is certain what became of it.
async fn propose(consensus: Consensus, command: Command) -> bool {
    let deadline = consensus.clock().deadline(PROPOSE_MAX);
    let proposed = consensus.propose_here(vec![command], deadline).await;
    proposed.map_or_else(|error| error.is_certain(), |_| true)
}

/// A life that was declared down, and the state in which it was.
#[derive(Clone, Copy, Debug)]
struct Declared {
    life: Incarnation,
    changed_index: u64,
}

impl Declared {
    const fn command(self) -> Command {
        Command::NodeDown {
            life: self.life,
            changed_index: self.changed_index,
        }
    }

    /// Whether a proposal of it that is still on its way cannot take effect any more.
    fn is_over(&self, view: &View) -> bool {
        let record = view.members().get(self.life.node);
        record.is_none_or(|record| {
            record.boot != self.life.boot || record.changed_index != self.changed_index
        })
    }
}
