//! A listening door: accepts connections up to a cap, keeps each within its time, and closes in order.
//!
//! The rules, in full:
//! - at most `connections_max` connections are open; at the cap the connection that has been idle longest is closed for the
//!   newcomer, and when none is idle the newcomer is told 503;
//! - a connection that has not begun its first request within `header_timeout`, or its next one within
//!   [`KEEP_ALIVE`], is closed, whatever it sent of one;
//! - a request whose answer is not out [`ANSWER_GRACE`] after its deadline loses its connection;
//! - closing stops the accepting, lets requests that have begun finish until the deadline, then drops them.
//!
//! This file knows nothing about routes, callers or problems; it serves a router.

mod activity;
mod connection;
mod refuse;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ultrakv_actors::clock::Clock;

use self::activity::IdleList;
use self::connection::ConnectionPlan;
use self::refuse::Refuser;

pub(crate) use self::connection::Peer;

/// How long a connection may stay open between two requests.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long after its deadline an answer may still be on its way to a slow reader.
pub(crate) const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Connections the system queues before we accept them.
const BACKLOG: u32 = 1_024;

/// How long to wait after a failed accept. What fails there is the process running out of descriptors or memory, and trying
/// again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a newcomer waits for the place of a connection that was just closed for it.
const EVICTION_WAIT: Duration = Duration::from_millis(100);

/// What a door is opened with.
#[derive(Debug, Clone)]
pub(crate) struct DoorPlan {
    /// The door's name in errors and logs.
    pub(crate) name: &'static str,
    /// Where it listens; port 0 lets the system choose.
    pub(crate) bind: SocketAddr,
    /// Connections open at the same time, idle ones included.
    pub(crate) connections_max: usize,
    /// From a connection's first instant to the end of its first request's head.
    pub(crate) header_timeout: Duration,
    /// From the end of a head to the last byte of the answer.
    pub(crate) request_timeout: Duration,
    /// Counts the open connections, for whoever shows them.
    pub(crate) connections: OpenConnections,
}

/// How many connections a door has open now. Clones count the same door.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenConnections(Arc<AtomicUsize>);

/// One of them; leaves the count when dropped.
struct Counted(OpenConnections);

impl OpenConnections {
    /// The count.
    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A door that holds its address. Nobody can connect yet: the system refuses until it listens.
#[derive(Debug)]
pub(crate) struct BoundDoor {
    plan: DoorPlan,
    socket: TcpSocket,
    address: SocketAddr,
}

/// A door that listens and accepts nobody yet.
#[derive(Debug)]
pub(crate) struct ListeningDoor {
    plan: DoorPlan,
    listener: TcpListener,
    address: SocketAddr,
}

/// A door that serves. Dropping it does not close it; [`OpenDoor::close`] does.
#[derive(Debug)]
pub(crate) struct OpenDoor {
    address: SocketAddr,
    /// No new connections, no further requests on the old ones.
    draining: CancellationToken,
    /// Requests that have begun are dropped.
    dropping: CancellationToken,
    tasks: TaskTracker,
}

impl BoundDoor {
    /// Takes the address.
    ///
    /// # Errors
    /// What the system says: most often that the port is taken.
    pub(crate) fn bind(plan: DoorPlan) -> std::io::Result<Self> {
        let socket = if plan.bind.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // Without it a restart would wait out the old connections' TIME_WAIT. On Linux it does not let two listeners share a
        // port, so a taken port is still an error.
        socket.set_reuseaddr(true)?;
        socket.bind(plan.bind)?;
        let address = socket.local_addr()?;
        Ok(Self {
            plan,
            socket,
            address,
        })
    }

    /// Lets connections queue, which still can fail: another process that took the address at the same instant may listen first.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn listen(self) -> std::io::Result<ListeningDoor> {
        Ok(ListeningDoor {
            plan: self.plan,
            listener: self.socket.listen(BACKLOG)?,
            address: self.address,
        })
    }

    /// Where it will listen, and under which name.
    pub(crate) const fn place(&self) -> (&'static str, SocketAddr) {
        (self.plan.name, self.address)
    }
}

impl ListeningDoor {
    /// Starts serving.
    pub(crate) fn open(self, router: Router, clock: Clock) -> OpenDoor {
        let door = OpenDoor {
            address: self.address,
            draining: CancellationToken::new(),
            dropping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let acceptor = Acceptor {
            places: Arc::new(Semaphore::new(self.plan.connections_max)),
            idle: IdleList::default(),
            refuser: Refuser::new(self.plan.name),
            connections: ConnectionPlan {
                router,
                clock,
                header_timeout: self.plan.header_timeout,
                request_timeout: self.plan.request_timeout,
                draining: door.draining.clone(),
                dropping: door.dropping.clone(),
            },
            tasks: door.tasks.clone(),
            plan: self.plan,
        };
        door.tasks.spawn(acceptor.run(self.listener));
        door
    }
}

impl OpenDoor {
    /// Where the door listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting and waits for the requests that have begun, at most for `grace`; then drops the rest.
    ///
    /// Returns whether every request was finished.
    pub(crate) async fn close(&self, grace: Duration) -> bool {
        self.draining.cancel();
        self.tasks.close();
        let finished = tokio::time::timeout(grace, self.tasks.wait()).await.is_ok();
        self.dropping.cancel();
        self.tasks.wait().await;
        finished
    }
}

/// The loop that lets connections in.
struct Acceptor {
    plan: DoorPlan,
    places: Arc<Semaphore>,
    idle: IdleList,
    refuser: Refuser,
    connections: ConnectionPlan,
    tasks: TaskTracker,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.connections.draining.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer).await,
                Err(error) => {
                    tracing::warn!(door = self.plan.name, %error, "cannot accept a connection");
                    metrics::counter!("ultrakv_connections_failed_total", "door" => self.plan.name)
                        .increment(1);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        metrics::counter!("ultrakv_connections_total", "door" => self.plan.name).increment(1);
        let Some(place) = self.place().await else {
            metrics::counter!("ultrakv_connections_refused_total", "door" => self.plan.name)
                .increment(1);
            self.refuser.refuse(stream, &self.tasks);
            return;
        };
        // Answers are small and waited for; a socket that cannot be told so still works.
        let _ = stream.set_nodelay(true);
        let serve = connection::serve(stream, peer, self.connections.clone(), self.idle.clone());
        let counted = self.plan.connections.enter();
        self.tasks.spawn(async move {
            serve.await;
            drop((place, counted));
        });
    }

    /// A free place, made by closing the connection that has been idle longest when there is none.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        if !self.idle.evict_longest() {
            return None;
        }
        metrics::counter!("ultrakv_connections_evicted_total", "door" => self.plan.name)
            .increment(1);
        let freed = Arc::clone(&self.places).acquire_owned();
        tokio::time::timeout(EVICTION_WAIT, freed).await.ok()?.ok()
    }
}
