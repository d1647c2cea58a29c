//! The leader's side: rounds of questions, one confirmation of leadership each, and who has certainly run out.
//!
//! It must never know how leadership is confirmed, nor slots.

use std::collections::BTreeMap;

use super::{TenureAsk, TenureGrant};
use crate::Incarnation;

/// Nodes whose questions wait for a round at most. A question of one more is dropped, and asked again.
pub const WAITING_MAX: usize = 1024;

/// How long tenures and rounds last, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantorTiming {
    /// What one grant is worth to its holder: nine tenths of the longest election timeout.
    pub tenure_us: u64,
    /// When a grant is certainly over, from the round's beginning: the longest election timeout. The tenth between the
    /// two is for a holder whose clock is slow, whether an election or this leader's own word ends its ownership.
    pub over_us: u64,
    /// Rounds begin at least this far apart.
    pub round_us_min: u64,
    /// A node that this leadership never granted anything is overdue when it was seen alive in the state for this long.
    /// No former leader's grant lasts longer.
    pub patience_us: u64,
    /// The same for whoever led before: it was silent for an election already, and if it lives it answers the new leader at
    /// once.
    pub former_us: u64,
}

impl GrantorTiming {
    /// For a longest election timeout, in microseconds.
    #[must_use]
    pub const fn of_election_timeout(election_timeout_us_max: u64) -> Self {
        let tenure_us = election_timeout_us_max / 10 * 9;
        Self {
            tenure_us,
            over_us: election_timeout_us_max,
            round_us_min: 10_000,
            patience_us: election_timeout_us_max,
            former_us: election_timeout_us_max / 4,
        }
    }
}

/// A round that waits for the confirmation of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(u64);

/// A node cannot be declared down yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node may hold a tenure until {until_us} µs")]
pub struct StillHeld {
    /// When to ask again, on the leader's clock.
    pub until_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    /// When this leadership first saw the life.
    since_us: u64,
    /// When all that was granted is certainly over, on the leader's clock; it may be granted nothing and have only
    /// asked.
    until_us: Option<u64>,
    /// Proposed as down: gets nothing more.
    is_barred: bool,
}

impl Standing {
    const fn first_seen(since_us: u64) -> Self {
        Self {
            since_us,
            until_us: None,
            is_barred: false,
        }
    }
}

#[derive(Debug)]
struct Asked {
    round: Round,
    began_us: u64,
    asks: BTreeMap<Incarnation, TenureAsk>,
}

/// One leadership's grants. A node that becomes leader again makes a new one.
#[derive(Debug)]
pub struct Grantor {
    timing: GrantorTiming,
    rounds: u64,
    began_us: Option<u64>,
    /// The latest question of each node that no round has taken yet.
    waiting: BTreeMap<Incarnation, TenureAsk>,
    under_way: Option<Asked>,
    /// The life that led before.
    former: Option<Incarnation>,
    standings: BTreeMap<Incarnation, Standing>,
}

impl Grantor {
    /// The grants of a leadership that begins now. Nothing of former leaders needs to be waited for.
    #[must_use]
    pub const fn new(timing: GrantorTiming) -> Self {
        Self {
            timing,
            rounds: 0,
            began_us: None,
            waiting: BTreeMap::new(),
            under_way: None,
            former: None,
            standings: BTreeMap::new(),
        }
    }

    /// Names the life that led before, as far as that is known: if it does not ask soon, it need not be waited for as others
    /// are. A later life of that node is one of the others.
    #[must_use]
    pub const fn after(mut self, former: Option<Incarnation>) -> Self {
        self.former = former;
        self
    }

    /// For how long leadership must have been confirmed without a gap before a node may be called overdue: whoever could
    /// not ask while this leader could not answer needs time to ask.
    #[must_use]
    pub fn steady_us_min(&self, node: Incarnation) -> u64 {
        let was_granted = |standing: &Standing| standing.until_us.is_some();
        if self.standings.get(&node).is_some_and(was_granted) {
            self.timing.patience_us
        } else {
            self.patience_us(node)
        }
    }

    fn patience_us(&self, node: Incarnation) -> u64 {
        if self.former == Some(node) {
            self.timing.former_us
        } else {
            self.timing.patience_us
        }
    }

    /// A node asks. It is answered by the next round that begins, never by one under way: the round's *t0* must lie
    /// after the question's arrival.
    pub fn asked(&mut self, ask: TenureAsk) {
        let is_barred = self
            .standings
            .get(&ask.holder)
            .is_some_and(|standing| standing.is_barred);
        let is_known = self.waiting.contains_key(&ask.holder);
        if is_barred || !is_known && self.waiting.len() >= WAITING_MAX {
            return;
        }
        let latest = self.waiting.entry(ask.holder).or_insert(ask);
        if ask.number > latest.number {
            *latest = ask;
        }
    }

    /// Begins a round if somebody waits, none is under way and the last is not too fresh. The caller then confirms its
    /// leadership by messages sent *after* this call, waits until its state is applied up to there, and reports.
    pub fn begin(&mut self, now_us: u64) -> Option<Round> {
        let is_early = self
            .began_us
            .is_some_and(|began_us| now_us.saturating_sub(began_us) < self.timing.round_us_min);
        if is_early || self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.rounds += 1;
        let round = Round(self.rounds);
        self.began_us = Some(now_us);
        self.under_way = Some(Asked {
            round,
            began_us: now_us,
            asks: std::mem::take(&mut self.waiting),
        });
        Some(round)
    }

    /// Leadership was confirmed for a round. `alive_since` is asked of the state as applied after the confirmation: the
    /// index of the last change of a life that is alive. One that has not heard of that itself gets nothing yet. The
    /// grants are noted before they are returned, so a node may hold no more than is known here.
    pub fn confirmed(
        &mut self,
        round: Round,
        alive_since: impl Fn(Incarnation) -> Option<u64>,
    ) -> Vec<TenureGrant> {
        let Some(asked) = self.under_way.take_if(|asked| asked.round == round) else {
            return Vec::new();
        };
        let until_us = asked.began_us.saturating_add(self.timing.over_us);
        let mut grants = Vec::with_capacity(asked.asks.len());
        for (holder, ask) in asked.asks {
            if alive_since(holder).is_none_or(|since_index| ask.applied_index < since_index) {
                continue;
            }
            let standing = self.standings.entry(holder);
            let standing = standing.or_insert(Standing::first_seen(asked.began_us));
            if !standing.is_barred {
                standing.until_us = standing.until_us.max(Some(until_us));
                grants.push(TenureGrant {
                    holder,
                    number: ask.number,
                    tenure_us: self.timing.tenure_us,
                });
            }
        }
        grants
    }

    /// Leadership could not be confirmed: nobody gets anything from that round.
    pub fn unconfirmed(&mut self, round: Round) {
        self.under_way.take_if(|asked| asked.round == round);
    }

    /// Of these nodes, all alive in the applied state, those whose tenures have certainly run out.
    ///
    /// To be declared down in this order: whoever was heard of last goes last, and of a slot that they all held the last
    /// one keeps what it has.
    pub fn overdue(
        &mut self,
        alive: impl IntoIterator<Item = Incarnation>,
        now_us: u64,
    ) -> Vec<Incarnation> {
        let is_overdue = |node: &Incarnation| {
            let patience_us = self.patience_us(*node);
            let standing = self.standings.entry(*node);
            let standing = standing.or_insert(Standing::first_seen(now_us));
            let over_us = standing.until_us;
            now_us >= over_us.unwrap_or(standing.since_us.saturating_add(patience_us))
        };
        let mut overdue: Vec<Incarnation> = alive.into_iter().filter(is_overdue).collect();
        let until_us = |node: &Incarnation| self.standings.get(node).map(|it| it.until_us);
        overdue.sort_by_key(|node| (until_us(node), *node));
        overdue
    }

    /// Declares a node down, right before that is proposed to Raft: it gets nothing more from this leadership, not even
    /// from the round under way, before [`Grantor::decided`].
    ///
    /// # Errors
    /// [`StillHeld`] while it may hold a tenure of this leadership.
    pub fn declare_down(&mut self, node: Incarnation, now_us: u64) -> Result<(), StillHeld> {
        let standing = self.standings.entry(node);
        let standing = standing.or_insert(Standing::first_seen(now_us));
        match standing.until_us {
            Some(until_us) if now_us < until_us => Err(StillHeld { until_us }),
            _ => {
                standing.is_barred = true;
                self.waiting.remove(&node);
                Ok(())
            }
        }
    }

    /// Whether a life was declared down and that is not decided yet.
    #[must_use]
    pub fn is_barred(&self, node: Incarnation) -> bool {
        let standing = self.standings.get(&node);
        standing.is_some_and(|standing| standing.is_barred)
    }

    /// What was proposed of a life that was declared down is decided and applied: it took effect, or never will, since it
    /// compares with the index at which the life's state was changed last. If the state says that the life is alive, now
    /// or later, it may be granted again, and has its time to ask.
    pub fn decided(&mut self, node: Incarnation) {
        self.standings.remove(&node);
    }

    /// Forgets nodes that are not in the applied state any more, so that the table stays as small as the cluster.
    pub fn forget(&mut self, is_alive: impl Fn(Incarnation) -> bool) {
        self.standings
            .retain(|node, standing| standing.is_barred || is_alive(*node));
    }
}
