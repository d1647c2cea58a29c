//! Jobs go on for who knows their last change, stop when asked, and are forgotten when there are too many.

use super::*;

fn create(id: u128, kind: JobKind) -> Command {
    Command::JobCreate(JobCreate {
        id: JobId(id),
        kind,
        throttle_bytes_s: None,
        at_unix_ms: 5,
    })
}

fn drain(node: u128) -> JobKind {
    JobKind::Drain {
        node: NodeId::from_u128(node),
        then_leave: true,
    }
}

impl Rig {
    fn job(&self, id: u128) -> Job {
        self.state.view().jobs().get(JobId(id)).unwrap().clone()
    }

    fn update(&self, id: u128, state: JobState) -> JobUpdate {
        JobUpdate {
            id: JobId(id),
            changed_index: self.job(id).changed_index,
            state,
            reason: "waits for node 2".to_owned(),
            done: 3,
            total: 9,
        }
    }

    fn goes_on(&mut self, id: u128, state: JobState) {
        let update = self.update(id, state);
        self.done(&Command::JobUpdate(update));
    }

    fn is_busy_with(&mut self, command: &Command, id: u128) {
        match self.apply(command) {
            Outcome::Stale(Present::Job(job)) => assert_eq!(job.id, JobId(id)),
            other => panic!("{command:?}: {other:?}"),
        }
    }
}

#[test]
fn one_job_a_node_goes_on_for_who_knows_its_last_change() {
    let mut rig = Rig::of(2);
    assert_eq!(rig.refused(&create(1, drain(9))), "unknown_member");
    rig.done(&create(1, drain(2)));
    assert_eq!(
        rig.apply(&create(1, drain(2))),
        Outcome::Applied(Done::Already)
    );
    rig.is_busy_with(&create(1, JobKind::Rebalance), 1);
    let node = NodeId::from_u128(2);
    rig.is_busy_with(&create(2, JobKind::Join { node }), 1);
    rig.done(&create(3, JobKind::Rebalance));
    rig.is_busy_with(&create(4, JobKind::Rebalance), 3);

    let late = Command::JobUpdate(rig.update(1, JobState::Done));
    rig.goes_on(1, JobState::Running);
    rig.is_busy_with(&late, 1);
    let job = rig.job(1);
    assert_eq!(
        (job.done, job.total, &*job.reason, job.changed_index),
        (3, 9, "waits for node 2", rig.index - 1)
    );
    for wrong in [
        JobUpdate {
            reason: "x".repeat(256),
            ..rig.update(1, JobState::Running)
        },
        JobUpdate {
            done: 10,
            ..rig.update(1, JobState::Running)
        },
        rig.update(1, JobState::Cancelling),
        rig.update(1, JobState::Cancelled),
    ] {
        let wrong = Command::JobUpdate(wrong);
        assert_eq!(rig.refused(&wrong), "metadata_field", "{wrong:?}");
    }
    rig.goes_on(1, JobState::Done);
    // What is over stays as it is, and another may begin.
    let again = Command::JobUpdate(rig.update(1, JobState::Running));
    rig.is_busy_with(&again, 1);
    rig.is_busy_with(&Command::JobCancel { id: JobId(1) }, 1);
    rig.done(&create(5, drain(2)));
    let unknown = Command::JobCancel { id: JobId(99) };
    assert_eq!(rig.refused(&unknown), "unknown_job");
    let again = rebuilt(&chunks(&rig.state)).unwrap();
    assert_eq!(again.view().jobs(), rig.state.view().jobs());
}

#[test]
fn a_job_is_stopped_by_who_drives_it_when_somebody_asks() {
    let mut rig = Rig::of(2);
    rig.done(&create(1, drain(2)));
    let driven = Command::JobUpdate(rig.update(1, JobState::Done));
    let cancel = Command::JobCancel { id: JobId(1) };
    rig.done(&cancel);
    assert_eq!(rig.apply(&cancel), Outcome::Applied(Done::Already));
    // Who drove it on meanwhile learns of it.
    rig.is_busy_with(&driven, 1);
    let back = Command::JobUpdate(rig.update(1, JobState::Running));
    assert_eq!(rig.refused(&back), "metadata_field");
    rig.goes_on(1, JobState::Cancelling);
    rig.goes_on(1, JobState::Cancelled);
    assert!(rig.state.view().jobs().running().next().is_none());
}

#[test]
fn the_lowest_limit_of_what_is_under_way_counts() {
    let mut rig = Rig::of(2);
    rig.done(&create(1, drain(2)));
    rig.done(&create(2, JobKind::Rebalance));
    let limit = |id, bytes_s| Command::JobThrottle {
        id: JobId(id),
        bytes_s,
    };
    let present = |rig: &Rig| rig.state.view().jobs().throttle_bytes_s();
    assert_eq!(present(&rig), None);
    rig.done(&limit(1, Some(5)));
    rig.done(&limit(2, Some(9)));
    assert_eq!(
        rig.apply(&limit(2, Some(9))),
        Outcome::Applied(Done::Already)
    );
    assert_eq!(rig.refused(&limit(1, Some(0))), "metadata_field");
    assert_eq!(present(&rig), Some(5));
    rig.goes_on(1, JobState::Failed);
    assert_eq!(present(&rig), Some(9));
    rig.is_busy_with(&limit(1, None), 1);
    rig.done(&limit(2, None));
    assert_eq!(present(&rig), None);
}

#[test]
fn the_job_that_was_over_first_gives_way_and_one_under_way_does_not() {
    let mut rig = Rig::of(2);
    let max = u128::try_from(JOBS_MAX).unwrap();
    rig.done(&create(0, drain(1)));
    for id in 1..max {
        rig.done(&create(id, drain(2)));
        rig.goes_on(id, JobState::Done);
    }
    rig.done(&create(max, drain(2)));
    let view = rig.state.view();
    let ids = |view: &View| view.jobs().iter().map(|job| job.id.0).collect::<Vec<_>>();
    assert!(ids(&view)[..3] == [0, 2, 3] && ids(&view).len() == JOBS_MAX);
}
