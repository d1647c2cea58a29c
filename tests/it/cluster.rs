//! Clusters of real processes, as their users and operators meet them: any node answers, one may die, one may come, one may go,
//! and strangers stay outside.
//!
//! One cluster at a time: several on one small machine would measure the machine.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, in its helpers too, and waits by the wall's own clock"
)]

mod majority;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use ultrakv_tests::cluster::{Authority, Options, SLOT_COUNT, TestCluster};
use ultrakv_tests::http::{Answer, Door};
use ultrakv_tests::ultrakv;

const SETTLES_WITHIN: Duration = Duration::from_secs(120);
/// The floor of what entries may take to answer again; measurements hold the tight figures.
const FAILS_OVER_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const PROCESS: &str = "/api/v1/kv-cache/process";

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // Another test's failure is not this one's.
    ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn door(cluster: &TestCluster, at: usize) -> Door {
    cluster.process(at).expect("a node").http()
}

fn call(door: &Door, method: &str, path: &str, body: &[u8]) -> Answer {
    let answer = door.call(method, path, &[], body);
    answer.unwrap_or_else(|error| panic!("{method} {path} at {}: {error}", door.address))
}

fn put(door: &Door, path: &str, body: &[u8]) {
    let answer = call(door, "PUT", path, body);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        (200..300).contains(&answer.status),
        "{path}: {} {text}",
        answer.status
    );
}

fn get(door: &Door, path: &str) -> Option<Vec<u8>> {
    let answer = call(door, "GET", path, b"");
    match answer.status {
        200 => Some(answer.body),
        404 => None,
        other => panic!("{path}: {other} {}", String::from_utf8_lossy(&answer.body)),
    }
}

fn entry(name: &str) -> String {
    format!("/v1/kv/entries/{name}")
}

fn block(name: &str) -> String {
    format!("/v1/kv/blocks/{name}")
}

fn process(door: &Door, text: &str, headers: &[(&str, &str)]) -> Value {
    let body = json!({"text": text, "max_length": 4, "temperature": 0}).to_string();
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = door
        .call("POST", PROCESS, &headers, body.as_bytes())
        .expect("an answer");
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{told}");
    serde_json::from_str(&told).expect("JSON")
}

/// Asks until it is as wished; entries may be away for a moment after a death, and never wrong.
fn eventually<T>(what: &str, mut wish: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = wish() {
            return found;
        }
        assert!(
            began.elapsed() < FAILS_OVER_WITHIN,
            "{what}: not within {FAILS_OVER_WITHIN:?}"
        );
        thread::sleep(LOOK_EVERY);
    }
}

/// An entry as a door gives it: `None` while it says "not now"; "absent" is an answer.
fn entry_at(door: &Door, name: &str) -> Option<Option<Vec<u8>>> {
    let answer = door.call("GET", &entry(name), &[], b"").ok()?;
    match answer.status {
        200 => Some(Some(answer.body)),
        404 => Some(None),
        _ => None,
    }
}

/// Writes so many entries through all doors in turn, and remembers them.
fn write_entries(cluster: &TestCluster, prefix: &str, count: usize) -> BTreeMap<String, Vec<u8>> {
    let doors: Vec<Door> = cluster
        .running()
        .into_iter()
        .map(|at| door(cluster, at))
        .collect();
    let mut written = BTreeMap::new();
    for (number, door) in (0..count).zip(doors.iter().cycle()) {
        let (name, value) = (
            format!("{prefix}-{number}"),
            format!("value {number} of {prefix}").into_bytes(),
        );
        put(door, &entry(&name), &value);
        written.insert(name, value);
    }
    written
}

/// Every entry at every running node's door.
fn assert_all_there(cluster: &TestCluster, written: &BTreeMap<String, Vec<u8>>) {
    for at in cluster.running() {
        let door = door(cluster, at);
        for (name, value) in written {
            let found = eventually(name, || entry_at(&door, name));
            assert_eq!(found.as_ref(), Some(value), "{name} at node {at}");
        }
    }
}

#[test]
fn any_node_answers_any_request() {
    let _alone = alone();
    let cluster = TestCluster::start(3, Options::default().patient()).expect("a cluster");
    let doors = [0, 1, 2].map(|at| door(&cluster, at));
    let view = cluster.any_view().expect("a view");
    assert_eq!(view.owned().values().sum::<u64>(), u64::from(SLOT_COUNT));
    assert_eq!(
        view.owned().len(),
        3,
        "every node owns a part: {:?}",
        view.owned()
    );

    let written = write_entries(&cluster, "any", 12);
    assert_all_there(&cluster, &written);
    // A version that one node gave is a condition at another.
    let answer = call(&doors[0], "GET", &entry("any-0"), b"");
    let tag = answer.header("etag").expect("a version").to_owned();
    let condition = [("if-match", tag.as_str())];
    let over = |door: &Door| {
        door.call("PUT", &entry("any-0"), &condition, b"newer")
            .expect("an answer")
            .status
    };
    assert_eq!((over(&doors[1]), over(&doors[2])), (200, 412));
    assert_eq!(get(&doors[2], &entry("any-0")), Some(b"newer".to_vec()));

    let bytes: Vec<u8> = (0..60_000_u32).flat_map(u32::to_le_bytes).collect();
    put(&doors[0], &block("far"), &bytes);
    let exists = eventually("the block is told of at another node", || {
        let told = doors[2]
            .ask(
                "POST",
                "/v1/kv/exists",
                &json!({"keys": ["far", "farther"]}),
            )
            .expect("an answer");
        (told["present"][0] == true).then_some(told)
    });
    assert_eq!(exists["present"], json!([true, false]), "{exists}");
    for (at, door) in doors.iter().enumerate() {
        assert_held_where_it_lies(door, "far");
        let fetched = metric(&cluster, at, "ultrakv_remote_blocks_fetched_total");
        assert_eq!(fetched, 0, "whether a block exists moves none");
        assert_eq!(get(door, &block("far")).as_deref(), Some(bytes.as_slice()));
    }

    let text = "The same long beginning, sentence after sentence. ".repeat(4);
    let first = process(&doors[0], &text, &[]);
    assert_eq!(first["metadata"]["cache"], "none", "{first}");
    let again = eventually("another node reuses the prefix", || {
        let again = process(&doors[1], &text, &[("cache-control", "no-cache")]);
        (again["metadata"]["cache"] == "prefix").then_some(again)
    });
    assert!(
        again["metadata"]["reused_tokens"].as_u64() >= Some(64),
        "{again}"
    );
    assert_eq!(again["result"], first["result"], "reuse changes no answer");
    let hit = process(&doors[2], &text, &[]);
    assert_eq!(hit["metadata"]["cache"], "response", "{hit}");
    assert_eq!(hit["result"], first["result"]);
}

/// Has a block held for the time of a lease, wherever it is, and ends the lease.
fn assert_held_where_it_lies(door: &Door, name: &str) {
    let asked = json!({"keys": [name, "nowhere"], "lease_ms": 30_000});
    let told = door
        .ask("POST", "/v1/kv/exists", &asked)
        .expect("an answer");
    assert_eq!(told["present"], json!([true, false]), "{told}");
    assert_eq!(told["prefix_blocks"], 1);
    let lease = told["lease"]["id"].as_str().expect("a lease").to_owned();
    for released in [true, false] {
        let answer = call(door, "DELETE", &format!("/v1/kv/leases/{lease}"), b"");
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(told["released"], released, "{told}");
    }
}

/// The sum of a metric's series at a node's admin door; 0 while it has none.
fn metric(cluster: &TestCluster, at: usize, name: &str) -> u64 {
    let door = cluster.process(at).expect("a node").admin();
    let answer = call(&door, "GET", "/metrics", b"");
    let text = String::from_utf8(answer.body).expect("text");
    let series = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let found = series.split('{').next() == Some(name);
        found.then(|| value.parse::<u64>().expect("a count"))
    });
    series.sum()
}

#[test]
fn a_put_is_answered_when_as_much_is_done_as_was_asked() {
    let _alone = alone();
    let options = Options::default().set("cluster.block_copies=2");
    let cluster = TestCluster::start(3, options).expect("a cluster");
    let doors = [0, 1, 2].map(|at| door(&cluster, at));
    for number in 0..9 {
        let (name, door) = (format!("all-{number}"), &doors[number % 3]);
        let answer = call(door, "PUT", &format!("{}?ack=all", block(&name)), b"bytes");
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(told["copies"], 2, "{told}");

        let name = format!("committed-{number}");
        put(door, &format!("{}?ack=committed", block(&name)), b"bytes");
        // The directory has it. Another node applies that a moment later than the one that was asked.
        let other = &doors[(number + 1) % 3];
        eventually("it is found elsewhere", || {
            let asked = json!({"keys": [name]});
            let told = other.ask("POST", "/v1/kv/exists", &asked).ok()?;
            (told["present"][0] == true).then_some(())
        });
    }
    let refused = call(&doors[0], "PUT", &format!("{}?ack=two", block("a")), b"x");
    assert_eq!(refused.status, 400);
}

#[test]
fn a_killed_node_takes_no_acknowledged_entry_with_it() {
    let _alone = alone();
    let mut cluster = TestCluster::start(3, Options::default().patient()).expect("a cluster");
    let mut written = write_entries(&cluster, "before", 30);
    for (round, victim) in [cluster.leader().expect("a leader"), 1, 2]
        .into_iter()
        .enumerate()
    {
        let id = cluster.id(victim).expect("an id").to_owned();
        let boot = |cluster: &TestCluster| {
            let view = cluster.any_view().expect("a view");
            view.member(&id)
                .map(|member| member.boot.clone())
                .expect("a member")
        };
        let former = boot(&cluster);
        let name = cluster
            .name_owned_by(victim, &format!("owned-{round}-"))
            .expect("it owns slots");
        cluster
            .process_mut(victim)
            .expect("a node")
            .kill()
            .expect("killed");
        let other = cluster
            .running()
            .first()
            .map(|at| door(&cluster, *at))
            .expect("a survivor");
        let value = name.clone().into_bytes();
        eventually("its slots take writes again", || {
            let answer = other.call("PUT", &entry(&name), &[], &value).ok()?;
            (answer.status == 200).then_some(())
        });
        written.insert(name, value);
        assert_all_there(&cluster, &written);
        written.extend(write_entries(&cluster, &format!("without-{round}"), 6));
        cluster.restart(victim).expect("it comes back");
        cluster.wait_whole(SETTLES_WITHIN).expect("whole again");
        assert_ne!(
            boot(&cluster),
            former,
            "it came back as a new life of the same node"
        );
        assert_all_there(&cluster, &written);
    }
}

#[test]
fn a_fourth_node_takes_its_share_and_gives_it_back() {
    let _alone = alone();
    let mut cluster = TestCluster::start(3, Options::default().patient()).expect("a cluster");
    let mut written = write_entries(&cluster, "early", 40);
    let before = cluster.any_view().expect("a view");

    let fourth = cluster.add().expect("a fourth node");
    cluster.wait_whole(SETTLES_WITHIN).expect("whole with four");
    let share = u64::from(SLOT_COUNT) / 4;
    let after = cluster
        .wait("the slots are spread", SETTLES_WITHIN, |cluster| {
            let (layout, view) = (cluster.layout(0)?, cluster.view(0)?);
            let uneven = view.owned().values().any(|owned| owned.abs_diff(share) > 1);
            anyhow::ensure!(
                layout.unsettled == 0 && !uneven && view.owned().len() == 4,
                "{layout:?}"
            );
            Ok(view)
        })
        .expect("an even spread");
    assert_eq!(
        after.moved_since(&before),
        share,
        "no slot moved that need not"
    );
    assert!(
        cluster
            .jobs(0)
            .expect("jobs")
            .iter()
            .any(|job| job.kind == "join" && job.state == "done")
    );
    written.extend(write_entries(&cluster, "with-four", 8));
    assert_all_there(&cluster, &written);

    cluster.drain(fourth, true).expect("drained");
    let id = cluster.id(fourth).expect("an id").to_owned();
    let view = cluster.view(0).expect("a view");
    assert_eq!(view.owned().get(id.as_str()), None, "it left empty");
    assert!(
        view.ranges.iter().all(|range| !range.in_sync.contains(&id)),
        "it holds nothing any more"
    );
    let ended = cluster
        .process_mut(fourth)
        .expect("a node")
        .terminate()
        .expect("it stops");
    assert_eq!(ended.code(), Some(0));
    cluster
        .wait_whole(SETTLES_WITHIN)
        .expect("whole with three");
    assert_all_there(&cluster, &written);
}

/// Requests that failed, and how many were served.
#[derive(Default)]
struct Served {
    served: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Served {
    /// One write and one read of this client's own entry, through a door that is told to be open.
    fn ask(&self, door: &Door, name: &str, number: u64) {
        let value = number.to_string().into_bytes();
        let wrote = door.call("PUT", &entry(name), &[], &value);
        let read = door.call("GET", &entry(name), &[], b"");
        let told = match (&wrote, &read) {
            (Ok(wrote), Ok(read))
                if wrote.status == 200 && read.status == 200 && read.body == value =>
            {
                self.served.fetch_add(1, Ordering::Relaxed);
                return;
            }
            (wrote, read) => format!("{name} {number} at {}: {wrote:?}, {read:?}", door.address),
        };
        self.failed.lock().expect("a lock").push(told);
    }
}

/// Of the leader as well: until another is elected nobody's tenure is renewed, and requests wait for that.
#[test]
fn a_rolling_restart_fails_no_request() {
    let _alone = alone();
    let mut cluster = TestCluster::start(3, Options::default().patient()).expect("a cluster");
    let doors = [0, 1, 2].map(|at| door(&cluster, at));
    // Clients use doors that are open, as a load balancer does that asks /readyz; there they must never fail.
    let open = [0, 1, 2].map(|_| AtomicBool::new(true));
    let busy = [0, 1, 2].map(|_| AtomicU64::new(0));
    let (served, stop) = (Served::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        for client in 0..3_usize {
            let (doors, open, busy, served, stop) = (&doors, &open, &busy, &served, &stop);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let at = (client + usize::try_from(number).expect("small")) % 3;
                    busy[at].fetch_add(1, Ordering::SeqCst);
                    if open[at].load(Ordering::SeqCst) {
                        served.ask(&doors[at], &format!("rolling-{client}"), number);
                    }
                    busy[at].fetch_sub(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let leader = cluster.leader().expect("a leader");
        for at in [leader, (leader + 1) % 3, (leader + 2) % 3] {
            open[at].store(false, Ordering::SeqCst);
            eventually("nobody uses the door any more", || {
                (busy[at].load(Ordering::SeqCst) == 0).then_some(())
            });
            let ended = cluster
                .process_mut(at)
                .expect("a node")
                .terminate()
                .expect("it stops");
            assert_eq!(ended.code(), Some(0));
            cluster.restart(at).expect("it comes back");
            cluster.wait_whole(SETTLES_WITHIN).expect("whole again");
            open[at].store(true, Ordering::SeqCst);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let failed = served.failed.into_inner().expect("a lock");
    assert!(
        failed.is_empty(),
        "{} failed, the first: {}",
        failed.len(),
        failed[0]
    );
    assert!(
        served.served.into_inner() > 100,
        "hardly anything was asked"
    );
}

#[test]
fn strangers_stay_outside_and_harm_nobody() {
    let _alone = alone();
    let cluster = TestCluster::start(3, Options::default().patient()).expect("a cluster");
    let written = write_entries(&cluster, "inside", 6);
    let before = cluster.any_view().expect("a view");
    let root = cluster.root().expect("a folder");
    let certs = |name: &str, cluster_name: &str| {
        let authority =
            Authority::create(root.join(format!("{name}-ca")), cluster_name).expect("an authority");
        authority
            .node(&root.join(format!("{name}-certs")), None)
            .expect("certificates");
        root.join(format!("{name}-certs"))
    };
    // Its own certificate with another's key never leaves its machine.
    let mixed = root.join("mixed-certs");
    cluster
        .authority()
        .node(&mixed, None)
        .expect("certificates");
    std::fs::copy(
        certs("third", "test").join("node.key"),
        mixed.join("node.key"),
    )
    .expect("copied");
    for (name, folder, word) in [
        ("strange", certs("strange", "test"), ""),
        ("other", certs("other", "another"), ""),
        ("mixed", mixed, "does not belong to the certificate"),
    ] {
        let mut stranger = cluster.stranger(name, &folder).expect("a process");
        stranger.spawn().expect("it starts");
        let began = std::time::Instant::now();
        let ended = loop {
            if let Some(ended) = stranger.ended().expect("a status") {
                break Some(ended);
            }
            assert!(
                !stranger.is_ready(),
                "{name} was let in:\n{}",
                stranger.log()
            );
            if began.elapsed() > Duration::from_secs(3) {
                break None;
            }
            thread::sleep(LOOK_EVERY);
        };
        assert!(
            stranger.log().contains(word),
            "{name} ({ended:?}):\n{}",
            stranger.log()
        );
        assert!(
            word.is_empty() || ended.is_some_and(|ended| !ended.success()),
            "{name}: {ended:?}"
        );
    }
    let after = cluster
        .wait_whole(SETTLES_WITHIN)
        .expect("as whole as before");
    assert_eq!(
        (&after.members, &after.leader),
        (&before.members, &before.leader)
    );
    assert_eq!(after.moved_since(&before), 0);
    assert_all_there(&cluster, &written);
}
