//! The doors: HTTP, the `OpenAI` API, blocks and admin, and the process path behind them.
//!
//! A request enters through a `server` that bounds connections, headers, bodies, time and concurrency; [`auth`] names the
//! calling service; a file in [`door`] turns the request into one call on the cluster's handle or on the [`process`] path; and
//! whatever goes wrong leaves as a [`problem`] with a stable code and a hint. Nothing here knows how blocks are stored: the
//! rooms below are reached through handles only.

pub mod admission;
pub mod auth;
pub mod backend;
pub mod door;
pub mod edge;
pub mod extract;
mod figures;
mod gateway;
pub mod gateway_actor;
pub mod limits;
mod openapi;
pub mod problem;
pub mod process;
mod server;
pub mod service_actor;
mod stack;
pub mod state;
pub mod telemetry;

pub use auth::Caller;
pub use gateway::{Gateway, GatewayParts, HeldDoors, StartError, hold, open, start};
pub use problem::Problem;
pub use state::AppState;
