//! How many entries one node writes and reads in a second through the cluster's handle:
//! `cargo run -p ultrakv-cluster --example entries [clients] [shards]`. It must never be taken for a measurement of a network.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example ends at the first failure and tells a person"
)]

use std::time::Duration;

use bytes::Bytes;
use ultrakv_actors::{Node, NodePlan};
use ultrakv_cache::Budget;
use ultrakv_cluster::{ClusterHandle, ClusterPlan, EntryOptions};

const ROUNDS: u32 = 2_000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| {
        let given = arguments.next();
        given.map_or(default, |text| text.parse().unwrap())
    };
    let (clients, shards) = (number(64), number(2));
    let plan = NodePlan::host(Budget::of_bytes(1 << 30), 64 << 10, shards);
    let node = Node::start(plan).await.unwrap();
    let plan = ClusterPlan {
        node_name: "one".to_owned(),
        version: String::new(),
        services: [("a".to_owned(), None)].into(),
        encodings: [].into(),
        member: None,
        reports: None,
    };
    let cluster = ClusterHandle::start(plan, &node).await.unwrap();
    for name in ["put", "get", "put", "get"] {
        let watch = cluster.clock().stopwatch();
        let turns =
            (0..clients).map(|client| tokio::spawn(turn(cluster.clone(), client, name == "put")));
        for client in turns.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        let rate = f64::from(clients * ROUNDS) / watch.elapsed().as_secs_f64();
        println!("{name}: {rate:.0} a second, {clients} clients, {shards} shards");
    }
}

async fn turn(cluster: ClusterHandle, client: u32, is_write: bool) {
    let domain = cluster.domain("a", None).unwrap();
    let value = Bytes::from(vec![7; 100]);
    for round in 0..ROUNDS {
        let key = format!("{client} {}", round % 500);
        let deadline = cluster.clock().deadline(Duration::from_secs(10));
        if is_write {
            let options = EntryOptions::cached(None);
            let put = cluster.entry_put(&domain, key.as_bytes(), value.clone(), options, deadline);
            put.await.unwrap();
        } else {
            let found = cluster.entry_get(&domain, key.as_bytes(), deadline).await;
            assert_eq!(found.unwrap().unwrap().value, value);
        }
    }
}
