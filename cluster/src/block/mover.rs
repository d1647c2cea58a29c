//! Repair, moves and drains: this node's own blocks, one page after the other, against where they should be and who the
//! directory says holds them. It must never drop a block, nor decide where one belongs.
//!
//! Each node looks after what it holds itself, since only a holder has whole keys and bytes; the directory tells whether
//! somebody else holds a block too, and of several holders the first by target and id is the one that copies. So nothing is
//! remembered: a mover that begins again finds what is left to do, wherever it was stopped.
//!
//! - **Moves**: when the first target of a block's slot does not hold it, it gets a copy. The old one stays until it is evicted.
//! - **Repair**: when fewer living nodes hold a block than copies are wanted, further targets get one. A node that is down
//!   counts as a holder until it has been so for a while, since most come back. Every block counts, not only hot ones: a
//!   copy is a promise, and which of them will be asked for nobody knows. With one copy wanted there is nothing to repair.
//! - **Drain**: every block must be held by another node that stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;
use ultrakv_actors::clock::{Clock, Now};
use ultrakv_actors::{BlockPage, BlockPut, CacheHandle, ChildSpec, DomainTag, RequestError};
use ultrakv_cache::{ArenaId, BlockAddress, BlockKey, Listed};

use super::message::{Code, NAMES_MAX};
use super::meters;
use super::options::BlockOptions;
use super::serve::domain_of;
use super::world::{BlockArenas, BlockLayout, DirectorySource, Standing};
use super::write::Writer;
use crate::NodeId;
use crate::directory::{DirectoryKey, Place};
use crate::wire::Limits;

/// Blocks looked at in one turn: their lookups are some tens of microseconds, and a drain stops within one.
const PAGE_BLOCKS: u32 = 64;
/// Time for a page, and for bringing one frame.
const STEP: Duration = Duration::from_secs(10);
/// Time before a round that left something behind is made again.
const AGAIN_MS: u64 = 1_000;
/// Time before a drain that brought everything away looks whether the directory lists it.
const CONFIRM_MS: u64 = 50;

/// How far the mover is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Rounds over all blocks that were finished since the node began.
    pub rounds: u64,
    /// Whether a round is under way.
    pub is_running: bool,
    /// Blocks that the present round, or the last one, looked at.
    pub done_blocks: u64,
    /// Blocks that this node held when it began.
    pub total_blocks: u64,
    /// Blocks that were copied to other nodes since the node began.
    pub moved_blocks: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// Blocks of the present round, or the last one, that could not be copied where they should be; tried again.
    pub left_blocks: u64,
    /// Blocks that cannot be copied at all: the blocks between them and the head of their run are gone, so that no prefix
    /// reaches them, their domain was purged, or no frame is long enough for them.
    pub stranded_blocks: u64,
    /// Whether this node is to be emptied.
    pub is_draining: bool,
    /// Whether a whole round, begun after the order to drain, found every block held elsewhere too, stranded ones aside.
    pub is_drained: bool,
}

/// What a mover is made of.
pub(super) struct MoverParts {
    pub(super) me: NodeId,
    pub(super) cache: CacheHandle,
    pub(super) clock: Clock,
    pub(super) directory: DirectorySource,
    pub(super) layout: Arc<dyn BlockLayout>,
    pub(super) arenas: Arc<dyn BlockArenas>,
    pub(super) writer: Writer,
    pub(super) options: BlockOptions,
}

/// The mover, and the actor that drives it; clones are the same one.
#[derive(Clone)]
pub struct BlockMover {
    inner: Arc<Inner>,
}

struct Inner {
    parts: MoverParts,
    round: Mutex<Round>,
    progress: watch::Sender<Progress>,
    /// What a job says of the rate, in bytes a second; 0 while none says anything.
    limit: AtomicU64,
}

/// The round under way, and what begins the next one.
#[derive(Debug, Default)]
struct Round {
    /// The next page; none between rounds.
    at: Option<(usize, u32)>,
    /// What the layout said at the last beginning.
    seen: Option<u64>,
    again_at: Option<Now>,
    down_since: BTreeMap<NodeId, Now>,
    /// Nodes that were down long enough when the last round began.
    lost: BTreeSet<NodeId>,
    /// Whether this round began after the order to drain.
    is_for_drain: bool,
    /// Blocks that this round had to copy.
    copied: u64,
    /// When what was sent is paid for by time, and more may be.
    ready_at: Now,
    began_at: Now,
}

/// How long so many bytes take at a rate.
fn time_of(bytes: u64, bytes_per_s: u64) -> u64 {
    let ms = u128::from(bytes) * 1_000 / u128::from(bytes_per_s.max(1));
    u64::try_from(ms).unwrap_or(u64::MAX)
}

/// A block to be copied to a node.
struct Copy {
    tag: DomainTag,
    arena: ArenaId,
    address: BlockAddress,
    listed: Listed,
}

/// What a page is looked at with.
struct View {
    is_draining: bool,
    lost: BTreeSet<NodeId>,
}

/// What a look at one block says.
enum Verdict {
    Fine,
    /// It should be copied to these nodes.
    Copy(Vec<NodeId>),
    /// It should be elsewhere, and there is nowhere to copy it just now.
    Stuck,
}

impl BlockMover {
    pub(super) fn new(parts: MoverParts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                round: Mutex::default(),
                progress: watch::Sender::new(Progress::default()),
                limit: AtomicU64::new(0),
            }),
        }
    }

    /// The actor that drives this, as a child of a supervisor.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        let actor = self.clone();
        ChildSpec::actor("mover", "RepairActor", move |_| (actor.clone(), ()))
    }

    /// Begins to empty this node of blocks that nobody else has, or ends that.
    ///
    /// What was copied stays copied, and a drain that is begun again goes on from there.
    pub fn drain(&self, is_wanted: bool) {
        let mut round = self.inner.round.lock();
        if self.inner.progress.borrow().is_draining == is_wanted {
            return;
        }
        // A round that began for another end proves nothing.
        round.at = None;
        round.seen = None;
        drop(round);
        self.inner.progress.send_modify(|progress| {
            progress.is_draining = is_wanted;
            progress.is_drained = false;
        });
    }

    /// Takes a job's rate in bytes a second in the place of the node's own; none gives that back.
    pub fn limit(&self, bytes_per_s: Option<u64>) {
        let limit = bytes_per_s.unwrap_or(0);
        self.inner.limit.store(limit, Ordering::Relaxed);
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.inner.progress.borrow()
    }

    /// Told of every change of its progress.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Progress> {
        self.inner.progress.subscribe()
    }
}

impl Inner {
    /// How much may be sent in a second.
    fn bytes_per_s(&self) -> u64 {
        match self.limit.load(Ordering::Relaxed) {
            0 => self.parts.options.move_bytes_per_s,
            limit => limit,
        }
    }

    /// Begins a round if there is a reason; tells whether one is under way.
    async fn is_under_way(&self) -> bool {
        let parts = &self.parts;
        let now = parts.clock.now();
        let revision = *parts.layout.changes().borrow();
        {
            let mut round = self.round.lock();
            if round.at.is_some() {
                return true;
            }
            let lost = self.lost(&mut round, now);
            let is_due = round.seen != Some(revision)
                || round.lost != lost
                || round.again_at.is_some_and(|at| at <= now)
                || now.0.saturating_sub(round.began_at.0) >= parts.options.move_rescan_ms;
            if !is_due {
                return false;
            }
            round.lost = lost;
        }
        let deadline = parts.clock.deadline(STEP);
        let Ok(stats) = parts.cache.stats(deadline).await else {
            return false;
        };
        let total_blocks = stats.iter().map(|shard| shard.blocks_visible).sum();
        let mut round = self.round.lock();
        let is_draining = self.progress.borrow().is_draining;
        round.seen = Some(revision);
        round.again_at = None;
        round.at = Some((0, 0));
        round.began_at = now;
        round.is_for_drain = is_draining;
        round.copied = 0;
        drop(round);
        self.progress.send_modify(|progress| {
            progress.is_running = true;
            progress.done_blocks = 0;
            progress.left_blocks = 0;
            progress.stranded_blocks = 0;
            progress.total_blocks = total_blocks;
        });
        true
    }

    /// Nodes that have been down for so long that their copies count no more.
    fn lost(&self, round: &mut Round, now: Now) -> BTreeSet<NodeId> {
        let after_ms = self.parts.options.repair_after_ms;
        let layout = &self.parts.layout;
        let is_down = |node: &NodeId| layout.standing(*node) == Standing::Down;
        round.down_since.retain(|node, _| is_down(node));
        let directory = (self.parts.directory)();
        for node in directory.nodes() {
            if is_down(&node) {
                round.down_since.entry(node).or_insert(now);
            }
        }
        let long = |since: &Now| now.0.saturating_sub(since.0) >= after_ms;
        let lost = round.down_since.iter().filter(|(_, since)| long(since));
        lost.map(|(node, _)| *node).collect()
    }

    /// One page; gives how long to wait for the next one, none at the end of the round.
    async fn turn(&self) -> Option<Duration> {
        let now = self.parts.clock.now();
        let (at, ready_at) = {
            let round = self.round.lock();
            (round.at, round.ready_at)
        };
        let (shard, from) = at?;
        if now < ready_at {
            return Some(Duration::from_millis(ready_at.0 - now.0));
        }
        let deadline = self.parts.clock.deadline(STEP);
        let listed = self
            .parts
            .cache
            .list_blocks(shard, from, PAGE_BLOCKS, deadline);
        let page = match listed.await {
            Ok(page) => page,
            Err(RequestError::Busy | RequestError::Deadline) => {
                return Some(Duration::from_millis(self.parts.options.move_tick_ms));
            }
            // A shard that is being restarted has nothing; its next life is looked at by the next round.
            Err(RequestError::Stopped) => {
                self.fail(1);
                BlockPage {
                    life: ultrakv_actors::BootId::from_u128(0),
                    blocks: Vec::new(),
                    next: None,
                }
            }
        };
        let next = page.next;
        let looked = u64::try_from(page.blocks.len()).unwrap_or(0);
        let bytes = self.page(page.blocks).await;
        self.progress
            .send_modify(|progress| progress.done_blocks += looked);
        let progress = *self.progress.borrow();
        meters::show(
            meters::MOVE_LEFT,
            progress.total_blocks.saturating_sub(progress.done_blocks),
        );

        let mut round = self.round.lock();
        // An order came in between: the round begins again.
        round.at.filter(|at| *at == (shard, from))?;
        round.at = match next {
            Some(next) => Some((shard, next)),
            None if shard + 1 < self.parts.cache.shards() => Some((shard + 1, 0)),
            None => None,
        };
        let now = self.parts.clock.now();
        if round.at.is_none() {
            self.end(&mut round, now);
            return None;
        }
        let ms = time_of(bytes, self.bytes_per_s());
        round.ready_at = round.ready_at.max(now).add_ms(ms);
        Some(Duration::from_millis(
            round.ready_at.0.saturating_sub(now.0),
        ))
    }

    fn end(&self, round: &mut Round, now: Now) {
        let (is_for_drain, copied) = (round.is_for_drain, round.copied);
        let mut left = 0;
        self.progress.send_modify(|progress| {
            progress.rounds += 1;
            progress.is_running = false;
            left = progress.left_blocks;
            progress.is_drained = is_for_drain && progress.is_draining && left + copied == 0;
        });
        if left > 0 {
            round.again_at = Some(now.add_ms(AGAIN_MS));
        } else if is_for_drain && copied > 0 {
            // What was brought counts when the directory says so too.
            round.again_at = Some(now.add_ms(CONFIRM_MS));
        }
    }

    /// Copies what has to be copied of some blocks; gives the bytes sent.
    async fn page(&self, blocks: Vec<Listed>) -> u64 {
        let mut copies: BTreeMap<(NodeId, DomainTag), Vec<Copy>> = BTreeMap::new();
        let (mut stranded, mut stuck, mut copied) = (0, 0, 0);
        let view = View {
            is_draining: self.progress.borrow().is_draining,
            lost: self.round.lock().lost.clone(),
        };
        for listed in by_depth(blocks) {
            let nodes = match self.look(&listed, &view) {
                Verdict::Fine => continue,
                Verdict::Stuck => {
                    stuck += 1;
                    continue;
                }
                Verdict::Copy(nodes) => nodes,
            };
            let tag = self.parts.arenas.tag(listed.arena);
            let fits = listed.payload_bytes <= u64::from(Limits::BULK.payload_bytes_max);
            let (Some(run), Some(tag), true) = (listed.run, tag, fits) else {
                stranded += 1;
                continue;
            };
            copied += 1;
            for node in nodes {
                let copy = Copy {
                    tag,
                    arena: listed.arena,
                    address: BlockAddress {
                        key: listed.key,
                        run,
                    },
                    listed,
                };
                copies.entry((node, tag)).or_default().push(copy);
            }
        }
        self.progress
            .send_modify(|progress| progress.stranded_blocks += stranded);
        self.fail(stuck);
        self.round.lock().copied += copied;
        let mut bytes = 0;
        for ((node, _), copies) in copies {
            for frame in self.frames(copies) {
                bytes += self.bring(node, frame).await;
            }
        }
        bytes
    }

    fn fail(&self, blocks: u64) {
        if blocks > 0 {
            self.progress
                .send_modify(|progress| progress.left_blocks += blocks);
        }
    }

    /// Whether a block is where it should be, and if not, what this node does about it.
    fn look(&self, listed: &Listed, view: &View) -> Verdict {
        let parts = &self.parts;
        let me = parts.me;
        let standing = |node: &NodeId| parts.layout.standing(*node);
        let is_leaving =
            |node: &NodeId| *node == me && view.is_draining || standing(node) == Standing::Draining;
        let is_down = |node: &NodeId| standing(node) == Standing::Down;
        let place = Place {
            slot: listed.slot,
            key: DirectoryKey::of(&listed.key),
        };
        let holders = (parts.directory)().holders(place);
        let holders = holders.into_iter().map(|holder| holder.life.node);
        let mut holders: BTreeSet<NodeId> =
            holders.filter(|node| !view.lost.contains(node)).collect();
        holders.insert(me);

        let mut wanted = parts.layout.targets(listed.slot);
        let rank = |node: &NodeId| {
            let place = wanted.iter().position(|target| target == node);
            (is_leaving(node), place.unwrap_or(usize::MAX), *node)
        };
        // Of those that hold it and can copy it, one does: who stays before who leaves, targets first.
        let able = holders.iter().filter(|node| !is_down(node));
        let is_mine = able.min_by_key(|node| rank(node)) == Some(&me);
        // While a node is down and not yet lost, it may come back with its copy.
        let held = holders.iter().filter(|node| !is_leaving(node)).count();
        let is_alone = held == 0;
        if !is_mine && !is_alone {
            return Verdict::Fine;
        }
        wanted.retain(|node| !is_leaving(node) && !view.lost.contains(node));
        let owner = wanted.first().copied();
        wanted.retain(|node| !holders.contains(node) && !is_down(node));
        // Where it belongs now it gets a copy even when there are enough.
        let mut copies: Vec<NodeId> = owner
            .into_iter()
            .filter(|node| wanted.contains(node))
            .collect();
        wanted.retain(|node| Some(*node) != owner);
        let lacking = parts
            .options
            .copies
            .max(1)
            .saturating_sub(held + copies.len());
        copies.extend(wanted.into_iter().take(lacking));
        match copies.is_empty() {
            true if is_alone => Verdict::Stuck,
            true => Verdict::Fine,
            false => Verdict::Copy(copies),
        }
    }

    /// Cuts copies into frames.
    fn frames(&self, copies: Vec<Copy>) -> Vec<Vec<Copy>> {
        let options = &self.parts.options;
        let mut frames: Vec<Vec<Copy>> = Vec::new();
        let mut bytes = u64::MAX;
        for copy in copies {
            let more = bytes.saturating_add(copy.listed.payload_bytes);
            let frame_blocks_max = options.frame_blocks_max.clamp(1, NAMES_MAX);
            match frames.last_mut() {
                Some(frame)
                    if more <= options.frame_bytes_max && frame.len() < frame_blocks_max =>
                {
                    bytes = more;
                    frame.push(copy);
                }
                _ => {
                    bytes = copy.listed.payload_bytes;
                    frames.push(vec![copy]);
                }
            }
        }
        frames
    }

    /// Brings one frame to a node; gives the bytes of what was new there.
    async fn bring(&self, node: NodeId, frame: Vec<Copy>) -> u64 {
        let parts = &self.parts;
        let Some((tag, arena)) = frame.first().map(|copy| (copy.tag, copy.arena)) else {
            return 0;
        };
        let deadline = parts.clock.deadline(STEP);
        let addresses: Vec<_> = frame.iter().map(|copy| copy.address).collect();
        let domain = domain_of(tag, arena);
        let Ok(blocks) = parts.cache.get(&domain, &addresses, deadline).await else {
            self.fail(u64::try_from(frame.len()).unwrap_or(0));
            return 0;
        };
        // What was evicted meanwhile needs no copy.
        let puts = frame.iter().zip(blocks).filter_map(|(copy, block)| {
            let block = block?;
            Some(BlockPut {
                address: copy.address,
                parent: copy.listed.parent,
                depth: copy.listed.depth.into(),
                header: block.header,
                payload: block.payload,
                pin: copy.listed.pin,
                ttl_ms: block.ttl_ms,
            })
        });
        let puts: Vec<BlockPut> = puts.collect();
        let sent = parts.writer.send(node, tag, &puts, false, deadline).await;
        let codes = sent.unwrap_or_else(|error| {
            tracing::debug!(%error, "blocks were not moved");
            vec![Code::Unsure; puts.len()]
        });
        let (mut moved, mut bytes, mut failed) = (0, 0, 0);
        for (put, code) in puts.iter().zip(codes) {
            match code {
                Code::Done => {
                    moved += 1;
                    bytes += put.header.payload_bytes;
                }
                Code::Known => {}
                _ => failed += 1,
            }
        }
        meters::count(meters::MOVED, moved);
        meters::count(meters::MOVED_BYTES, bytes);
        self.progress.send_modify(|progress| {
            progress.moved_blocks += moved;
            progress.moved_bytes += bytes;
            progress.left_blocks += failed;
        });
        bytes
    }
}

/// Blocks in an order in which parents come before their children: only so does the other side link them.
fn by_depth(mut blocks: Vec<Listed>) -> Vec<Listed> {
    let parents: BTreeMap<BlockKey, Option<BlockKey>> = blocks
        .iter()
        .map(|listed| (listed.key, listed.parent))
        .collect();
    let depth = |listed: &Listed| {
        let (mut depth, mut at) = (0, listed.parent);
        // At most as deep as there are blocks, whatever rings invented parents make.
        while let Some(parent) = at.and_then(|key| parents.get(&key)) {
            depth += 1;
            at = *parent;
            if depth > parents.len() {
                break;
            }
        }
        depth
    };
    blocks.sort_by_cached_key(depth);
    blocks
}

/// What the actor is told: one message at a time, by itself.
#[derive(Debug)]
pub enum MoverMsg {
    /// Look whether something must move, or go on.
    Turn,
}

impl ractor::Message for MoverMsg {}

impl Actor for BlockMover {
    type Msg = MoverMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<MoverMsg>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        myself.send_message(MoverMsg::Turn)?;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<MoverMsg>,
        MoverMsg::Turn: MoverMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let tick = Duration::from_millis(self.inner.parts.options.move_tick_ms.max(1));
        let wait = if self.inner.is_under_way().await {
            self.inner.turn().await.unwrap_or(Duration::ZERO)
        } else {
            tick
        };
        // A long wait is waited in pieces, so that orders are seen.
        myself.send_after(wait.min(tick), || MoverMsg::Turn);
        Ok(())
    }
}

impl fmt::Debug for BlockMover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockMover")
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
