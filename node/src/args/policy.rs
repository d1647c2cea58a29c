//! The command line of what decides which blocks give way: `ultrakv policy` and `ultrakv explain`.

use clap::{Args, ValueEnum};

use super::AdminArguments;

/// `ultrakv policy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv policy                    each shard's policy, and the blocks that would go next, and why
  ultrakv policy --next 100
  ultrakv policy --classes          what adaptive has learned of each class of blocks
  ultrakv policy -o json | jq '.shards[].figures'

The node that is asked answers for its own shards. Looking is no use of a block.")]
pub(crate) struct PolicyArguments {
    /// Blocks of each shard that would go next, up to 256.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(crate) next: u16,
    /// Print the policy's classes and other figures too.
    #[arg(long)]
    pub(crate) classes: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// `ultrakv explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ultrakv explain 5b0f...c1                          a block by its key, as `ultrakv policy` prints it
  ultrakv explain prompt-7 --service bul             a block or an entry by its name
  ultrakv explain task-12 --service bul --kind entry

Exit status 1 when there is no such block on the asked node, and no such entry.")]
pub(crate) struct ExplainArguments {
    /// A block's key (64 hexadecimal digits), or the name of a block or an entry.
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// Whose name it is; `default` without it.
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The salt that separates names inside the service.
    #[arg(long, value_name = "TEXT")]
    pub(crate) salt: Option<String>,
    /// What the name stands for; either without it, the block first.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) kind: Option<ExplainKind>,
    /// How to reach the node.
    #[command(flatten)]
    pub(crate) reach: AdminArguments,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainKind {
    /// Keys and values of some tokens, or an opaque block.
    Block,
    /// A small value with a version.
    Entry,
}

impl ExplainKind {
    /// The word for it in a question.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Entry => "entry",
        }
    }
}
