//! The command line of the cluster's operations: `ultrakv cluster` and `ultrakv node`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Output;

/// How to reach the admin door of a running node.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct AdminArguments {
    /// The admin door of any member: an address and port, or a URL.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "ULTRAKV_ADMIN_URL",
        default_value = "http://127.0.0.1:7801"
    )]
    pub(crate) admin: String,
    /// A file with the token of the service `admin`: `admin TOKEN` on any line, or the token on the first.
    #[arg(long, value_name = "FILE", env = "ULTRAKV_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How long to wait for each answer.
    #[arg(long, value_name = "TIME", env = "ULTRAKV_TIMEOUT", default_value = "15s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// How the answer is written.
    #[arg(
        short,
        long,
        alias = "format",
        value_enum,
        env = "ULTRAKV_OUTPUT",
        default_value_t
    )]
    pub(crate) output: Output,
}

/// `ultrakv cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Print members, quorum and what is promised; exit 5 without a quorum.
    Status(ClusterStatusArguments),
    /// Print which slots each member has and is to have.
    Layout(ClusterLayoutArguments),
    /// Begin to spread the slots as the members' capacities say.
    Rebalance(RebalanceArguments),
    /// List the jobs that move slots, and those that are over.
    Jobs(ClusterJobsArguments),
    /// Print a job, cancel it, throttle it, or wait for it.
    Job(JobArguments),
}

/// `ultrakv cluster status`.
#[derive(Debug, Args)]
pub(crate) struct ClusterStatusArguments {
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// `ultrakv cluster layout`.
#[derive(Debug, Args)]
pub(crate) struct ClusterLayoutArguments {
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// `ultrakv cluster jobs`.
#[derive(Debug, Args)]
pub(crate) struct ClusterJobsArguments {
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// What commands that begin a job share.
#[derive(Debug, Args)]
pub(crate) struct JobOptions {
    /// The most that each node moves a second for it, such as 20MiB; the nodes' cluster.move_bytes_per_second without it.
    #[arg(long, value_name = "BYTES", value_parser = throttle)]
    pub(crate) throttle: Option<Throttle>,
    /// Wait until the job is over, with its progress on stderr; exit 1 unless it is done. Ctrl-C leaves it running.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// `ultrakv cluster rebalance`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv cluster rebalance --wait
  ultrakv cluster rebalance --throttle 20MiB -o json")]
pub(crate) struct RebalanceArguments {
    /// The job.
    #[command(flatten)]
    pub(crate) job: JobOptions,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// `ultrakv cluster job`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv cluster job 3f0b                      the beginning of an id will do
  ultrakv cluster job 3f0b --wait
  ultrakv cluster job 3f0b --cancel
  ultrakv cluster job 3f0b --throttle 5MiB      --throttle none lifts it")]
pub(crate) struct JobArguments {
    /// The job's id, or as much of its beginning as no other job has.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// End it; what has moved stays where it is.
    #[arg(long, conflicts_with_all = ["throttle", "wait"])]
    pub(crate) cancel: bool,
    /// The most that each node moves a second for it; `none` is the nodes' own setting.
    #[arg(long, value_name = "BYTES", value_parser = throttle)]
    pub(crate) throttle: Option<Throttle>,
    /// Wait until it is over, with its progress on stderr; exit 1 unless it is done.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// `ultrakv node`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Let the asked node ask members for admission to their cluster.
    Join(NodeJoinArguments),
    /// Give a member's slots to the others, so that it can be stopped for good.
    Drain(NodeDrainArguments),
    /// Let a drained member leave the cluster.
    Leave(NodeLeaveArguments),
    /// Take a member that is down for good out of the cluster; what only it held is lost.
    Forget(NodeForgetArguments),
}

/// `ultrakv node join`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv node join node-1:7802                              the asked node is on this machine
  ultrakv node join node-1:7802 node-2:7802 --admin 10.0.0.9:7801 --wait

The node must have been started with cluster.certs and node.data. Its settings can say the same
(cluster.join, `ultrakv start --join`), and then it joins by itself.")]
pub(crate) struct NodeJoinArguments {
    /// What members advertise (cluster.bind, not their HTTP doors); the first that answers is joined.
    #[arg(value_name = "SEED", required = true, value_delimiter = ',')]
    pub(crate) seeds: Vec<String>,
    /// Wait until the node has its slots.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// `ultrakv node drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv node drain --wait                     the asked node itself
  ultrakv node drain node-3 --leave --wait      by name, and out of the cluster afterwards
  ultrakv node drain 5b0f1c2d3e4f5a6b7c8d9e0f1a2b3c4d --throttle 20MiB

A drained member forwards what others own until it is stopped. A restart needs no drain: a node
that is stopped with SIGTERM hands its slots over by itself.")]
pub(crate) struct NodeDrainArguments {
    /// The member: its id, or its name where no other has it. The asked node without it.
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Let it leave the cluster once it is drained.
    #[arg(long)]
    pub(crate) leave: bool,
    /// The job.
    #[command(flatten)]
    pub(crate) job: JobOptions,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// `ultrakv node leave`.
#[derive(Debug, Args)]
pub(crate) struct NodeLeaveArguments {
    /// The member: its id, or its name where no other has it. The asked node without it.
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// `ultrakv node forget`.
#[derive(Debug, Args)]
#[command(after_help = "\
A member that comes back needs nothing of this. Forget one only when its disk is gone: entries of
which it had the only copy are lost, and it can come back only as a new member, with an empty
node.data.")]
pub(crate) struct NodeForgetArguments {
    /// The member: its id, or its name where no other has it.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// How fast a job may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttle {
    /// As the nodes' own setting says.
    OfNodes,
    /// At most so many bytes a second.
    Bytes(u64),
}

impl Throttle {
    /// The bytes, or none where the nodes' own setting counts.
    pub(crate) const fn bytes(self) -> Option<u64> {
        match self {
            Self::OfNodes => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

fn throttle(text: &str) -> Result<Throttle, String> {
    if text == "none" {
        return Ok(Throttle::OfNodes);
    }
    match text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()) {
        Ok(0) => Err("0 would stop it: cancel it instead".to_owned()),
        Ok(bytes) => Ok(Throttle::Bytes(bytes)),
        Err(_) => Err("a number of bytes a second, such as 20MiB, or `none`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
        let words = ["ultrakv"].into_iter().chain(line.split_whitespace());
        Arguments::try_parse_from(words)
            .map(|arguments| arguments.command)
            .map_err(|error| error.kind())
    }

    #[test]
    fn operations_are_read_as_they_are_typed() {
        let Ok(Command::Node(NodeCommand::Drain(drain))) = parse(
            "node drain node-3 --leave --wait --throttle 20MiB --admin 10.0.0.9:7801 -o yaml",
        ) else {
            panic!("a drain")
        };
        assert_eq!(drain.node.as_deref(), Some("node-3"));
        assert!(drain.leave && drain.job.wait);
        assert_eq!(drain.job.throttle, Some(Throttle::Bytes(20 << 20)));
        assert_eq!(drain.reach.admin, "10.0.0.9:7801");
        assert_eq!(drain.reach.output, Output::Yaml);
        let Ok(Command::Node(NodeCommand::Join(join))) = parse("node join a:1,b:2 c:3") else {
            panic!("a join")
        };
        assert_eq!(join.seeds, ["a:1", "b:2", "c:3"]);
        let Ok(Command::Cluster(ClusterCommand::Job(job))) =
            parse("cluster job 3f0b --throttle none")
        else {
            panic!("a job")
        };
        assert_eq!(
            (job.id.as_str(), job.throttle),
            ("3f0b", Some(Throttle::OfNodes))
        );
        for line in [
            "cluster status",
            "cluster layout -o json",
            "cluster jobs",
            "cluster job 3 --cancel",
            "cluster job 3 --throttle 1MB --wait",
            "cluster rebalance --wait",
            "node drain",
            "node leave",
            "node leave node-3",
            "node forget node-3",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_contradicts_itself_or_lacks_a_part_is_wrong_usage() {
        for line in [
            "node join",
            "node forget",
            "cluster job",
            "cluster job 3 --cancel --throttle 1MB",
            "cluster job 3 --cancel --wait",
            "cluster rebalance --throttle 0",
            "cluster rebalance --throttle fast",
            "start --found --join a:1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        let Ok(Command::Start(start)) = parse("start --certs c --data d --join a:1 b:2") else {
            panic!("a start")
        };
        assert_eq!(start.settings.join, ["a:1", "b:2"]);
        assert!(!start.settings.found);
    }
}
