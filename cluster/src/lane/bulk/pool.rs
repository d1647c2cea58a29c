//! Connections to one peer, dialled as they are needed, used by one request at a time, kept for the next.
//!
//! It must never know what is asked.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use ultrakv_actors::Deadline;
use ultrakv_actors::clock::Now;

use super::channel::{Channel, encode, open};
use super::{BulkLimits, BulkPeer, Shared, io};
use crate::NodeId;
use crate::lane::backoff::Backoff;
use crate::lane::hello::Hello;
use crate::lane::room::{Place, Room};
use crate::lane::telemetry::count;
use crate::peer::{Parcel, PeerError, Refused};
use crate::wire::{Encoded, Kind, WireError};

/// The connections to one peer.
pub(super) struct Pool {
    node: NodeId,
    room: Arc<Room>,
    places: Arc<Semaphore>,
    connections: Arc<AtomicUsize>,
    slot: Mutex<Slot>,
}

struct Slot {
    idle: Vec<Kept>,
    backoff: Backoff,
}

/// A connection that nobody uses now.
struct Kept {
    line: Line,
    since: Now,
}

impl Kept {
    fn is_good(&self, now: Now, idle: Duration) -> bool {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        now.0.saturating_sub(self.since.0) < idle && self.line.channel.is_quiet()
    }
}

/// A connection that is counted while it is there.
struct Line {
    channel: Channel,
    connections: Arc<AtomicUsize>,
    meter: Gauge,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.meter.decrement(1.0);
    }
}

impl Pool {
    pub(super) fn new(node: NodeId, limits: &BulkLimits) -> Self {
        Self {
            node,
            room: Room::new(limits.calls_per_peer_max, limits.call_bytes_per_peer_max),
            places: Arc::new(Semaphore::new(limits.connections_per_peer_max)),
            connections: Arc::default(),
            slot: Mutex::new(Slot {
                idle: Vec::new(),
                backoff: Backoff::new(limits.backoff_min, limits.backoff_max),
            }),
        }
    }

    pub(super) fn state(&self) -> BulkPeer {
        let slot = self.slot.lock();
        BulkPeer {
            node: self.node,
            connections: self.connections.load(Ordering::Relaxed),
            calls: self.room.count(),
            failures: slot.backoff.failures(),
            last_error: slot.backoff.reason().cloned(),
        }
    }

    /// A kept connection that still stands. Those that were kept too long go, so that the other side's patience never
    /// ends while a request is on its way.
    fn kept(&self, shared: &Shared) -> Option<Line> {
        let now = shared.clock.now();
        loop {
            let kept = self.slot.lock().idle.pop()?;
            if kept.is_good(now, shared.limits.idle) {
                return Some(kept.line);
            }
        }
    }

    /// Ends connections that nobody used for long, or that the peer ended.
    pub(super) fn prune(&self, now: Now, idle: Duration) {
        self.slot.lock().idle.retain(|kept| kept.is_good(now, idle));
    }

    fn keep(&self, shared: &Shared, line: Line) {
        if shared.is_stopping() {
            return;
        }
        let since = shared.clock.now();
        self.slot.lock().idle.push(Kept { line, since });
    }

    async fn line(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        deadline: Deadline,
    ) -> Result<Line, PeerError> {
        let unreachable = |reason: String| PeerError::Unreachable {
            peer: self.node,
            reason,
        };
        if shared.is_stopping() {
            return Err(unreachable("this node stops".to_owned()));
        }
        if self.node == shared.me() {
            return Err(unreachable("that is this node itself".to_owned()));
        }
        if let Some(line) = self.kept(shared) {
            return Ok(line);
        }
        let pause = self.slot.lock().backoff.pauses(shared.clock.now());
        if let Some(reason) = pause {
            return Err(unreachable(reason));
        }
        let left = shared.clock.remaining(deadline);
        let Ok(dialled) = timeout(left, dial(shared, self.node)).await else {
            return Err(unreachable("no connection in time".to_owned()));
        };
        match dialled {
            Ok(channel) => {
                self.slot.lock().backoff.settled();
                self.connections.fetch_add(1, Ordering::Relaxed);
                shared.meters.connections_out.increment(1.0);
                Ok(Line {
                    channel,
                    connections: Arc::clone(&self.connections),
                    meter: shared.meters.connections_out.clone(),
                })
            }
            Err(reason) => {
                shared.meters.handshake_failed("lane_dial");
                tracing::debug!(peer = %self.node, reason, "a node is not reached");
                let mut slot = self.slot.lock();
                slot.backoff.failed(&shared.clock, reason.clone());
                drop(slot);
                Err(unreachable(reason))
            }
        }
    }
}

/// Looks after connections that nobody uses, until the lane stops.
pub(super) async fn prune(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let idle = shared.limits.idle;
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = sleep(idle) => {}
        }
        let now = shared.clock.now();
        for pool in shared.pools.read().values() {
            pool.prune(now, idle);
        }
    }
}

/// Asks, and waits for the answer until the deadline at most.
pub(super) async fn call(
    shared: &Arc<Shared>,
    node: NodeId,
    ask: Parcel,
    deadline: Deadline,
) -> Result<Parcel, PeerError> {
    let asked = ask_one(shared, node, ask, deadline).await;
    match &asked {
        Ok(_) => shared.meters.asked.increment(1),
        Err(error) => shared.meters.call_failed(error.code()),
    }
    asked
}

async fn ask_one(
    shared: &Arc<Shared>,
    node: NodeId,
    ask: Parcel,
    deadline: Deadline,
) -> Result<Parcel, PeerError> {
    let pool = shared.pool(node);
    let busy = || PeerError::Busy { peer: node };
    let bytes = ask.len_bytes();
    let place = pool.room.take(bytes).ok_or_else(busy)?;
    let request = shared.next_request();
    let frame = encode(shared.me(), request, &ask);
    let frame = frame.map_err(|error| PeerError::Protocol { peer: node, error })?;
    let left = shared.clock.remaining(deadline);
    let turn = timeout(left, Arc::clone(&pool.places).acquire_owned()).await;
    let turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
    let line = pool.line(shared, deadline).await?;
    let exchange = Exchange {
        shared: Arc::clone(shared),
        pool,
        request,
        line,
        _bounds: (place, turn),
    };
    shared.meters.bytes_out.increment(count(bytes));
    let mut finished = Finished {
        within: shared.limits.drain_within,
        exchange: Some(Box::pin(exchange.run(frame))),
    };
    let Some(exchange) = finished.exchange.as_mut() else {
        return Err(busy());
    };
    let left = shared.clock.remaining(deadline);
    let Ok(answer) = timeout(left, exchange).await else {
        return Err(PeerError::Deadline { peer: node });
    };
    finished.exchange = None;
    answer
}

type Running = Pin<Box<dyn Future<Output = Result<Parcel, PeerError>> + Send>>;

/// Lets an exchange that nobody waits for any more come to its end, so that its connection can be used again; a new one
/// costs more than the rest of an answer, unless that takes long.
struct Finished {
    within: Duration,
    exchange: Option<Running>,
}

impl Drop for Finished {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take()
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn(timeout(self.within, exchange)));
        }
    }
}

/// One request on its connection.
struct Exchange {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    request: u64,
    line: Line,
    /// Given back when the connection is, not when the caller leaves.
    _bounds: (Place, OwnedSemaphorePermit),
}

impl Exchange {
    async fn run(mut self, frame: Encoded) -> Result<Parcel, PeerError> {
        let peer = self.pool.node;
        let written = self.line.channel.write(frame).await;
        // A peer that refuses a request stops reading it: its words come first, then the end.
        let read = self.line.channel.read(None).await;
        let lost = |reason: String| PeerError::Lost { peer, reason };
        let frame = match (written, read) {
            (_, Ok(Some((frame, _)))) => frame,
            (Err(error), _) => return Err(lost(error.to_string())),
            (Ok(()), Ok(None)) => return Err(lost("ended by the peer".to_owned())),
            (Ok(()), Err(fault)) => return Err(fault.for_peer(peer)),
        };
        let (envelope, answer) = open(frame);
        let bytes = count(answer.len_bytes());
        self.shared.meters.bytes_in.increment(bytes);
        let due = envelope.node == peer && envelope.request == self.request;
        match answer.kind {
            Kind::Answer if due => {
                self.pool.keep(&self.shared, self.line);
                Ok(answer)
            }
            Kind::Refusal if envelope.node == peer => {
                let refused = answer.header::<Refused>();
                let refused = refused.map_err(|error| PeerError::Protocol { peer, error })?;
                // A refusal of bytes that were no frame is the last word on its connection.
                if due {
                    self.pool.keep(&self.shared, self.line);
                }
                Err(PeerError::Refused { peer, refused })
            }
            kind => {
                let reason = format!(
                    "an answer to request {} was due, not this to {} of node {}",
                    self.request, envelope.request, envelope.node
                );
                self.shared.meters.frame_refused("wire_header");
                let error = WireError::Header { kind, reason };
                Err(PeerError::Protocol { peer, error })
            }
        }
    }
}

/// Tries a node's addresses one after the other.
async fn dial(shared: &Arc<Shared>, node: NodeId) -> Result<Channel, String> {
    let mut reason = "no address is known".to_owned();
    for address in shared.book.addresses(node) {
        let limit = shared.limits.handshake_within;
        match timeout(limit, reach(shared, address, node)).await {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(error)) => reason = format!("{address}: {error}"),
            Err(_) => reason = format!("{address}: no answer in time"),
        }
    }
    Err(reason)
}

async fn reach(
    shared: &Arc<Shared>,
    address: SocketAddr,
    meant: NodeId,
) -> Result<Channel, String> {
    let (io, shown) = io::connect(&shared.security, address, &shared.limits).await?;
    let instead = |node: NodeId| format!("node {node} is there instead");
    if let Some(node) = shown
        && node != meant
    {
        return Err(instead(node));
    }
    let mut channel = Channel::new(io);
    let request = shared.next_request();
    let ask = shared.hello.parcel(Kind::Hello);
    let ask = ask.and_then(|ask| encode(shared.me(), request, &ask));
    let ask = ask.map_err(|error| error.to_string())?;
    let written = channel.write(ask).await;
    let read = channel.read(None).await;
    let frame = match read {
        Ok(Some((frame, _))) => frame,
        Ok(None) => return Err("the peer ended the connection".to_owned()),
        Err(fault) => return Err(fault.for_peer(meant).to_string()),
    };
    written.map_err(|error| error.to_string())?;
    let (envelope, answer) = open(frame);
    if envelope.node != meant {
        return Err(instead(envelope.node));
    }
    if answer.kind == Kind::Refusal {
        let refused = answer.header::<Refused>();
        return Err(refused.map_or_else(|error| error.to_string(), |words| words.to_string()));
    }
    let hello = answer.header::<Hello>();
    hello.map_err(|error| error.to_string())?;
    Ok(channel)
}
