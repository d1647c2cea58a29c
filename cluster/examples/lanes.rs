//! How fast the lanes are between two nodes on this machine, beside plain sockets in the same run.
//!
//! `lanes small` asks many small questions over QUIC and over raw TCP; `lanes bulk` fetches blocks over the bulk lane
//! and over raw TCP and raw TLS. Each line printed is one JSON object. Raw means: no frames, no checksums, no deadlines,
//! the same number of connections, the same TLS library. `tests/show/lane-speed` judges the figures.

#![expect(
    clippy::print_stdout,
    reason = "a measuring program's figures are its output"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, try_join_all};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use ultrakv_actors::clock::Clock;
use ultrakv_actors::{BootId, Entropy};
use ultrakv_cluster::NodeId;
use ultrakv_cluster::lane::tls::{Authority, ClusterName, Credentials, Identity, Subject};
use ultrakv_cluster::lane::{
    AddressBook, BulkLane, BulkLimits, BulkPlan, BulkSecurity, QuicLane, QuicLimits, QuicPlan,
};
use ultrakv_cluster::peer::{Callers, Parcel, ParcelStream, Refused, Responder};
use ultrakv_cluster::wire::Kind;

type Failed = Box<dyn Error + Send + Sync>;

/// A small question and its answer, without any envelope.
const SMALL_BYTES: usize = 64;
/// How long each figure is measured, and how often: the figures of both sides take turns. Short turns, so that what else runs
/// on the machine meets both sides alike.
const MEASURE: Duration = Duration::from_millis(500);
const ROUNDS: usize = 15;
/// Callers that ask at once.
const SMALL_CALLERS: usize = 64;
const BULK_CALLERS: usize = 4;

fn main() -> Result<(), Failed> {
    let what = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match what.as_str() {
            "small" => small().await,
            "bulk" => bulk().await,
            _ => Err("lanes small | bulk".into()),
        }
    })
}

/// Answers everything with the same bytes.
struct Same(Bytes);

impl Responder for Same {
    fn answer(&self, _peer: NodeId, ask: Parcel) -> BoxFuture<'_, Result<Parcel, Refused>> {
        let answer = Parcel {
            kind: Kind::Answer,
            header: ask.header,
            payload: self.0.clone(),
        };
        std::future::ready(Ok(answer)).boxed()
    }

    fn take(&self, _peer: NodeId, _parcel: Parcel) {}

    fn stream(
        &self,
        _peer: NodeId,
        _first: Parcel,
        _stream: Box<dyn ParcelStream>,
    ) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

struct Book(BTreeMap<NodeId, SocketAddr>);

impl AddressBook for Book {
    fn addresses(&self, node: NodeId) -> Vec<SocketAddr> {
        self.0.get(&node).copied().into_iter().collect()
    }
}

/// Two certificates of one cluster.
fn identities() -> Result<[Identity; 2], Failed> {
    let now = Clock::machine().unix();
    let cluster = ClusterName::parse("lanes").ok_or("a good name")?;
    let (authority, issued) = Authority::create(cluster, now)?;
    let make = |node| -> Result<Identity, Failed> {
        let folder = tempfile::TempDir::new()?;
        let subject = Subject::Node(NodeId::from_u128(node));
        let of_node = authority.issue(&subject, 1, now)?;
        Credentials::write(folder.path(), &issued.cert_pem, &of_node, false)?;
        Ok(Identity::new(&Credentials::load(folder.path(), now)?)?)
    };
    Ok([make(1)?, make(2)?])
}

fn boot() -> Result<BootId, Failed> {
    Ok(BootId::draw(&Entropy::machine())?)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// What one caller does again and again.
type Turn = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Result<(), Failed>> + Send>> + Send>;

/// How many turns a second all callers make together.
async fn rate(turns: &mut Vec<Turn>) -> Result<f64, Failed> {
    let clock = Clock::machine();
    let stopwatch = clock.stopwatch();
    let done = Arc::new(AtomicU64::new(0));
    let callers = turns.drain(..).map(|mut turn| {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            while stopwatch.elapsed() < MEASURE {
                turn().await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<Turn, Failed>(turn)
        })
    });
    let back = try_join_all(callers).await?;
    let seconds = stopwatch.elapsed().as_secs_f64();
    for turn in back {
        turns.push(turn?);
    }
    let done = u32::try_from(done.load(Ordering::Relaxed))?;
    Ok(f64::from(done) / seconds)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Measures two ways in turns, so that a busy machine is busy for both; answers both medians and that of the ratios.
async fn beside(lane: &mut Vec<Turn>, raw: &mut Vec<Turn>) -> Result<(f64, f64, f64), Failed> {
    let (mut of_lane, mut of_raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn of each warms connections and windows.
    rate(lane).await?;
    rate(raw).await?;
    for _ in 0..ROUNDS {
        let (lane, raw) = (rate(lane).await?, rate(raw).await?);
        of_lane.push(lane);
        of_raw.push(raw);
        ratios.push(lane / raw);
    }
    Ok((median(of_lane), median(of_raw), median(ratios)))
}

fn lane_turns(lane: &Callers, to: NodeId, clock: &Clock, callers: usize) -> Vec<Turn> {
    let turn = |_| -> Turn {
        let (lane, clock) = (Arc::clone(lane), clock.clone());
        Box::new(move || {
            let (lane, clock) = (Arc::clone(&lane), clock.clone());
            Box::pin(async move {
                let ask = Parcel::new(Kind::BlockRead, &"x", Bytes::new())?;
                let deadline = clock.deadline(Duration::from_secs(10));
                lane.call(to, ask, deadline).await?;
                Ok(())
            })
        })
    };
    (0..callers).map(turn).collect()
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Questions of a fixed length, answers of another, on connections of their own.
async fn raw_turns(
    identities: Option<&[Identity; 2]>,
    answer: Bytes,
    callers: usize,
) -> Result<Vec<Turn>, Failed> {
    let listener = TcpListener::bind(loopback()).await?;
    let address = listener.local_addr()?;
    let server = identities.map(|[_, server]| TlsAcceptor::from(server.server_config()));
    let length = answer.len();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (answer, server) = (answer.clone(), server.clone());
            tokio::spawn(async move {
                socket.set_nodelay(true)?;
                let mut socket: Box<dyn Socket> = match server {
                    Some(server) => Box::new(server.accept(socket).await?),
                    None => Box::new(socket),
                };
                let mut ask = [0; SMALL_BYTES];
                loop {
                    socket.read_exact(&mut ask).await?;
                    socket.write_all(&answer).await?;
                    socket.flush().await?;
                }
                #[expect(unreachable_code, reason = "it gives the block its type")]
                Ok::<(), std::io::Error>(())
            });
        }
    });
    let mut turns = Vec::new();
    for _ in 0..callers {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let socket: Box<dyn Socket> = match identities {
            Some([client, _]) => {
                let connector = TlsConnector::from(client.client_config());
                Box::new(
                    connector
                        .connect(ServerName::try_from("x")?, socket)
                        .await?,
                )
            }
            None => Box::new(socket),
        };
        let place = Arc::new(tokio::sync::Mutex::new((socket, vec![0; length])));
        let turn: Turn = Box::new(move || {
            let place = Arc::clone(&place);
            Box::pin(async move {
                let mut place = place.lock().await;
                let (socket, buffer) = &mut *place;
                socket.write_all(&[7; SMALL_BYTES]).await?;
                socket.flush().await?;
                socket.read_exact(buffer).await?;
                Ok(())
            })
        });
        turns.push(turn);
    }
    Ok(turns)
}

async fn small() -> Result<(), Failed> {
    let [one, two] = identities()?;
    let clock = Clock::machine();
    let answer = Bytes::from(vec![7; SMALL_BYTES]);
    let (from, to) = (one.node(), two.node());
    let start = |identity, book: BTreeMap<NodeId, SocketAddr>| -> Result<QuicLane, Failed> {
        let plan = QuicPlan {
            identity,
            boot: boot()?,
            bind: loopback(),
            limits: QuicLimits::default(),
            clock: clock.clone(),
        };
        let responder = Arc::new(Same(answer.clone()));
        Ok(QuicLane::start(plan, responder, Arc::new(Book(book)))?)
    };
    let two = start(two, BTreeMap::new())?;
    let one = start(one, BTreeMap::from([(to, two.local_addr()?)]))?;
    let lane: Callers = Arc::new(one);
    let mut of_lane = lane_turns(&lane, to, &clock, SMALL_CALLERS);
    let mut raw = raw_turns(None, answer.clone(), SMALL_CALLERS).await?;
    let (quic, tcp, ratio) = beside(&mut of_lane, &mut raw).await?;
    println!(
        "{{\"what\": \"small\", \"callers\": {SMALL_CALLERS}, \"quic\": {quic:.0}, \"tcp\": {tcp:.0}, \"ratio\": {ratio:.3}}}"
    );
    let mut one = lane_turns(&lane, to, &clock, 1);
    let mut raw = raw_turns(None, answer, 1).await?;
    let (quic, tcp, ratio) = beside(&mut one, &mut raw).await?;
    println!(
        "{{\"what\": \"small\", \"callers\": 1, \"quic\": {quic:.0}, \"tcp\": {tcp:.0}, \"ratio\": {ratio:.3}}}"
    );
    debug_assert!(from != to);
    Ok(())
}

async fn bulk() -> Result<(), Failed> {
    for mebibytes in [1, 2, 4] {
        for secure in [false, true] {
            bulk_of(mebibytes, secure).await?;
        }
    }
    Ok(())
}

async fn bulk_of(mebibytes: usize, secure: bool) -> Result<(), Failed> {
    let both = identities()?;
    let clock = Clock::machine();
    let block = Bytes::from(vec![7; mebibytes << 20]);
    let start = |identity: &Identity, book| -> Result<BulkLane, Failed> {
        let security = if secure {
            BulkSecurity::Tls(identity.clone())
        } else {
            BulkSecurity::Plain {
                node: identity.node(),
            }
        };
        let plan = BulkPlan {
            security,
            boot: boot()?,
            bind: loopback(),
            limits: BulkLimits::default(),
            clock: clock.clone(),
        };
        let responder = Arc::new(Same(block.clone()));
        Ok(BulkLane::start(plan, responder, Arc::new(Book(book)))?)
    };
    let [one, two] = &both;
    let to = two.node();
    let two = start(two, BTreeMap::new())?;
    let one = start(one, BTreeMap::from([(to, two.local_addr())]))?;
    let lane: Callers = Arc::new(one);
    let mut of_lane = lane_turns(&lane, to, &clock, BULK_CALLERS);
    let mut raw = raw_turns(secure.then_some(&both), block.clone(), BULK_CALLERS).await?;
    let (lane, raw, ratio) = beside(&mut of_lane, &mut raw).await?;
    let gigabytes = f64::from(u32::try_from(block.len())?) / 1e9;
    let (lane, raw) = (lane * gigabytes, raw * gigabytes);
    println!(
        "{{\"what\": \"bulk\", \"tls\": {secure}, \"mebibytes\": {mebibytes}, \"lane_gbs\": {lane:.3}, \"raw_gbs\": {raw:.3}, \"ratio\": {ratio:.3}}}"
    );
    Ok(())
}
