//! Blocks wherever they are: the local cache first, then the directory, then whoever it names. It must never answer bytes
//! that were not checked, nor wait longer than its caller.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{
    BlockPut, CacheHandle, ChildSpec, Domain, LeasedBlock, PutError, RequestError, Stored,
};
use ultrakv_cache::prefetch::Held;
use ultrakv_cache::{BlockAddress, BlockKey, Pin};

use super::ahead::{Ahead, ELSEWHERE};
use super::feed::BlockReports;
use super::fetch::{CODECS, Fetcher, FetcherParts, Want};
use super::gates::PeerGates;
use super::meters;
use super::mover::{BlockMover, MoverParts};
use super::options::{Ack, BlockOptions};
use super::recent::SeenOnce;
use super::reporting::DirectoryReporting;
use super::serve::{BlockService, ServiceParts};
use super::world::{BlockArenas, BlockLayout, DirectorySource, RecordSink, Standing};
use super::write::Writer;
use crate::NodeId;
use crate::directory::{Accept, BlockHolder, Place, Prefix};
use crate::peer::Callers;

/// Calls whose second hits are being copied here at one time.
const COPIERS_MAX: usize = 4;
/// Time for those copies.
const COPY: Duration = Duration::from_secs(10);

/// What blocks of many nodes are made of.
#[derive(Clone)]
pub struct BlockParts {
    /// This node.
    pub me: NodeId,
    /// Its cache.
    pub cache: CacheHandle,
    /// Its clock.
    pub clock: Clock,
    /// What its shards told; the same that the node's plan has as its watcher.
    pub reports: Arc<BlockReports>,
    /// Its directory.
    pub directory: DirectorySource,
    /// Where batches of the directory are agreed on.
    pub sink: Arc<dyn RecordSink>,
    /// Where blocks belong.
    pub layout: Arc<dyn BlockLayout>,
    /// Whose they are.
    pub arenas: Arc<dyn BlockArenas>,
    /// The way to other nodes.
    pub callers: Callers,
    /// Limits.
    pub options: BlockOptions,
}

impl BlockParts {
    /// The side that answers other nodes.
    #[must_use]
    pub fn service(&self) -> BlockService {
        BlockService::new(ServiceParts {
            me: self.me,
            cache: self.cache.clone(),
            clock: self.clock.clone(),
            arenas: Arc::clone(&self.arenas),
            reports: Arc::clone(&self.reports),
            directory: Arc::clone(&self.directory),
            sink: Arc::clone(&self.sink),
            options: self.options,
        })
    }

    /// The side that doors use.
    #[must_use]
    pub fn router(&self) -> BlockRouter {
        // A quarter of what a peer takes is left for the mover and for answers that are slow to leave.
        let gates = Arc::new(PeerGates::new(self.options.peer_requests_max * 3 / 4));
        let fetcher = FetcherParts {
            me: self.me,
            callers: Arc::clone(&self.callers),
            clock: self.clock.clone(),
            layout: Arc::clone(&self.layout),
            reports: Arc::clone(&self.reports),
            options: self.options,
            gates: Arc::clone(&gates),
        };
        let inner = Arc::new(Inner {
            parts: self.clone(),
            fetcher: Arc::new(Fetcher::new(fetcher)),
            writer: Writer::new(self, gates),
            seen: Mutex::default(),
            copiers: Arc::new(Semaphore::new(COPIERS_MAX)),
        });
        BlockRouter { inner }
    }

    /// Gives the node's prefetch actor the way to other nodes that a router of these parts has. Once a node.
    pub fn prefetch_through(&self, router: &BlockRouter) {
        let sink = Ahead(Arc::downgrade(&router.inner));
        self.cache.prefetch().connect(Arc::new(sink));
    }

    /// The mover: repair, moves and drains.
    #[must_use]
    pub fn mover(&self) -> BlockMover {
        BlockMover::new(MoverParts {
            me: self.me,
            cache: self.cache.clone(),
            clock: self.clock.clone(),
            directory: Arc::clone(&self.directory),
            layout: Arc::clone(&self.layout),
            arenas: Arc::clone(&self.arenas),
            writer: Writer::new(self, Arc::new(PeerGates::new(1))),
            options: self.options,
        })
    }

    /// The actor that tells the directory what the shards told, as a child of a supervisor.
    #[must_use]
    pub fn reporting(&self) -> ChildSpec {
        let reporting = DirectoryReporting {
            reports: Arc::clone(&self.reports),
            sink: Arc::clone(&self.sink),
            cache: self.cache.clone(),
            clock: self.clock.clone(),
            node: self.me,
            options: self.options,
        };
        reporting.child()
    }
}

impl fmt::Debug for BlockParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockParts")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// The cluster's blocks; clones are the same one.
#[derive(Clone)]
pub struct BlockRouter {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) parts: BlockParts,
    pub(super) writer: Writer,
    pub(super) fetcher: Arc<Fetcher>,
    seen: Mutex<SeenOnce>,
    copiers: Arc<Semaphore>,
}

impl BlockRouter {
    /// How many leading blocks of a chain are cached somewhere. A hint; it costs no hop.
    ///
    /// # Errors
    /// When this node's cache gave no answer; the caller computes as if none were.
    pub async fn match_prefix(
        &self,
        domain: &Domain,
        chain: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<usize, RequestError> {
        let cache = &self.inner.parts.cache;
        let here = cache.match_prefix(domain, chain, deadline).await?;
        let rest = chain.get(here..).unwrap_or_default();
        Ok(here + self.inner.listed(rest))
    }

    /// Each of these blocks, where it is cached somewhere.
    ///
    /// # Errors
    /// When this node's cache gave no answer; the caller treats all as missing.
    pub async fn get(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<Vec<Option<LeasedBlock>>, RequestError> {
        let inner = &self.inner;
        let (blocks, wants) = inner.find(domain, addresses, deadline).await?;
        let is_there = |place: usize| wants.binary_search_by_key(&place, |(at, _)| *at).is_ok();
        let found = blocks.iter().enumerate().map(|(place, block)| match block {
            Some(_) => Held::Here,
            None if is_there(place) => ELSEWHERE,
            None => Held::Nowhere,
        });
        inner.tell_blocks(domain, addresses, found);
        let order = Order::Loose;
        Ok(inner
            .fill(domain, addresses, (order, deadline), (blocks, wants))
            .await)
    }

    /// The leading blocks of a chain that are cached somewhere.
    ///
    /// # Errors
    /// When this node's cache gave no answer; the caller computes as if none were.
    pub async fn get_prefix(
        &self,
        domain: &Domain,
        chain: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<Vec<LeasedBlock>, RequestError> {
        let inner = &self.inner;
        let cache = &inner.parts.cache;
        let mut blocks = cache.get_prefix(domain, chain, deadline).await?;
        let rest = chain.get(blocks.len()..).unwrap_or_default();
        let listed = inner.listed(rest);
        inner.tell_chain(domain, chain, (blocks.len(), listed));
        if listed > 0 {
            let before = blocks.len().checked_sub(1).and_then(|last| chain.get(last));
            let order = Order::ChainAfter {
                parent: before.map(|before| before.key),
                depth: blocks.len(),
            };
            let rest = rest.get(..listed).unwrap_or_default();
            let found = inner.get(domain, rest, order, deadline).await?;
            blocks.extend(found.into_iter().map_while(|block| block));
        }
        Ok(blocks)
    }

    /// Stores a block. When this returns it can be read from here, and from everywhere once its record is agreed on, some
    /// milliseconds later; see [`Ack::Committed`].
    ///
    /// # Errors
    /// As [`BlockRouter::put_with`].
    pub async fn put(
        &self,
        domain: &Domain,
        put: BlockPut,
        deadline: Deadline,
    ) -> Result<Stored, PutError> {
        self.put_with(domain, put, Ack::default(), deadline).await
    }

    /// Stores a block at the nodes that its slot is for, and answers as asked.
    ///
    /// `Copies` says in how many places it is when this returns.
    ///
    /// # Errors
    /// When it fits nowhere, when everything is in use, or when no answer came: it may then be stored or not.
    pub async fn put_with(
        &self,
        domain: &Domain,
        put: BlockPut,
        ack: Ack,
        deadline: Deadline,
    ) -> Result<Stored, PutError> {
        self.inner.writer.put(domain, put, ack, deadline).await
    }
}

/// What the order of a request's blocks says.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Nothing.
    Loose,
    /// Each follows the one before it, and the first one this, which so many blocks of the chain lead to.
    ChainAfter {
        parent: Option<BlockKey>,
        depth: usize,
    },
}

impl Order {
    /// The block before the one at a place of the request, where that is known.
    fn parent(self, addresses: &[BlockAddress], place: usize) -> Option<BlockKey> {
        match (self, place.checked_sub(1)) {
            (Self::Loose, _) => None,
            (Self::ChainAfter { parent, .. }, None) => parent,
            (Self::ChainAfter { .. }, Some(before)) => {
                addresses.get(before).map(|before| before.key)
            }
        }
    }

    /// Blocks before the one at a place of the request; 0 where nobody knows.
    fn depth(self, place: usize) -> u32 {
        match self {
            Self::Loose => 0,
            Self::ChainAfter { depth, .. } => u32::try_from(depth + place).unwrap_or(u32::MAX),
        }
    }
}

impl Inner {
    /// How many leading blocks of a chain the directory lists in a form that can be read.
    fn listed(&self, chain: &[BlockAddress]) -> usize {
        if chain.is_empty() {
            return 0;
        }
        let mut found = Prefix::default();
        let directory = (self.parts.directory)();
        directory.longest_prefix(chain, Accept::codecs(&CODECS), &mut found);
        // Nodes that are down hold nothing: the prefix ends where nobody else has a block.
        let mut blocks = 0;
        for run in found.runs() {
            let held = found.holders(run).iter().fold(0_u16, |held, holder| {
                let node = found.lives().get(holder.life).map(|life| life.node);
                let is_there = node.is_some_and(|node| self.is_there(node));
                held | if is_there { holder.held } else { 0 }
            });
            let leading = usize::try_from(held.trailing_ones()).unwrap_or(0);
            blocks += leading.min(run.blocks);
            if leading < run.blocks {
                break;
            }
        }
        // What this node stored elsewhere a moment ago may not be listed yet.
        let rest = chain.get(blocks..).unwrap_or_default();
        let known = rest.iter().take_while(|address| {
            let brought = self.writer.brought(&address.key);
            brought.is_some_and(|node| self.is_there(node))
                || self
                    .others(address)
                    .iter()
                    .any(|holder| self.is_there(holder.life.node))
        });
        blocks + known.count()
    }

    fn is_there(&self, node: NodeId) -> bool {
        node == self.parts.me || self.parts.layout.standing(node) != Standing::Down
    }

    /// Who else holds a block, as the directory says.
    pub(super) fn others(&self, address: &BlockAddress) -> Vec<BlockHolder> {
        let directory = (self.parts.directory)();
        let mut holders = directory.holders(Place::of(address));
        holders.retain(|holder| {
            holder.life.node != self.parts.me && CODECS.contains(&holder.form.codec())
        });
        holders
    }

    async fn get(
        self: &Arc<Self>,
        domain: &Domain,
        addresses: &[BlockAddress],
        order: Order,
        deadline: Deadline,
    ) -> Result<Vec<Option<LeasedBlock>>, RequestError> {
        let found = self.find(domain, addresses, deadline).await?;
        Ok(self.fill(domain, addresses, (order, deadline), found).await)
    }

    /// The blocks that are here, and what is to be asked of others, by place.
    async fn find(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<(Vec<Option<LeasedBlock>>, Vec<(usize, Want)>), RequestError> {
        let blocks = self.parts.cache.get(domain, addresses, deadline).await?;
        let mut wants = Vec::new();
        for (place, address) in addresses.iter().enumerate() {
            if blocks.get(place).is_none_or(Option::is_none) {
                let holders = self.others(address);
                let brought = self.writer.brought(&address.key);
                if !holders.is_empty() || brought.is_some() {
                    let address = *address;
                    let want = Want {
                        address,
                        holders,
                        brought,
                    };
                    wants.push((place, want));
                }
            }
        }
        Ok((blocks, wants))
    }

    /// The same blocks with what others gave.
    async fn fill(
        self: &Arc<Self>,
        domain: &Domain,
        addresses: &[BlockAddress],
        (order, deadline): (Order, Deadline),
        (mut blocks, wants): (Vec<Option<LeasedBlock>>, Vec<(usize, Want)>),
    ) -> Vec<Option<LeasedBlock>> {
        if wants.is_empty() {
            return blocks;
        }
        let (places, wants): (Vec<usize>, Vec<Want>) = wants.into_iter().unzip();
        let fetched = self.fetcher.fetch(domain, &wants, deadline).await;
        let mut copies = Vec::new();
        for (place, block) in places.into_iter().zip(fetched) {
            if let (Some(block), Some(address)) = (&block, addresses.get(place)) {
                let before = (order.parent(addresses, place), order.depth(place));
                self.note(domain, address, before, block, &mut copies);
            }
            if let Some(to) = blocks.get_mut(place) {
                *to = block;
            }
        }
        self.copy(*domain, copies);
        blocks
    }

    /// Notes a fetched block; at its second time it is to be stored here too.
    fn note(
        &self,
        domain: &Domain,
        address: &BlockAddress,
        (parent, depth): (Option<BlockKey>, u32),
        block: &LeasedBlock,
        copies: &mut Vec<BlockPut>,
    ) {
        let is_wanted = self.parts.options.copy_on_second_hit
            && self.seen.lock().is_second(domain.arena, address.key);
        if is_wanted {
            copies.push(BlockPut {
                address: *address,
                parent,
                depth,
                header: block.header,
                payload: block.payload.clone(),
                pin: Pin::None,
                ttl_ms: block.ttl_ms,
            });
        }
    }

    /// Stores copies here, in the order of their chain, beside the answer. What finds no room is no loss.
    fn copy(self: &Arc<Self>, domain: Domain, copies: Vec<BlockPut>) {
        if copies.is_empty() {
            return;
        }
        let Ok(turn) = Arc::clone(&self.copiers).try_acquire_owned() else {
            return;
        };
        let (cache, clock) = (self.parts.cache.clone(), self.parts.clock.clone());
        // Bounded by the number of turns and by its deadline.
        tokio::spawn(async move {
            let deadline = clock.deadline(COPY);
            for put in copies {
                let stored = cache.put(&domain, put, deadline).await;
                let is_new = matches!(stored, Ok(Stored::Copies(_)));
                meters::count(meters::COPIED, u64::from(is_new));
            }
            drop(turn);
        });
    }
}

impl fmt::Debug for BlockRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockRouter")
            .field("me", &self.inner.parts.me)
            .finish_non_exhaustive()
    }
}
