//! What every handler may reach: handles and settings, cheap to clone. It holds no request's data and decides nothing.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use ultrakv_actors::clock::{Clock, Stopwatch};
use ultrakv_cluster::ClusterHandle;
use ultrakv_config::{Settings, Warning};
use ultrakv_model::Engine;

use crate::door::blocks::HeldLeases;
use crate::limits::Limits;
use crate::process::Processor;
use crate::server::OpenConnections;

/// The state behind every route.
#[derive(Clone)]
pub struct AppState {
    /// The path that turns prompts into answers.
    pub processor: Processor,
    /// Blocks, entries and the cluster's own state.
    pub cluster: ClusterHandle,
    /// The model that answers.
    pub engine: Engine,
    /// What the operator asked for.
    pub settings: Arc<Settings>,
    /// Settings that do not do what they say.
    pub warnings: Arc<[Warning]>,
    /// The only source of time.
    pub clock: Clock,
    /// What the metrics recorder has.
    pub recorded: PrometheusHandle,
    /// The bounds of the main door.
    pub(crate) limits: Limits,
    /// Blocks that clients of HTTP hold between requests.
    pub(crate) leases: HeldLeases,
    /// Connections of the main door.
    pub(crate) connections: OpenConnections,
    /// Places for those who gather figures.
    pub(crate) gatherers: Arc<Semaphore>,
    /// Cancelled when the node is on its way out.
    pub(crate) draining: CancellationToken,
    /// Runs since the gateway started.
    pub(crate) uptime: Stopwatch,
}
