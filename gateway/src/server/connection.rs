//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, served until it ends or its time is up.
//!
//! hyper's own head timer starts only after the protocol is known, so a connection that sends nothing would never meet it;
//! the rules of time live here instead, once for both protocols.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use ultrakv_actors::clock::{Clock, Deadline};

use super::activity::{Activity, IdleList, InProgress, Phase};
use super::{ANSWER_GRACE, KEEP_ALIVE};

/// The most bytes a request's head may have.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Requests one HTTP/2 connection may have in progress.
const STREAMS_MAX: u32 = 128;

/// How long a connection that is told to close may take to hand over what it still has to say.
const LINGER: Duration = Duration::from_secs(2);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What every connection of a door is served with.
#[derive(Clone)]
pub(crate) struct ConnectionPlan {
    pub(crate) router: Router,
    pub(crate) clock: Clock,
    pub(crate) header_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) draining: CancellationToken,
    pub(crate) dropping: CancellationToken,
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    plan: ConnectionPlan,
    idle: IdleList,
) {
    let activity = Activity::new(idle);
    let service = {
        let (router, clock, activity) = (plan.router, plan.clock.clone(), Arc::clone(&activity));
        let within = plan.request_timeout;
        service_fn(move |request: Request<Incoming>| {
            let deadline = clock.deadline(within);
            answer(
                router.clone(),
                request,
                peer,
                deadline,
                activity.begin(deadline),
            )
        })
    };
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));

    let ending = tokio::select! {
        biased;
        () = plan.dropping.cancelled() => return,
        // How a connection ended is the client's affair: a reset is as good an ending as any.
        _ = connection.as_mut() => return,
        () = plan.draining.cancelled() => match activity.phase() {
            Phase::New => Ending::Drop,
            Phase::Idle => Ending::Close,
            Phase::Busy(_) => Ending::Drain,
        },
        ending = time_up(&activity, &plan.clock, plan.header_timeout) => ending,
    };
    let linger = match ending {
        Ending::Drop => return,
        Ending::Close => LINGER,
        // The door's own deadline ends this wait.
        Ending::Drain => Duration::MAX,
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        () = plan.dropping.cancelled() => {}
        _ = connection.as_mut() => {}
        () = tokio::time::sleep(linger) => {}
    }
}

/// Why a connection is ended by us.
enum Ending {
    /// Nothing is lost by closing it now.
    Drop,
    /// It was idle for too long; what is still in its buffers may leave.
    Close,
    /// The door closes; requests in progress may finish.
    Drain,
}

/// Waits until the connection has used up its time.
async fn time_up(activity: &Activity, clock: &Clock, header_timeout: Duration) -> Ending {
    loop {
        let (left, ending) = match activity.phase() {
            Phase::New => (header_timeout, Ending::Drop),
            Phase::Idle => (KEEP_ALIVE, Ending::Close),
            Phase::Busy(deadline) => (clock.remaining(deadline) + ANSWER_GRACE, Ending::Drop),
        };
        tokio::select! {
            biased;
            () = activity.changed() => {}
            () = activity.evicted() => {
                // A request that began in the same instant keeps its connection.
                if !matches!(activity.phase(), Phase::Busy(_)) {
                    return Ending::Drop;
                }
            }
            () = tokio::time::sleep(left) => return ending,
        }
    }
}

/// Sends one request through the router.
async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
    deadline: Deadline,
    in_progress: InProgress,
) -> Result<Response<AnswerBody>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer));
    request.extensions_mut().insert(deadline);
    let response = router.oneshot(request).await?;
    Ok(response.map(|body| AnswerBody {
        body,
        _in_progress: in_progress,
    }))
}

/// The protocols and their sizes.
fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(false);
    builder
        .http2()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

/// An answer's body, during which its request counts as in progress.
struct AnswerBody {
    body: Body,
    _in_progress: InProgress,
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
