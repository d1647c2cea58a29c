//! Clusters of real processes: certificates on the fly, nodes that found and join, and what an operator or an accident does to
//! them.
//!
//! It knows the command line and the admin door, and nothing of the nodes' insides. It must never judge an answer: tests and
//! scenarios do.

mod options;
mod view;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

pub use options::{Authority, Options, fixture};
pub use view::{Job, Layout, LayoutLine, Member, Range, SLOT_COUNT, View};

use crate::process::Process;
use crate::seat::Seat;
use options::arguments;

/// How long anything may take that a healthy cluster does by itself.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at a cluster that changes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A running cluster. Its processes end with it; their logs stay when the thread panics or [`TestCluster::keep_logs`] was
/// called.
#[derive(Debug)]
pub struct TestCluster {
    folder: Option<tempfile::TempDir>,
    options: Options,
    authority: Authority,
    nodes: Vec<Placed>,
    kept: bool,
}

/// A process and the identity it goes by.
#[derive(Debug)]
struct Placed {
    process: Process,
    id: String,
    /// Told to found rather than to join.
    founds: bool,
}

impl TestCluster {
    /// Starts a cluster of so many nodes, and returns when it is whole.
    ///
    /// # Errors
    /// When a node does not start or the cluster does not settle; logs are kept and the error says where.
    pub fn start(nodes: usize, options: Options) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the cluster")?;
        let authority = Authority::create(folder.path().join("ca"), &options.name)?;
        let mut cluster = Self {
            folder: Some(folder),
            options,
            authority,
            nodes: Vec::new(),
            kept: false,
        };
        let up = cluster.bring_up(nodes);
        cluster.explained(up)?;
        Ok(cluster)
    }

    fn bring_up(&mut self, nodes: usize) -> Result<()> {
        for _ in 0..nodes {
            let at = self.place()?;
            if at == 0 {
                self.process_mut(at)?.start()?;
            } else {
                self.process_mut(at)?.spawn()?;
            }
        }
        for at in 1..nodes {
            self.process_mut(at)?.wait_ready()?;
        }
        self.wait_whole(SETTLES_WITHIN).map(drop)
    }

    /// Keeps the logs when something failed, and says where.
    fn explained<T>(&mut self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            let place = self.keep_logs();
            error.context(format!("the nodes' logs are in {}", place.display()))
        })
    }

    /// Makes the next node's folder, seat and certificates; it does not run yet.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn place(&mut self) -> Result<usize> {
        let at = self.nodes.len();
        let name = format!("n{}", at + 1);
        let seat = match self.options.seats.get(at) {
            Some(seat) => seat.clone(),
            None => Seat::loopback()?,
        };
        let folder = self.root()?.join(&name);
        let process = Process::new(&name, folder.clone(), seat)?;
        let id = self.authority.node(&folder.join("certs"), None)?;
        self.nodes.push(Placed {
            process,
            id,
            founds: at == 0,
        });
        self.configure(at)?;
        Ok(at)
    }

    /// Adds a node and waits until it is ready. Its slots come to it afterwards.
    ///
    /// # Errors
    /// When it does not start.
    pub fn add(&mut self) -> Result<usize> {
        let at = self.place()?;
        let started = self.process_mut(at)?.start();
        self.explained(started)?;
        Ok(at)
    }

    /// Starts a node again, on the data that it has.
    ///
    /// # Errors
    /// When it runs, or does not become ready.
    pub fn restart(&mut self, at: usize) -> Result<()> {
        self.configure(at)?;
        let started = self.process_mut(at)?.start();
        self.explained(started)
    }

    /// Wipes a node that does not run and gives it a new identity, as one must that lost its disk; tells the former id.
    ///
    /// # Errors
    /// When it runs, or its files refuse.
    pub fn wipe(&mut self, at: usize) -> Result<String> {
        let process = self.process_mut(at)?;
        process.wipe()?;
        let certs = process.folder().join("certs");
        let id = self.authority.node(&certs, None)?;
        let node = self.nodes.get_mut(at).context("no such node")?;
        node.founds = false;
        Ok(std::mem::replace(&mut node.id, id))
    }

    /// Gives up the newest node, which does not run any more: its seat is the next one's.
    ///
    /// # Errors
    /// When it runs, is not the newest, or its files refuse.
    pub fn retire(&mut self, at: usize) -> Result<()> {
        if at.checked_add(1) != Some(self.nodes.len()) {
            bail!("node {at} is not the newest");
        }
        self.process_mut(at)?.wipe()?;
        self.nodes.pop();
        Ok(())
    }

    /// Writes what a node is started with: who the others are changes.
    fn configure(&mut self, at: usize) -> Result<()> {
        let mut seeds = Vec::new();
        for (other, node) in self.nodes.iter().enumerate() {
            if other != at {
                seeds.push(node.process.seat().cluster.to_string());
            }
        }
        let node = self.nodes.get(at).context("no such node")?;
        let arguments = arguments(&self.options, &node.process, node.founds, &seeds);
        self.process_mut(at)?.configure(arguments);
        Ok(())
    }

    /// A process that will ask to join this cluster with certificates of its own; it is no node of ours and does not run yet.
    ///
    /// # Errors
    /// When its files cannot be made.
    pub fn stranger(&self, name: &str, certs: &Path) -> Result<Process> {
        let mut process = Process::new(name, self.root()?.join(name), Seat::loopback()?)?;
        let seeds: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.process.seat().cluster.to_string())
            .collect();
        let mut all = arguments(&self.options, &process, false, &seeds);
        all.push("--set".to_owned());
        all.push(format!("cluster.certs={}", certs.display()));
        process.configure(all);
        Ok(process)
    }

    /// How many nodes were ever placed, whether they run or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes that run (a paused one too).
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| node.process.is_running())
            .map(|(at, _)| at)
            .collect()
    }

    /// A node's process.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn process(&self, at: usize) -> Result<&Process> {
        self.nodes
            .get(at)
            .map(|node| &node.process)
            .with_context(|| format!("no node {at}"))
    }

    /// A node's process, to do something to it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn process_mut(&mut self, at: usize) -> Result<&mut Process> {
        self.nodes
            .get_mut(at)
            .map(|node| &mut node.process)
            .with_context(|| format!("no node {at}"))
    }

    /// A node's id.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn id(&self, at: usize) -> Result<&str> {
        self.nodes
            .get(at)
            .map(|node| node.id.as_str())
            .with_context(|| format!("no node {at}"))
    }

    /// Which node has this id.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// The authority that made its certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What nodes are started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A folder that lasts as long as the cluster.
    ///
    /// # Errors
    /// Never, while the cluster is there.
    pub fn root(&self) -> Result<PathBuf> {
        Ok(self
            .folder
            .as_ref()
            .context("the cluster's folder is gone")?
            .path()
            .to_owned())
    }

    /// The cluster as this node tells it.
    ///
    /// # Errors
    /// When it does not answer, or not so.
    pub fn view(&self, at: usize) -> Result<View> {
        let door = self.process(at)?.admin();
        View::read(&door.ask("GET", "/v1/cluster/status", &Value::Null)?)
    }

    /// The layout as this node tells it.
    ///
    /// # Errors
    /// When it does not answer, or not so.
    pub fn layout(&self, at: usize) -> Result<Layout> {
        let door = self.process(at)?.admin();
        Layout::read(&door.ask("GET", "/v1/cluster/layout", &Value::Null)?)
    }

    /// The view of the first node that answers.
    ///
    /// # Errors
    /// When none does.
    pub fn any_view(&self) -> Result<View> {
        let mut last = None;
        for at in self.running() {
            match self.view(at) {
                Ok(view) => return Ok(view),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no node runs")?)
    }

    /// The node that leads, as most of the nodes that answer say.
    ///
    /// # Errors
    /// When nobody knows one of ours.
    pub fn leader(&self) -> Result<usize> {
        let mut votes = vec![0_usize; self.nodes.len()];
        for at in self.running() {
            let named = self.view(at).ok().and_then(|view| view.leader);
            if let Some(vote) = named.and_then(|id| votes.get_mut(self.position(&id)?)) {
                *vote += 1;
            }
        }
        let most = votes.iter().enumerate().max_by_key(|(_, votes)| **votes);
        let most = most.filter(|(_, votes)| **votes > 0).map(|(at, _)| at);
        most.context("nobody knows a leader")
    }

    /// The node that owns the slot of an entry's name.
    ///
    /// # Errors
    /// When nobody answers, or nobody owns it.
    pub fn owner_of(&self, name: &str) -> Result<usize> {
        let view = self.any_view()?;
        let owner = view
            .owner_of(name)
            .with_context(|| format!("nobody owns {name}"))?;
        self.position(owner)
            .with_context(|| format!("{owner} is no node of ours"))
    }

    /// A name that begins with `prefix` and whose slot this node owns.
    ///
    /// # Errors
    /// When it owns none, or does not answer.
    pub fn name_owned_by(&self, at: usize, prefix: &str) -> Result<String> {
        let (view, id) = (self.any_view()?, self.id(at)?);
        let mut names = (0..10_000).map(|number| format!("{prefix}{number}"));
        let found = names.find(|name| view.owner_of(name) == Some(id));
        found.with_context(|| format!("node {at} owns no slot"))
    }

    /// Looks until `wanted` has an answer.
    ///
    /// # Errors
    /// When it has none in time; the error holds what it said last.
    pub fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            match wanted(self) {
                Ok(found) => return Ok(found),
                Err(error) if began.elapsed() > within => {
                    return Err(error.context(format!("{what}: not within {within:?}")));
                }
                Err(_) => thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Waits until every running node is ready and tells the same: exactly the running nodes are members, all up, with a leader,
    /// and every slot has its copies in sync.
    ///
    /// # Errors
    /// When that does not come about; the error says what is amiss.
    pub fn wait_whole(&self, within: Duration) -> Result<View> {
        self.wait("the cluster is whole", within, Self::whole)
    }

    fn whole(&self) -> Result<View> {
        let running = self.running();
        let mut ids = BTreeSet::new();
        for at in &running {
            ids.insert(self.id(*at)?.to_owned());
        }
        let mut told: Option<View> = None;
        for at in running {
            let view = self.view(at)?;
            if let Some(blemish) = view.blemish(&ids, self.options.copies) {
                bail!("node {at} tells {blemish}");
            }
            if !self.process(at)?.is_ready() {
                bail!("node {at} is not ready");
            }
            if let Some(other) = &told
                && (other.leader != view.leader || other.ranges != view.ranges)
            {
                bail!("node {at} tells otherwise than the nodes before it");
            }
            told = Some(view);
        }
        told.context("no node runs")
    }

    /// Has a node's slots given to the others, and waits for it; with `leave` it is no member afterwards. Another node is asked: one
    /// that left hears nothing more.
    ///
    /// # Errors
    /// When it is refused, or the job does not end well.
    pub fn drain(&self, at: usize, leave: bool) -> Result<()> {
        let others = self.running().into_iter().find(|other| *other != at);
        let other = others.context("nobody else runs")?;
        let (id, door) = (self.id(at)?, self.process(other)?.admin());
        let path = format!("/v1/nodes/{id}/drain");
        let job = Job::read(&door.ask("POST", &path, &json!({ "leave": leave }))?)?;
        self.wait_job(other, &job.id)
    }

    /// Waits until a job is done, as this node tells it.
    ///
    /// # Errors
    /// When it ends otherwise, or not in time.
    pub fn wait_job(&self, at: usize, id: &str) -> Result<()> {
        let ended = self.wait("the job ends", SETTLES_WITHIN, |cluster| {
            let jobs = cluster.jobs(at)?;
            let job = jobs
                .into_iter()
                .find(|job| job.id == id)
                .context("no such job")?;
            if job.is_over() {
                return Ok(job);
            }
            bail!("{job:?}")
        })?;
        if ended.state != "done" {
            bail!("{ended:?}");
        }
        Ok(())
    }

    /// Every job that a node remembers.
    ///
    /// # Errors
    /// When it does not answer, or not so.
    pub fn jobs(&self, at: usize) -> Result<Vec<Job>> {
        let told = self
            .process(at)?
            .admin()
            .ask("GET", "/v1/cluster/jobs", &Value::Null)?;
        view::list(&told, "jobs")?.iter().map(Job::read).collect()
    }

    /// Takes a dead member out of the cluster, through the node `at`.
    ///
    /// # Errors
    /// When it is refused; a member must be down first.
    pub fn forget(&self, at: usize, id: &str) -> Result<()> {
        let path = format!("/v1/nodes/{id}/forget");
        self.process(at)?
            .admin()
            .ask("POST", &path, &json!({}))
            .map(drop)
    }

    /// Keeps the logs beyond the cluster's end, without data and keys, and tells where they are.
    pub fn keep_logs(&mut self) -> PathBuf {
        self.kept = true;
        let kept = std::env::temp_dir().join(format!(
            "ultrakv-logs-{}-{}",
            std::process::id(),
            self.nodes.first().map_or("none", |node| &node.id)
        ));
        let _best_effort = fs::create_dir_all(&kept);
        for node in &self.nodes {
            let from = node.process.folder().join("node.log");
            let _not_there = fs::copy(from, kept.join(format!("{}.log", node.process.name())));
        }
        kept
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if thread::panicking() && !self.kept {
            let place = self.keep_logs();
            let line = format!("the nodes' logs are in {}\n", place.display());
            let mut stderr = std::io::stderr().lock();
            let _best_effort = std::io::Write::write_all(&mut stderr, line.as_bytes());
        }
        // Processes first, then what they stand on.
        self.nodes.clear();
    }
}
