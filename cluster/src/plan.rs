//! What a node is told about its cluster before it starts: plain values. It must never know where they come from, save for
//! [`ClusterPlan::from_settings`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ultrakv_actors::Encoding;
use ultrakv_config::ClusterSettings;

use crate::block::{BlockOptions, BlockReports};
use crate::director::Origin;
use crate::raft::RaftTiming;
use crate::steward::StewardRules;

/// Where a node belongs.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// The name of this node in status and logs.
    pub node_name: String,
    /// The version of the binary.
    pub version: String,
    /// Every service, and its share group when it has one.
    pub services: BTreeMap<String, Option<String>>,
    /// How each service's blocks are stored; as they come where nothing is said.
    pub encodings: BTreeMap<String, Encoding>,
    /// The cluster that it is a member of; none for a cluster of its own that ends with the process.
    pub member: Option<MemberPlan>,
    /// What the shards tell of their blocks: the same that the node was started with as its watcher. None on a node whose
    /// blocks nobody else ever asks for.
    pub reports: Option<Arc<BlockReports>>,
}

/// What a member of a cluster is told.
#[derive(Clone, Debug)]
pub struct MemberPlan {
    pub(crate) certs: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) bind: SocketAddr,
    pub(crate) bulk_bind: SocketAddr,
    pub(crate) advertise: Option<String>,
    pub(crate) bulk_advertise: Option<String>,
    pub(crate) bulk_plain: bool,
    pub(crate) origin: Origin,
    pub(crate) zone: String,
    pub(crate) timing: RaftTiming,
    pub(crate) steward: StewardRules,
    pub(crate) blocks: BlockOptions,
    pub(crate) directory_bytes_max: u64,
}

impl ClusterPlan {
    /// The plan that the settings ask for.
    #[must_use]
    pub fn from_settings(settings: &ultrakv_config::Settings, version: &str) -> Self {
        let services = settings.services.iter();
        let data = settings.node.data.clone();
        Self {
            node_name: settings.node.name.clone(),
            version: version.to_owned(),
            services: services
                .map(|(name, service)| (name.clone(), service.share_group.clone()))
                .collect(),
            encodings: encodings(settings),
            // Settings with certificates and without a data folder do not load.
            member: data.and_then(|data| member(&settings.cluster, data)),
            reports: None,
        }
    }
}

fn encodings(settings: &ultrakv_config::Settings) -> BTreeMap<String, Encoding> {
    let services = settings.services.keys();
    services
        .map(|name| {
            let encoding = Encoding::from_settings(&settings.block_encoding(name));
            (name.clone(), encoding)
        })
        .collect()
}

fn member(settings: &ClusterSettings, data: PathBuf) -> Option<MemberPlan> {
    let certs = settings.certs.clone()?;
    let millis = |ms: u32| Duration::from_millis(u64::from(ms));
    let wide = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let delay_ms = u64::try_from(settings.repair_delay.as_millis()).unwrap_or(u64::MAX);
    Some(MemberPlan {
        certs,
        data,
        bind: settings.bind,
        bulk_bind: settings.bulk_bind,
        advertise: settings.advertise.clone(),
        bulk_advertise: settings.bulk_advertise.clone(),
        bulk_plain: settings.bulk_plain,
        origin: match (settings.found, settings.join.as_slice()) {
            (true, _) => Origin::Found,
            (false, []) => Origin::Wait,
            (false, seeds) => Origin::Join(seeds.to_vec()),
        },
        zone: settings.zone.clone().unwrap_or_default(),
        timing: RaftTiming {
            heartbeat: millis(settings.heartbeat_ms),
            election_min: millis(settings.election_ms_min),
            election_max: millis(settings.election_ms_max),
            ..RaftTiming::default()
        },
        steward: StewardRules {
            copies: wide(settings.copies),
            grace_ms: delay_ms,
            ..StewardRules::default()
        },
        blocks: BlockOptions {
            copies: wide(settings.block_copies),
            repair_after_ms: delay_ms,
            move_bytes_per_s: settings.move_bytes_per_second,
            ..BlockOptions::default()
        },
        directory_bytes_max: settings.directory_bytes_max,
    })
}
