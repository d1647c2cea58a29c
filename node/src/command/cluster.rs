//! `ultrakv cluster`: what the cluster is, where its slots are, and the jobs that move them.

mod follow;
mod show;

use serde::Deserialize;
use serde_json::{Value, json};
use ultrakv_cluster::{JobId, JobReport, LayoutReport};
use ultrakv_config::ADMIN_SERVICE;

use crate::args::{
    AdminArguments, ClusterCommand, JobArguments, JobOptions, Output, RebalanceArguments, Throttle,
};
use crate::client::{NodeClient, read_token};
use crate::exit::{Failure, Status};
use crate::output;

/// Asks for one of them.
pub(super) async fn run(command: &ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status(arguments) => status(&arguments.reach).await,
        ClusterCommand::Layout(arguments) => {
            let layout = layout(&client(&arguments.reach)?).await?;
            print_layout(&layout, arguments.reach.output)
        }
        ClusterCommand::Rebalance(arguments) => rebalance(arguments).await,
        ClusterCommand::Jobs(arguments) => jobs(&arguments.reach).await,
        ClusterCommand::Job(arguments) => job(arguments).await,
    }
}

/// A client of the admin door.
pub(super) fn client(reach: &AdminArguments) -> Result<NodeClient, Failure> {
    let token_file = reach.token_file.as_deref();
    let token = token_file
        .map(|path| read_token(path, Some(ADMIN_SERVICE)))
        .transpose()?;
    NodeClient::new(&reach.admin, "--admin", token, reach.timeout)
}

/// Where the slots are.
pub(super) async fn layout(client: &NodeClient) -> Result<LayoutReport, Failure> {
    client.get("/v1/cluster/layout").await?.granted()
}

/// Prints where the slots are.
pub(super) fn print_layout(layout: &LayoutReport, format: Output) -> Result<(), Failure> {
    output::result(format, layout, || {
        output::print_records(show::LAYOUT, &show::layout(layout), show::LAYOUT_WORDS)?;
        output::data(&show::settled(layout))
    })
}

/// Prints a job that has begun, after waiting for its end where that was asked for.
pub(super) async fn begun(
    client: &NodeClient,
    job: JobReport,
    wait: bool,
    format: Output,
) -> Result<(), Failure> {
    let job = if wait {
        follow::to_the_end(client, job).await?
    } else {
        job
    };
    output::result(format, &job, || output::print_words(&show::job(&job)))?;
    if wait { follow::judge(&job) } else { Ok(()) }
}

/// The options of a job as its request's body.
pub(super) fn options(job: &JobOptions) -> Value {
    json!({"throttle_bytes_per_second": job.throttle.and_then(Throttle::bytes)})
}

async fn status(reach: &AdminArguments) -> Result<(), Failure> {
    let status: Value = client(reach)?.get("/v1/cluster/status").await?.granted()?;
    output::result(reach.output, &status, || {
        output::print_words(&show::status(&status))?;
        output::print_records(show::MEMBERS, &show::members(&status), show::MEMBERS_WORDS)
    })?;
    if status.pointer("/quorum/held") == Some(&Value::Bool(false)) {
        let message = "the cluster has no quorum: blocks are served, entries are not";
        return Err(Failure::new(Status::Unhealthy, message)
            .hint("bring members back until more than half of the voters answer"));
    }
    Ok(())
}

async fn rebalance(arguments: &RebalanceArguments) -> Result<(), Failure> {
    let client = client(&arguments.reach)?;
    let body = options(&arguments.job);
    let answer = client.post("/v1/cluster/rebalance", &body).await?;
    let format = arguments.reach.output;
    begun(&client, answer.granted()?, arguments.job.wait, format).await
}

/// Where jobs are listed.
const JOBS: &str = "/v1/cluster/jobs";

/// Every job.
#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<JobReport>,
}

async fn jobs(reach: &AdminArguments) -> Result<(), Failure> {
    let Jobs { jobs } = client(reach)?.get(JOBS).await?.granted()?;
    output::result(reach.output, &jobs, || {
        if jobs.is_empty() {
            return output::data("no jobs");
        }
        let rows: Vec<_> = jobs.iter().map(show::job_line).collect();
        output::print_records(show::JOBS, &rows, show::JOBS_WORDS)
    })
}

async fn job(arguments: &JobArguments) -> Result<(), Failure> {
    let client = client(&arguments.reach)?;
    let id = match JobId::parse(&arguments.id) {
        Some(id) => id,
        None => pick(
            &client.get(JOBS).await?.granted::<Jobs>()?.jobs,
            &arguments.id,
        )?,
    };
    let path = format!("{JOBS}/{id}");
    let answer = match (arguments.cancel, arguments.throttle) {
        (true, _) => client.post(&format!("{path}/cancel"), &json!({})).await?,
        (false, Some(throttle)) => {
            let body = json!({"throttle_bytes_per_second": throttle.bytes()});
            client.post(&format!("{path}/throttle"), &body).await?
        }
        (false, None) => client.get(&path).await?,
    };
    let format = arguments.reach.output;
    begun(&client, answer.granted()?, arguments.wait, format).await
}

/// The one job whose id begins so.
fn pick(jobs: &[JobReport], beginning: &str) -> Result<JobId, Failure> {
    let mut found = jobs
        .iter()
        .filter(|job| job.id.to_string().starts_with(beginning));
    match (found.next(), found.next()) {
        (Some(job), None) => Ok(job.id),
        (first, _) => {
            let how = if first.is_some() {
                "several jobs'"
            } else {
                "no job's"
            };
            let message = format!("{how} id begins with {beginning:?}");
            Err(Failure::new(Status::Usage, message)
                .hint("`ultrakv cluster jobs` lists the jobs that are remembered"))
        }
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_cluster::{JobKind, JobState};

    use super::*;

    #[test]
    fn a_job_is_meant_by_the_beginning_of_its_id_where_no_other_has_it() {
        let job = |id: u128| JobReport {
            id: JobId(id << 96),
            kind: JobKind::Rebalance,
            node_id: None,
            leave: false,
            state: JobState::Running,
            reason: String::new(),
            done: 0,
            total: 0,
            throttle_bytes_per_second: None,
            created_unix_ms: 0,
        };
        let jobs = [job(0x3f0b_0000), job(0x3f0c_0000), job(0x7000_0000)];
        let picked = |beginning| pick(&jobs, beginning).map_err(|failure| failure.status);
        assert_eq!(picked("3f0b"), Ok(jobs[0].id));
        assert_eq!(picked("7"), Ok(jobs[2].id));
        for beginning in ["3f0", "", "8", "x"] {
            assert_eq!(picked(beginning), Err(Status::Usage), "{beginning:?}");
        }
    }
}
