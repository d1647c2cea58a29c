//! The loops around the library: who watches that a majority answers, who votes, and when the log is cut.
//!
//! Responsible for doing what the pure parts decide. It must never decide anything itself.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::{ChangeMembers, ServerState};

use super::handle::{Consensus, Inner};
use super::timing::micros;
use super::types::{Addresses, RaftId};
use super::voters::{self, Scene, Seen, Step};
use super::watchdog::{Sight, Watchdog};

/// A change of members that takes longer is looked at anew; it may still come to its end.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// How often the log's length is looked at.
const CUT_EVERY: Duration = Duration::from_millis(500);

impl Inner {
    /// Watches for the end of consensus, and for a leader that no majority answers.
    pub(super) async fn watch(&self) {
        let mut watchdog = Watchdog::new(micros(self.timing.election_max));
        let every = self.timing.election_max / 8;
        let mut metrics = self.raft.metrics();
        loop {
            let seen = metrics.borrow_and_update().clone();
            metrics::gauge!("ultrakv_raft_term").set(lossy(seen.current_term));
            metrics::gauge!("ultrakv_raft_applied_index")
                .set(lossy(self.published.applied_index()));
            metrics::gauge!("ultrakv_raft_is_leader")
                .set(f64::from(u8::from(seen.state == ServerState::Leader)));
            if let Err(fatal) = &seen.running_state {
                let reason = fatal.to_string();
                tracing::error!(reason, "consensus stopped; this node must stop");
                self.fatal.send_replace(Some(reason));
                return;
            }
            let leads = seen.state == ServerState::Leader;
            let sight = Sight {
                term: leads.then_some(seen.current_term),
                has_peers: seen.membership_config.membership().voter_ids().count() > 1,
                acked_before_us: seen
                    .millis_since_quorum_ack
                    .map(|millis| millis.saturating_mul(1000)),
            };
            self.silence(watchdog.step(self.ways.clock.boot_us(), sight));
            // The library speaks at each of its ticks; what ends it is told at once.
            let _ = tokio::time::timeout(every, metrics.changed()).await;
            tokio::time::sleep(every / 4).await;
        }
    }

    /// Begins or ends this leader's silence.
    fn silence(&self, is_silent: bool) {
        if self.ways.is_muted.swap(is_silent, Ordering::SeqCst) == is_silent {
            return;
        }
        self.raft.runtime_config().heartbeat(!is_silent);
        if is_silent {
            metrics::counter!("ultrakv_raft_quorum_lost_total").increment(1);
            tracing::warn!(
                "no majority answers this leader: it is silent, so that another one can be elected"
            );
        } else {
            tracing::info!("this member speaks again");
        }
    }

    /// Makes a snapshot whenever enough was logged since the last; the library then cuts the log behind it.
    pub(super) async fn cut_logs(&self) {
        let mut changes = self.published.changes();
        while changes.changed().await.is_ok() {
            let logged_bytes = self.published.logged_bytes();
            let is_due = logged_bytes >= self.snapshots.log_bytes_min
                && logged_bytes >= self.published.state_bytes();
            if is_due {
                tracing::info!(logged_bytes, "a snapshot of the metadata is made");
                if self.raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(CUT_EVERY).await;
        }
    }
}

impl Consensus {
    /// Keeps the voters as they should be, while this node leads.
    pub(super) async fn reconcile(&self) {
        let rules = self.inner.rules;
        let mut led: Option<(u64, u64)> = None;
        loop {
            let poked = self.inner.look_at_voters.notified();
            let _ = tokio::time::timeout(rules.every, poked).await;
            let Some(term) = self.leading() else {
                led = None;
                continue;
            };
            let now_us = self.clock().boot_us();
            let since_us = led
                .filter(|(led, _)| *led == term)
                .map_or(now_us, |led| led.1);
            led = Some((term, since_us));
            let stepped = tokio::time::timeout(CHANGE_MAX, self.step(since_us)).await;
            match stepped {
                // There may be more to do.
                Ok(true) => self.inner.look_at_voters.notify_one(),
                Ok(false) => {}
                Err(_) => tracing::warn!("a change of the voters takes long"),
            }
        }
    }

    /// One change, if one is due. Whether it was made.
    async fn step(&self, since_us: u64) -> bool {
        // A state that lags would call members strangers.
        if self.confirm_leadership().await.is_err() {
            return false;
        }
        let scene = self.scene(since_us);
        self.inner
            .ways
            .heard
            .retain(|id| scene.known.iter().any(|seen| seen.id == *id));
        let Some(step) = voters::next(&scene) else {
            return false;
        };
        tracing::info!(?step, "the members of consensus change");
        let raft = &self.inner.raft;
        let changed = match &step {
            Step::Vote(voters) => raft.change_membership(voters.clone(), true).await,
            Step::Learn(id) => raft.add_learner(*id, self.addresses(*id), false).await,
            Step::Forget(id) => {
                let change = ChangeMembers::RemoveNodes(BTreeSet::from([*id]));
                raft.change_membership(change, true).await
            }
        };
        if let Err(error) = &changed {
            tracing::info!(?step, %error, "the change was not made; it is looked at again");
        }
        changed.is_ok()
    }

    fn addresses(&self, id: RaftId) -> Addresses {
        let view = self.view();
        let record = view.members().get(id.node);
        let lane = record.and_then(|record| record.addresses.control.parse().ok());
        Addresses {
            lanes: lane.into_iter().collect(),
        }
    }

    fn scene(&self, since_us: u64) -> Scene {
        let rules = self.inner.rules;
        let metrics = self.inner.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let last = metrics.last_log_index.unwrap_or(0);
        let now_us = self.clock().boot_us();
        let known = membership.nodes().map(|(id, _)| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(id));
            let matched = matched.copied().flatten().map(|log| log.index);
            let heard_us = self.inner.ways.heard.of(id);
            let silent_us = now_us.saturating_sub(heard_us.unwrap_or(0).max(since_us));
            let is_me = *id == self.inner.id;
            let lags = matched.is_none_or(|matched| last.saturating_sub(matched) > rules.lag_max);
            let is_heard =
                heard_us.is_some() && silent_us < micros(self.inner.timing.election_max) * 2;
            Seen {
                id: *id,
                is_dead: !is_me && silent_us >= micros(rules.dead_after),
                is_caught_up: is_me || is_heard && !lags,
            }
        });
        let view = self.view();
        let wanted = view.members().present().map(|(node, record)| RaftId {
            node,
            disk: record.disk,
        });
        Scene {
            me: self.inner.id,
            configs: membership.get_joint_config().clone(),
            known: known.collect(),
            wanted: wanted.collect(),
        }
    }
}

/// A number for a gauge, which is a fraction.
fn lossy(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
