//! One request of a peer: read in its time, answered in its time, refused clearly when it is none.
//!
//! When nobody waits any more the answer is dropped where it waits. A panic of the responder ends its request alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use quinn::{RecvStream, SendStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::serve::Served;
use super::stream::{
    Fault, FrameReader, Outgoing, QuicParcels, STREAM_BIT, encode, open_frame, write,
};
use super::{FAREWELL, code};
use crate::lane::hello::{Hello, refusal, refused, refused_frame};
use crate::lane::respond::{self, stopping};
use crate::lane::telemetry::count;
use crate::peer::{Parcel, Refused};
use crate::wire::{Kind, WireError};

/// Reads what a stream asks, and answers it.
pub(super) async fn answer(
    served: Arc<Served>,
    send: SendStream,
    recv: RecvStream,
    place: Option<OwnedSemaphorePermit>,
) {
    let shared = &served.shared;
    let mut send = Outgoing::new(send);
    let mut reader = FrameReader::with_room(recv, Arc::clone(&shared.request_room));
    let read = timeout(shared.limits.read_within, reader.next()).await;
    let frame = match read {
        Ok(Ok(Some(frame))) => frame,
        // A stream that says nothing, or is given up, needs no answer.
        Ok(Ok(None) | Err(Fault::Reset(_) | Fault::Lost(_))) => return,
        Ok(Err(Fault::Wire(error))) => {
            refuse_frame(&served, &mut send, &error).await;
            reader.stop(code::NO_FRAME);
            return;
        }
        Err(_) => {
            shared.meters.frame_refused("lane_slow");
            let words = refused(
                "lane_slow",
                "the request was not brought in time",
                "send the whole request at once",
            );
            reply(&served, &mut send, 0, Err(words)).await;
            reader.stop(code::TOO_SLOW);
            return;
        }
    };
    // A frame in another node's name ends the connection, which is answer enough.
    let opened = open_frame(shared, &served.connection, served.peer.node, frame);
    let Ok((request, parcel)) = opened else {
        return;
    };
    if request & STREAM_BIT != 0 {
        drop(place);
        stream(served, send, reader, request, parcel).await;
        return;
    }
    if reader.has_more() {
        let error = WireError::Header {
            kind: parcel.kind,
            reason: "more follows a request".to_owned(),
        };
        refuse_frame(&served, &mut send, &error).await;
        return;
    }
    let _answering = shared.inbound.begin();
    let asked = {
        // Asked only once the answer has to be waited for, so that a quick answer does not pay for it.
        let stopped = send.send.stopped();
        tokio::select! {
            biased;
            answer = respond(&served, parcel) => Some(answer),
            _ = stopped => None,
        }
    };
    match asked {
        Some(answer) => reply(&served, &mut send, request, answer).await,
        None => shared.meters.answer_failed("lane_cancelled"),
    }
}

async fn respond(served: &Served, ask: Parcel) -> Result<Parcel, Refused> {
    let shared = &served.shared;
    if shared.is_stopping() {
        return Err(stopping());
    }
    if ask.kind == Kind::Hello {
        return hello(served, &ask);
    }
    let node = served.peer.node;
    let within = shared.limits.answer_within;
    respond::respond(&*shared.responder, &shared.meters, within, node, ask).await
}

fn hello(served: &Served, ask: &Parcel) -> Result<Parcel, Refused> {
    let theirs = ask.header::<Hello>();
    let theirs = theirs.map_err(|error| refused_frame(&error))?;
    served.peer.lives_as(&theirs);
    let ours = served.shared.hello.parcel(Kind::Answer);
    ours.map_err(|error| refused_frame(&error))
}

async fn refuse_frame(served: &Served, send: &mut Outgoing, error: &WireError) {
    served.shared.meters.frame_refused(error.code());
    tracing::debug!(peer = %served.peer.node, code = error.code(), %error, "a frame was refused");
    let request = match error {
        WireError::UnknownKind { request, .. } => *request,
        _ => 0,
    };
    reply(served, send, request, Err(refused_frame(error))).await;
}

/// Brings an answer away in its time; a peer that takes it too slowly loses it.
async fn reply(
    served: &Served,
    send: &mut Outgoing,
    request: u64,
    answer: Result<Parcel, Refused>,
) {
    let shared = &served.shared;
    let answer = match answer {
        Ok(answer) => Parcel {
            kind: Kind::Answer,
            ..answer
        },
        Err(words) => refusal(&words),
    };
    let frame = encode(shared, request, &answer).or_else(|error| {
        shared.meters.answer_failed(error.code());
        tracing::error!(code = error.code(), %error, "an answer to a peer cannot be sent");
        encode(shared, request, &refusal(&refused_frame(&error)))
    });
    let Ok(frame) = frame else {
        return;
    };
    if let Ok(Ok(())) = timeout(shared.limits.answer_within, write(&mut send.send, frame)).await {
        send.finish();
        shared.meters.answered.increment(1);
        shared.meters.bytes_out.increment(count(answer.len_bytes()));
        if shared.is_stopping() {
            // The end of a connection overtakes what was written; the peer's receipt comes first then.
            drop(timeout(FAREWELL, send.send.stopped()).await);
        }
    }
}

/// Hands a stream of frames to the responder until that has enough of it.
async fn stream(
    served: Arc<Served>,
    mut send: Outgoing,
    reader: FrameReader,
    request: u64,
    first: Parcel,
) {
    let shared = &served.shared;
    if shared.is_stopping() {
        return reply(&served, &mut send, request, Err(stopping())).await;
    }
    let Ok(permit) = Arc::clone(&served.streams).try_acquire_owned() else {
        let words = refused(
            "lane_streams",
            "this peer has as many streams open as it may",
            "end one of them first",
        );
        return reply(&served, &mut send, request, Err(words)).await;
    };
    // A stream whose connection is over has no priority to set.
    drop(send.send.set_priority(-1));
    let node = served.peer.node;
    let stream = Box::new(QuicParcels {
        shared: Arc::clone(shared),
        connection: served.connection.clone(),
        peer: node,
        request,
        send,
        reader,
        permit: Some(permit),
        torn: false,
    });
    let taken = AssertUnwindSafe(async { shared.responder.stream(node, first, stream).await });
    if taken.catch_unwind().await.is_err() {
        shared.meters.answer_failed("lane_panic");
        tracing::error!(peer = %node, "a stream of a peer made its responder panic");
    }
}
