//! The demo's cluster: an authority and certificates made on the spot, nodes that found and join, one that is killed, and a folder
//! that goes with them. It must never judge an answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ultrakv_actors::clock::Clock;
use ultrakv_cluster::LayoutReport;
use ultrakv_cluster::lane::tls::{ClusterName, NODE_DAYS_DEFAULT};
use ultrakv_cluster::metadata::MemberState;

use super::ask::Asker;
use super::child::{DemoNode, Place};
use crate::command::certs::{self, NodeWish};
use crate::exit::{Failure, Status};

/// The cluster's name in its certificates.
const NAME: &str = "demo";
/// Names tried for a folder of the demo's own.
const FOLDERS_TRIED: u32 = 100;
/// How long the slots may take until they are where the plan wants them.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);
/// Between two looks at what changes on other nodes.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The nodes, in the order of their start; killed ones stay.
pub(super) struct DemoCluster {
    /// Ended before the folder goes.
    nodes: Vec<DemoNode>,
    folder: Folder,
    clock: Clock,
}

/// A folder of the demo's own, removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    /// A folder that did not exist before, so that nobody else can have put anything into it.
    fn make() -> Result<Self, Failure> {
        let base = std::env::temp_dir();
        let pid = std::process::id();
        // A demo that was killed outright leaves its folder behind, and process ids come again.
        for attempt in 0..FOLDERS_TRIED {
            let path = base.join(format!("ultrakv-demo-{pid}-{attempt}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let message = format!("{}: cannot be made: {error}", path.display());
                    return Err(Failure::new(Status::Failed, message));
                }
            }
        }
        let message = format!("{}: is full of folders of earlier demos", base.display());
        Err(Failure::new(Status::Failed, message).hint("remove its ultrakv-demo-* folders"))
    }
}

impl DemoCluster {
    /// Makes the authority of a cluster that has no node yet.
    pub(super) fn new(clock: &Clock) -> Result<Self, Failure> {
        let folder = Folder::make()?;
        let name = ClusterName::parse(NAME)
            .ok_or_else(|| Failure::new(Status::Failed, "the demo's cluster has no name"))?;
        certs::make_authority(&folder.0.join("ca"), name, false, clock.unix())?;
        Ok(Self {
            nodes: Vec::new(),
            folder,
            clock: clock.clone(),
        })
    }

    /// Makes certificates for one more node and starts it: the first founds, the others ask all that run.
    fn spawn(&mut self) -> Result<(), Failure> {
        let number = self.nodes.len() + 1;
        let name = format!("node-{number}");
        let certs = self.folder.0.join(format!("{name}.certs"));
        let wish = NodeWish {
            ca: &self.folder.0.join("ca"),
            out: &certs,
            id: certs::draw_id()?,
            days: NODE_DAYS_DEFAULT,
            force: false,
        };
        certs::make_node(&wish, self.clock.unix())?;
        let place = Place {
            name,
            folder: &self.folder.0,
            certs,
            seeds: self.seeds()?,
        };
        self.nodes.push(DemoNode::spawn(&place, &self.clock)?);
        Ok(())
    }

    /// Where the nodes that are ready let others in.
    fn seeds(&self) -> Result<Vec<SocketAddr>, Failure> {
        let ready = |node: &&DemoNode| !node.killed && node.announced.node_id.is_some();
        self.nodes
            .iter()
            .filter(ready)
            .map(DemoNode::seed)
            .collect()
    }

    /// Starts so many more nodes at once and waits until they are ready.
    pub(super) async fn start(&mut self, count: usize) -> Result<(), Failure> {
        let first = self.nodes.len();
        for _ in 0..count {
            self.spawn()?;
        }
        for node in self.nodes.iter_mut().skip(first) {
            node.ready().await?;
        }
        Ok(())
    }

    /// The nodes, in the order of their start.
    pub(super) fn nodes(&self) -> &[DemoNode] {
        &self.nodes
    }

    /// Ends a node at once.
    pub(super) fn kill(&mut self, at: usize) -> Result<(), Failure> {
        let node = self.nodes.get_mut(at);
        node.ok_or_else(|| Failure::new(Status::Failed, format!("there is no node {at}")))?
            .kill()
    }

    /// A client of each node, in order.
    pub(super) fn askers(&self) -> Result<Vec<Asker>, Failure> {
        let askers = self.nodes.iter();
        askers
            .map(|node| Asker::new(&node.name, &node.announced, &self.clock))
            .collect()
    }

    /// Waits until every node that runs has its part of the slots, and those that were killed have none. The answer is that of
    /// the first that runs.
    pub(super) async fn settled(&self) -> Result<LayoutReport, Failure> {
        let running = self.nodes.iter().filter(|node| !node.killed).count();
        let asked = self.nodes.iter().find(|node| !node.killed);
        let asked = asked.ok_or_else(|| Failure::new(Status::Failed, "no node runs"))?;
        let asker = Asker::new(&asked.name, &asked.announced, &self.clock)?;
        let deadline = self.clock.deadline(SETTLED_WITHIN);
        loop {
            let layout = asker.layout().await?;
            if is_settled(&layout, running) {
                return Ok(layout);
            }
            if deadline.passed(self.clock.now()) {
                let limit = humantime::format_duration(SETTLED_WITHIN);
                let message = format!("the slots were not settled within {limit}: {layout:?}");
                return Err(Failure::new(Status::Failed, message));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A failure with the log of the node that ended by itself, when one did.
    pub(super) fn explain(&mut self, failure: Failure) -> Failure {
        for node in &mut self.nodes {
            if node.killed {
                continue;
            }
            if let Some(status) = node.ended() {
                let told = failure.message.as_deref().unwrap_or("the demo failed");
                let shown = node.failure(&format!("ended by itself ({status})"));
                let shown = shown.message.unwrap_or_default();
                return Failure {
                    message: Some(format!("{told}\n{shown}")),
                    ..failure
                };
            }
        }
        failure
    }

    /// Waits until a node ends by itself, which is a failure.
    pub(super) async fn wait_for_end(&mut self) -> Failure {
        loop {
            for node in self.nodes.iter_mut().filter(|node| !node.killed) {
                if let Some(status) = node.ended() {
                    return node.failure(&format!("ended by itself ({status})"));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks all nodes to stop and waits until they are gone.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        self.nodes.retain(|node| !node.killed);
        self.nodes.iter_mut().for_each(DemoNode::ask_to_stop);
        for node in &mut self.nodes {
            node.stopped().await?;
        }
        Ok(())
    }
}

/// Whether so many nodes are up with a part of the slots each, and nobody else has any.
fn is_settled(layout: &LayoutReport, running: usize) -> bool {
    let (up, others): (Vec<_>, Vec<_>) = layout
        .nodes
        .iter()
        .partition(|node| node.state == MemberState::Up);
    layout.plan > 0
        && layout.unsettled == 0
        && up.len() == running
        && up.iter().all(|node| node.owned > 0)
        && others.iter().all(|node| node.owned == 0)
}

#[cfg(test)]
mod tests {
    use ultrakv_cluster::{NodeId, NodeLayout};

    use super::*;

    #[test]
    fn a_cluster_is_settled_when_those_that_run_have_all_slots_and_no_one_else_has_any() {
        let node = |number, state, owned| NodeLayout {
            node_id: NodeId::from_u128(number),
            name: format!("node-{number}"),
            zone: String::new(),
            state,
            quota: owned,
            owned,
            followers: 0,
            target_owned: owned,
            unsettled: 0,
        };
        let layout = |plan, unsettled, nodes| LayoutReport {
            node_id: NodeId::from_u128(1),
            plan,
            unsettled,
            nodes,
        };
        let two = || {
            vec![
                node(1, MemberState::Up, 8_192),
                node(2, MemberState::Up, 8_192),
            ]
        };
        assert!(is_settled(&layout(1, 0, two()), 2));
        assert!(!is_settled(&layout(0, 0, two()), 2), "no plan yet");
        assert!(!is_settled(&layout(1, 1, two()), 2), "one slot moves");
        assert!(!is_settled(&layout(1, 0, two()), 3), "one is missing");
        let with = |state, owned| {
            let mut nodes = two();
            nodes.push(node(3, state, owned));
            nodes
        };
        assert!(is_settled(&layout(1, 0, with(MemberState::Down, 0)), 2));
        assert!(!is_settled(&layout(1, 0, with(MemberState::Down, 9)), 2));
        assert!(!is_settled(&layout(1, 0, with(MemberState::Up, 0)), 3));
    }
}
