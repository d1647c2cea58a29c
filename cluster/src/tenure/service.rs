//! Tenures in the running node: asks for them, publishes them, and comes back when the node was called down.
//!
//! Responsible for asking in time, and for knowing how old this node's metadata may be. It must never know entries.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::desk::Desk;
use super::{GrantorTiming, Holder, TenureAnswer, TenureAsk, TenureCell};
use crate::metadata::{Command, MemberState};
use crate::peer::{Parcel, Refused};
use crate::raft::{Consensus, Loops, micros};
use crate::wire::Kind;
use crate::{Incarnation, NodeId};

/// Questions under way at once; a tenure outlasts two that are lost.
const ASKS_UNDER_WAY_MAX: usize = 4;
/// Read points that wait to be applied.
const POINTS_MAX: usize = 64;

/// How tenures are asked for.
#[derive(Clone, Copy, Debug)]
pub struct TenurePlan {
    /// This life of this node, as it is told to the cluster.
    pub me: Incarnation,
    /// How often it asks.
    pub ask_every: Duration,
    /// Metadata that may be older than this are stale.
    pub metadata_lease: Duration,
    /// Between two tries to come back after the node was called down.
    pub back_every: Duration,
}

impl TenurePlan {
    /// With the times of the design.
    #[must_use]
    pub const fn new(me: Incarnation) -> Self {
        Self {
            me,
            ask_every: Duration::from_millis(100),
            metadata_lease: Duration::from_secs(5),
            back_every: Duration::from_millis(500),
        }
    }
}

/// A question and its answer, when one came.
type Asked = (u64, Option<TenureAnswer>);

struct Shared {
    consensus: Consensus,
    plan: TenurePlan,
    desk: Arc<Desk>,
    cell: Arc<TenureCell>,
    holder: Mutex<Holder>,
    told: watch::Receiver<u64>,
    /// Everything that was agreed on at this time is applied here; in µs of CLOCK_BOOTTIME, 0 for never.
    fresh_us: AtomicU64,
}

/// The tenures of this node: asked for, granted to others while it leads, and published.
pub struct Tenures {
    shared: Arc<Shared>,
    loops: Loops,
}

impl std::fmt::Debug for Tenures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenures")
            .field("me", &self.shared.plan.me)
            .finish_non_exhaustive()
    }
}

impl Tenures {
    /// Begins to ask, and to grant while this node leads. `told` says up to where this node's replicas have heard the log.
    #[must_use]
    pub fn start(consensus: Consensus, plan: TenurePlan, told: watch::Receiver<u64>) -> Self {
        let longest_us = micros(consensus.timing().election_max);
        let tenure_us = GrantorTiming::of_election_timeout(longest_us).tenure_us;
        let desk = Arc::new(Desk::new());
        let shared = Arc::new(Shared {
            cell: Arc::new(TenureCell::new(consensus.clock().clone())),
            holder: Mutex::new(Holder::new(plan.me, tenure_us)),
            desk: Arc::clone(&desk),
            fresh_us: AtomicU64::new(0),
            consensus: consensus.clone(),
            told,
            plan,
        });
        let loops = Loops::default();
        loops.keep("tenure-desk", move || {
            Arc::clone(&desk).run(consensus.clone())
        });
        let asking = Arc::clone(&shared);
        loops.keep("tenure-holder", move || Arc::clone(&asking).hold());
        Self { shared, loops }
    }

    /// The end of this node's tenure, for whoever serves under it.
    #[must_use]
    pub fn cell(&self) -> Arc<TenureCell> {
        Arc::clone(&self.shared.cell)
    }

    /// Whether everything that was agreed on until [`TenurePlan::metadata_lease`] ago is applied here: this node hears of a
    /// majority.
    #[must_use]
    pub fn metadata_fresh(&self) -> bool {
        let age_us = self.metadata_age_us();
        age_us.is_some_and(|age_us| age_us < micros(self.shared.plan.metadata_lease))
    }

    /// How old this node's metadata may be, in microseconds; none when it never was certain.
    #[must_use]
    pub fn metadata_age_us(&self) -> Option<u64> {
        let fresh_us = self.shared.fresh_us.load(Ordering::SeqCst);
        let now_us = self.shared.consensus.clock().boot_us();
        (fresh_us > 0).then(|| now_us.saturating_sub(fresh_us))
    }

    /// Answers another node's question of kind [`Kind::Tenure`]; waits for the round that answers it.
    ///
    /// # Errors
    /// [`Refused`] when this node does not lead, or when the question is not its sender's own.
    pub async fn serve(&self, peer: NodeId, parcel: &Parcel) -> Result<Parcel, Refused> {
        let refused = |code: &str, message: &str| Refused {
            code: code.to_owned(),
            message: message.to_owned(),
            hint: "ask the leader again".to_owned(),
        };
        let ask: TenureAsk = parcel
            .header()
            .map_err(|error| refused("tenure_unreadable", &error.to_string()))?;
        if ask.holder.node != peer {
            let message = "the certificate names another node than the question";
            return Err(refused("tenure_other_node", message));
        }
        let answer = self.shared.desk.ask(ask);
        let answer = answer.ok_or_else(|| refused("tenure_busy", "too many questions wait"))?;
        let message = "this node does not lead, or could not confirm that it does";
        let within = self.shared.consensus.timing().election_max;
        let answer = tokio::time::timeout(within, answer).await;
        let answer = answer.ok().and_then(Result::ok);
        let answer = answer.ok_or_else(|| refused("tenure_not_granted", message))?;
        Parcel::new(Kind::Answer, &answer, Bytes::new())
            .map_err(|error| refused("tenure_unreadable", &error.to_string()))
    }

    /// Ends the tenure and everything that runs for it.
    pub async fn shutdown(&self) {
        self.loops.stop().await;
        self.shared.desk.close();
        self.shared.cell.end();
    }
}

impl Shared {
    async fn hold(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.plan.ask_every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked: FuturesUnordered<BoxFuture<'static, Asked>> = FuturesUnordered::new();
        let mut back: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut points = VecDeque::new();
        let mut back_after_us = 0;
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    if asked.len() < ASKS_UNDER_WAY_MAX
                        && let Some(leader) = self.consensus.leader()
                    {
                        asked.push(Arc::clone(&self).ask(leader));
                    }
                    let now_us = self.consensus.clock().boot_us();
                    if back.is_empty() && now_us >= back_after_us && self.is_down() {
                        back_after_us = now_us.saturating_add(micros(self.plan.back_every));
                        back.push(Arc::clone(&self).come_back());
                    }
                }
                Some((sent_us, answer)) = asked.next() => {
                    if let Some(answer) = answer {
                        self.answered(answer);
                        points.push_back((sent_us, answer.read_index));
                        if points.len() > POINTS_MAX {
                            points.pop_front();
                        }
                    }
                }
                Some(()) = back.next() => {}
            }
            self.freshen(&mut points);
        }
    }

    /// Asks one question. Its time is read before it leaves.
    fn ask(self: Arc<Self>, leader: NodeId) -> BoxFuture<'static, Asked> {
        let sent_us = self.consensus.clock().boot_us();
        let told = *self.told.borrow();
        let ask = self.holder.lock().ask(sent_us, told);
        let within = self.consensus.timing().election_max;
        Box::pin(async move {
            let answer = if leader == self.plan.me.node {
                match self.desk.ask(ask) {
                    Some(answer) => tokio::time::timeout(within, answer)
                        .await
                        .ok()
                        .and_then(Result::ok),
                    None => None,
                }
            } else {
                self.ask_there(leader, ask, within).await
            };
            (sent_us, answer)
        })
    }

    async fn ask_there(
        &self,
        leader: NodeId,
        ask: TenureAsk,
        within: Duration,
    ) -> Option<TenureAnswer> {
        let parcel = Parcel::new(Kind::Tenure, &ask, Bytes::new()).ok()?;
        let deadline = self.consensus.clock().deadline(within);
        let answer = self
            .consensus
            .callers()
            .call(leader, parcel, deadline)
            .await;
        answer.ok()?.header().ok()
    }

    fn answered(&self, answer: TenureAnswer) {
        let Some(grant) = answer.grant else { return };
        let mut holder = self.holder.lock();
        holder.granted(grant);
        if let Some(until_us) = holder.until_us() {
            self.cell.extend(until_us);
        }
    }

    /// Takes note of the newest read point that is applied here.
    fn freshen(&self, points: &mut VecDeque<(u64, u64)>) {
        let applied = self.consensus.applied_index();
        points.retain(|(sent_us, read_index)| {
            let is_applied = *read_index <= applied;
            if is_applied {
                self.fresh_us.fetch_max(*sent_us, Ordering::SeqCst);
            }
            !is_applied
        });
    }

    /// Whether the state calls this life down.
    fn is_down(&self) -> bool {
        let view = self.consensus.view();
        let me = self.plan.me;
        let record = view.members().get(me.node);
        record.is_some_and(|record| record.boot == me.boot && record.state == MemberState::Down)
    }

    /// Asks to be up again: this life lives, and holds nothing.
    fn come_back(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let up = Command::MemberState {
                life: self.plan.me,
                from: MemberState::Down,
                to: MemberState::Up,
            };
            let deadline = self.consensus.clock().deadline(self.plan.back_every);
            match self.consensus.propose(vec![up], deadline).await {
                Ok(outcomes) => {
                    tracing::info!(
                        ?outcomes,
                        "this node was called down and asks to be up again"
                    );
                }
                // It is tried again.
                Err(error) => tracing::debug!(%error, "this node is down and reaches no leader"),
            }
        })
    }
}
