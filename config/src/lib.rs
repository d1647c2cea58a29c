//! Settings: YAML, environment and flags, parsed into types that cannot be wrong.
//!
//! This room knows every key an operator may write, what each means, which words the original documentation used for
//! it, and what to say when it is wrong. It must never know what a setting is used for: no sockets, no cache, no model.
//!
//! ```text
//! file, variable, flag ──► Given (what was typed, where) ──► Settings (what it means)
//!            yaml, environment            settle, check
//! ```

mod check;
mod dotenv;
mod environment;
mod key;
mod load;
mod plain;
mod plan;
pub mod ports;
mod preset;
mod problem;
mod schema;
mod settings;
mod settle;
mod show;
mod source;
mod suggest;
mod value;
mod yaml;

pub use environment::{COMMAND_LINE_VARIABLES, is_prefixed};
pub use load::load;
pub use plan::{Binds, Plan, PlanRequest, PlanRow, PlanWarning, Shape, plan};
pub use problem::{ConfigError, Origin, Problem, Warning};
pub use schema::schema;
pub use settings::{
    ADMIN_SERVICE, AuthSettings, BlockEncoding, CacheSettings, ClusterSettings, DEFAULT_SERVICE,
    Devices, DoorSettings, ERROR_PPM_DEFAULT, EncodingSettings, KvDtype, LimitSettings, LogFormat,
    LogSettings, ModelSettings, ModelSource, NodeSettings, ProcessSettings, Rung, ServiceSettings,
    Settings, Strategy,
};
pub use settle::{Loaded, ShapeHints};
pub use show::{Effective, effective, to_yaml};
pub use source::{FlagValue, Sources};
pub use suggest::closest;
