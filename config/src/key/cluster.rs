//! The settings of section `cluster`: how a node belongs to a cluster. They count once `cluster.certs` is set.

use super::ours::{BYTES_MAX, TIME, bytes, count, setting};
use super::{Key, Meaning};
use crate::plain::{ByteCount, Plain};
use crate::value::{Kind, Value};

/// More copies than any cluster of the declared size needs.
const COPIES_MAX: u32 = 7;
/// Heartbeats and elections: below this a scheduler's pause is an election, above it nobody notices a failure.
const BEAT_MS: Kind = Kind::Count {
    min: 10,
    max: 60_000,
};

/// Every setting of the section.
pub(super) const KEYS: &[Key] = &[
    setting!(
        "cluster.certs",
        Kind::Path,
        cluster.certs,
        "The folder that `ultrakv certs node` made; with it the node is a member of a cluster, and needs node.data."
    ),
    setting!(
        "cluster.bind",
        Kind::Address,
        cluster.bind,
        "Where messages between nodes arrive (QUIC over UDP); mutual TLS always, so no token file is needed."
    ),
    setting!(
        "cluster.bulk_bind",
        Kind::Address,
        cluster.bulk_bind,
        "Where other nodes fetch block bytes (TCP); mutual TLS unless cluster.bulk_plain."
    ),
    setting!(
        "cluster.advertise",
        Kind::Endpoint,
        cluster.advertise,
        "The host and port by which others reach cluster.bind; a name is looked up at every dial. The bound address without it."
    ),
    setting!(
        "cluster.bulk_advertise",
        Kind::Endpoint,
        cluster.bulk_advertise,
        "The host and port by which others reach cluster.bulk_bind. The bound address without it."
    ),
    setting!(
        "cluster.join",
        Kind::Endpoints,
        cluster.join,
        "Members to ask for admission while node.data knows no cluster: hosts and ports of their cluster.bind, a list or separated by commas; its own address among them is passed over."
    ),
    setting!(
        "cluster.found",
        Kind::Flag,
        cluster.found,
        "Found a new cluster while node.data knows none: on the first node, once."
    ),
    setting!(
        "cluster.zone",
        Kind::Name,
        cluster.zone,
        "What fails together with this node, such as a rack; copies are kept in different zones where there are several."
    ),
    setting!(
        "cluster.copies",
        count(COPIES_MAX),
        cluster.copies,
        "Copies of each entry, the owner's among them; as many as there are nodes when those are fewer."
    ),
    setting!(
        "cluster.block_copies",
        count(COPIES_MAX),
        cluster.block_copies,
        "Copies of a block when it is stored; one that is read again gets a second."
    ),
    setting!(
        "cluster.bulk_plain",
        Kind::Flag,
        cluster.bulk_plain,
        "Send block bytes without TLS: for networks that nobody else can reach; warned about elsewhere than on loopback."
    ),
    setting!(
        "cluster.heartbeat_ms",
        BEAT_MS,
        cluster.heartbeat_ms,
        "Milliseconds between two heartbeats of the leader; below half of cluster.election_ms_min."
    ),
    setting!(
        "cluster.election_ms_min",
        BEAT_MS,
        cluster.election_ms_min,
        "The shortest silence, in milliseconds, after which a voter stands for election; equal on all nodes."
    ),
    setting!(
        "cluster.election_ms_max",
        BEAT_MS,
        cluster.election_ms_max,
        "The longest, in milliseconds; a node that was lost is replaced after two to three times this. Equal on all nodes."
    ),
    setting!(
        "cluster.repair_delay",
        TIME,
        cluster.repair_delay,
        "How long a member may be down before what it held is copied again."
    ),
    bytes!(
        "cluster.move_bytes_per_second",
        64 << 10,
        1 << 40,
        cluster.move_bytes_per_second,
        "The most that moving and repairing take of this node's network, unless a job says otherwise."
    ),
    bytes!(
        "cluster.directory_bytes_max",
        1 << 20,
        BYTES_MAX,
        cluster.directory_bytes_max,
        "The memory that the directory of blocks may take, about 90 bytes a block; equal on all nodes."
    ),
];
