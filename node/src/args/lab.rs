//! The command line of the lab: `ultrakv lab`. What each command takes is the lab's own.

use clap::Subcommand;
use ultrakv_lab::codecs::CodecsArgs;
use ultrakv_lab::command::{GenerateArgs, ReplayArgs};

/// `ultrakv lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Replay a trace through policies, and print what each would have kept, beside the offline optimum.
    Replay(ReplayArgs),
    /// Make a trace from a seed: chats, agents, templates, documents, phases, scans.
    Generate(GenerateArgs),
    /// Measure every rung of the codec ladder: error of the attention output, ratio, speed; and whether contracts hold.
    Codecs(CodecsArgs),
}
