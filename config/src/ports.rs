//! The one table of ports: which door stands where unless the operator says otherwise.
//!
//! It must never know who listens on them. Ports that popular neighbours of a cache already occupy are refused when
//! this file is compiled, so that a node can be started beside Redis, Prometheus or a model server without a clash.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The main HTTP door: the documented routes, the OpenAI-compatible routes and the block routes.
pub const HTTP: u16 = 7800;
/// The admin door: metrics, health, readiness, the actor tree.
pub const ADMIN: u16 = 7801;
/// Messages between nodes, over QUIC (UDP); only members of a cluster listen.
pub const CLUSTER: u16 = 7802;
/// Block bytes between nodes, over TCP; only members of a cluster listen.
pub const BULK: u16 = 7803;
/// Reserved for Redis clients; nothing listens here yet.
pub const RESP: u16 = 7804;

/// Every port of ours.
pub const OURS: [u16; 5] = [HTTP, ADMIN, CLUSTER, BULK, RESP];

/// Ports that belong to others: Grafana, Redis, common HTTP servers, MinIO and Mooncake, Prometheus, Alertmanager,
/// LMCache, vLLM's message queues, gRPC examples, SGLang, and the six services of the original system.
pub const FOREIGN: [u16; 21] = [
    3000, 5557, 5710, 6379, 8000, 8001, 8002, 8003, 8004, 8005, 8080, 9000, 9001, 9002, 9003, 9090,
    9093, 9300, 16379, 30000, 50051,
];

/// The address of a door on this machine only, which is where every door stands by default.
#[must_use]
pub const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

// A clash would only show on a machine that runs both programs, which is never the one that runs our tests; the
// compiler is the right place to notice.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, where an index out of range does not compile"
)]
const _: () = {
    let mut ours = 0;
    while ours < OURS.len() {
        let mut foreign = 0;
        while foreign < FOREIGN.len() {
            assert!(
                OURS[ours] != FOREIGN[foreign],
                "one of our ports belongs to somebody else"
            );
            foreign += 1;
        }
        let mut other = ours + 1;
        while other < OURS.len() {
            assert!(OURS[ours] != OURS[other], "two of our doors share a port");
            other += 1;
        }
        ours += 1;
    }
};
