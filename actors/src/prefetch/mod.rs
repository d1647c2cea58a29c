//! Prefetching on a node: the actor that drives the cache's prefetcher, the handle through which it is told what happens, and
//! the sink through which it fetches from elsewhere.
//!
//! ```text
//!   doors ── arrived, demanded, computed ──► PrefetchHandle ── permit ──► PrefetchActor ── cache::Prefetcher
//!   shards ── vanished ────────────────────────────┘                       │        ▲
//!                                                        Locate, Fetch     ▼        │ Located, Landed
//!                                                                     PrefetchSink (cluster) ──► local shard
//! ```
//! What is lost on the way costs a block that was not fetched ahead, and nothing else. It must never know nodes or lanes.

mod actor;
mod handle;
mod meters;
mod report;
mod sink;

pub(crate) use actor::PrefetchActor;
#[cfg(any(test, feature = "chaos"))]
pub(crate) use actor::PrefetchMsg;
pub use handle::PrefetchHandle;
pub(crate) use handle::PrefetchPort;
pub use report::{PrefetchReport, SourceReport};
pub use sink::{PrefetchSink, Whereabouts};
