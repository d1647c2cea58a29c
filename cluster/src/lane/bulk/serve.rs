//! Connections that peers dial: who may come in, and one request after the other on each.
//!
//! It must never know what is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::channel::{Channel, Fault, encode, open};
use super::{BulkLimits, Shared, io};
use crate::NodeId;
use crate::lane::gate::{Gate, Pass};
use crate::lane::hello::{Hello, refusal, refused, refused_frame};
use crate::lane::respond::{respond, stopping};
use crate::lane::telemetry::count;
use crate::peer::{Parcel, Refused};
use crate::wire::{Kind, WireError};

/// After the system refused a connection, for want of files most likely.
const REFUSED_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What peers hold of this node.
pub(super) struct Inbound {
    connections: Arc<Semaphore>,
    handshakes: Arc<Gate>,
    per_peer_max: usize,
    held: Mutex<BTreeMap<NodeId, usize>>,
    /// How many requests are being answered.
    answering: watch::Sender<usize>,
    ended: watch::Sender<bool>,
}

impl Inbound {
    pub(super) fn new(limits: &BulkLimits) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            handshakes: Gate::new(limits.handshakes_max),
            per_peer_max: limits.inbound_per_peer_max,
            held: Mutex::default(),
            answering: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        }
    }

    /// Waits until no request is being answered.
    pub(super) async fn idle(&self) {
        // The sender lives as long as this does.
        drop(
            self.answering
                .subscribe()
                .wait_for(|count| *count == 0)
                .await,
        );
    }

    /// Ends every connection, whatever is under way on it.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    fn enter(&self, node: NodeId) -> bool {
        let mut held = self.held.lock();
        let of_peer = held.entry(node).or_default();
        let has_room = *of_peer < self.per_peer_max;
        if has_room {
            *of_peer += 1;
        }
        has_room
    }

    fn leave(&self, node: NodeId) {
        let mut held = self.held.lock();
        if let Some(of_peer) = held.get_mut(&node) {
            *of_peer -= 1;
            if *of_peer == 0 {
                held.remove(&node);
            }
        }
    }
}

/// Counts a request while it is answered.
struct Answering<'a>(&'a watch::Sender<usize>);

impl<'a> Answering<'a> {
    fn begin(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Lets peers in until the lane stops.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            _ = stop.changed() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the system refuses connections of peers");
                sleep(REFUSED_PAUSE).await;
                continue;
            }
        };
        // The kernel has shaken hands with this address, so it is no made-up one.
        match shared.inbound.handshakes.enter(from.ip(), true) {
            Some(pass) => {
                tokio::spawn(admit(Arc::clone(&shared), socket, pass, stop.clone()));
            }
            None => shared.meters.handshake_failed("lane_handshakes_full"),
        }
    }
}

/// Finishes TLS and hello in their time, then serves the connection until it ends.
async fn admit(shared: Arc<Shared>, socket: TcpStream, pass: Pass, stop: watch::Receiver<bool>) {
    let within = shared.limits.handshake_within;
    let met = timeout(within, meet(&shared, socket)).await;
    let Met {
        mut channel,
        node,
        request,
    } = match met {
        Ok(Ok(met)) => met,
        Ok(Err((code, reason))) => {
            shared.meters.handshake_failed(code);
            tracing::debug!(code, reason, "a connection was not made");
            return;
        }
        Err(_) => return shared.meters.handshake_failed("lane_handshake_slow"),
    };
    let place = Arc::clone(&shared.inbound.connections).try_acquire_owned();
    drop(pass);
    let hint = "wait until other connections have ended";
    let Ok(_place) = place else {
        let words = refused(
            "lane_connections_full",
            "no room for another connection",
            hint,
        );
        return dismiss(&shared, channel, request, &words).await;
    };
    if !shared.inbound.enter(node) {
        let reason = "this peer has as many connections as it may";
        let words = refused("lane_connections_full", reason, hint);
        return dismiss(&shared, channel, request, &words).await;
    }
    let hello = shared.hello.parcel(Kind::Answer);
    let hello = hello.map_err(|error| refused_frame(&error));
    if reply(&shared, &mut channel, request, hello).await {
        attend(&shared, channel, node, stop).await;
    }
    shared.inbound.leave(node);
}

/// Serves a connection until it ends, by itself or with the lane.
async fn attend(shared: &Arc<Shared>, channel: Channel, node: NodeId, stop: watch::Receiver<bool>) {
    shared.meters.connections_in.increment(1.0);
    let mut ended = shared.inbound.ended.subscribe();
    tokio::select! {
        () = serve(shared, channel, node, stop) => {}
        _ = ended.wait_for(|ended| *ended) => {}
    }
    shared.meters.connections_in.decrement(1.0);
}

/// Says why, and ends the connection.
async fn dismiss(shared: &Shared, mut channel: Channel, request: u64, words: &Refused) {
    shared.meters.handshake_failed("lane_connections_full");
    if let Ok(frame) = encode(shared.me(), request, &refusal(words)) {
        let said = timeout(shared.limits.handshake_within, async {
            drop(channel.write(frame).await);
            channel.end().await;
        });
        // A stranger that does not listen misses nothing.
        drop(said.await);
    }
}

/// A peer that said hello and waits for an answer.
struct Met {
    channel: Channel,
    node: NodeId,
    request: u64,
}

/// Who dialled, and that it speaks this build's frames.
async fn meet(shared: &Arc<Shared>, socket: TcpStream) -> Result<Met, (&'static str, String)> {
    let met = io::accept(&shared.security, socket, &shared.limits).await;
    let (io, shown) = met.map_err(|reason| ("lane_handshake", reason))?;
    let mut channel = Channel::new(io);
    let no_room = Arc::new(Semaphore::new(0));
    let (envelope, hello) = match channel.read(Some(&no_room)).await {
        Ok(Some((frame, _))) => open(frame),
        Ok(None) => return Err(("lane_hello", "the peer ended the connection".to_owned())),
        Err(Fault::Lost(reason)) => return Err(("lane_hello", reason)),
        Err(Fault::Wire(error)) => {
            say_and_end(shared, channel, &error).await;
            return Err((error.code(), error.to_string()));
        }
    };
    let node = envelope.node;
    let wrong = if shown.is_some_and(|shown| shown != node) {
        Some("the hello names another node than the certificate")
    } else if node == shared.me() {
        Some("a node needs no lane to itself")
    } else if hello.kind != Kind::Hello {
        Some("the first frame is no hello")
    } else {
        None
    };
    let error = match wrong {
        Some(reason) => Some(WireError::Header {
            kind: hello.kind,
            reason: reason.to_owned(),
        }),
        None => hello.header::<Hello>().err(),
    };
    if let Some(error) = error {
        say_and_end(shared, channel, &error).await;
        return Err(("lane_hello", error.to_string()));
    }
    Ok(Met {
        channel,
        node,
        request: envelope.request,
    })
}

/// Tells a peer what was wrong with its bytes; nothing after them can be trusted.
async fn say_and_end(shared: &Shared, mut channel: Channel, error: &WireError) {
    shared.meters.frame_refused(error.code());
    let words = refusal(&refused_frame(error));
    if let Ok(frame) = encode(shared.me(), 0, &words) {
        let within = shared.limits.handshake_within;
        let said = timeout(within, async {
            drop(channel.write(frame).await);
            channel.end().await;
        });
        // A stranger that does not listen misses nothing.
        drop(said.await);
    }
}

/// One request after the other.
async fn serve(
    shared: &Arc<Shared>,
    mut channel: Channel,
    node: NodeId,
    mut stop: watch::Receiver<bool>,
) {
    let patience = shared.limits.idle.saturating_mul(3);
    loop {
        let woken = tokio::select! {
            biased;
            woken = timeout(patience, channel.wakes()) => woken,
            _ = stop.changed() => return channel.end().await,
        };
        // Silence, the end and a broken connection are all the same here: the peer dials again.
        let Ok(Ok(true)) = woken else {
            return;
        };
        let read = channel.read(Some(&shared.request_room));
        let (frame, held) = match timeout(shared.limits.transfer_within, read).await {
            Ok(Ok(Some(read))) => read,
            Ok(Ok(None) | Err(Fault::Lost(_))) => return,
            Ok(Err(Fault::Wire(error))) => {
                let goes_on = !error.ends_stream();
                tracing::debug!(peer = %node, code = error.code(), %error, "a frame was refused");
                let WireError::UnknownKind { request, .. } = error else {
                    return say_and_end(shared, channel, &error).await;
                };
                shared.meters.frame_refused(error.code());
                let words = Err(refused_frame(&error));
                if goes_on && reply(shared, &mut channel, request, words).await {
                    continue;
                }
                return;
            }
            Err(_) => return shared.meters.frame_refused("lane_slow"),
        };
        if !one(shared, &mut channel, node, frame, held).await {
            drop(timeout(shared.limits.handshake_within, channel.end()).await);
            return;
        }
    }
}

/// Answers one request; false when the connection is over.
async fn one(
    shared: &Arc<Shared>,
    channel: &mut Channel,
    node: NodeId,
    frame: crate::wire::Frame,
    _held: Option<OwnedSemaphorePermit>,
) -> bool {
    let _answering = Answering::begin(&shared.inbound.answering);
    let (envelope, ask) = open(frame);
    shared.meters.bytes_in.increment(count(ask.len_bytes()));
    if envelope.node != node {
        shared.meters.frame_refused("lane_wrong_node");
        let reason = format!(
            "a frame names node {}, the connection is node {node}'s",
            envelope.node
        );
        let words = refused("lane_wrong_node", reason, "report it with both logs");
        reply(shared, channel, 0, Err(words)).await;
        return false;
    }
    let answer = if shared.is_stopping() {
        Err(stopping())
    } else {
        let within = shared.limits.answer_within;
        respond(&*shared.responder, &shared.meters, within, node, ask).await
    };
    reply(shared, channel, envelope.request, answer).await
}

/// Brings an answer away in its time; false when the connection is over.
async fn reply(
    shared: &Arc<Shared>,
    channel: &mut Channel,
    request: u64,
    answer: Result<Parcel, Refused>,
) -> bool {
    let answer = match answer {
        Ok(answer) => Parcel {
            kind: Kind::Answer,
            ..answer
        },
        Err(words) => refusal(&words),
    };
    let frame = encode(shared.me(), request, &answer).or_else(|error| {
        shared.meters.answer_failed(error.code());
        tracing::error!(code = error.code(), %error, "an answer to a peer cannot be sent");
        encode(shared.me(), request, &refusal(&refused_frame(&error)))
    });
    let Ok(frame) = frame else {
        return false;
    };
    let written = timeout(shared.limits.transfer_within, channel.write(frame)).await;
    let written = matches!(written, Ok(Ok(())));
    if written {
        shared.meters.answered.increment(1);
        shared.meters.bytes_out.increment(count(answer.len_bytes()));
    }
    written
}
