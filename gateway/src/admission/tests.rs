//! Admission and the gateway actor together, without a model.

use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::task::JoinHandle;

use super::*;
use crate::gateway_actor::GatewayActor;

const WITHIN: Duration = Duration::from_secs(10);

async fn open(admission: &Admission) -> (ActorRef<GatewayMessage>, JoinHandle<()>) {
    GatewayActor::spawn(None, GatewayActor, admission.clone())
        .await
        .unwrap()
}

async fn eventually(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, wait)
        .await
        .expect("it holds in the end");
}

fn admit(
    admission: &Admission,
    priority: Priority,
) -> JoinHandle<Result<GenerationPermit, ProcessError>> {
    let admission = admission.clone();
    tokio::spawn(async move { admission.admit(priority).await })
}

#[tokio::test]
async fn slots_then_queue_then_busy() {
    let admission = Admission::new(1, 1);
    let (actor, _task) = open(&admission).await;
    let first = admission.admit(Priority::Normal).await.unwrap();
    let second = admit(&admission, Priority::Normal);
    eventually(|| admission.queued() == 1).await;
    let refused = admission.admit(Priority::Critical).await.unwrap_err();
    assert_eq!(
        refused,
        ProcessError::Busy {
            running: 1,
            queued: 1
        }
    );
    drop(first);
    let second = second.await.unwrap().unwrap();
    assert_eq!((admission.running(), admission.queued()), (1, 0));
    drop(second);
    eventually(|| admission.running() == 0).await;
    actor.stop(None);
}

#[tokio::test]
async fn the_urgent_go_first_and_whoever_leaves_frees_a_place() {
    let admission = Admission::new(1, 2);
    let (actor, _task) = open(&admission).await;
    let running = admission.admit(Priority::Normal).await.unwrap();
    let patient = admit(&admission, Priority::Background);
    eventually(|| admission.queued() == 1).await;
    let leaver = admit(&admission, Priority::Normal);
    eventually(|| admission.queued() == 2).await;
    leaver.abort();
    eventually(|| admission.queued() == 1).await;
    let urgent = admit(&admission, Priority::Critical);
    eventually(|| admission.queued() == 2).await;
    drop(running);
    let urgent = urgent.await.unwrap().unwrap();
    assert!(!patient.is_finished());
    drop(urgent);
    drop(patient.await.unwrap().unwrap());
    actor.stop(None);
}

#[tokio::test]
async fn a_killed_actor_fails_the_waiting_spares_the_running_and_its_next_life_serves() {
    let admission = Admission::new(1, 4);
    assert_eq!(
        admission.admit(Priority::Normal).await.unwrap_err(),
        ProcessError::Stopped
    );
    let (actor, task) = open(&admission).await;
    let running = admission.admit(Priority::Normal).await.unwrap();
    let waiting = admit(&admission, Priority::Normal);
    eventually(|| admission.queued() == 1).await;
    actor.kill();
    task.await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err(), ProcessError::Stopped);
    assert_eq!(
        admission.admit(Priority::Normal).await.unwrap_err(),
        ProcessError::Stopped
    );

    let (actor, _task) = open(&admission).await;
    let next = admit(&admission, Priority::Normal);
    eventually(|| admission.queued() == 1).await;
    assert_eq!(
        admission.running(),
        1,
        "the slot is still taken by the former life's generation"
    );
    drop(running);
    drop(next.await.unwrap().unwrap());
    actor.stop(None);
}

#[tokio::test]
async fn a_panicking_actor_fails_like_a_killed_one() {
    let admission = Admission::new(1, 4);
    let (actor, task) = open(&admission).await;
    let _running = admission.admit(Priority::Normal).await.unwrap();
    let waiting = admit(&admission, Priority::Normal);
    eventually(|| admission.queued() == 1).await;
    actor.cast(GatewayMessage::Panic).unwrap();
    task.await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err(), ProcessError::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_a_storm_no_more_than_the_slots_ever_run_and_nobody_hangs() {
    let admission = Admission::new(3, 200);
    let (actor, _task) = open(&admission).await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..200_usize {
        let admission = admission.clone();
        tasks.spawn(async move {
            let priority = Priority::ALL[index % 5];
            let waiting = admission.admit(priority);
            if index % 4 == 0 {
                // Gives up almost at once.
                let _gave_up = tokio::time::timeout(Duration::from_micros(50), waiting).await;
                return;
            }
            let permit = waiting.await.unwrap();
            assert!(admission.running() <= 3);
            tokio::task::yield_now().await;
            drop(permit);
        });
    }
    let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(WITHIN, all)
        .await
        .expect("nobody hangs");
    eventually(|| admission.running() == 0 && admission.queued() == 0).await;
    actor.stop(None);
}
