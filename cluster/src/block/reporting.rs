//! The actor that tells the directory what this node's shards told: cuts reports, has batches of them agreed on, side by
//! side and bounded, and takes inventories where reports were lost. It must never be waited for by a shard.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use ultrakv_actors::clock::Clock;
use ultrakv_actors::{BootId, CacheHandle, ChildSpec};

use super::feed::{BlockReports, PageAsk, Wake};
use super::meters;
use super::options::BlockOptions;
use super::world::RecordSink;
use crate::NodeId;
use crate::directory::Applied;

/// Time between looks for what is to be sent again, and for inventories.
const TICK: Duration = Duration::from_millis(100);
/// Time that a batch may take until its fate counts as unknown.
const PROPOSE: Duration = Duration::from_secs(10);
/// Time that a shard has for a page of its inventory.
const PAGE: Duration = Duration::from_secs(5);

/// What the actor is told.
#[derive(Debug)]
pub enum ReportingMsg {
    /// Something waits; at most twice until it was looked at.
    Woken {
        /// It is enough for a batch.
        full: bool,
    },
    /// A report has waited for company long enough.
    Cut,
    /// A batch's fate; one for each batch, whose number is limited.
    Settled {
        /// Whose sections it had.
        lives: Vec<BootId>,
        /// What it did, if that is known.
        applied: Option<Applied>,
    },
    /// A page of an inventory came; one for each shard at most.
    Paged,
    /// Time has passed.
    Tick,
}

impl ractor::Message for ReportingMsg {}

/// The actor, with what all its lives are given.
#[derive(Clone)]
pub struct DirectoryReporting {
    /// What the shards told.
    pub reports: Arc<BlockReports>,
    /// Where batches are agreed on.
    pub sink: Arc<dyn RecordSink>,
    /// The shards, for inventories.
    pub cache: CacheHandle,
    /// The time.
    pub clock: Clock,
    /// This node.
    pub node: NodeId,
    /// Limits.
    pub options: BlockOptions,
}

/// One life's counts.
#[derive(Debug, Default)]
pub struct Sending {
    flying: usize,
    turn: usize,
    /// A cut is due after the pause for company.
    is_due: bool,
}

impl DirectoryReporting {
    /// This actor as a child of a supervisor.
    #[must_use]
    pub fn child(self) -> ChildSpec {
        ChildSpec::actor("directory", "DirectoryActor", move |_| (self.clone(), ()))
    }

    /// Sends what waits, as far as batches may be on their way.
    fn cut(&self, myself: &ActorRef<ReportingMsg>, state: &mut Sending) {
        self.reports.rearm();
        while state.flying < self.options.batches_in_flight_max.max(1) {
            state.turn = state.turn.wrapping_add(1);
            let now = self.clock.now();
            let Some(batch) = self.reports.cut(self.node, state.turn, now) else {
                break;
            };
            state.flying += 1;
            let proposed = tokio::time::timeout(PROPOSE, self.sink.propose(batch.bytes));
            let (myself, lives) = (myself.clone(), batch.lives);
            // Bounded by the number of batches in flight and by the time of one.
            tokio::spawn(async move {
                let applied = match proposed.await {
                    Ok(Ok(applied)) => Some(applied),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a batch of the directory is sent again");
                        None
                    }
                    Err(_) => None,
                };
                meters::count(meters::BATCHES_FAILED, u64::from(applied.is_none()));
                let _ = myself.send_message(ReportingMsg::Settled { lives, applied });
            });
        }
        for ask in self.reports.pages() {
            self.page(myself, ask);
        }
    }

    /// Has a shard tell a page of what it holds.
    fn page(&self, myself: &ActorRef<ReportingMsg>, ask: PageAsk) {
        let (cache, reports, myself) = (
            self.cache.clone(),
            Arc::clone(&self.reports),
            myself.clone(),
        );
        let deadline = self.clock.deadline(PAGE);
        // One for each shard at most, bounded by its deadline.
        tokio::spawn(async move {
            let page = cache.tell_blocks(ask.shard, ask.from, ask.blocks_max, deadline);
            let told = page.await.ok().map(|page| (page.life, page.next));
            let has_come = told.is_some();
            reports.paged(ask, told);
            // A shard that gave no answer is asked again with the next tick, not at once.
            if has_come {
                let _ = myself.send_message(ReportingMsg::Paged);
            }
        });
    }

    /// Cuts soon, so that changes that come together go together.
    fn cut_soon(&self, myself: &ActorRef<ReportingMsg>, state: &mut Sending) {
        if !state.is_due {
            state.is_due = true;
            let pause = Duration::from_millis(self.options.report_ms);
            myself.send_after(pause, || ReportingMsg::Cut);
        }
    }
}

/// Wakes the present life.
struct Bell(ActorRef<ReportingMsg>);

impl Wake for Bell {
    fn wake(&self, full: bool) {
        let _ = self.0.send_message(ReportingMsg::Woken { full });
    }
}

impl Actor for DirectoryReporting {
    type Msg = ReportingMsg;
    type State = Sending;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<ReportingMsg>,
        (): (),
    ) -> Result<Sending, ActorProcessingErr> {
        self.reports.resume(self.clock.now());
        self.reports.attach(Box::new(Bell(myself.clone())));
        myself.send_after(TICK, || ReportingMsg::Tick);
        Ok(Sending::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<ReportingMsg>,
        message: ReportingMsg,
        state: &mut Sending,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ReportingMsg::Woken { full: true } => self.cut(&myself, state),
            ReportingMsg::Woken { full: false } => self.cut_soon(&myself, state),
            ReportingMsg::Cut => {
                state.is_due = false;
                self.cut(&myself, state);
            }
            ReportingMsg::Settled { lives, applied } => {
                state.flying = state.flying.saturating_sub(1);
                self.reports
                    .settle(&lives, applied.as_ref(), self.clock.now());
                match self.reports.has_more() {
                    (_, true) => self.cut(&myself, state),
                    (true, false) => self.cut_soon(&myself, state),
                    (false, false) => {}
                }
            }
            ReportingMsg::Paged => self.cut(&myself, state),
            ReportingMsg::Tick => {
                self.cut(&myself, state);
                myself.send_after(TICK, || ReportingMsg::Tick);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DirectoryReporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryReporting")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
