//! The one supervisor there is: one for one, within a limit, then it dies itself.
//!
//! ```text
//!   child dies ──► within the limit ──► wait (0, 10, 20 ... ms) ──► start it again, new boot id
//!              └─► limit exceeded  ──► this supervisor fails; ractor kills the other children;
//!                                      its parent starts it again, or, at the root, the node ends
//! ```
//! It must never know what its children do.

use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use super::child::{ChildSpec, Role};
use super::intensity::{Intensity, RestartLimit, Verdict};
use super::tree::{ActorState, Tree};
use crate::clock::Clock;
use crate::telemetry;
use crate::{BootId, Entropy};

/// What all supervisors of a node share.
#[derive(Clone)]
pub(crate) struct Family {
    pub(crate) tree: Tree,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) limit: RestartLimit,
}

/// A supervisor of any children.
pub(crate) struct Supervisor;

/// What a supervisor is told when it starts.
pub(crate) struct Upbringing {
    pub(crate) path: String,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) family: Family,
}

/// What a supervisor is asked.
pub(crate) enum SupervisorMsg {
    /// The wait before a restart is over.
    Restart { name: String },
    /// Start one more child, and keep it alive like the others. For the root, which has no second
    /// life that could forget it.
    Attach {
        spec: ChildSpec,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Panic, in the middle of handling a message.
    #[cfg(any(test, feature = "chaos"))]
    Panic,
}

impl ractor::Message for SupervisorMsg {}

/// The supervisor's own memory.
pub(crate) struct Household {
    upbringing: Upbringing,
    intensity: Intensity,
    alive: Vec<(ActorId, String)>,
}

impl Household {
    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.upbringing.path)
    }

    fn spec(&self, name: &str) -> Option<ChildSpec> {
        let mut children = self.upbringing.children.iter();
        children.find(|spec| spec.name == name).cloned()
    }

    /// Starts one life of a child and notes it.
    async fn start(
        &mut self,
        myself: &ActorCell,
        spec: &ChildSpec,
    ) -> Result<(), ActorProcessingErr> {
        let family = &self.upbringing.family;
        let boot_id = BootId::draw(&family.entropy)?;
        let path = self.path_of(&spec.name);
        let cell = match &spec.role {
            Role::Worker(start) => start(myself.clone(), boot_id).await?,
            Role::Supervisor(children) => {
                let upbringing = Upbringing {
                    path: path.clone(),
                    children: children.to_vec(),
                    family: family.clone(),
                };
                // Boxed, since a supervisor's start contains its children's, without end.
                let spawn = Supervisor::spawn_linked(None, Supervisor, upbringing, myself.clone());
                let spawn: futures::future::BoxFuture<'_, _> = Box::pin(spawn);
                spawn.await?.0.get_cell()
            }
        };
        self.alive.push((cell.get_id(), spec.name.clone()));
        tracing::info!(actor = path, kind = spec.kind, boot_id = %boot_id, "actor started");
        family.tree.started(&path, spec.kind, boot_id, cell);
        Ok(())
    }

    /// Counts a death and starts the child again, now or later, or gives up.
    async fn bury(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        name: &str,
        reason: &str,
    ) -> Result<(), ActorProcessingErr> {
        let path = self.path_of(name);
        let Some(spec) = self.spec(name) else {
            return Ok(());
        };
        let mut reason = reason.to_owned();
        loop {
            let family = &self.upbringing.family;
            match self.intensity.died(family.clock.now()) {
                Verdict::Escalate => {
                    family.tree.ended(&path, ActorState::Stopped, &reason);
                    let limit = family.limit;
                    let reason = format!(
                        "{path} died more than {} times within {} ms; the last time: {reason}",
                        limit.restarts_max, limit.window_ms
                    );
                    family.tree.gave_up(&self.upbringing.path, &reason);
                    return Err(reason.into());
                }
                Verdict::Restart { after_ms: 0 } => {
                    tracing::warn!(actor = path, reason, "actor died and is started again");
                    family.tree.ended(&path, ActorState::Restarting, &reason);
                    telemetry::restarted(spec.kind);
                    let cell = myself.get_cell();
                    let Err(error) = self.start(&cell, &spec).await else {
                        return Ok(());
                    };
                    reason = error.to_string();
                }
                Verdict::Restart { after_ms } => {
                    tracing::warn!(
                        actor = path,
                        reason,
                        after_ms,
                        "actor died and will be back"
                    );
                    family.tree.ended(&path, ActorState::Restarting, &reason);
                    telemetry::restarted(spec.kind);
                    let name = name.to_owned();
                    let wait = Duration::from_millis(after_ms);
                    myself.send_after(wait, || SupervisorMsg::Restart { name });
                    return Ok(());
                }
            }
        }
    }

    async fn attach(
        &mut self,
        myself: &ActorCell,
        spec: ChildSpec,
    ) -> Result<(), ActorProcessingErr> {
        if self.spec(&spec.name).is_some() {
            return Err(format!("there is already a child named {}", spec.name).into());
        }
        self.start(myself, &spec).await?;
        self.upbringing.children.push(spec);
        Ok(())
    }
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = Household;
    type Arguments = Upbringing;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        upbringing: Upbringing,
    ) -> Result<Household, ActorProcessingErr> {
        let specs = upbringing.children.clone();
        let intensity = Intensity::new(upbringing.family.limit);
        let mut household = Household {
            upbringing,
            intensity,
            alive: Vec::with_capacity(specs.len()),
        };
        let cell = myself.get_cell();
        for spec in &specs {
            let started = household.start(&cell, spec).await;
            started.map_err(|error| format!("{}: {error}", household.path_of(&spec.name)))?;
        }
        Ok(household)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: SupervisorMsg,
        household: &mut Household,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::Restart { name } => {
                let cell = myself.get_cell();
                let Some(spec) = household.spec(&name) else {
                    return Ok(());
                };
                match household.start(&cell, &spec).await {
                    Ok(()) => Ok(()),
                    Err(error) => household.bury(&myself, &name, &error.to_string()).await,
                }
            }
            SupervisorMsg::Attach { spec, reply } => {
                let attached = household.attach(&myself.get_cell(), spec).await;
                // Nobody waiting for the answer is no reason to undo it.
                let _ = reply.send(attached.map_err(|error| error.to_string()));
                Ok(())
            }
            #[cfg(any(test, feature = "chaos"))]
            #[expect(clippy::panic, reason = "the message orders it")]
            SupervisorMsg::Panic => panic!("told to panic"),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        household: &mut Household,
    ) -> Result<(), ActorProcessingErr> {
        let (who, reason) = match event {
            // The last state is dropped here, before the next life starts: it may own memory that
            // the next life waits for.
            SupervisionEvent::ActorTerminated(who, state, reason) => {
                drop(state);
                (who, reason.unwrap_or_else(|| "stopped".to_owned()))
            }
            SupervisionEvent::ActorFailed(who, error) => (who, error.to_string()),
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_)
            | SupervisionEvent::PidLifecycleEvent(_) => return Ok(()),
        };
        let id = who.get_id();
        let Some(at) = household.alive.iter().position(|(alive, _)| *alive == id) else {
            return Ok(());
        };
        let (_, name) = household.alive.swap_remove(at);
        household.bury(&myself, &name, &reason).await
    }

    async fn post_stop(
        &self,
        myself: ActorRef<Self::Msg>,
        household: &mut Household,
    ) -> Result<(), ActorProcessingErr> {
        // Last started, first stopped: doors before what they need. No time limit here: whoever
        // stops the node has one, and kills at its end.
        let specs = household.upbringing.children.clone();
        for spec in specs.iter().rev() {
            let alive = household.alive.iter().find(|(_, name)| *name == spec.name);
            let Some((id, _)) = alive else { continue };
            let child = myself
                .get_children()
                .into_iter()
                .find(|cell| cell.get_id() == *id);
            if let Some(child) = child {
                let stopped = child
                    .stop_and_wait(Some("node stops".to_owned()), None)
                    .await;
                if stopped.is_err() {
                    tracing::debug!(actor = spec.name, "was already stopping");
                }
            }
            let path = household.path_of(&spec.name);
            household.upbringing.family.tree.stopped(&path);
        }
        Ok(())
    }
}
