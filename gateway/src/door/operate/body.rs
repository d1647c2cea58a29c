//! What operators send: ids in paths, options in bodies. Unknown fields are refused, as everywhere.

use std::num::NonZeroU64;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::{Deserialize, Deserializer};
use ultrakv_cluster::{JobId, NodeId};
use utoipa::ToSchema;

use crate::problem::Problem;

/// Seeds of one request: more than anybody types, and one that answers is enough.
const SEEDS_MAX: usize = 64;

/// The member that a path names.
pub(super) struct NodeNamed(pub(super) NodeId);

impl<S: Send + Sync> FromRequestParts<S> for NodeNamed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = id(parts, state).await?;
        NodeId::parse(&text).map(Self).ok_or_else(|| {
            Problem::bad_request("node_id_invalid", "the path names no node's id")
                .hint("an id is 32 hexadecimal digits in lower case; /v1/cluster/layout lists them")
                .param("id")
        })
    }
}

/// The job that a path names.
pub(super) struct JobNamed(pub(super) JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobNamed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = id(parts, state).await?;
        JobId::parse(&text).map(Self).ok_or_else(|| {
            Problem::bad_request("job_id_invalid", "the path names no job's id")
                .hint("an id is 32 hexadecimal digits in lower case; /v1/cluster/jobs lists them")
                .param("id")
        })
    }
}

async fn id<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|rejection| {
        Problem::bad_request("path_invalid", rejection.body_text()).param("id")
    })
}

/// How a member is drained.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainBody {
    /// Whether it leaves the cluster once it is drained.
    #[serde(default)]
    pub(super) leave: bool,
    /// The most bytes a second that each node may move for it; the nodes' own setting when absent.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1)]
    throttle_bytes_per_second: Option<NonZeroU64>,
}

impl DrainBody {
    pub(super) fn throttle(&self) -> Option<u64> {
        self.throttle_bytes_per_second.map(NonZeroU64::get)
    }
}

/// How slots are spread.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RebalanceBody {
    /// The most bytes a second that each node may move for it; the nodes' own setting when absent.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1)]
    throttle_bytes_per_second: Option<NonZeroU64>,
}

impl RebalanceBody {
    pub(super) fn throttle(&self) -> Option<u64> {
        self.throttle_bytes_per_second.map(NonZeroU64::get)
    }
}

/// How fast a job may move.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ThrottleBody {
    /// The most bytes a second that each node may move for it; null for the nodes' own setting.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u64>, minimum = 1, required = true)]
    throttle_bytes_per_second: Option<NonZeroU64>,
}

impl ThrottleBody {
    pub(super) fn throttle(&self) -> Option<u64> {
        self.throttle_bytes_per_second.map(NonZeroU64::get)
    }
}

/// A field that may be null and must be there, so that nobody lifts a throttle by leaving a word out.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU64>, D::Error> {
    Option::deserialize(deserializer)
}

/// Whom this node asks for admission.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinBody {
    /// What members advertise, such as `node-1:7802`; the first that answers is joined.
    #[schema(min_items = 1, max_items = 64)]
    seeds: Vec<String>,
}

impl JoinBody {
    /// The seeds.
    ///
    /// # Errors
    /// 400 for none, or for more than anybody means.
    pub(super) fn seeds(self) -> Result<Vec<String>, Problem> {
        if (1..=SEEDS_MAX).contains(&self.seeds.len()) {
            return Ok(self.seeds);
        }
        let told = format!("seeds must list 1 to {SEEDS_MAX} members");
        Err(Problem::bad_request("seeds_count", told)
            .hint("give what a member advertises, such as `node-1:7802`")
            .param("seeds"))
    }
}
