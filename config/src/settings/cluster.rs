//! What a node is told about the cluster it belongs to. Without certificates it is a cluster of one and none of this counts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ports;

/// How a node belongs to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The node's certificates, as `ultrakv certs node` writes them; the node is a cluster of one without them.
    pub certs: Option<PathBuf>,
    /// Where Raft, control messages and the mesh listen, over QUIC (UDP); port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Where block bytes are asked for, over TCP; port 0 lets the system choose.
    pub bulk_bind: SocketAddr,
    /// The `host:port` by which others reach [`Self::bind`]; the bound address when none is given. A name is looked up
    /// each time somebody dials.
    pub advertise: Option<String>,
    /// The `host:port` by which others reach [`Self::bulk_bind`]; the bound address when none is given.
    pub bulk_advertise: Option<String>,
    /// Members to ask when the data folder knows no cluster yet: `host:port` of their [`Self::bind`], names allowed. A
    /// node's own address among them is to be passed over.
    pub join: Vec<String>,
    /// Whether to found a cluster when the data folder knows none yet.
    pub found: bool,
    /// What fails together with this node; copies are kept in different zones where there are several.
    pub zone: Option<String>,
    /// Copies of each entry, the owner's among them; never more than there are nodes.
    pub copies: u32,
    /// Copies of each block at its first commit.
    pub block_copies: u32,
    /// Whether block bytes travel without TLS.
    pub bulk_plain: bool,
    /// Between two heartbeats of the Raft leader.
    pub heartbeat_ms: u32,
    /// The shortest time without a heartbeat after which a voter stands for election.
    pub election_ms_min: u32,
    /// The longest; tenures are nine tenths of it.
    pub election_ms_max: u32,
    /// How long a member may be down before what it held is copied again.
    pub repair_delay: Duration,
    /// What moving and repairing may take of this node's network, unless a job says otherwise.
    pub move_bytes_per_second: u64,
    /// The memory that the directory of blocks may take; every member needs the same.
    pub directory_bytes_max: u64,
}

impl ClusterSettings {
    /// Whether the node is a member of a cluster, rather than one of its own.
    #[must_use]
    pub const fn is_member(&self) -> bool {
        self.certs.is_some()
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            certs: None,
            bind: ports::loopback(ports::CLUSTER),
            bulk_bind: ports::loopback(ports::BULK),
            advertise: None,
            bulk_advertise: None,
            join: Vec::new(),
            found: false,
            zone: None,
            copies: 3,
            block_copies: 1,
            bulk_plain: false,
            heartbeat_ms: 60,
            election_ms_min: 200,
            election_ms_max: 400,
            repair_delay: Duration::from_secs(30),
            move_bytes_per_second: 64 << 20,
            directory_bytes_max: 256 << 20,
        }
    }
}
