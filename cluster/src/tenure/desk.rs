//! The leader's desk: takes questions, runs rounds of the [`Grantor`] while this node leads, and says who is down.
//!
//! Responsible for one grantor a leadership and for the order confirm, look at the state, grant. It must never know how
//! leadership is confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{Grantor, GrantorTiming, TenureAnswer, TenureAsk, WAITING_MAX};
use crate::Incarnation;
use crate::metadata::{Command, MemberState, View};
use crate::raft::{Consensus, micros};

/// How often the desk looks up by itself.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long a proposal that a node is down may take before it is unknown.
const DOWN_MAX: Duration = Duration::from_secs(5);

type Waiting = BTreeMap<Incarnation, (u64, oneshot::Sender<TenureAnswer>)>;

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
        if known.is_some_and(|(number, _)| *number > ask.number)
            || known.is_none() && waiting.len() >= WAITING_MAX
        {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        waiting.insert(ask.holder, (ask.number, sender));
        drop(desk);
        self.news.notify_one();
        Some(answer)
    }

    /// Serves for as long as the node lives.
    pub(super) async fn run(self: Arc<Self>, consensus: Consensus) {
        loop {
            match consensus.leading() {
                Some(term) => self.lead(&consensus, term).await,
                None => {
                    // Whoever asks here asks the wrong node.
                    drop(self.take());
                    consensus.leadership_changed().await;
                }
            }
        }
    }

    /// One leadership.
    async fn lead(&self, consensus: &Consensus, term: u64) {
        let longest_us = micros(consensus.timing().election_max);
        let mut grantor = Grantor::new(GrantorTiming::of_election_timeout(longest_us));
        let mut downs: FuturesUnordered<BoxFuture<'static, (Declared, bool)>> =
            FuturesUnordered::new();
        let mut unsure: Vec<Declared> = Vec::new();
        // Until this leadership is confirmed once, the state may be one of the past.
        let mut is_confirmed = false;
        while consensus.leading() == Some(term) {
            tokio::select! {
                () = self.news.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                Some((declared, is_decided)) = downs.next() => {
                    if is_decided {
                        grantor.decided(declared.life);
                    } else {
                        unsure.push(declared);
                    }
                }
            }
            is_confirmed |= self.round(consensus, &mut grantor).await;
            if !is_confirmed {
                continue;
            }
            let view = consensus.view();
            for over in unsure.extract_if(.., |declared| declared.is_over(&view)) {
                grantor.decided(over.life);
            }
            grantor.forget(|life| is_alive(&view, life));
            let now_us = consensus.clock().boot_us();
            for life in grantor.overdue(alive(&view), now_us) {
                let Some(record) = view.members().get(life.node) else {
                    continue;
                };
                if grantor.is_barred(life) || grantor.declare_down(life, now_us).is_err() {
                    continue;
                }
                tracing::warn!(node = %life.node, "its tenure ran out: the node is down");
                metrics::counter!("ultrakv_tenure_down_total").increment(1);
                let declared = Declared {
                    life,
                    changed_index: record.changed_index,
                };
                downs.push(Box::pin(declared.propose(consensus.clone())));
            }
        }
    }

    /// One round, if one is due. Whether leadership was confirmed.
    async fn round(&self, consensus: &Consensus, grantor: &mut Grantor) -> bool {
        if let Some(waiting) = &*self.waiting.lock() {
            for (holder, (number, _)) in waiting {
                grantor.asked(TenureAsk {
                    holder: *holder,
                    number: *number,
                });
            }
        }
        let began_us = consensus.clock().boot_us();
        let Some(round) = grantor.begin(began_us) else {
            return false;
        };
        // Only what came before the round began is answered by it.
        let mut answering = self.take();
        let longest = consensus.timing().election_max;
        consensus
            .give_no_vote_before(began_us.saturating_add(micros(longest)))
            .await;
        let confirming = tokio::time::timeout(longest, consensus.confirm_leadership());
        let Ok(Ok(read_index)) = confirming.await else {
            grantor.unconfirmed(round);
            metrics::counter!("ultrakv_tenure_rounds_unconfirmed_total").increment(1);
            return false;
        };
        let view = consensus.view();
        let grants = grantor.confirmed(round, |life| is_alive(&view, life));
        for grant in grants {
            if let Some((number, answer)) = answering.remove(&grant.holder)
                && number == grant.number
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

/// A life that was declared down, and the state in which it was.
#[derive(Clone, Copy, Debug)]
struct Declared {
    life: Incarnation,
    changed_index: u64,
}

impl Declared {
    /// Proposes it, once and from this node only. Whether it is certain what became of it.
    async fn propose(self, consensus: Consensus) -> (Self, bool) {
        let deadline = consensus.clock().deadline(DOWN_MAX);
        let down = Command::NodeDown {
            life: self.life,
            changed_index: self.changed_index,
        };
        let proposed = consensus.propose_here(vec![down], deadline).await;
        let is_decided = proposed.map_or_else(|error| error.is_certain(), |_| true);
        (self, is_decided)
    }

    /// Whether a proposal of it that is still on its way cannot take effect any more.
    fn is_over(&self, view: &View) -> bool {
        let record = view.members().get(self.life.node);
        record.is_none_or(|record| {
            record.boot != self.life.boot || record.changed_index != self.changed_index
        })
    }
}
