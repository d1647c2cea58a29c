//! The process path: request → canonical form → response entry (hit: answer) → tokens → block keys
//! → longest cached prefix → the model continues from there → new blocks and the response are
//! stored.
//!
//! [`Processor`] is the only door into it, for every protocol. It knows no protocol, no JSON and no
//! actor; blocks and entries it reaches through the cluster's handle, the model through a back end.

mod answer;
mod canonical;
mod error;
mod flight;
mod request;
mod stats;

pub use answer::{Answer, CacheUse, Finish, ProcessOutcome};
pub use error::ProcessError;
pub use request::{CacheControl, Door, Priority, ProcessRequest, Prompt, Sampling};
pub use stats::{LatencyStats, ProcessStats, THROUGHPUT_WINDOW_S};

/// The process path's handle. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Processor;

impl Processor {
    /// Starts the path.
    #[expect(
        clippy::unused_async,
        clippy::missing_errors_doc,
        reason = "first landing"
    )]
    pub async fn start(
        _node: &ultrakv_actors::Node,
        _cluster: ultrakv_cluster::ClusterHandle,
        _engine: ultrakv_model::Engine,
        _settings: &ultrakv_config::Settings,
    ) -> Result<Self, ultrakv_actors::StartError> {
        Ok(Self)
    }

    /// The path's figures now.
    #[must_use]
    pub fn stats(&self) -> ProcessStats {
        ProcessStats::default()
    }
}
