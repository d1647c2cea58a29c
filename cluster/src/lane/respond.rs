//! A responder at work for one request: in its time, and with its panics kept to that request.
//!
//! It must never know how the request came.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::timeout;

use super::hello::refused;
use super::telemetry::Meters;
use crate::NodeId;
use crate::peer::{Parcel, Refused, Responder};

/// The responder's answer, or why there is none.
pub(super) async fn respond(
    responder: &dyn Responder,
    meters: &Meters,
    within: Duration,
    node: NodeId,
    ask: Parcel,
) -> Result<Parcel, Refused> {
    // The call itself is inside, since a responder may panic before it gives its future.
    let answer = AssertUnwindSafe(async { responder.answer(node, ask).await }).catch_unwind();
    match timeout(within, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            meters.answer_failed("lane_panic");
            tracing::error!(peer = %node, "a request of a peer made its responder panic");
            Err(refused(
                "lane_panic",
                "the node failed while it answered",
                "report it with the log of that node",
            ))
        }
        Err(_) => {
            meters.answer_failed("lane_late");
            Err(refused(
                "lane_late",
                "the node did not answer in time",
                "try again after a moment",
            ))
        }
    }
}

/// What a lane that stops says to whoever asks.
pub(super) fn stopping() -> Refused {
    refused(
        "lane_stopping",
        "the node stops",
        "ask another node, or this one when it is back",
    )
}
