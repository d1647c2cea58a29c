//! One member: consensus over the QUIC lane, shards that tell of blocks, and a line of JSON for a line of JSON.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::FutureExt as _;
use futures::future::{BoxFuture, try_join_all};
use parking_lot::Mutex;
use serde_json::{Value, json};
use ultrakv_actors::{BootId, Clock, Entropy};
use ultrakv_cluster::lane::tls::{Credentials, Identity};
use ultrakv_cluster::lane::{AddressBook, QuicLane, QuicLimits, QuicPlan};
use ultrakv_cluster::metadata::{
    Addresses, COMMANDS_VERSION, ClusterId, Command, Found, MemberCapacity, MemberJoin,
    MemberState, VersionRange,
};
use ultrakv_cluster::peer::{Callers, Parcel, ParcelStream, Refused, Responder};
use ultrakv_cluster::raft::{
    Consensus, ConsensusPlan, RaftTiming, SnapshotRules, Storage, VoterRules,
};
use ultrakv_cluster::{Incarnation, NodeId};

use crate::shard::{Figures, Shard};

/// The time for everything that is not measured.
const WITHIN: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which of the members this is, from 1.
    #[arg(long)]
    number: u16,
    /// Where its certificates are, and where it keeps its log.
    #[arg(long)]
    folder: PathBuf,
    /// Shards that tell of blocks.
    #[arg(long)]
    shards: u16,
    /// A snapshot is made when this many bytes were logged.
    #[arg(long)]
    log_bytes_min: u64,
}

/// Where the members are, once that is known.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<NodeId, SocketAddr>>>);

impl AddressBook for Book {
    fn addresses(&self, node: NodeId) -> Vec<SocketAddr> {
        self.0.lock().get(&node).copied().into_iter().collect()
    }
}

/// Answers for consensus, from when it runs.
#[derive(Default)]
struct Desk(OnceLock<Consensus>);

impl Responder for Desk {
    fn answer(&self, peer: NodeId, ask: Parcel) -> BoxFuture<'_, Result<Parcel, Refused>> {
        async move {
            match self.0.get() {
                Some(consensus) => consensus.serve(peer, ask).await,
                None => Err(Refused {
                    code: "node_starting".to_owned(),
                    message: "not yet".to_owned(),
                    hint: "ask again".to_owned(),
                }),
            }
        }
        .boxed()
    }

    fn take(&self, _peer: NodeId, _parcel: Parcel) {}

    fn stream(
        &self,
        peer: NodeId,
        first: Parcel,
        stream: Box<dyn ParcelStream>,
    ) -> BoxFuture<'_, ()> {
        async move {
            if let Some(consensus) = self.0.get() {
                consensus.serve_stream(peer, first, stream).await;
            }
        }
        .boxed()
    }
}

struct Member {
    arguments_number: u16,
    life: Incarnation,
    clock: Clock,
    book: Book,
    lane: QuicLane,
    consensus: Consensus,
    shards: Vec<Shard>,
}

/// Says one line to who started this process.
#[expect(clippy::print_stdout, reason = "it is how members are spoken with")]
fn say(line: &Value) -> Result<()> {
    println!("{line}");
    std::io::stdout().flush().context("nobody listens")
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut member = runtime.block_on(Member::start(arguments))?;
    say(&json!({"address": member.lane.local_addr()?.to_string()}))?;
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        say(&runtime.block_on(member.obey(&asked))?)?;
    }
    runtime.block_on(member.consensus.shutdown());
    Ok(())
}

impl Member {
    async fn start(arguments: &Arguments) -> Result<Self> {
        let clock = Clock::machine();
        let entropy = Entropy::machine();
        let certs = arguments.folder.join("certs");
        let identity = Identity::new(&Credentials::load(&certs, clock.unix())?)?;
        let life = Incarnation {
            node: identity.node(),
            boot: BootId::draw(&entropy)?,
        };
        let (book, desk) = (Book::default(), Arc::new(Desk::default()));
        let plan = QuicPlan {
            identity,
            boot: life.boot,
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            limits: QuicLimits::default(),
            clock: clock.clone(),
        };
        let responder: Arc<dyn Responder> = Arc::<Desk>::clone(&desk);
        let lane = QuicLane::start(plan, responder, Arc::new(book.clone()))?;
        let callers: Callers = Arc::new(lane.clone());
        let consensus = Consensus::start(ConsensusPlan {
            node: life.node,
            storage: Storage::Folder(arguments.folder.join("raft")),
            timing: RaftTiming::default(),
            snapshots: SnapshotRules {
                log_bytes_min: arguments.log_bytes_min,
                ..SnapshotRules::default()
            },
            voters: VoterRules::default(),
            callers,
            clock: clock.clone(),
            entropy: entropy.clone(),
        })
        .await?;
        ensure!(desk.0.set(consensus.clone()).is_ok(), "set twice");
        let number = |shard| u64::from(arguments.number) * 64 + u64::from(shard);
        let shards = (0..arguments.shards)
            .map(|shard| Ok(Shard::new(BootId::draw(&entropy)?, number(shard))))
            .collect::<Result<_>>()?;
        Ok(Self {
            arguments_number: arguments.number,
            life,
            clock,
            book,
            lane,
            consensus,
            shards,
        })
    }

    async fn obey(&mut self, asked: &Value) -> Result<Value> {
        let number = |name: &str| asked[name].as_u64();
        match asked["do"].as_str() {
            Some("enter") => self.enter(asked).await,
            Some("fill") => {
                let each = number("blocks").context("blocks")?;
                let consensus = &self.consensus;
                let filling = self.shards.iter_mut();
                try_join_all(filling.map(|shard| shard.fill(consensus, each))).await?;
                Ok(json!({}))
            }
            Some("churn") => {
                let lasting = Duration::from_secs(number("seconds").context("seconds")?);
                self.churn(number("pace"), lasting).await
            }
            Some("tell") => {
                let index = number("index").unwrap_or(0);
                let deadline = self.clock.deadline(WITHIN);
                self.consensus.wait_applied(index, deadline).await?;
                self.tell()
            }
            _ => bail!("not understood: {asked}"),
        }
    }

    async fn enter(&mut self, asked: &Value) -> Result<Value> {
        let addresses = asked["book"].as_array().context("book")?;
        for (number, address) in (1_u128..).zip(addresses) {
            let address = address.as_str().context("address")?.parse()?;
            let mut book = self.book.0.lock();
            book.insert(NodeId::from_u128(number), address);
        }
        let deadline = self.clock.deadline(WITHIN);
        let about = self.about();
        if self.arguments_number == 1 {
            let found = Found {
                cluster: ClusterId(1),
                version: COMMANDS_VERSION,
                directory_bytes_max: 4 << 30,
                at_unix_ms: self.clock.unix().0,
            };
            let founded = self.consensus.found(found, about, deadline).await?;
            ensure!(founded.is_ok(), "{founded:?}");
        } else {
            let via = [NodeId::from_u128(1)];
            let joined = self.consensus.join(&via, about, deadline).await?;
            ensure!(joined.outcome.is_applied(), "{joined:?}");
        }
        let mut commands = Vec::new();
        for (shard, told) in (0_u16..).zip(&self.shards) {
            commands.push(Command::ShardStart {
                life: self.life,
                shard,
                boot: told.boot,
            });
        }
        if self.arguments_number != 1 {
            commands.push(Command::MemberState {
                life: self.life,
                from: MemberState::Joining,
                to: MemberState::Up,
            });
        }
        for outcome in self.consensus.propose(commands, deadline).await? {
            ensure!(outcome.is_applied(), "{outcome:?}");
        }
        Ok(json!({}))
    }

    fn about(&self) -> MemberJoin {
        MemberJoin {
            node: self.life.node,
            disk: self.consensus.id().disk,
            boot: self.life.boot,
            name: format!("node-{}", self.arguments_number),
            binary: "measured".to_owned(),
            versions: VersionRange {
                min: 1,
                max: COMMANDS_VERSION,
            },
            addresses: Addresses::default(),
            capacity: MemberCapacity {
                shards: u16::try_from(self.shards.len()).unwrap_or(u16::MAX),
                bytes_max: 1 << 30,
                tokens_max: None,
            },
            zone: String::new(),
            at_unix_ms: self.clock.unix().0,
        }
    }

    async fn churn(&mut self, pace: Option<u64>, lasting: Duration) -> Result<Value> {
        let consensus = &self.consensus;
        let churning = self.shards.iter_mut();
        let churning = churning.map(|shard| shard.churn(consensus, pace, lasting));
        let mut figures = Figures::new()?;
        for of_shard in try_join_all(churning).await? {
            figures.add(&of_shard)?;
        }
        let counted = |histogram: &hdrhistogram::Histogram<u64>| -> Vec<(u64, u64)> {
            let counted = histogram.iter_recorded();
            counted
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect()
        };
        Ok(json!({
            "records": figures.records,
            "failures": figures.failures,
            "slowest": figures.slowest,
            "proposed": counted(&figures.proposed),
            "due": counted(&figures.due),
        }))
    }

    fn tell(&self) -> Result<Value> {
        let status = self.consensus.status();
        let view = self.consensus.view();
        let directory = view.directory().context("no directory")?;
        let stats = directory.stats();
        let live: u64 = self.shards.iter().map(Shard::live).sum();
        Ok(json!({
            "voters": status.voters.len(),
            "is_joint": status.is_joint,
            "leads": self.consensus.leading().is_some(),
            "term": status.term,
            "applied_index": status.applied_index,
            "snapshot_index": status.snapshot_index,
            "records": stats.records,
            "live": live,
            "digest": format!("{:032x}", directory.digest()),
        }))
    }
}
