//! Our compose files of clusters: what is put through one node is got through another, also when one was lost, came back, or
//! was stopped. What cannot be answered for a moment is asked again; what is answered must be right.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::{ADMIN_TOKEN, Project, TOKEN, able, docker, out};

/// Entries of the test: enough that every node owns the slots of some.
const ENTRIES: usize = 48;
/// Between two looks at what comes from other machines.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often: a minute, which is long for a failover of about a second on a machine that does other things as well.
const LOOKS_MAX: usize = 600;
/// The same for all slots to be where the plan wants them: seconds on an idle machine, with nodes that are not optimised.
const SETTLING_LOOKS_MAX: usize = 1_800;

#[test]
fn three_nodes_in_containers_lose_one_and_answer_rightly() {
    while_alone(lose_one("compose-3", 3));
}

#[test]
fn five_nodes_in_containers_come_up_and_share_what_they_are_given() {
    while_alone(share("compose-5", 5));
}

/// One cluster at a time, in containers or not: two of them starve each other on a small machine.
fn while_alone(story: impl Future<Output = ()>) {
    let _alone = crate::cluster::alone();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(story);
}

/// Five nodes on a small machine move slots for minutes; what is put at one of them is found at the others meanwhile.
async fn share(file: &'static str, nodes: usize) {
    let Some(compose) = able() else {
        return;
    };
    let project = Project::new(compose, file);
    let events = project.events();
    out(&mut project.command(&["up", "--detach", "--no-build"]));
    let names: Vec<String> = (1..=nodes).map(|node| format!("node-{node}")).collect();
    events.wait_healthy(&names, &project);
    let doors = Doors::of(&project, &names);
    for (entry, name) in names.iter().enumerate() {
        doors.put_entry(name, entry, "first").await;
    }
    let block = vec![7_u8; 100_000];
    doors.put_block(&names[0], &block).await;
    for (entry, name) in names.iter().rev().enumerate() {
        assert_eq!(doors.entry(name, entry).await, "first", "{entry}");
        // The directory may lag behind for a moment; what is found is what was put.
        let found = doors.block(name).await;
        assert!(found.is_none_or(|bytes| bytes == block), "through {name}");
    }
    assert_eq!(doors.block(&names[0]).await, Some(block));
}

async fn lose_one(file: &'static str, nodes: usize) {
    let Some(compose) = able() else {
        return;
    };
    let project = Project::new(compose, file);
    let events = project.events();
    out(&mut project.command(&["up", "--detach", "--no-build"]));
    let names: Vec<String> = (1..=nodes).map(|node| format!("node-{node}")).collect();
    events.wait_healthy(&names, &project);
    let mut doors = Doors::of(&project, &names);
    doors.wait_settled(&names).await;

    for entry in 0..ENTRIES {
        doors.put_entry(&names[entry % nodes], entry, "first").await;
    }
    let block = vec![7_u8; 100_000];
    doors.put_block(&names[0], &block).await;
    for entry in 0..ENTRIES {
        let other = &names[(entry + 1) % nodes];
        assert_eq!(doors.entry(other, entry).await, "first", "{entry}");
    }
    let found = doors.block(&names[nodes - 1]).await;
    assert_eq!(
        found,
        Some(block.clone()),
        "fetched from the node that has it"
    );

    let (lost, others) = names.split_last().expect("some nodes");
    let container = container(&project, lost);
    docker(&["kill", "--signal", "SIGKILL", &container]);
    events.wait_ended(lost, &project);
    for entry in 0..ENTRIES {
        let one = &others[entry % others.len()];
        assert_eq!(doors.entry(one, entry).await, "first", "{entry}");
        doors.put_entry(one, entry, "second").await;
        let other = &others[(entry + 1) % others.len()];
        assert_eq!(doors.entry(other, entry).await, "second", "{entry}");
    }
    for one in others {
        // A block may be gone with its only copy; what is found is what was put.
        let found = doors.block(one).await;
        assert!(found.is_none_or(|bytes| bytes == block), "through {one}");
    }

    docker(&["start", &container]);
    events.wait_healthy(std::slice::from_ref(lost), &project);
    doors = Doors::of(&project, &names);
    doors.wait_settled(&names).await;
    for entry in 0..ENTRIES {
        assert_eq!(doors.entry(lost, entry).await, "second", "{entry}");
    }

    // Stopped with notice it hands over first, and says so with its status.
    let stopped = self::container(&project, &names[1]);
    docker(&["stop", &stopped]);
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &stopped]);
    assert_eq!(code, "0", "{}", project.logs());
    for entry in 0..ENTRIES {
        assert_eq!(doors.entry(&names[0], entry).await, "second", "{entry}");
    }
}

fn container(project: &Project, node: &str) -> String {
    out(&mut project.command(&["ps", "--quiet", node]))
}

/// The doors of the nodes, as clients on the host know them.
struct Doors {
    client: Client,
    http: BTreeMap<String, String>,
    admin: String,
}

impl Doors {
    /// Where the doors are now: a container that starts again may have others.
    fn of(project: &Project, names: &[String]) -> Self {
        let http = names
            .iter()
            .map(|node| (node.clone(), project.url(node, "7800", "")));
        Self {
            client: Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()
                .expect("a client"),
            http: http.collect(),
            admin: project.url(&names[0], "7801", ""),
        }
    }

    /// Waits until every node is up and every slot is where the plan wants it.
    async fn wait_settled(&self, names: &[String]) {
        let url = format!("{}/v1/cluster/layout", self.admin);
        let mut last = Value::Null;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        for _ in 0..SETTLING_LOOKS_MAX {
            looks.tick().await;
            let asked = self.client.get(&url).bearer_auth(ADMIN_TOKEN).send().await;
            last = asked.expect("sent").json().await.expect("JSON");
            let nodes = last["nodes"].as_array().expect("nodes");
            let serves = |node: &Value| node["state"] == "up" && node["owned"] != 0;
            let all = nodes.len() == names.len() && nodes.iter().all(serves);
            if all && last["plan"] != 0 && last["unsettled"] == 0 {
                return;
            }
        }
        panic!("not settled: {last}");
    }

    fn request(&self, method: Method, node: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.http[node]);
        self.client.request(method, url).bearer_auth(TOKEN)
    }

    /// Asks until it is answered: a node that cannot answer for a moment says so, and never says anything else.
    async fn answered(&self, request: RequestBuilder) -> (StatusCode, Vec<u8>) {
        let mut told = String::new();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        for _ in 0..LOOKS_MAX {
            looks.tick().await;
            let again = request.try_clone().expect("a body that is held");
            let answer = again.send().await.expect("this node runs");
            let status = answer.status();
            let bytes = answer.bytes().await.expect("a body");
            let later = [
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
                StatusCode::TOO_MANY_REQUESTS,
            ];
            if !later.contains(&status) {
                return (status, bytes.to_vec());
            }
            told = String::from_utf8_lossy(&bytes).into_owned();
        }
        panic!("never answered: {told}");
    }

    async fn put_entry(&self, node: &str, entry: usize, value: &str) {
        let path = format!("/v1/kv/entries/entry-{entry}");
        let request = self
            .request(Method::PUT, node, &path)
            .body(value.to_owned());
        let (status, told) = self.answered(request).await;
        let told = String::from_utf8_lossy(&told);
        assert!(
            status.is_success(),
            "{entry} through {node}: {status} {told}"
        );
    }

    async fn entry(&self, node: &str, entry: usize) -> String {
        let path = format!("/v1/kv/entries/entry-{entry}");
        let (status, bytes) = self.answered(self.request(Method::GET, node, &path)).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(status, StatusCode::OK, "{entry} through {node}: {text}");
        text
    }

    async fn put_block(&self, node: &str, bytes: &[u8]) {
        let request = self.request(Method::PUT, node, "/v1/kv/blocks/a-name");
        let (status, told) = self.answered(request.body(bytes.to_vec())).await;
        assert!(status.is_success(), "{}", String::from_utf8_lossy(&told));
    }

    async fn block(&self, node: &str) -> Option<Vec<u8>> {
        let request = self.request(Method::GET, node, "/v1/kv/blocks/a-name");
        match self.answered(request).await {
            (StatusCode::OK, bytes) => Some(bytes),
            (StatusCode::NOT_FOUND, _) => None,
            (status, told) => panic!("{status} {}", String::from_utf8_lossy(&told)),
        }
    }
}
