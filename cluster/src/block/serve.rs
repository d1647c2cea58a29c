//! The side that answers other nodes about blocks: reads, writes, and what is done with blocks where they lie. Bounded in
//! requests, bytes and time, for each peer alone and for all together. It must never ask another node itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{CacheHandle, Domain, DomainTag, LeasedBlock, PutError, RequestError, Stored};
use ultrakv_cache::{EffectiveDomain, PinOutcome, PutRefusal};

use super::feed::BlockReports;
use super::message::{
    Act, ActAsk, Code, CodesAnswer, Found, ReadAnswer, ReadAsk, Unreadable, WriteAsk, pack_found,
    pin_of, unpack_brought, unpack_places,
};
use super::meters;
use super::options::BlockOptions;
use super::world::{BlockArenas, DirectorySource, RecordSink};
use super::write::committed;
use crate::NodeId;
use crate::peer::{Parcel, Refused};
use crate::wire::{Kind, Limits, WireError};

/// Peers whose requests are counted at one time; those that ask nothing are forgotten first.
const PEERS_MAX: usize = 256;
/// The longest time that a request is worked on, whatever its sender wishes.
const WITHIN_MS_MAX: u32 = 30_000;
/// Bytes gathered for answers at one time, in KiB: half a gibibyte.
const GATHER_KIB_MAX: usize = 512 << 10;
/// Answers up to this are put together where the caller stands.
const GATHER_INLINE_BYTES_MAX: usize = 256 << 10;

/// Answers [`Kind::BlockRead`], [`Kind::BlockWrite`] and [`Kind::BlockAsk`].
#[derive(Clone)]
pub struct BlockService {
    inner: Arc<Inner>,
}

struct Inner {
    me: NodeId,
    cache: CacheHandle,
    clock: Clock,
    arenas: Arc<dyn BlockArenas>,
    reports: Arc<BlockReports>,
    directory: DirectorySource,
    sink: Arc<dyn RecordSink>,
    options: BlockOptions,
    peers: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
    gather: Arc<Semaphore>,
}

/// What a service is made of.
pub(super) struct ServiceParts {
    pub(super) me: NodeId,
    pub(super) cache: CacheHandle,
    pub(super) clock: Clock,
    pub(super) arenas: Arc<dyn BlockArenas>,
    pub(super) reports: Arc<BlockReports>,
    pub(super) directory: DirectorySource,
    pub(super) sink: Arc<dyn RecordSink>,
    pub(super) options: BlockOptions,
}

/// A domain of which only the arena counts: blocks are named by keys, which nobody derives here.
pub(super) const fn domain_of(tag: DomainTag, arena: ultrakv_cache::ArenaId) -> Domain {
    Domain::new(EffectiveDomain::from_bytes([0; 32]), arena, tag)
}

impl BlockService {
    pub(super) fn new(parts: ServiceParts) -> Self {
        let ServiceParts {
            me,
            cache,
            clock,
            arenas,
            reports,
            directory,
            sink,
            options,
        } = parts;
        Self {
            inner: Arc::new(Inner {
                me,
                cache,
                clock,
                arenas,
                reports,
                directory,
                sink,
                options,
                peers: Mutex::default(),
                gather: Arc::new(Semaphore::new(GATHER_KIB_MAX)),
            }),
        }
    }

    /// Answers one request of a peer.
    ///
    /// # Errors
    /// When it cannot be read, is of another kind, or too much is under way for this peer: the refusal as it travels.
    pub async fn serve(&self, peer: NodeId, ask: Parcel) -> Result<Parcel, Refused> {
        let inner = &self.inner;
        let Some(_turn) = inner.turn(peer) else {
            meters::count(meters::REFUSED, 1);
            return Err(busy(
                "this node works on as many block requests of yours as it may",
            ));
        };
        match ask.kind {
            Kind::BlockRead => inner.read(&ask).await,
            Kind::BlockWrite => inner.write(&ask).await,
            Kind::BlockAsk => inner.act(&ask).await,
            kind => Err(Refused {
                code: "kind_unexpected".to_owned(),
                message: format!("a request of kind {kind:?} is none about blocks"),
                hint: "report it with the versions of both nodes".to_owned(),
            }),
        }
    }
}

impl std::fmt::Debug for BlockService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockService")
            .field("me", &self.inner.me)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// A peer's turn; none when it has as many as it may.
    fn turn(&self, peer: NodeId) -> Option<OwnedSemaphorePermit> {
        let turns = self
            .options
            .peer_requests_max
            .clamp(1, Semaphore::MAX_PERMITS);
        let mut peers = self.peers.lock();
        if !peers.contains_key(&peer) && peers.len() >= PEERS_MAX {
            peers.retain(|_, turn| turn.available_permits() < turns);
            if peers.len() >= PEERS_MAX {
                return None;
            }
        }
        let semaphore = peers
            .entry(peer)
            .or_insert_with(|| Arc::new(Semaphore::new(turns)));
        Arc::clone(semaphore).try_acquire_owned().ok()
    }

    fn deadline(&self, within_ms: u32) -> Deadline {
        let within = Duration::from_millis(within_ms.min(WITHIN_MS_MAX).into());
        self.clock.deadline(within)
    }

    async fn read(&self, ask: &Parcel) -> Result<Parcel, Refused> {
        let header: ReadAsk = ask.header().map_err(unreadable)?;
        let addresses = unpack_places(&header.places).map_err(|_| no_list())?;
        // Before the shards are asked: a block that appears after this is in a later report.
        let lives = self.reports.marks();
        let arena = self.arenas.arena(header.domain);
        let blocks = match arena {
            None => None,
            Some(arena) => {
                let deadline = self.deadline(header.within_ms);
                let domain = domain_of(header.domain, arena);
                let lent = self.cache.get(&domain, &addresses, deadline).await;
                lent.ok()
            }
        };
        let Some(blocks) = blocks else {
            let found = vec![Found::Unsure; addresses.len()];
            return self.answer_read(&found, lives, Bytes::new());
        };
        let (found, lent) = choose(blocks, &header, self.options.frame_bytes_max);
        let payload = self.gather(lent).await?;
        self.answer_read(&found, lives, payload)
    }

    fn answer_read(
        &self,
        found: &[Found],
        lives: Vec<super::message::LifeMark>,
        payload: Bytes,
    ) -> Result<Parcel, Refused> {
        let answer = ReadAnswer {
            found: pack_found(found),
            lives,
        };
        Parcel::new(Kind::Answer, &answer, payload).map_err(unreadable)
    }

    /// The blocks' bytes one after the other. One block is handed on as it lies, and its lease lasts until it was sent;
    /// several are copied together, which a frame's one payload asks for.
    async fn gather(&self, mut blocks: Vec<LeasedBlock>) -> Result<Bytes, Refused> {
        if blocks.len() <= 1 {
            return Ok(blocks.pop().map(|block| block.payload).unwrap_or_default());
        }
        let bytes: usize = blocks.iter().map(|block| block.payload.len()).sum();
        let kib = bytes.div_ceil(1 << 10).min(GATHER_KIB_MAX);
        let room = Arc::clone(&self.gather)
            .try_acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX))
            .map_err(|_| busy("this node gathers as many bytes for answers as it may"))?;
        let copy = move || {
            let mut gathered = BytesMut::with_capacity(bytes);
            for block in blocks {
                gathered.extend_from_slice(&block.payload);
            }
            Bytes::from_owner(Gathered {
                bytes: gathered,
                _room: room,
            })
        };
        if bytes <= GATHER_INLINE_BYTES_MAX {
            return Ok(copy());
        }
        let gathered = tokio::task::spawn_blocking(copy).await;
        gathered.map_err(|_| busy("this node is stopping"))
    }

    async fn write(&self, ask: &Parcel) -> Result<Parcel, Refused> {
        let header: WriteAsk = ask.header().map_err(unreadable)?;
        let blocks = unpack_brought(&header.blocks, &ask.payload).map_err(|_| no_list())?;
        let deadline = self.deadline(header.within_ms);
        let Some(arena) = self.arenas.arena(header.domain) else {
            return answer_codes(&vec![Code::NotAdmitted; blocks.len()]);
        };
        let domain = domain_of(header.domain, arena);
        let mut codes = Vec::with_capacity(blocks.len());
        // In order, so that a parent that comes along is here before its child.
        for put in blocks {
            let address = put.address;
            let stored = self.cache.put(&domain, put, deadline).await;
            let mut code = code_of(&stored);
            if header.committed && matches!(code, Code::Done | Code::Known) {
                let here = (self.me, &*self.reports);
                let listed = committed(&self.directory, &*self.sink, here, &address);
                let wait = self.clock.remaining(deadline);
                if tokio::time::timeout(wait, listed).await.is_err() {
                    code = Code::Unsure;
                }
            }
            codes.push(code);
        }
        answer_codes(&codes)
    }

    async fn act(&self, ask: &Parcel) -> Result<Parcel, Refused> {
        let header: ActAsk = ask.header().map_err(unreadable)?;
        let addresses = unpack_places(&header.places).map_err(|_| no_list())?;
        let deadline = self.deadline(header.within_ms);
        let Some(arena) = self.arenas.arena(header.domain) else {
            return answer_codes(&vec![Code::Absent; addresses.len()]);
        };
        let domain = domain_of(header.domain, arena);
        let done = act_here(&self.cache, &domain, header.act, &addresses, deadline).await;
        let codes = done.unwrap_or_else(|_| vec![Code::Unsure; addresses.len()]);
        answer_codes(&codes)
    }
}

/// Does something with blocks of a domain that are here. Removal and pins do not look at domains, so it is asked first
/// whose the blocks are.
pub(super) async fn act_here(
    cache: &CacheHandle,
    domain: &Domain,
    act: Act,
    addresses: &[ultrakv_cache::BlockAddress],
    deadline: Deadline,
) -> Result<Vec<Code>, RequestError> {
    if let Act::Lease(ms) = act {
        let held = cache.lease(domain, addresses, ms, deadline).await?;
        let code = |is_held: bool| if is_held { Code::Done } else { Code::Absent };
        return Ok(held.into_iter().map(code).collect());
    }
    let found = cache.get(domain, addresses, deadline).await?;
    let found: Vec<bool> = found.iter().map(Option::is_some).collect();
    let theirs: Vec<_> = addresses
        .iter()
        .zip(&found)
        .filter(|(_, is_found)| **is_found)
        .map(|(address, _)| *address)
        .collect();
    let mut codes = match act {
        Act::Remove => {
            cache.remove(domain, &theirs, deadline).await?;
            vec![Code::Done; theirs.len()]
        }
        Act::Pin(number) => {
            let pin = pin_of(number).unwrap_or_default();
            let outcomes = cache.pin(domain, &theirs, pin, deadline).await?;
            outcomes.into_iter().map(code_of_pin).collect()
        }
        Act::Lease(_) => Vec::new(),
    }
    .into_iter();
    let code = |is_found: bool| match is_found {
        true => codes.next().unwrap_or(Code::Absent),
        false => Code::Absent,
    };
    Ok(found.into_iter().map(code).collect())
}

const fn code_of_pin(outcome: PinOutcome) -> Code {
    match outcome {
        PinOutcome::Done => Code::Done,
        PinOutcome::Absent => Code::Absent,
        PinOutcome::QuotaFull => Code::PinQuota,
    }
}

/// What an answer says of each block, and those whose bytes it has.
fn choose(
    blocks: Vec<Option<LeasedBlock>>,
    ask: &ReadAsk,
    frame_bytes_max: u64,
) -> (Vec<Found>, Vec<LeasedBlock>) {
    let lane_bytes_max = u64::from(Limits::BULK.payload_bytes_max);
    let bytes_max = ask.bytes_max.min(frame_bytes_max).min(lane_bytes_max);
    let mut bytes = 0_u64;
    let mut lent = Vec::new();
    let found = blocks.into_iter().map(|block| {
        let Some(block) = block else {
            return Found::Absent;
        };
        let length = block.header.payload_bytes;
        if !ask.codecs.contains(&block.header.codec.code()) || length > lane_bytes_max {
            return Found::Unsure;
        }
        if bytes > 0 && bytes.saturating_add(length) > bytes_max {
            return Found::Later;
        }
        bytes = bytes.saturating_add(length);
        let found = Found::Here(block.header, block.ttl_ms);
        lent.push(block);
        found
    });
    (found.collect(), lent)
}

pub(super) const fn code_of(stored: &Result<Stored, PutError>) -> Code {
    match stored {
        Ok(Stored::Copies(_)) => Code::Done,
        Ok(Stored::Known) => Code::Known,
        Ok(Stored::NotAdmitted) => Code::NotAdmitted,
        Err(PutError::Refused(PutRefusal::TooLarge)) => Code::TooLarge,
        Err(PutError::Refused(PutRefusal::NoRoom)) => Code::NoRoom,
        Err(PutError::Refused(PutRefusal::PinQuota)) => Code::PinQuota,
        Err(PutError::Refused(PutRefusal::Malformed)) => Code::Malformed,
        Err(_) => Code::Unsure,
    }
}

fn answer_codes(codes: &[Code]) -> Result<Parcel, Refused> {
    let answer = CodesAnswer {
        codes: Code::pack(codes),
    };
    Parcel::new(Kind::Answer, &answer, Bytes::new()).map_err(unreadable)
}

/// Gathered bytes, counted until they were sent.
struct Gathered {
    bytes: BytesMut,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Gathered {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn busy(message: &str) -> Refused {
    Refused {
        code: "busy".to_owned(),
        message: message.to_owned(),
        hint: "ask another holder, or again after a moment".to_owned(),
    }
}

fn no_list() -> Refused {
    Refused {
        code: "blocks_unreadable".to_owned(),
        message: Unreadable.to_string(),
        hint: "report it with the versions of both nodes".to_owned(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: WireError) -> Refused {
    Refused {
        code: error.code().to_owned(),
        message: error.to_string(),
        hint: error.hint().to_owned(),
    }
}
