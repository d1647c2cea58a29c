//! Supervision: who starts whom, who restarts whom, and when to give up.
//!
//! [`ChildSpec`] says how to start a child, `Supervisor` keeps children alive one for one within
//! a [`RestartLimit`], `Tree` is what everybody else may see of it. This module must never know
//! what its actors do.

mod child;
mod intensity;
mod supervisor;
mod tree;

#[cfg(test)]
mod tests;

pub use child::{ChildSpec, StartChild};
pub use intensity::{
    RESTART_BACKOFF_MS, RESTART_BACKOFF_MS_MAX, RESTART_WINDOW_MS, RESTARTS_MAX, RestartLimit,
};
pub(crate) use supervisor::{Family, Supervisor, SupervisorMsg, Upbringing};
pub(crate) use tree::Tree;
pub use tree::{ActorInfo, ActorState};
