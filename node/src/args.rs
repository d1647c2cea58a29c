//! The command line as typed. It must never decide what an option means: settings go to `config`, the rest to the
//! command that reads it.

mod cluster;
mod lab;
mod policy;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ultrakv_cluster::lane::tls::NODE_DAYS_DEFAULT;

pub(crate) use cluster::{
    AdminArguments, ClusterCommand, JobArguments, JobOptions, NodeCommand, NodeDrainArguments,
    NodeJoinArguments, RebalanceArguments, Throttle,
};
pub(crate) use lab::LabCommand;
pub(crate) use policy::{ExplainArguments, PolicyArguments};

/// What the exit statuses mean; scripts depend on them.
const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  the operation failed
  2  wrong usage or settings
  3  cannot connect, or no answer in time
  4  not let in (token missing or wrong)
  5  reached, but unhealthy";

/// A distributed KV cache for transformer inference.
///
/// Data goes to stdout; progress and logs go to stderr.
#[derive(Debug, Parser)]
#[command(
    name = "ultrakv",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_long_help = EXIT_STATUS,
    after_help = "\
Examples:
  ultrakv demo                                   see a cluster reuse, lose a node and grow, in a minute
  ultrakv start                                  a node on 127.0.0.1:7800, admin on 127.0.0.1:7801
  ultrakv start --config kv.yaml --model ./llama serve a Hugging Face folder
  ultrakv config check --config kv.yaml          every problem, with file, line and advice
  ultrakv stats -o json                          the figures of a running node
  ultrakv policy                                 which blocks would go next, and why
  ultrakv lab replay trace.jsonl                 what each policy would have kept of a trace
  ultrakv start --certs node-1 --data data --found    the first node of a cluster
  ultrakv cluster layout                         which member has which part of the slots"
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a node and serve until SIGTERM or Ctrl-C.
    Start(StartArguments),
    /// Start three nodes, send them real requests, kill one, add a fourth, show what was reused and kept, stop them.
    Demo(DemoArguments),
    /// Print the figures of a running node.
    Stats(ClientArguments),
    /// Ask a running node whether it is well.
    Health(HealthArguments),
    /// Check, show, plan or describe settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make the authority of a cluster and the certificates of its nodes.
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Show the cluster and its slots, and follow the jobs that move them.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Let nodes join, drain, leave, or be forgotten.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Print each shard's policy and the blocks that would go next, and why.
    Policy(PolicyArguments),
    /// Print how one block or entry stands among those that may go, and why.
    Explain(ExplainArguments),
    /// Replay and make traces, measure codecs; needs no running node.
    #[command(subcommand)]
    Lab(LabCommand),
}

/// Where settings come from, in rising order of precedence: files, files of variables, variables, flags.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArguments {
    /// A YAML file; may be repeated, later files win.
    #[arg(
        long = "config",
        value_name = "FILE",
        env = "ULTRAKV_CONFIG",
        value_delimiter = ','
    )]
    pub(crate) files: Vec<PathBuf>,
    /// A file of NAME=value lines; may be repeated. The process's own variables win over it.
    #[arg(
        long = "env-file",
        value_name = "FILE",
        env = "ULTRAKV_ENV_FILE",
        value_delimiter = ','
    )]
    pub(crate) env_files: Vec<PathBuf>,
    /// One setting, such as `cache.bytes_max=2GiB`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Where the main HTTP door listens [setting http.bind].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<String>,
    /// Where the admin door listens [setting admin.bind].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// A model folder in the Hugging Face layout [setting model.folder].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) model: Option<String>,
    /// The folder that `ultrakv certs node` made: be a member of a cluster [setting cluster.certs].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) certs: Option<String>,
    /// The folder of the node's own that outlives the process [setting node.data].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<String>,
    /// Members to ask for admission while the data folder knows no cluster; separated by commas or blanks
    /// [setting cluster.join].
    #[arg(long, value_name = "HOST:PORT", num_args = 1.., value_delimiter = ',')]
    pub(crate) join: Vec<String>,
    /// Found a cluster while the data folder knows none [setting cluster.found].
    #[arg(long, conflicts_with = "join")]
    pub(crate) found: bool,
    /// Text or JSON lines; text on a terminal and JSON elsewhere without it [setting log.format].
    #[arg(long, value_name = "auto|text|json")]
    pub(crate) log_format: Option<String>,
    /// error, warn, info, debug, trace, or directives [setting log.level].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

/// `ultrakv start`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv start
  ultrakv start --config kv.yaml --env-file production.env
  ultrakv start --http 127.0.0.1:0 --admin 127.0.0.1:0 --announce /run/ultrakv.json
  ultrakv start --certs node-1 --data /var/lib/ultrakv --found      the first node of a cluster
  ultrakv start --certs node-2 --data /var/lib/ultrakv --join 10.0.0.1:7802      every other one

SIGTERM or Ctrl-C: the node turns unready, hands its slots to other members within
limits.drain_timeout, takes no new connections, finishes what it has begun within
limits.shutdown_timeout and stops. A second signal ends it at once.")]
pub(crate) struct StartArguments {
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: SettingsArguments,
    /// Write `{"http", "admin", "pid", "node_id"}`, and a member's "cluster" and "bulk", to this file once the node is
    /// ready.
    #[arg(long, value_name = "FILE")]
    pub(crate) announce: Option<PathBuf>,
    /// Stop when stdin closes, so that the node cannot outlive whoever started it.
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

/// `ultrakv demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv demo
  ultrakv demo --keep        leave the nodes up until Ctrl-C, and print where they listen
  ultrakv demo -o json

Everything is on this machine, on free ports and in a folder that is removed at the end. Exit status 1 when an answer was
wrong, an entry was lost, a request failed, or nothing was reused.")]
pub(crate) struct DemoArguments {
    /// Leave the nodes up until Ctrl-C, and print where they listen.
    #[arg(long)]
    pub(crate) keep: bool,
    /// How the result is written.
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

/// How to reach a running node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv stats
  ultrakv stats --url http://10.0.0.7:7800 --token-file token -o json")]
pub(crate) struct ClientArguments {
    /// The node's main HTTP door.
    #[arg(
        long,
        value_name = "URL",
        env = "ULTRAKV_URL",
        default_value = "http://127.0.0.1:7800"
    )]
    pub(crate) url: String,
    /// A file whose first line is the token (or `service token`).
    #[arg(long, value_name = "FILE", env = "ULTRAKV_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(long, value_name = "TIME", env = "ULTRAKV_TIMEOUT", default_value = "5s", value_parser = humantime::parse_duration)]
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

/// `ultrakv health`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv health                                   exit 0 when healthy, 5 when not, 3 when unreachable
  ultrakv health --ready                           asks the admin door's /readyz, with every check
  ultrakv health --ready --admin-url http://127.0.0.1:7801")]
pub(crate) struct HealthArguments {
    /// How to reach the node.
    #[command(flatten)]
    pub(crate) client: ClientArguments,
    /// Ask whether the node should be sent requests: /readyz of the admin door.
    #[arg(long)]
    pub(crate) ready: bool,
    /// The node's admin door, for --ready.
    #[arg(
        long,
        value_name = "URL",
        env = "ULTRAKV_ADMIN_URL",
        default_value = "http://127.0.0.1:7801"
    )]
    pub(crate) admin_url: String,
}

/// `ultrakv config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every problem and every warning; exit 2 when there are problems.
    Check(ConfigArguments),
    /// Print the effective settings, each with where it was set.
    Show(ConfigShowArguments),
    /// Print the memory that numbers of tokens take for a model.
    Plan(PlanArguments),
    /// Print the JSON schema of a settings file.
    Schema,
}

/// `ultrakv config check`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: SettingsArguments,
    /// How the result is written.
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

/// `ultrakv config show`.
#[derive(Debug, Args)]
pub(crate) struct ConfigShowArguments {
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: SettingsArguments,
    /// `yaml` is a file that loads to the same settings; `json` has the origin of each value as data.
    #[arg(short, long, alias = "format", value_enum, default_value_t)]
    pub(crate) output: ShowOutput,
}

/// `ultrakv config plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv config plan                              the model of the settings
  ultrakv config plan --model-dir ./llama --config kv.yaml
  ultrakv config plan --layers 32 --kv-heads 32 --head-size 128 --dtype float16   a 7B-class model")]
pub(crate) struct PlanArguments {
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: SettingsArguments,
    /// Read the shape from this folder's config.json.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["layers", "kv_heads", "head_size"])]
    pub(crate) model_dir: Option<PathBuf>,
    /// Decoder layers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) layers: Option<u16>,
    /// Heads of keys and values.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) kv_heads: Option<u16>,
    /// Numbers in one head.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) head_size: Option<u16>,
    /// How keys and values are stored.
    #[arg(long, value_name = "float32|float16|bfloat16")]
    pub(crate) dtype: Option<String>,
    /// What goes first when room is needed.
    #[arg(long, value_name = "NAME")]
    pub(crate) strategy: Option<String>,
    /// How the result is written.
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

/// `ultrakv certs`.
#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Make the authority of a new cluster: ca.pem, and ca.key, which belongs on no node.
    Init(CertsInitArguments),
    /// Make the certificate of one node: ca.pem, node.pem and node.key.
    Node(CertsNodeArguments),
}

/// `ultrakv certs init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv certs init --out ca --cluster blue
  ultrakv certs node --ca ca --out node-1

Whoever holds ca.key can make nodes of this cluster: keep it away from them.")]
pub(crate) struct CertsInitArguments {
    /// The folder to write to; it is made when missing.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// The cluster's name: 1 to 63 of a-z, 0-9 and -, beginning with a letter.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: String,
    /// Overwrite files; nodes of the old authority will not be believed any more.
    #[arg(long)]
    pub(crate) force: bool,
    /// How the result is written.
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

/// `ultrakv certs node`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv certs node --ca ca --out node-1
  ultrakv certs node --ca ca --out node-1 --id 5b0f... --force     renew, keeping the node's id")]
pub(crate) struct CertsNodeArguments {
    /// The authority's folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) ca: PathBuf,
    /// The folder to write to; it is made when missing.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// The node's id, 32 hexadecimal digits; drawn when left out.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// For how many days it is valid.
    #[arg(long, value_name = "DAYS", default_value_t = NODE_DAYS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Overwrite files.
    #[arg(long)]
    pub(crate) force: bool,
    /// How the result is written.
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

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// One object: snake_case keys, raw bytes and seconds.
    Json,
    /// The same object as YAML.
    Yaml,
}

/// How settings are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShowOutput {
    /// A settings file.
    #[default]
    Yaml,
    /// A list of key, value and origin.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_variable_of_the_command_line_is_known_to_the_settings() {
        fn visit(command: &clap::Command, seen: &mut Vec<String>) {
            seen.extend(
                command
                    .get_arguments()
                    .filter_map(|argument| argument.get_env())
                    .map(|name| name.to_string_lossy().into_owned()),
            );
            command
                .get_subcommands()
                .for_each(|command| visit(command, seen));
        }
        let mut seen = Vec::new();
        visit(&Arguments::command(), &mut seen);
        for name in seen {
            assert!(
                ultrakv_config::COMMAND_LINE_VARIABLES.contains(&name.as_str()),
                "{name} would be refused as an unknown variable"
            );
        }
    }
}
