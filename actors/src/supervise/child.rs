//! How one child of a supervisor is started, as often as it must be.
//!
//! It must never know when: that is the supervisor's.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr};

use crate::BootId;

/// Starts one life of an actor under a supervisor.
pub type StartChild = Arc<
    dyn Fn(ActorCell, BootId) -> BoxFuture<'static, Result<ActorCell, ActorProcessingErr>>
        + Send
        + Sync,
>;

/// A child that a supervisor starts, and starts again whenever it dies.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) role: Role,
}

#[derive(Clone)]
pub(crate) enum Role {
    Worker(StartChild),
    Supervisor(Arc<[ChildSpec]>),
}

impl ChildSpec {
    /// An actor. `make` is called for each of its lives and must give the same actor each time;
    /// what a life learnt and the next one must know lives in what `make` captures.
    pub fn actor<A, F>(name: impl Into<String>, kind: &'static str, make: F) -> Self
    where
        A: Actor,
        F: Fn(BootId) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let start: StartChild = Arc::new(move |supervisor, boot_id| {
            let (actor, arguments) = make(boot_id);
            Box::pin(async move {
                // No global name: one process may hold several nodes, as tests do.
                let (actor, _task) = A::spawn_linked(None, actor, arguments, supervisor).await?;
                Ok(actor.get_cell())
            })
        });
        Self {
            name: name.into(),
            kind,
            role: Role::Worker(start),
        }
    }

    /// A supervisor of these children, which it starts in this order and stops in the reverse.
    pub fn supervisor(
        name: impl Into<String>,
        kind: &'static str,
        children: impl Into<Arc<[Self]>>,
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            role: Role::Supervisor(children.into()),
        }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
