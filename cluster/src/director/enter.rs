//! A life's way into the cluster: founding one, joining one through its members, or going on where the last life ended.
//!
//! It must never found a cluster twice, nor join one that it was not told to join.

use std::time::Duration;

use super::Directed;
use crate::NodeId;
use crate::book::resolve;
use crate::metadata::{
    COMMANDS_VERSION, ClusterId, Command, Found, MemberState, Outcome, Secret, ServiceSet, Sharing,
    View,
};

/// The time for one try.
const TRY_WITHIN: Duration = Duration::from_secs(3);

/// How a node comes into its cluster when its store is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It founds one.
    Found,
    /// It asks one of these members, `host:port` each.
    Join(Vec<String>),
    /// It waits until somebody tells it which.
    Wait,
}

/// How far this life is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has not tried yet.
    Starting,
    /// Its store is new and nobody has told it where to go.
    Waiting,
    /// It tries; the last try ended so.
    Entering {
        /// Why the last try failed; empty before the first has.
        reason: String,
    },
    /// It is a member.
    Member,
    /// It was one, and left.
    Left,
}

impl Directed {
    /// Takes one step on the way, unless this life has arrived.
    pub(super) async fn enter(&self, view: &View) {
        let me = view.members().get(self.me);
        if let Some(me) = me.filter(|record| record.boot == self.boot) {
            let phase = if me.state == MemberState::Left {
                Phase::Left
            } else {
                Phase::Member
            };
            self.set_phase(phase);
            return;
        }
        if *self.stepping_aside.borrow() {
            return;
        }
        let origin = self.origin.lock().clone();
        let tried = if self.consensus.is_pristine() {
            match origin {
                Origin::Found => self.found().await,
                Origin::Join(seeds) => self.join(&seeds).await,
                Origin::Wait => {
                    self.set_phase(Phase::Waiting);
                    return;
                }
            }
        } else {
            self.come_back(view, &origin).await
        };
        if let Err(reason) = tried {
            tracing::warn!(
                reason,
                "this node is not in its cluster yet; it tries again"
            );
            self.set_phase(Phase::Entering { reason });
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.send_if_modified(|known| {
            let is_news = *known != phase;
            *known = phase;
            is_news
        });
    }

    async fn found(&self) -> Result<(), String> {
        let draw = self.entropy.draw().map_err(|error| error.to_string())?;
        let found = Found {
            cluster: ClusterId(u128::from_le_bytes(draw)),
            version: COMMANDS_VERSION,
            directory_bytes_max: self.directory_bytes_max,
            at_unix_ms: self.about.at_unix_ms,
        };
        let deadline = self.clock.deadline(TRY_WITHIN);
        let founded = self
            .consensus
            .found(found, self.about.clone(), deadline)
            .await;
        match founded {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refusal)) => Err(refusal.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn join(&self, seeds: &[String]) -> Result<(), String> {
        let lanes = self
            .lanes
            .as_ref()
            .ok_or("this node has no certificates to join a cluster with")?;
        let deadline = self.clock.deadline(TRY_WITHIN);
        let mut reasons = Vec::new();
        let mut via = Vec::new();
        for seed in seeds {
            for address in resolve(seed).await {
                match lanes.quic.introduce(address, deadline).await {
                    Ok(node) => {
                        via.push(node);
                        break;
                    }
                    Err(error) => reasons.push(format!("{seed}: {error}")),
                }
            }
        }
        if via.is_empty() {
            if reasons.is_empty() {
                reasons.push("no seed's name can be resolved".to_owned());
            }
            return Err(reasons.join("; "));
        }
        self.ask_in(&via).await
    }

    /// A store that is not new knows the members; the seeds help when all of them have moved.
    async fn come_back(&self, view: &View, origin: &Origin) -> Result<(), String> {
        let members = view.members().present().map(|(node, _)| node);
        let via: Vec<NodeId> = members.filter(|node| *node != self.me).collect();
        let back = self.ask_in(&via).await;
        match (back, origin) {
            (Err(_), Origin::Join(seeds)) if self.lanes.is_some() => self.join(seeds).await,
            // What a crash cut short between the first vote and the founding's command.
            (Err(_), Origin::Found) if view.cluster().is_none() => self.found().await,
            (back, _) => back,
        }
    }

    async fn ask_in(&self, via: &[NodeId]) -> Result<(), String> {
        let deadline = self.clock.deadline(TRY_WITHIN);
        let joined = self.consensus.join(via, self.about.clone(), deadline).await;
        let joined = joined.map_err(|error| format!("{error} ({})", error.hint()))?;
        match joined.outcome {
            Outcome::Applied(_) => {
                let applied = self.consensus.wait_applied(joined.index, deadline).await;
                applied.map_err(|error| error.to_string())
            }
            Outcome::Refused(refusal) => Err(format!("{refusal} ({})", refusal.hint())),
            // Another life of this node came in between; the next try sees it.
            Outcome::Stale(_) => Err("another life of this node was faster".to_owned()),
        }
    }

    /// Services of the settings that the cluster does not know yet.
    pub(super) fn missing_services(&self, view: &View) -> Vec<Command> {
        let missing = self
            .services
            .iter()
            .filter(|(service, _)| view.services().find(service).is_none());
        let set = missing.filter_map(|(service, group)| {
            // Drawn here and used only by whoever is first with this sharing.
            let secret = Secret::from_bytes(self.entropy.draw().ok()?);
            let sharing = match group {
                Some(group) => Sharing::Group(group.clone()),
                None => Sharing::Alone(service.clone()),
            };
            Some(Command::ServiceSet(ServiceSet {
                service: service.clone(),
                sharing,
                secret,
            }))
        });
        set.collect()
    }
}
