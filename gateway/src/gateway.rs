//! Opening and closing the doors, in order.
//!
//! Addresses are held before anything else, so that a taken port is found while nothing runs; the main door opens last and closes
//! first, so that health can be asked for as long as anything is served.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use ultrakv_actors::Node;
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_cluster::ClusterHandle;
use ultrakv_config::{LimitSettings, Origin, Settings, Warning};
use ultrakv_model::Engine;

use crate::auth::tokens::{self, TokenFileError, Tokens};
use crate::auth::{Access, Door};
use crate::door;
use crate::door::blocks::HeldLeases;
use crate::figures::GATHERERS_MAX;
use crate::limits::{self, Limits};
use crate::openapi;
use crate::process::Processor;
use crate::server::{BoundDoor, DoorPlan, ListeningDoor, OpenConnections, OpenDoor};
use crate::stack::Stack;
use crate::state::AppState;

/// Connections of the admin door: operators and probes, not clients.
const ADMIN_CONNECTIONS_MAX: u32 = 256;

/// Requests in progress at the admin door.
const ADMIN_REQUESTS_MAX: u32 = 64;

/// The largest body at the admin door.
const ADMIN_BODY_BYTES_MAX: u64 = 64 << 10;

/// The longest a request at the admin door takes.
const ADMIN_REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the admin door may take to close after the main door has closed.
const ADMIN_CLOSE_TIME: Duration = Duration::from_secs(1);

/// How often the recorder is swept.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What the gateway is started with.
pub struct GatewayParts {
    /// The node whose tree the gateway's actors join.
    pub node: Node,
    /// Blocks, entries and the cluster's own state.
    pub cluster: ClusterHandle,
    /// The model that answers.
    pub engine: Engine,
    /// What the operator asked for.
    pub settings: Settings,
    /// Settings that do not do what they say.
    pub warnings: Vec<Warning>,
    /// What renders the process's metrics. The gateway also sweeps it.
    pub recorded: PrometheusHandle,
}

/// The open doors.
pub struct Gateway {
    http: OpenDoor,
    admin: OpenDoor,
    draining: CancellationToken,
    upkeep: JoinHandle<()>,
    clock: Clock,
}

/// Why the doors did not open.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address could not be taken.
    #[error("the {door} door cannot listen on {address}: {source}")]
    Bind {
        /// Which door.
        door: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A door would be open to other machines without asking for tokens.
    #[error(
        "the {door} door would listen on {address}, which other machines can reach, without asking for tokens"
    )]
    Exposed {
        /// Which door.
        door: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The token file was refused.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// The gateway's actors did not start.
    #[error("the gateway's actors did not start: {0}")]
    Actors(#[from] ultrakv_actors::StartError),
}

impl StartError {
    /// The stable name of this kind of error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "gateway.bind",
            Self::Exposed { .. } => "gateway.exposed",
            Self::Tokens(error) => error.code(),
            Self::Actors(_) => "gateway.actors",
        }
    }

    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Bind { door, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                format!(
                    "another process listens there, perhaps another node: stop it, or choose another port with {door}.bind \
                 (port 0 takes a free one)"
                )
            }
            Self::Bind { door, source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need privileges: choose another with {door}.bind")
            }
            Self::Bind { door, .. } => {
                format!("choose an address of this machine with {door}.bind")
            }
            Self::Exposed { door, .. } => {
                format!(
                    "configure auth.token_file, or let {door}.bind be a loopback address such as 127.0.0.1"
                )
            }
            Self::Tokens(error) => error.hint().to_owned(),
            Self::Actors(_) => "see the log for the actor that failed".to_owned(),
        }
    }
}

/// The addresses of the doors, held while everything behind them is made, and who may come in there.
#[derive(Debug)]
pub struct HeldDoors {
    http: BoundDoor,
    admin: BoundDoor,
    access: Access,
    warnings: Vec<Warning>,
    connections: OpenConnections,
}

/// Holds the addresses of the doors and reads the token file. Nobody can connect yet.
///
/// # Errors
/// [`StartError`], with a hint for the operator; nothing is held.
///
/// # Panics
/// Outside a tokio runtime.
pub fn hold(settings: &Settings) -> Result<HeldDoors, StartError> {
    let mut warnings = Vec::new();
    let access = access(settings, &mut warnings)?;
    let connections = OpenConnections::default();
    let http = bind(
        Door::Http,
        settings.http.bind,
        &access,
        &settings.limits,
        connections.clone(),
    )?;
    let admin = bind(
        Door::Admin,
        settings.admin.bind,
        &access,
        &admin_limits(&settings.limits),
        OpenConnections::default(),
    )?;
    Ok(HeldDoors {
        http,
        admin,
        access,
        warnings,
        connections,
    })
}

/// Holds the doors and opens them at once.
///
/// # Errors
/// [`StartError`], with a hint for the operator; nothing is left open.
pub async fn start(parts: GatewayParts) -> Result<Gateway, StartError> {
    open(hold(&parts.settings)?, parts).await
}

/// Opens the doors that were held for the same settings.
///
/// # Errors
/// [`StartError`], with a hint for the operator; nothing is left open.
pub async fn open(held: HeldDoors, parts: GatewayParts) -> Result<Gateway, StartError> {
    let GatewayParts {
        node,
        cluster,
        engine,
        settings,
        mut warnings,
        recorded,
    } = parts;
    let HeldDoors {
        http,
        admin,
        access,
        warnings: found,
        connections,
    } = held;
    warnings.extend(found);
    let clock = node.clock().clone();
    let (http_limits, admin_limits) = (&settings.limits, admin_limits(&settings.limits));
    let (http, admin) = (listen(http)?, listen(admin)?);

    let processor = Processor::start(&node, cluster.clone(), engine.clone(), &settings).await?;
    let limits = Limits::new(Door::Http, clock.clone(), http_limits);
    let admin_limits = Limits::new(Door::Admin, clock.clone(), &admin_limits);
    let draining = CancellationToken::new();
    let state = AppState {
        processor,
        cluster,
        engine,
        settings: Arc::new(settings),
        warnings: warnings.into(),
        clock: clock.clone(),
        recorded: recorded.clone(),
        limits: limits.clone(),
        leases: HeldLeases::new(clock.clone()),
        connections,
        gatherers: Arc::new(Semaphore::new(GATHERERS_MAX)),
        draining: draining.clone(),
        uptime: clock.stopwatch(),
    };
    let open = |listening: ListeningDoor, door: Door, limits: Limits| {
        let (router, paths) = openapi::finish(door, door::routes(door));
        let stack = Stack {
            door,
            access: access.clone(),
            limits,
            clock: clock.clone(),
        };
        listening.open(
            stack.around(router.with_state(state.clone()), paths),
            clock.clone(),
        )
    };
    let admin = open(admin, Door::Admin, admin_limits);
    let http = open(http, Door::Http, limits);
    tracing::info!(http = %http.address(), admin = %admin.address(), "the doors are open");
    Ok(Gateway {
        http,
        admin,
        draining,
        upkeep: tokio::spawn(keep_up(recorded)),
        clock,
    })
}

impl Gateway {
    /// Where the main door listens.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http.address()
    }

    /// Where the admin door listens.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Says on `/readyz` that the node is about to stop, so that nobody new is sent here, and serves on.
    pub fn announce_stop(&self) {
        self.draining.cancel();
    }

    /// Closes the doors: readiness first says no, the main door finishes what it has begun until the deadline, the admin door
    /// closes last. Returns whether every request was finished.
    pub async fn shutdown(self, deadline: Deadline) -> bool {
        self.draining.cancel();
        let finished = self.http.close(self.clock.remaining(deadline)).await;
        self.admin.close(ADMIN_CLOSE_TIME).await;
        self.upkeep.abort();
        tracing::info!(finished, "the doors are closed");
        finished
    }
}

/// Folds the recorder's samples together now and then, so that histograms stay small when nobody scrapes.
async fn keep_up(recorded: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        recorded.run_upkeep();
    }
}

/// Who may come in.
fn access(settings: &Settings, warnings: &mut Vec<Warning>) -> Result<Access, StartError> {
    let services: BTreeSet<String> = settings.services.keys().cloned().collect();
    let tokens = match &settings.auth.token_file {
        None => None,
        Some(path) => {
            let (tokens, exposed) = Tokens::read(path, &services)?;
            if let Some(message) = exposed {
                tracing::warn!(code = tokens::MODE_CODE, "{message}");
                warnings.push(Warning {
                    code: tokens::MODE_CODE,
                    key: "auth.token_file".to_owned(),
                    origin: Origin::Default,
                    message,
                    hint: Some(format!("chmod 600 {}", path.display())),
                });
            }
            Some(tokens)
        }
    };
    Ok(Access::new(services, tokens))
}

/// The bounds of the admin door: its own, so that a busy main door cannot hide the node's health.
fn admin_limits(http: &LimitSettings) -> LimitSettings {
    LimitSettings {
        body_bytes_max: http.body_bytes_max.min(ADMIN_BODY_BYTES_MAX),
        requests_concurrent_max: ADMIN_REQUESTS_MAX,
        connections_max: ADMIN_CONNECTIONS_MAX,
        request_timeout: http.request_timeout.min(ADMIN_REQUEST_TIME_MAX),
        ..http.clone()
    }
}

fn bind(
    door: Door,
    address: SocketAddr,
    access: &Access,
    settings: &LimitSettings,
    connections: OpenConnections,
) -> Result<BoundDoor, StartError> {
    if access.is_open() && !address.ip().is_loopback() {
        return Err(StartError::Exposed {
            door: door.name(),
            address,
        });
    }
    let plan = DoorPlan {
        name: door.name(),
        bind: address,
        connections_max: limits::connections_max(door, settings.connections_max),
        header_timeout: settings.header_timeout,
        request_timeout: settings.request_timeout,
        connections,
    };
    BoundDoor::bind(plan).map_err(|source| StartError::Bind {
        door: door.name(),
        address,
        source,
    })
}

fn listen(door: BoundDoor) -> Result<ListeningDoor, StartError> {
    let (name, address) = door.place();
    door.listen().map_err(|source| StartError::Bind {
        door: name,
        address,
        source,
    })
}
