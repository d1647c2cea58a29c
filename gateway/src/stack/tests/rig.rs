//! A door with routes of the tests' own, and a client that writes bytes.

use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use ultrakv_actors::clock::Clock;
use ultrakv_config::LimitSettings;

use crate::auth::tokens::Tokens;
use crate::auth::{Access, Caller, Door};
use crate::extract;
use crate::limits::Limits;
use crate::server::{BoundDoor, DoorPlan, OpenDoor};
use crate::stack::Stack;

/// Longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct RigPlan {
    pub(super) body_bytes_max: u64,
    pub(super) requests_concurrent_max: u32,
    pub(super) connections_max: usize,
    pub(super) header_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) tokens: Option<&'static str>,
}

impl Default for RigPlan {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            requests_concurrent_max: 64,
            connections_max: 64,
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            tokens: None,
        }
    }
}

/// A door that serves the tests' routes.
pub(super) struct Rig {
    door: std::sync::Arc<OpenDoor>,
    waiting: mpsc::UnboundedReceiver<&'static str>,
    release: watch::Sender<bool>,
}

/// What the route `/wait` needs: whom to tell and what to wait for.
#[derive(Clone)]
struct Gate {
    told: mpsc::UnboundedSender<&'static str>,
    release: watch::Receiver<bool>,
}

/// Tells the test when a handler ends without having answered.
struct Abandoned(Option<mpsc::UnboundedSender<&'static str>>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            let _ = told.send("abandoned");
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    text: String,
}

async fn echo(extract::Json(echo): extract::Json<Echo>) -> Json<Echo> {
    Json(echo)
}

async fn who(caller: Caller) -> String {
    caller.service
}

async fn wait(Extension(mut gate): Extension<Gate>) -> &'static str {
    let mut abandoned = Abandoned(Some(gate.told.clone()));
    gate.told.send("waiting").expect("the test listens");
    gate.release
        .wait_for(|released| *released)
        .await
        .expect("the rig lives");
    abandoned.0 = None;
    "released"
}

async fn panics() -> &'static str {
    panic!("a secret of the handler")
}

impl Rig {
    pub(super) fn start(plan: RigPlan) -> Self {
        let (told, waiting) = mpsc::unbounded_channel();
        let (release, released) = watch::channel(false);
        let routes = Router::new()
            .route("/echo", post(echo))
            .route("/who", get(who))
            .route("/wait", get(wait))
            .route("/panic", get(panics))
            .route("/health", get(async || "healthy"))
            .layer(Extension(Gate {
                told,
                release: released,
            }));
        let clock = Clock::machine();
        let settings = LimitSettings {
            body_bytes_max: plan.body_bytes_max,
            requests_concurrent_max: plan.requests_concurrent_max,
            request_timeout: plan.request_timeout,
            ..ultrakv_config::Settings::default().limits
        };
        let services = std::collections::BTreeSet::from(["default".to_owned()]);
        let tokens = plan
            .tokens
            .map(|file| Tokens::parse(file, &services).expect("well formed"));
        let stack = Stack {
            door: Door::Http,
            access: Access::new(services, tokens),
            limits: Limits::new(Door::Http, clock.clone(), &settings),
            clock: clock.clone(),
        };
        let paths = ["/echo", "/who", "/wait"].map(str::to_owned).to_vec();
        let bound = BoundDoor::bind(DoorPlan {
            name: "http",
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            connections_max: plan.connections_max,
            header_timeout: plan.header_timeout,
            request_timeout: plan.request_timeout,
            connections: crate::server::OpenConnections::default(),
        });
        let door = bound
            .and_then(BoundDoor::listen)
            .expect("a free port")
            .open(stack.around(routes, paths), clock);
        Self {
            door: std::sync::Arc::new(door),
            waiting,
            release,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    pub(super) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address())
            .await
            .expect("the door is open");
        Connection {
            stream,
            received: Vec::new(),
        }
    }

    /// Waits until a request is inside `/wait`.
    pub(super) async fn waiting(&mut self) {
        self.told("waiting").await;
    }

    /// Waits until a request inside `/wait` ended without an answer.
    pub(super) async fn abandoned(&mut self) {
        self.told("abandoned").await;
    }

    async fn told(&mut self, expected: &str) {
        let told = tokio::time::timeout(PATIENCE, self.waiting.recv()).await;
        assert_eq!(told.expect("in time"), Some(expected));
    }

    /// Lets the requests inside `/wait` answer.
    pub(super) fn release(&self) {
        self.release.send_replace(true);
    }

    pub(super) fn close(&self, grace: Duration) -> JoinHandle<bool> {
        let door = std::sync::Arc::clone(&self.door);
        tokio::spawn(async move { door.close(grace).await })
    }

    /// Waits until the door accepts nobody any more.
    pub(super) async fn assert_refuses(&self) {
        let refused = async {
            while TcpStream::connect(self.address()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, refused)
            .await
            .expect("the door closes");
    }
}

/// A client's end of a connection.
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub(super) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the door reads");
    }

    pub(super) async fn ask(&mut self, request: &str) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// One whole answer, by its content-length.
    pub(super) async fn answer(&mut self) -> Answer {
        loop {
            if let Some((answer, length)) = Answer::parse(&self.received) {
                self.received.drain(..length);
                return answer;
            }
            assert!(
                self.read().await > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&self.received)
            );
        }
    }

    /// Waits for the end of the connection and asserts that nothing was said before it.
    pub(super) async fn assert_closed(&mut self) {
        while self.read().await > 0 {}
        // An HTTP/2 connection opens with the server's settings; they are no answer.
        let said = String::from_utf8_lossy(&self.received);
        assert!(!said.contains("HTTP/1.1"), "{said}");
    }

    async fn read(&mut self) -> usize {
        let read = self.stream.read_buf(&mut self.received);
        let read = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("something happens in time");
        // A reset is an end as well.
        read.unwrap_or(0)
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// The first whole answer in `bytes`, and how many bytes it takes.
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..head_end]).expect("heads are ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let mut answer = Self {
            status,
            headers: lines.filter_map(header).collect(),
            body: Vec::new(),
        };
        let length = answer
            .header("content-length")
            .expect("a length")
            .parse()
            .unwrap_or(0);
        answer.body = bytes.get(head_end..head_end + length)?.to_vec();
        Some((answer, head_end + length))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}
