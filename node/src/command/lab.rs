//! `ultrakv lab`: the lab on the command line. Everything is the lab's; here are only its words, its progress and its errors.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};
use ultrakv_lab::codecs;
use ultrakv_lab::command::{self, GenerateArgs, ReplayArgs};

use crate::args::LabCommand;
use crate::exit::Failure;
use crate::output;

/// Runs one of them.
pub(super) fn run(command: &LabCommand) -> Result<(), Failure> {
    match command {
        LabCommand::Replay(arguments) => replay(arguments),
        LabCommand::Generate(arguments) => generate(arguments),
        LabCommand::Codecs(arguments) => {
            let told = codecs::run(arguments, &mut |step| output::note(step));
            let told =
                told.map_err(|error| failed("measuring", &error, error.code(), error.hint()))?;
            output::data(&told)
        }
    }
}

fn replay(arguments: &ReplayArgs) -> Result<(), Failure> {
    let mut screen = Screen::new();
    let told = command::replay(arguments, &mut |done, total| screen.show(done, total));
    drop(screen);
    let told = told.map_err(|error| failed("replaying", &error, error.code(), error.hint()))?;
    output::data(&told)
}

fn generate(arguments: &GenerateArgs) -> Result<(), Failure> {
    match command::generate(arguments, &mut io::stdout().lock()) {
        Ok(told) => output::note(&told),
        // `ultrakv lab generate chat | head` has seen enough, which is not a failure of ours.
        Err(error) if error.source.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(failed("generating", &error, error.code(), error.hint())),
    }
    Ok(())
}

fn failed(doing: &str, error: &dyn std::error::Error, code: &str, hint: &str) -> Failure {
    Failure::caused(doing, error).code(code).hint(hint)
}

/// What shows how far a replay is: a bar for a person, a line for each tenth for a pipe.
struct Screen {
    bar: Option<ProgressBar>,
    said: u64,
}

impl Screen {
    fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let plain = ProgressStyle::default_bar();
            let style = plain
                .clone()
                .template("{bar:24} {human_pos}/{human_len} blocks, {per_sec}, {eta} left")
                .unwrap_or(plain);
            ProgressBar::new(0).with_style(style)
        });
        Self { bar, said: 0 }
    }

    fn show(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let tenths = done.saturating_mul(10) / total.max(1);
        if tenths > self.said {
            self.said = tenths;
            output::note(&format!("replayed {} %", tenths * 10));
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
