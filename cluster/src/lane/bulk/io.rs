//! TCP sockets, with or without TLS around them. It must never know a frame.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{BulkLimits, BulkSecurity};
use crate::NodeId;

/// The name that TLS wants and nobody believes; certificates name nodes.
const SERVER_NAME: &str = "ultrakv";
/// Connections that the kernel may hold ready; they are looked at faster than they come.
const BACKLOG: i32 = 1024;
/// Probes of a silent machine; the silence that is allowed is cut into as many parts.
const PROBES: u32 = 3;

/// How long, and for how many bytes, a peer that was refused is listened to.
const LINGER: std::time::Duration = std::time::Duration::from_millis(500);
const LINGER_BYTES_MAX: u64 = 64 << 10;

/// One connection.
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(super) fn listen(bind: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(bind), Type::STREAM, Some(Protocol::TCP))?;
    if bind.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A node that starts again must have its port at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&bind.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects, and proves both sides. The node is none without TLS.
pub(super) async fn connect(
    security: &BulkSecurity,
    address: SocketAddr,
    limits: &BulkLimits,
) -> Result<(Io, Option<NodeId>), String> {
    let words = |error: io::Error| error.to_string();
    let socket = TcpStream::connect(address).await.map_err(words)?;
    prepare(&socket, limits).map_err(words)?;
    let BulkSecurity::Tls(identity) = security else {
        return Ok((Io::Plain(socket), None));
    };
    let name = ServerName::try_from(SERVER_NAME).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(identity.client_config());
    let stream = connector.connect(name, socket).await.map_err(words)?;
    proven(security, TlsStream::Client(stream))
}

/// The other side of [`connect`].
pub(super) async fn accept(
    security: &BulkSecurity,
    socket: TcpStream,
    limits: &BulkLimits,
) -> Result<(Io, Option<NodeId>), String> {
    prepare(&socket, limits).map_err(|error| error.to_string())?;
    let BulkSecurity::Tls(identity) = security else {
        return Ok((Io::Plain(socket), None));
    };
    let acceptor = TlsAcceptor::from(identity.server_config());
    match acceptor.accept(socket).into_fallible().await {
        Ok(stream) => proven(security, TlsStream::Server(stream)),
        Err((error, socket)) => {
            linger(socket).await;
            Err(error.to_string())
        }
    }
}

/// Lets the peer hear why it was refused: a socket that is closed with bytes unread resets the connection, and what was
/// said last is lost.
async fn linger(mut socket: TcpStream) {
    let unread = async {
        socket.shutdown().await?;
        let mut unread = (&mut socket).take(LINGER_BYTES_MAX);
        tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
    };
    // Either way there is nothing left to say.
    let _ = tokio::time::timeout(LINGER, unread).await;
}

fn proven(
    security: &BulkSecurity,
    stream: TlsStream<TcpStream>,
) -> Result<(Io, Option<NodeId>), String> {
    let BulkSecurity::Tls(identity) = security else {
        return Err("there is no identity".to_owned());
    };
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let node = identity.peer(shown).map_err(|error| error.to_string())?;
    Ok((Io::Tls(Box::new(stream)), Some(node)))
}

fn prepare(socket: &TcpStream, limits: &BulkLimits) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let every = limits.silence / PROBES;
    // The kernel counts keep-alives in seconds; a bound of its own covers what was sent and is not acknowledged.
    let every = every.max(std::time::Duration::from_secs(1));
    let probes = TcpKeepalive::new()
        .with_time(every)
        .with_interval(every)
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(limits.silence))
}

impl Io {
    /// Whether a connection that should be quiet is: nothing to read, and not ended.
    pub(super) fn is_quiet(&self) -> bool {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let mut byte = [0];
        matches!(socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// One way to reach both kinds.
macro_rules! either {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain(socket) => {
                let $io = Pin::new(socket);
                $call
            }
            Io::Tls(stream) => {
                let $io = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_read(context, buffer))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_shutdown(context))
    }
}
