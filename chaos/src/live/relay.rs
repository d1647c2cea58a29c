//! A relay of ours between two nodes: delay, reordering, duplication, loss and corruption, thrown by a seed and counted.
//!
//! Datagrams meet every fault; a TCP stream only delay and flipped bytes, for TCP would mend the others. What waits is
//! bounded: datagrams beyond the bound are dropped and counted, a stream is simply not read. It must never know what it
//! carries.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::rng::Rng;

/// Datagrams that wait in one direction of one flow.
const QUEUE_DATAGRAMS_MAX: usize = 1024;
/// Pieces of a stream that wait in one direction.
const QUEUE_PIECES_MAX: usize = 64;
/// The largest datagram, and the largest piece of a stream.
const PIECE_BYTES_MAX: usize = 65_536;
/// Senders that one relay serves at a time; further ones are not heard.
const FLOWS_MAX: usize = 256;

/// What happens to what passes. Chances are in parts of a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disorder {
    /// Everything waits so long.
    pub delay_us: u64,
    /// And up to so much longer, each datagram its own time: what is drawn short overtakes.
    pub jitter_us: u64,
    /// Datagrams that are sent twice.
    pub duplicate_ppm: u32,
    /// Datagrams, or pieces of a stream, in which one bit is turned.
    pub corrupt_ppm: u32,
    /// Datagrams that are lost.
    pub loss_ppm: u32,
}

/// What a relay did; numbers of datagrams, or pieces of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Passed on.
    pub passed: u64,
    /// Made to wait.
    pub delayed: u64,
    /// Sent after one that had come later.
    pub reordered: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// With a bit turned.
    pub corrupted: u64,
    /// Lost on purpose.
    pub lost: u64,
    /// Lost because too much waited.
    pub overflowed: u64,
}

impl Counts {
    /// Adds what another relay did.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.delayed += other.delayed;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.lost += other.lost;
        self.overflowed += other.overflowed;
    }

    /// What came on top of `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            passed: self.passed.saturating_sub(before.passed),
            delayed: self.delayed.saturating_sub(before.delayed),
            reordered: self.reordered.saturating_sub(before.reordered),
            duplicated: self.duplicated.saturating_sub(before.duplicated),
            corrupted: self.corrupted.saturating_sub(before.corrupted),
            lost: self.lost.saturating_sub(before.lost),
            overflowed: self.overflowed.saturating_sub(before.overflowed),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    delayed: AtomicU64,
    reordered: AtomicU64,
    duplicated: AtomicU64,
    corrupted: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What both directions of all flows share.
struct Shared {
    disorder: parking_lot::Mutex<Disorder>,
    dice: parking_lot::Mutex<Rng>,
    counters: Counters,
}

/// What the dice said about one piece.
struct Throw {
    wait: Duration,
    lost: bool,
    twice: bool,
}

impl Shared {
    /// Throws for one piece, and turns a bit of it when so thrown.
    fn throw(&self, bytes: &mut [u8]) -> Throw {
        let disorder = *self.disorder.lock();
        let mut dice = self.dice.lock();
        let wait = disorder
            .delay_us
            .saturating_add(dice.between(0, disorder.jitter_us));
        let lost = dice.chance_ppm(disorder.loss_ppm);
        let twice = dice.chance_ppm(disorder.duplicate_ppm);
        let corrupt = dice.chance_ppm(disorder.corrupt_ppm);
        let bits = u64::try_from(bytes.len()).unwrap_or(0) * 8;
        let bit = dice.below(bits);
        if corrupt
            && !lost
            && let Some(byte) = bytes.get_mut(usize::try_from(bit / 8).unwrap_or(usize::MAX))
        {
            *byte ^= 1 << (bit % 8);
            count(&self.counters.corrupted);
        }
        if wait > 0 && !lost {
            count(&self.counters.delayed);
        }
        Throw {
            wait: Duration::from_micros(wait),
            lost,
            twice,
        }
    }
}

/// A running relay; it ends when dropped.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Relay {
    /// Relays datagrams that arrive at `listen` to `target`, and the answers back.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn udp(listen: SocketAddr, target: SocketAddr, seed: u64) -> Result<Self> {
        let (shared, runtime) = parts(seed)?;
        let socket = runtime.block_on(UdpSocket::bind(listen));
        let socket = socket.with_context(|| format!("listening on {listen}"))?;
        let address = socket.local_addr()?;
        runtime.spawn(datagrams(Arc::new(socket), target, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            runtime: Some(runtime),
        })
    }

    /// Relays connections to `listen` to `target`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn tcp(listen: SocketAddr, target: SocketAddr, seed: u64) -> Result<Self> {
        let (shared, runtime) = parts(seed)?;
        let listener = runtime.block_on(TcpListener::bind(listen));
        let listener = listener.with_context(|| format!("listening on {listen}"))?;
        let address = listener.local_addr()?;
        runtime.spawn(connections(listener, target, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to what arrives from now on; `Disorder::default()` heals.
    pub fn set(&self, disorder: Disorder) {
        *self.shared.disorder.lock() = disorder;
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            passed: read(&counters.passed),
            delayed: read(&counters.delayed),
            reordered: read(&counters.reordered),
            duplicated: read(&counters.duplicated),
            corrupted: read(&counters.corrupted),
            lost: read(&counters.lost),
            overflowed: read(&counters.overflowed),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn parts(seed: u64) -> Result<(Arc<Shared>, tokio::runtime::Runtime)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let shared = Shared {
        disorder: parking_lot::Mutex::new(Disorder::default()),
        dice: parking_lot::Mutex::new(Rng::new(seed)),
        counters: Counters::default(),
    };
    Ok((Arc::new(shared), runtime))
}

/// A datagram that waits.
struct Waiting {
    due: Instant,
    bytes: Vec<u8>,
}

async fn datagrams(socket: Arc<UdpSocket>, target: SocketAddr, shared: Arc<Shared>) {
    let mut flows: BTreeMap<SocketAddr, mpsc::Sender<Waiting>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; PIECE_BYTES_MAX];
    loop {
        // An error here is about one earlier datagram that nobody took, not about the socket.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if !flows.contains_key(&from) {
            if flows.len() >= FLOWS_MAX {
                count(&shared.counters.overflowed);
                continue;
            }
            let Ok(upstream) = upstream(target).await else {
                continue;
            };
            let (there, queue) = mpsc::channel(QUEUE_DATAGRAMS_MAX);
            tasks.spawn(pump(
                queue,
                Arc::clone(&upstream),
                None,
                Arc::clone(&shared),
            ));
            let (back, queue) = mpsc::channel(QUEUE_DATAGRAMS_MAX);
            tasks.spawn(pump(
                queue,
                Arc::clone(&socket),
                Some(from),
                Arc::clone(&shared),
            ));
            tasks.spawn(answers(upstream, back, Arc::clone(&shared)));
            flows.insert(from, there);
        }
        if let (Some(queue), Some(bytes)) = (flows.get(&from), buffer.get(..length)) {
            enqueue(queue, bytes.to_vec(), &shared);
        }
    }
}

async fn upstream(target: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let any: SocketAddr = if target.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(Arc::new(socket))
}

async fn answers(upstream: Arc<UdpSocket>, back: mpsc::Sender<Waiting>, shared: Arc<Shared>) {
    let mut buffer = vec![0; PIECE_BYTES_MAX];
    loop {
        if let Ok(length) = upstream.recv(&mut buffer).await
            && let Some(bytes) = buffer.get(..length)
        {
            enqueue(&back, bytes.to_vec(), &shared);
        }
    }
}

fn enqueue(queue: &mpsc::Sender<Waiting>, mut bytes: Vec<u8>, shared: &Shared) {
    let throw = shared.throw(&mut bytes);
    if throw.lost {
        count(&shared.counters.lost);
        return;
    }
    let due = Instant::now() + throw.wait;
    if throw.twice {
        count(&shared.counters.duplicated);
        let bytes = bytes.clone();
        if queue.try_send(Waiting { due, bytes }).is_err() {
            count(&shared.counters.overflowed);
        }
    }
    if queue.try_send(Waiting { due, bytes }).is_err() {
        count(&shared.counters.overflowed);
    }
}

/// Sends each datagram when it is due; those that are due together go in the order in which they came.
async fn pump(
    mut queue: mpsc::Receiver<Waiting>,
    socket: Arc<UdpSocket>,
    to: Option<SocketAddr>,
    shared: Arc<Shared>,
) {
    let mut waiting: BTreeMap<(Instant, u64), Vec<u8>> = BTreeMap::new();
    let (mut arrived, mut newest_sent) = (0_u64, 0_u64);
    loop {
        let due = waiting.first_key_value().map(|((due, _), _)| *due);
        let has_room = waiting.len() < QUEUE_DATAGRAMS_MAX;
        tokio::select! {
            // What is here goes into the order before anything leaves it.
            biased;
            came = queue.recv(), if has_room => {
                let Some(came) = came else { return };
                arrived += 1;
                waiting.insert((came.due, arrived), came.bytes);
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some(((_, number), bytes)) = waiting.pop_first() else { continue };
                if number < newest_sent {
                    count(&shared.counters.reordered);
                }
                newest_sent = newest_sent.max(number);
                let sent = match to {
                    Some(to) => socket.send_to(&bytes, to).await,
                    None => socket.send(&bytes).await,
                };
                if sent.is_ok() {
                    count(&shared.counters.passed);
                }
            }
        }
    }
}

async fn connections(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= FLOWS_MAX {
            tasks.join_next().await;
        }
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            // A target that refuses closes the connection, as it would without us.
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::join!(
                stream(near_in, far_out, Arc::clone(&shared)),
                stream(far_in, near_out, shared)
            );
        });
    }
}

/// One direction of a connection: pieces leave in order, each no sooner than it is due.
async fn stream(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>) {
    let (queue, mut pieces) = mpsc::channel::<Waiting>(QUEUE_PIECES_MAX);
    let reader = async {
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let Some(bytes) = buffer.get(..length) else {
                break;
            };
            let mut bytes = bytes.to_vec();
            let due = Instant::now() + shared.throw(&mut bytes).wait;
            if queue.send(Waiting { due, bytes }).await.is_err() {
                break;
            }
        }
        drop(queue);
    };
    let writer = async {
        while let Some(piece) = pieces.recv().await {
            tokio::time::sleep_until(piece.due).await;
            if to.write_all(&piece.bytes).await.is_err() {
                break;
            }
            count(&shared.counters.passed);
        }
        // A reader that still has something to say is told that nobody listens.
        pieces.close();
        let _peer_may_be_gone = to.shutdown().await;
    };
    tokio::join!(reader, writer);
}
