//! Waiting for a job: a bar for a person, a line for each change of state for a pipe. The job itself needs nobody to wait.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ultrakv_cluster::{JobReport, JobState};

use crate::client::NodeClient;
use crate::exit::{Failure, Status};
use crate::output;

/// Between two looks at a job. It is on other machines, whose news come no faster than they are asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks at the job until it is over.
pub(super) async fn to_the_end(client: &NodeClient, job: JobReport) -> Result<JobReport, Failure> {
    let path = format!("/v1/cluster/jobs/{}", job.id);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut screen = Screen::new();
    let mut job = job;
    loop {
        screen.show(&job);
        if job.state.is_over() {
            return Ok(job);
        }
        looks.tick().await;
        job = client.get(&path).await?.granted()?;
    }
}

/// Whether the job did what it was for.
pub(super) fn judge(job: &JobReport) -> Result<(), Failure> {
    match job.state {
        JobState::Failed | JobState::Cancelled => {
            let state = job.state.name();
            let message = format!("job {} is {state}: {}", job.id, job.reason);
            Err(Failure::new(Status::Failed, message))
        }
        JobState::Running | JobState::Cancelling | JobState::Done => Ok(()),
    }
}

/// What shows how far it is.
struct Screen {
    bar: Option<ProgressBar>,
    said: Option<JobState>,
}

impl Screen {
    fn new() -> Self {
        let person = io::stderr().is_terminal();
        let bar = person.then(|| {
            let plain = ProgressStyle::default_bar();
            let style = plain
                .clone()
                .template("{spinner} {bar:24} {pos}/{len} slots, {eta} left  {msg}")
                .unwrap_or(plain);
            let bar = ProgressBar::new(0).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, said: None }
    }

    fn show(&mut self, job: &JobReport) {
        if let Some(bar) = &self.bar {
            bar.set_length(u64::from(job.total));
            bar.set_position(u64::from(job.done));
            bar.set_message(job.reason.clone());
        } else if self.said != Some(job.state) {
            self.said = Some(job.state);
            output::note(&said(job));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn said(job: &JobReport) -> String {
    let JobReport {
        id,
        kind,
        state,
        reason,
        done,
        total,
        ..
    } = job;
    let (kind, state) = (kind.name(), state.name());
    format!("job {id} ({kind}) is {state}, {done} of {total} slots: {reason}")
}

#[cfg(test)]
mod tests {
    use ultrakv_cluster::{JobId, JobKind};

    use super::*;

    #[test]
    fn only_a_job_that_did_not_do_its_work_is_a_failure() {
        let job = |state| JobReport {
            id: JobId(3),
            kind: JobKind::Rebalance,
            node_id: None,
            leave: false,
            state,
            reason: "an operator ended it".to_owned(),
            done: 2,
            total: 9,
            throttle_bytes_per_second: None,
            created_unix_ms: 0,
        };
        for state in [JobState::Running, JobState::Cancelling, JobState::Done] {
            assert!(judge(&job(state)).is_ok(), "{state:?}");
        }
        for state in [JobState::Cancelled, JobState::Failed] {
            let failure = judge(&job(state)).expect_err("it is over");
            assert_eq!(failure.status, Status::Failed);
            let message = failure.message.expect("a message");
            assert!(message.ends_with("an operator ended it"), "{message}");
        }
        assert_eq!(
            said(&job(JobState::Cancelled)),
            "job 00000000000000000000000000000003 (rebalance) is cancelled, 2 of 9 slots: an operator ended it"
        );
    }
}
