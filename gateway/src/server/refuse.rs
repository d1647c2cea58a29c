//! What a connection is told when there is no place for it: 503, within bounds of its own.
//!
//! At most [`REFUSALS_MAX`] connections at a time get an answer; the others are closed without one, because under a flood the
//! courtesy would itself be the flood.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::problem::{PROBLEM_JSON, Problem};

/// Connections that are being refused with an answer at the same time.
const REFUSALS_MAX: usize = 64;

/// How long one refusal may take.
const REFUSAL_TIME: Duration = Duration::from_millis(500);

/// Answers connections that got no place.
pub(crate) struct Refuser {
    answer: Arc<[u8]>,
    courtesy: Arc<Semaphore>,
}

impl Refuser {
    pub(crate) fn new(door: &'static str) -> Self {
        Self {
            answer: answer(door).into_bytes().into(),
            courtesy: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    /// Says 503 and closes, or only closes.
    pub(crate) fn refuse(&self, mut stream: TcpStream, tasks: &TaskTracker) {
        let Ok(permit) = Arc::clone(&self.courtesy).try_acquire_owned() else {
            return;
        };
        let answer = Arc::clone(&self.answer);
        tasks.spawn(async move {
            let told = async {
                stream.write_all(&answer).await?;
                stream.shutdown().await?;
                // Closing with unread bytes would reset the connection, and the reset could overtake the answer.
                let mut unread = [0_u8; 1_024];
                while stream.read(&mut unread).await? > 0 {}
                Ok::<(), std::io::Error>(())
            };
            // A client that does not wait for the answer is refused all the same.
            let _ = tokio::time::timeout(REFUSAL_TIME, told).await;
            drop(permit);
        });
    }
}

/// The whole answer: the request was not read, so its shape cannot follow the request's path.
fn answer(door: &str) -> String {
    let problem = Problem::unavailable(
        "connections_full",
        format!("the {door} door has as many connections as it may, and none of them is idle"),
    )
    .hint(
        "reuse connections, retry after the time in Retry-After, or raise limits.connections_max",
    );
    let body = serde_json::to_string(&problem.body(None)).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
