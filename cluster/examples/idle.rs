//! What a cluster of three that is asked for nothing costs: `cargo run --release -p ultrakv-cluster --example idle [seconds]`.
//!
//! Three nodes in this process, on real lanes and logs. Once every slot is where the plan has it, this process's own time is
//! counted; doors and models, which other rooms have, are not in it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example ends at the first failure and tells a person"
)]

use std::path::Path;
use std::time::Duration;

use ultrakv_actors::{Clock, Node, NodePlan};
use ultrakv_cache::Budget;
use ultrakv_cluster::lane::tls::{Authority, ClusterName, Credentials, Subject};
use ultrakv_cluster::{ClusterHandle, ClusterPlan, NodeId};
use ultrakv_config::{FlagValue, Sources};

const NODES: u128 = 3;
const SHARDS: u32 = 2;
/// What is counted is over after this.
const SECONDS: u64 = 20;

#[tokio::main]
async fn main() {
    let given = std::env::args().nth(1);
    let seconds = given.map_or(SECONDS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let now = Clock::machine().unix();
    let name = ClusterName::parse("idle").unwrap();
    let (authority, issued) = Authority::create(name, now).unwrap();
    let mut nodes: Vec<(Node, ClusterHandle)> = Vec::new();
    for number in 1..=NODES {
        let home = folder.path().join(number.to_string());
        std::fs::create_dir_all(home.join("certs")).unwrap();
        let subject = Subject::Node(NodeId::from_u128(number));
        let of_node = authority.issue(&subject, 1, now).unwrap();
        Credentials::write(&home.join("certs"), &issued.cert_pem, &of_node, false).unwrap();
        let founder = nodes.first().map(|(_, first)| first.lanes().unwrap().0);
        nodes.push(start(&home, founder.map(|founder| founder.to_string())).await);
    }
    let is_settled = |(_, cluster): &(Node, ClusterHandle)| {
        let status = cluster.status();
        status.slots_unsettled == 0 && status.slots_owned > 0
    };
    while !nodes.iter().all(is_settled) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What the movement left is looked at once more by everybody.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = processor_seconds();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let spent = processor_seconds() - before;
    let each = spent / f64::from(u32::try_from(seconds).unwrap()) / 3.0 * 100.0;
    println!("{{\"seconds\": {seconds}, \"percent_of_a_core_a_node\": {each:.2}}}");
}

/// A member that founds the cluster, or joins it.
async fn start(home: &Path, founder: Option<String>) -> (Node, ClusterHandle) {
    let text = |path: &str| home.join(path).display().to_string();
    let flags = [
        ("cluster.certs", text("certs")),
        ("node.data", text("data")),
        ("cluster.bind", "127.0.0.1:0".to_owned()),
        ("cluster.bulk_bind", "127.0.0.1:0".to_owned()),
        match founder {
            Some(founder) => ("cluster.join", founder),
            None => ("cluster.found", "true".to_owned()),
        },
    ];
    let flags = flags.map(|(key, value)| FlagValue {
        key: key.to_owned(),
        value,
        flag: format!("--set {key}"),
    });
    let sources = Sources {
        flags: flags.into(),
        ..Sources::default()
    };
    let settings = ultrakv_config::load(&sources).unwrap().settings;
    let plan = NodePlan::host(Budget::of_bytes(64 << 20), 64 << 10, SHARDS);
    let reports = ultrakv_cluster::block_reports(usize::try_from(SHARDS).unwrap());
    let watcher = std::sync::Arc::clone(&reports);
    let plan = NodePlan {
        watcher: Some(watcher),
        ..plan
    };
    let node = Node::start(plan).await.unwrap();
    let plan = ClusterPlan {
        reports: Some(reports),
        ..ClusterPlan::from_settings(&settings, "idle")
    };
    let cluster = ClusterHandle::start(plan, &node).await.unwrap();
    (node, cluster)
}

/// What this process has had of all processors.
fn processor_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.map(|task| {
        let path = task.unwrap().path().join("schedstat");
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let first = text.split(' ').next().unwrap_or_default();
        first.parse::<f64>().unwrap_or(0.0)
    });
    nanoseconds.sum::<f64>() / 1e9
}
