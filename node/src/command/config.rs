//! `ultrakv config`: settings checked, shown, planned with and described, without starting anything.

mod plan;
mod shape;

use serde::Serialize;
use ultrakv_config::{ConfigError, Problem, Warning, effective, schema, to_yaml};

use crate::args::{ConfigArguments, ConfigCommand, ConfigShowArguments, ShowOutput};
use crate::exit::{Failure, Status};
use crate::{output, settings};

/// Runs one of them.
pub(super) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(arguments) => check(arguments),
        ConfigCommand::Show(arguments) => show(arguments),
        ConfigCommand::Plan(arguments) => plan::run(arguments),
        ConfigCommand::Schema => output::json(&schema()),
    }
}

/// What `config check` found.
#[derive(Serialize)]
struct Found<'a> {
    ok: bool,
    problems: &'a [Problem],
    warnings: &'a [Warning],
}

fn check(arguments: &ConfigArguments) -> Result<(), Failure> {
    let loaded = ultrakv_config::load(&settings::sources(&arguments.settings)?);
    let (problems, warnings) = match &loaded {
        Ok(loaded) => (&[][..], loaded.warnings.as_slice()),
        Err(ConfigError { problems, warnings }) => (problems.as_slice(), warnings.as_slice()),
    };
    let ok = problems.is_empty();
    let found = Found {
        ok,
        problems,
        warnings,
    };
    output::result(arguments.output, &found, || {
        output::data(&told(problems, warnings))
    })?;
    if ok {
        Ok(())
    } else {
        Err(Failure::told(Status::Usage))
    }
}

fn told(problems: &[Problem], warnings: &[Warning]) -> String {
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.extend(warnings.iter().map(ToString::to_string));
    let plural = |count: usize, noun: &str| match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    };
    lines.push(match (problems.len(), warnings.len()) {
        (0, 0) => "the settings are in order".to_owned(),
        (0, warned) => format!(
            "the settings are usable, with {}",
            plural(warned, "warning")
        ),
        (found, warned) => {
            format!(
                "{}, {}",
                plural(found, "problem"),
                plural(warned, "warning")
            )
        }
    });
    lines.join("\n")
}

fn show(arguments: &ConfigShowArguments) -> Result<(), Failure> {
    let loaded = settings::load(&arguments.settings)?;
    match arguments.output {
        ShowOutput::Yaml => output::data(&to_yaml(&loaded)),
        ShowOutput::Json => output::json(&effective(&loaded)),
    }
}
