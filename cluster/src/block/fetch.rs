//! Blocks from other nodes: one flight a block however many want it, frames for many blocks, a second holder asked when
//! the first is slow, and every byte checked where it arrives. It must never decide which blocks are wanted.
//!
//! A flight goes on when its callers leave, until it lands or its first caller's deadline: bounded, and the next one finds
//! the block sooner.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{BootId, Domain, DomainTag, LeasedBlock};
use ultrakv_cache::{ArenaId, BlockAddress, BlockHeader, BlockKey, Codec};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::feed::BlockReports;
use super::gates::PeerGates;
use super::message::{
    Found, LifeMark, NAMES_MAX, Pieces, ReadAnswer, ReadAsk, pack_places, unpack_found,
};
use super::meters;
use super::options::BlockOptions;
use super::pace::Pace;
use super::world::{BlockLayout, Standing};
use crate::NodeId;
use crate::directory::{BlockHolder, Place};
use crate::peer::{Callers, Parcel, PeerError};
use crate::wire::Kind;

/// Blocks on their way at once; what is more is a miss.
const FLIGHTS_MAX: usize = 16_384;
/// Holders tried for one block.
const TRIES_MAX: usize = 6;
/// Holders asked at one time for one block: the first and a hedge.
const ASKED_AT_ONCE: usize = 2;
/// Frames up to this are checked where they arrive; larger ones on a thread that may block.
const CHECK_INLINE_BYTES_MAX: usize = 256 << 10;

/// The codecs that this build reads: stored bytes travel as they are, and whoever wants numbers decodes them.
pub(super) const CODECS: [u8; Codec::ALL.len()] = [
    Codec::Raw.code(),
    Codec::Exponent.code(),
    Codec::Planes.code(),
    Codec::Int8.code(),
    Codec::Fp8.code(),
    Codec::Int4.code(),
    Codec::Entropy.code(),
    Codec::Archive.code(),
];

/// A block that is wanted from others.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) address: BlockAddress,
    /// Who is said to hold it; this node not among them.
    pub(super) holders: Vec<BlockHolder>,
    /// Where it was brought a moment ago, perhaps before anybody lists it.
    pub(super) brought: Option<NodeId>,
}

/// What became of a flight.
#[derive(Clone, Debug)]
enum Landed {
    Block(LeasedBlock),
    Missed,
    /// The first caller's time was over; another's may not be.
    Late,
}

type Flights = Mutex<BTreeMap<(ArenaId, BlockKey), watch::Receiver<Option<Landed>>>>;

/// Fetches blocks.
pub(super) struct Fetcher {
    me: NodeId,
    callers: Callers,
    clock: Clock,
    layout: Arc<dyn BlockLayout>,
    reports: Arc<BlockReports>,
    options: BlockOptions,
    pace: Pace,
    flights: Arc<Flights>,
    gates: Arc<PeerGates>,
    reads: Arc<Semaphore>,
}

/// What a fetcher is made of.
pub(super) struct FetcherParts {
    pub(super) me: NodeId,
    pub(super) callers: Callers,
    pub(super) clock: Clock,
    pub(super) layout: Arc<dyn BlockLayout>,
    pub(super) reports: Arc<BlockReports>,
    pub(super) options: BlockOptions,
    pub(super) gates: Arc<PeerGates>,
}

impl Fetcher {
    pub(super) fn new(parts: FetcherParts) -> Self {
        let FetcherParts {
            me,
            callers,
            clock,
            layout,
            reports,
            options,
            gates,
        } = parts;
        let reads = options.reads_in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            me,
            callers,
            clock,
            layout,
            reports,
            options,
            pace: Pace::new(Duration::from_millis(options.hedge_ms_default)),
            flights: Arc::default(),
            gates,
            reads: Arc::new(Semaphore::new(reads)),
        }
    }

    /// Each of these blocks, where somebody gave it in time.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        domain: &Domain,
        wants: &[Want],
        deadline: Deadline,
    ) -> Vec<Option<LeasedBlock>> {
        let mut blocks: Vec<Option<LeasedBlock>> = vec![None; wants.len()];
        let mut left: Vec<usize> = (0..wants.len()).collect();
        // A flight of another caller may end with that one's deadline: then this one's own begins.
        while !left.is_empty() && !deadline.passed(self.clock.now()) {
            let flights = self.board(domain, wants, &left, deadline);
            left.clear();
            for (place, mut flight) in flights {
                let landed = flight.wait_for(Option::is_some);
                let wait = self.clock.remaining(deadline);
                let landed = match tokio::time::timeout(wait, landed).await {
                    Ok(Ok(landed)) => landed.clone().unwrap_or(Landed::Missed),
                    // The flight ended without a word, or the time is over.
                    Ok(Err(_)) | Err(_) => Landed::Missed,
                };
                match landed {
                    Landed::Block(block) => {
                        if let Some(to) = blocks.get_mut(place) {
                            *to = Some(block);
                        }
                    }
                    Landed::Late => left.push(place),
                    Landed::Missed => {}
                }
            }
        }
        blocks
    }

    /// Joins the flights under way and begins the others, in one chase.
    fn board(
        self: &Arc<Self>,
        domain: &Domain,
        wants: &[Want],
        left: &[usize],
        deadline: Deadline,
    ) -> Vec<(usize, watch::Receiver<Option<Landed>>)> {
        let mut boarded = Vec::with_capacity(left.len());
        let mut led = Vec::new();
        let mut shared = 0;
        let mut flights = self.flights.lock();
        for place in left {
            let Some(want) = wants.get(*place) else {
                continue;
            };
            let name = (domain.arena, want.address.key);
            if let Some(flight) = flights.get(&name) {
                shared += 1;
                boarded.push((*place, flight.clone()));
                continue;
            }
            if flights.len() >= FLIGHTS_MAX {
                continue;
            }
            let (land, flight) = watch::channel(None);
            flights.insert(name, flight.clone());
            boarded.push((*place, flight));
            led.push(Chased {
                address: want.address,
                boots: boots(&want.holders),
                candidates: VecDeque::new(),
                tries: 0,
                asked: 0,
                landing: Some(Landing {
                    flights: Arc::clone(&self.flights),
                    name,
                    land,
                }),
            });
            if let Some(chased) = led.last_mut() {
                chased.candidates = self.candidates(want);
            }
        }
        drop(flights);
        meters::count(meters::SHARED, shared);
        if !led.is_empty() {
            let chase = Chase {
                fetcher: Arc::clone(self),
                tag: domain.tag,
                deadline,
                blocks: led,
                running: FuturesUnordered::new(),
                open: BTreeMap::new(),
                groups: 0,
            };
            // Bounded by its deadline and by the number of flights.
            tokio::spawn(chase.run());
        }
        boarded
    }

    /// The nodes to ask, best first: reached before doubted, fast tiers before slow ones, and among equals another one for
    /// each reader and run, so that holders of a hot run share its readers.
    fn candidates(&self, want: &Want) -> VecDeque<NodeId> {
        let seed = u64::try_from(self.me.to_u128() & u128::from(u64::MAX)).unwrap_or(0);
        let mut ranked: Vec<_> = want
            .holders
            .iter()
            .filter_map(|holder| {
                let node = holder.life.node;
                let standing = self.layout.standing(node);
                let score = xxh3_64_with_seed(want.address.run.as_bytes(), seed ^ low(node));
                let rank = (standing, holder.form.tier(), score, node);
                (standing != Standing::Down && node != self.me).then_some(rank)
            })
            .collect();
        ranked.sort_unstable();
        let mut nodes: Vec<NodeId> = ranked.into_iter().map(|(_, _, _, node)| node).collect();
        let brought = want
            .brought
            .filter(|node| !nodes.contains(node) && self.layout.standing(*node) != Standing::Down);
        nodes.extend(brought);
        nodes.dedup();
        nodes.into()
    }

    /// Asks one node for some blocks; tells when its turn came and the question left.
    async fn ask(
        self: Arc<Self>,
        node: NodeId,
        tag: DomainTag,
        addresses: Vec<BlockAddress>,
        deadline: Deadline,
        left: oneshot::Sender<()>,
    ) -> Result<Answer, PeerError> {
        let _gate = self.gates.enter(node).await;
        let _turn = self.reads.acquire().await;
        let within = self.clock.remaining(deadline).as_millis();
        let ask = ReadAsk {
            domain: tag,
            places: pack_places(&addresses),
            codecs: CODECS.to_vec(),
            bytes_max: self.options.frame_bytes_max,
            within_ms: u32::try_from(within).unwrap_or(u32::MAX),
        };
        let protocol = |error| PeerError::Protocol { peer: node, error };
        let parcel = Parcel::new(Kind::BlockRead, &ask, Bytes::new()).map_err(protocol)?;
        let watch = self.clock.stopwatch();
        let _ = left.send(());
        let answer = self.callers.call(node, parcel, deadline).await?;
        self.pace.note(watch.elapsed());
        let header: ReadAnswer = answer.header().map_err(protocol)?;
        let payload = answer.payload;
        let is_small = payload.len() <= CHECK_INLINE_BYTES_MAX;
        let read = move || check(&header, &payload, &addresses);
        let taken = if is_small {
            Some(read())
        } else {
            tokio::task::spawn_blocking(read).await.ok()
        };
        taken.ok_or(PeerError::Unreachable {
            peer: node,
            reason: "this node is stopping".to_owned(),
        })
    }
}

fn low(node: NodeId) -> u64 {
    u64::try_from(node.to_u128() & u128::from(u64::MAX)).unwrap_or(0)
}

fn boots(holders: &[BlockHolder]) -> Vec<(NodeId, BootId)> {
    let holders = holders.iter();
    holders
        .map(|holder| (holder.life.node, holder.life.boot))
        .collect()
}

/// What a node's answer says of each block asked for.
struct Answer {
    taken: Vec<Taken>,
    lives: Vec<LifeMark>,
}

enum Taken {
    Block(LeasedBlock),
    Absent,
    /// Bytes that are not those of the key: wrong from now on, whoever sends them.
    Wrong,
    Later,
    Unsure,
}

/// Compares every block with its key. An answer that cannot be read says nothing of any block.
fn check(header: &ReadAnswer, payload: &Bytes, addresses: &[BlockAddress]) -> Answer {
    let unsure = || addresses.iter().map(|_| Taken::Unsure).collect();
    let mut pieces = Pieces::new(payload);
    let taken = unpack_found(&header.found, addresses.len()).and_then(|found| {
        let taken = found.iter().zip(addresses).map(|(found, address)| {
            Ok(match found {
                Found::Absent => Taken::Absent,
                Found::Later => Taken::Later,
                Found::Unsure => Taken::Unsure,
                Found::Here(header, ttl_ms) => {
                    let bytes = pieces.next(header.payload_bytes)?;
                    judge(header, *ttl_ms, bytes, address)
                }
            })
        });
        taken.collect::<Result<Vec<_>, _>>()
    });
    let is_whole = pieces.end().is_ok();
    Answer {
        taken: taken.ok().filter(|_| is_whole).unwrap_or_else(unsure),
        lives: header.lives.clone(),
    }
}

fn judge(
    header: &BlockHeader,
    ttl_ms: Option<u64>,
    payload: Bytes,
    address: &BlockAddress,
) -> Taken {
    if !CODECS.contains(&header.codec.code()) {
        return Taken::Unsure;
    }
    if !header.is_consistent() || !header.verify(&address.key, &payload) {
        return Taken::Wrong;
    }
    Taken::Block(LeasedBlock {
        header: *header,
        payload,
        ttl_ms,
    })
}

/// Where a flight's end is told. Whatever becomes of the chase, the flight ends: callers find the sender gone.
struct Landing {
    flights: Arc<Flights>,
    name: (ArenaId, BlockKey),
    land: watch::Sender<Option<Landed>>,
}

impl Landing {
    fn tell(self, landed: Landed) {
        self.flights.lock().remove(&self.name);
        self.land.send_replace(Some(landed));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        // Only this flight's own entry: another one may have begun since it landed.
        let mut flights = self.flights.lock();
        let is_own = flights
            .get(&self.name)
            .is_some_and(|flight| flight.same_channel(&self.land.subscribe()));
        if is_own {
            flights.remove(&self.name);
        }
    }
}

/// One block that is chased.
struct Chased {
    address: BlockAddress,
    /// The lives that the directory named.
    boots: Vec<(NodeId, BootId)>,
    candidates: VecDeque<NodeId>,
    tries: usize,
    /// Holders that are asked just now.
    asked: usize,
    /// None once it landed.
    landing: Option<Landing>,
}

enum Step {
    Answered {
        group: u64,
        node: NodeId,
        places: Vec<usize>,
        answer: Result<Answer, PeerError>,
    },
    /// A group's answer should have come by now.
    Slow { group: u64 },
}

/// The blocks of one call that nobody else chases.
struct Chase {
    fetcher: Arc<Fetcher>,
    tag: DomainTag,
    deadline: Deadline,
    blocks: Vec<Chased>,
    running: FuturesUnordered<BoxFuture<'static, Step>>,
    /// Groups whose answer is awaited.
    open: BTreeMap<u64, Vec<usize>>,
    groups: u64,
}

impl Chase {
    async fn run(mut self) {
        let wait = self.fetcher.clock.remaining(self.deadline);
        let is_late = {
            let chase = async {
                self.launch((0..self.blocks.len()).collect());
                while let Some(step) = self.running.next().await {
                    self.step(step);
                    if self.open.is_empty() {
                        break;
                    }
                }
            };
            tokio::time::timeout(wait, chase).await.is_err()
        };
        let mut missed = 0;
        for block in &mut self.blocks {
            if let Some(landing) = block.landing.take() {
                missed += 1;
                landing.tell(if is_late {
                    Landed::Late
                } else {
                    Landed::Missed
                });
            }
        }
        meters::count(meters::MISSED, missed);
    }

    /// Asks the next holder of each of these blocks, one frame a node for as many as it may have.
    fn launch(&mut self, places: Vec<usize>) {
        let mut by_node: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for place in places {
            let Some(block) = self.blocks.get_mut(place) else {
                continue;
            };
            if block.landing.is_none() || block.asked >= ASKED_AT_ONCE || block.tries >= TRIES_MAX {
                continue;
            }
            if let Some(node) = block.candidates.pop_front() {
                block.tries += 1;
                block.asked += 1;
                by_node.entry(node).or_default().push(place);
            }
        }
        let frame_blocks_max = self.fetcher.options.frame_blocks_max.clamp(1, NAMES_MAX);
        for (node, places) in by_node {
            for places in places.chunks(frame_blocks_max) {
                self.ask(node, places.to_vec());
            }
        }
    }

    fn ask(&mut self, node: NodeId, places: Vec<usize>) {
        self.groups += 1;
        let group = self.groups;
        let addresses = places.iter().filter_map(|place| self.blocks.get(*place));
        let addresses: Vec<_> = addresses.map(|block| block.address).collect();
        let fetcher = Arc::clone(&self.fetcher);
        let delay = fetcher.pace.delay();
        let (left, has_left) = oneshot::channel();
        let asked = fetcher.ask(node, self.tag, addresses, self.deadline, left);
        self.open.insert(group, places.clone());
        self.running.push(Box::pin(async move {
            let answer = asked.await;
            Step::Answered {
                group,
                node,
                places,
                answer,
            }
        }));
        self.running.push(Box::pin(async move {
            // Time spent waiting for a turn is no fault of the holder.
            let _ = has_left.await;
            tokio::time::sleep(delay).await;
            Step::Slow { group }
        }));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Slow { group } => {
                let Some(places) = self.open.get(&group).cloned() else {
                    return;
                };
                let before = self.groups;
                self.launch(places);
                meters::count(meters::HEDGED, self.groups - before);
            }
            Step::Answered {
                group,
                node,
                places,
                answer,
            } => {
                self.open.remove(&group);
                self.answered(node, &places, answer);
                let idle = |place: &usize| {
                    let block = self.blocks.get(*place);
                    block.is_some_and(|block| block.landing.is_some() && block.asked == 0)
                };
                let next = places.iter().copied().filter(idle).collect();
                self.launch(next);
            }
        }
    }

    fn answered(&mut self, node: NodeId, places: &[usize], answer: Result<Answer, PeerError>) {
        for place in places {
            if let Some(block) = self.blocks.get_mut(*place) {
                block.asked -= 1;
            }
        }
        let Ok(Answer { taken, lives }) = answer else {
            return;
        };
        let has_any = taken.iter().any(|taken| matches!(taken, Taken::Block(_)));
        for (place, taken) in places.iter().zip(taken) {
            let Some(block) = self.blocks.get_mut(*place) else {
                continue;
            };
            match taken {
                Taken::Block(found) => {
                    if let Some(landing) = block.landing.take() {
                        meters::count(meters::FETCHED, 1);
                        landing.tell(Landed::Block(found));
                    }
                }
                Taken::Absent => block.correct(&self.fetcher.reports, node, &lives),
                Taken::Wrong => {
                    tracing::warn!(%node, key = ?block.address.key, "a block arrived damaged");
                    meters::count(meters::CORRUPT, 1);
                    block.correct(&self.fetcher.reports, node, &lives);
                }
                // The same node once more, as long as each frame brings something.
                Taken::Later if has_any => {
                    block.candidates.push_front(node);
                    block.tries = block.tries.saturating_sub(1);
                }
                Taken::Later | Taken::Unsure => {}
            }
        }
    }
}

impl Chased {
    /// Tells the directory that a node does not have what it is listed with.
    fn correct(&self, reports: &BlockReports, node: NodeId, lives: &[LifeMark]) {
        for (_, boot) in self.boots.iter().filter(|(holder, _)| *holder == node) {
            let mark = lives.iter().find(|mark| mark.boot == *boot);
            // A life that the node does not know any more is over, and reports nothing more.
            let sequence = mark.map_or(u64::MAX, |mark| mark.sequence);
            reports.correct(*boot, sequence, Place::of(&self.address));
        }
    }
}
