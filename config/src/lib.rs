//! Settings: YAML, environment and flags, parsed into types that cannot be wrong.
//!
//! This room knows every key an operator may write, what each means, which words the original documentation used for
//! it, and what to say when it is wrong. It must never know what a setting is used for: no sockets, no cache, no model.

pub mod ports;
mod problem;
mod settings;

pub use problem::{ConfigError, Origin, Problem, Warning};
pub use settings::{
    ADMIN_SERVICE, AuthSettings, CacheSettings, DEFAULT_SERVICE, Devices, DoorSettings, KvDtype,
    LimitSettings, LogFormat, LogSettings, ModelSettings, ModelSource, NodeSettings, Policy,
    ProcessSettings, ServiceSettings, Settings, Strategy,
};
