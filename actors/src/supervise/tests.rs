//! Tests of supervisors with actors that die on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use super::*;
use crate::{BootId, Clock, Entropy};

/// How a test tells a victim to end.
enum Order {
    Panic,
    Fail,
    Stop,
}

impl ractor::Message for Order {}

/// Reports its start, then does as it is told.
struct Victim {
    name: &'static str,
    births: mpsc::UnboundedSender<(&'static str, BootId, ActorRef<Order>)>,
    /// How many of its starts fail before one works.
    stillborn: Arc<AtomicUsize>,
}

impl Actor for Victim {
    type Msg = Order;
    type State = ();
    type Arguments = BootId;

    async fn pre_start(
        &self,
        myself: ActorRef<Order>,
        boot_id: BootId,
    ) -> Result<(), ActorProcessingErr> {
        let left = self
            .stillborn
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left.is_ok() {
            return Err("stillborn".into());
        }
        let _ = self.births.send((self.name, boot_id, myself));
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Panic => panic!("told to panic"),
            Order::Fail => Err("told to fail".into()),
            Order::Stop => {
                myself.stop(None);
                Ok(())
            }
        }
    }
}

type Births = mpsc::UnboundedReceiver<(&'static str, BootId, ActorRef<Order>)>;

struct Nursery {
    sender: mpsc::UnboundedSender<(&'static str, BootId, ActorRef<Order>)>,
    births: Births,
    stillborn: Arc<AtomicUsize>,
}

impl Nursery {
    fn new() -> Self {
        let (sender, births) = mpsc::unbounded_channel();
        Self {
            sender,
            births,
            stillborn: Arc::default(),
        }
    }

    fn victim(&self, name: &'static str) -> ChildSpec {
        let births = self.sender.clone();
        let stillborn = Arc::clone(&self.stillborn);
        ChildSpec::actor(name, "Victim", move |boot_id| {
            let victim = Victim {
                name,
                births: births.clone(),
                stillborn: Arc::clone(&stillborn),
            };
            (victim, boot_id)
        })
    }

    async fn born(&mut self) -> (&'static str, BootId, ActorRef<Order>) {
        let born = tokio::time::timeout(Duration::from_secs(5), self.births.recv()).await;
        born.expect("nobody was born in time").unwrap()
    }
}

async fn root(
    children: Vec<ChildSpec>,
    limit: RestartLimit,
) -> (ActorRef<SupervisorMsg>, tokio::task::JoinHandle<()>, Tree) {
    let clock = Clock::machine();
    let tree = Tree::new(clock.clone());
    let family = Family {
        tree: tree.clone(),
        clock,
        entropy: Entropy::seeded(1),
        limit,
    };
    let upbringing = Upbringing {
        path: "root".to_owned(),
        children,
        family,
    };
    let (root, task) = Supervisor::spawn(None, Supervisor, upbringing)
        .await
        .unwrap();
    (root, task, tree)
}

fn info(tree: &Tree, path: &str) -> ActorInfo {
    tree.list()
        .into_iter()
        .find(|actor| actor.path == path)
        .unwrap()
}

async fn until(tree: &Tree, holds: impl Fn() -> bool) {
    let mut changes = tree.changes();
    while !holds() {
        let changed = tokio::time::timeout(Duration::from_secs(5), changes.changed()).await;
        changed.expect("the tree did not change in time").unwrap();
    }
}

#[tokio::test]
async fn whatever_way_a_child_ends_it_comes_back_alone_with_a_new_boot_id() {
    let mut nursery = Nursery::new();
    let children = vec![nursery.victim("a"), nursery.victim("b")];
    let (_root, _task, tree) = root(children, RestartLimit::default()).await;
    let (_, mut boot_id, mut actor) = nursery.born().await;
    let (_, other_boot_id, _) = nursery.born().await;

    for (turn, order) in [Order::Panic, Order::Fail, Order::Stop]
        .into_iter()
        .enumerate()
    {
        actor.send_message(order).unwrap();
        let (name, next_boot_id, next) = nursery.born().await;
        assert_eq!(name, "a");
        assert_ne!(boot_id, next_boot_id);
        (boot_id, actor) = (next_boot_id, next);
        // The supervisor writes the table right after the start that was just seen.
        let restarts = u64::try_from(turn).unwrap() + 1;
        until(&tree, || info(&tree, "root/a").restarts == restarts).await;
    }
    actor.kill();
    nursery.born().await;
    let other = info(&tree, "root/b");
    assert_eq!((other.restarts, other.boot_id), (0, other_boot_id));
    assert_eq!(other.last_failure, None);
}

#[tokio::test]
async fn a_child_whose_start_fails_is_tried_again() {
    let mut nursery = Nursery::new();
    let (_root, _task, tree) = root(vec![nursery.victim("a")], RestartLimit::default()).await;
    let (_, _, actor) = nursery.born().await;
    nursery.stillborn.store(3, Ordering::SeqCst);
    actor.send_message(Order::Panic).unwrap();
    nursery.born().await;
    until(&tree, || {
        info(&tree, "root/a").status == ActorState::Running
    })
    .await;
    assert_eq!(
        info(&tree, "root/a").last_failure.as_deref(),
        Some("Actor panicked during startup 'stillborn'")
    );
}

#[tokio::test]
async fn a_child_that_cannot_start_at_first_fails_its_supervisors_start() {
    let nursery = Nursery::new();
    nursery.stillborn.store(1, Ordering::SeqCst);
    let clock = Clock::machine();
    let upbringing = Upbringing {
        path: "root".to_owned(),
        children: vec![nursery.victim("a")],
        family: Family {
            tree: Tree::new(clock.clone()),
            clock,
            entropy: Entropy::seeded(1),
            limit: RestartLimit::default(),
        },
    };
    let error = Supervisor::spawn(None, Supervisor, upbringing)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("root/a"), "{error}");
}

#[tokio::test]
async fn a_branch_that_does_not_start_leaves_no_orphans() {
    let (mut first, second) = (Nursery::new(), Nursery::new());
    second.stillborn.store(1, Ordering::SeqCst);
    let (root, task, _tree) = root(Vec::new(), RestartLimit::default()).await;
    let children = vec![first.victim("first"), second.victim("second")];
    let spec = ChildSpec::supervisor("branch", "Supervisor", children);
    let (reply, answer) = tokio::sync::oneshot::channel();
    let attach = SupervisorMsg::Attach { spec, reply };
    root.send_message(attach).unwrap();
    answer.await.unwrap().unwrap_err();
    let (_, _, orphan) = first.born().await;
    let gone = orphan.wait(Some(Duration::from_secs(5))).await;
    assert!(
        gone.is_ok(),
        "the first child lives on without a supervisor"
    );
    root.stop(None);
    task.await.unwrap();
}

#[tokio::test]
async fn a_supervisor_that_gives_up_is_started_again_by_its_own_and_the_root_ends_with_a_reason() {
    let mut nursery = Nursery::new();
    let limit = RestartLimit {
        restarts_max: 2,
        window_ms: 60_000,
        backoff_ms_max: 1,
    };
    let branch = ChildSpec::supervisor(
        "branch",
        "Branch",
        vec![nursery.victim("a"), nursery.victim("b")],
    );
    let (_root, task, tree) = root(vec![branch], limit).await;

    // Three lives of the branch, each with three lives of `a`, until the root gives up too.
    for life in 0..3 {
        let (_, _, mut actor) = nursery.born().await;
        let (name, _, bystander) = nursery.born().await;
        assert_eq!(name, "b", "life {life}");
        for _ in 0..2 {
            actor.send_message(Order::Panic).unwrap();
            let (name, _, next) = nursery.born().await;
            assert_eq!(name, "a");
            actor = next;
        }
        actor.send_message(Order::Panic).unwrap();
        bystander.wait(Some(Duration::from_secs(5))).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
    let reason = tree.fatal().unwrap();
    assert!(
        reason.starts_with("root/branch died more than 2 times"),
        "{reason}"
    );
    assert!(reason.contains("told to panic"), "{reason}");
}

#[tokio::test]
async fn a_stop_ends_children_last_first_and_waits_for_them() {
    let mut nursery = Nursery::new();
    let children = vec![nursery.victim("a"), nursery.victim("b")];
    let (root, task, tree) = root(children, RestartLimit::default()).await;
    let (_, _, a) = nursery.born().await;
    let (_, _, b) = nursery.born().await;
    root.stop(None);
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
    for child in [a, b] {
        assert_eq!(child.get_status(), ractor::ActorStatus::Stopped);
    }
    assert!(
        tree.list()
            .iter()
            .all(|actor| actor.status == ActorState::Stopped)
    );
    assert!(nursery.births.is_empty());
}

#[tokio::test]
async fn an_attached_child_is_kept_alive_like_the_others_and_names_are_taken_once() {
    let mut nursery = Nursery::new();
    let (root, _task, _tree) = root(vec![], RestartLimit::default()).await;
    let attach = async |spec| {
        let (reply, answer) = tokio::sync::oneshot::channel();
        root.send_message(SupervisorMsg::Attach { spec, reply })
            .unwrap();
        answer.await.unwrap()
    };
    attach(nursery.victim("a")).await.unwrap();
    let (_, _, actor) = nursery.born().await;
    actor.send_message(Order::Panic).unwrap();
    nursery.born().await;
    let error = attach(nursery.victim("a")).await.unwrap_err();
    assert!(error.contains("already"), "{error}");
}
