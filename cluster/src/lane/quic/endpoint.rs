//! The socket and the transport's settings. It must never know a peer.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::QuicLimits;
use crate::lane::book::LaneError;
use crate::lane::tls::Identity;

/// Long-lived streams of messages that need no answer: one, and the last one's end while a new one begins.
const POST_STREAMS_MAX: u32 = 4;
/// What one stream may send ahead: a snapshot at 10 ms round trip still moves 800 MB/s.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// What a peer may send ahead on one connection, and so what it can make this node hold unread.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// What this node holds unacknowledged for one peer.
const SEND_WINDOW_BYTES: u64 = 32 * 1024 * 1024;
/// Packets of strangers' connections that wait to be looked at: few, short, and bounded together.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES: u64 = 32 * 1024;
const INCOMING_BYTES_TOTAL: u64 = 4 * 1024 * 1024;

/// The endpoint, listening, and how it dials.
pub(in crate::lane) fn make(
    identity: &Identity,
    bind: SocketAddr,
    limits: &QuicLimits,
) -> Result<(Endpoint, ClientConfig), LaneError> {
    let transport = Arc::new(transport(limits)?);
    let crypto = QuicServerConfig::try_from(identity.server_config()).map_err(refused)?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::clone(&transport))
        // A node that moves to another address dials again.
        .migration(false)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    let crypto = QuicClientConfig::try_from(identity.client_config()).map_err(refused)?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport);

    let mut config = EndpointConfig::default();
    config
        .max_udp_payload_size(limits.packet_bytes_max)
        .map_err(refused)?;
    let socket = socket(bind, limits.socket_buffer_bytes).map_err(|source| LaneError::Bind {
        address: bind,
        source,
    })?;
    let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime));
    let endpoint = endpoint.map_err(|source| LaneError::Bind {
        address: bind,
        source,
    })?;
    Ok((endpoint, client))
}

fn transport(limits: &QuicLimits) -> Result<TransportConfig, LaneError> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(limits.packet_bytes_max);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.requests_per_connection_max))
        .max_concurrent_uni_streams(VarInt::from_u32(POST_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .keep_alive_interval(Some(limits.keep_alive))
        .max_idle_timeout(Some(IdleTimeout::try_from(limits.idle).map_err(refused)?))
        .mtu_discovery_config(Some(discovery))
        .enable_segmentation_offload(true)
        .datagram_receive_buffer_size(None);
    Ok(transport)
}

/// A bound socket with large buffers: with the usual 208 KiB thousands of packets are lost in a burst.
fn socket(bind: SocketAddr, buffer_bytes: usize) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(bind), Type::DGRAM, Some(Protocol::UDP))?;
    if bind.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The system cuts what is too large by itself; a small buffer is slower, not wrong.
    socket.set_recv_buffer_size(buffer_bytes)?;
    socket.set_send_buffer_size(buffer_bytes)?;
    if socket.recv_buffer_size()? < buffer_bytes {
        tracing::info!(
            wanted_bytes = buffer_bytes,
            given_bytes = socket.recv_buffer_size()?,
            "the system gives smaller socket buffers; raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    socket.bind(&bind.into())?;
    Ok(socket.into())
}

fn refused(error: impl std::fmt::Display) -> LaneError {
    LaneError::Settings {
        reason: error.to_string(),
    }
}
