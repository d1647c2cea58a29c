//! Opens the files and variables of [`Sources`] and has them read, in the order of who is heard.
//!
//! The only module of the room that touches the disk.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::problem::{ConfigError, Origin, Problem};
use crate::settle::{Loaded, settle};
use crate::source::{Heard, Layer, Place, Sources, Target};
use crate::{dotenv, environment, yaml};

/// No settings file is this long; a larger one is a wrong path.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads every source and settles what is meant: flag over variable over file over preset over default.
///
/// # Errors
/// [`ConfigError`] with every problem found. The caller should print it and exit with status 2.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut heard = Heard {
        policies: sources.policies.clone(),
        ..Heard::default()
    };
    for (index, path) in sources.files.iter().enumerate() {
        if let Some(text) = open(path, &mut heard) {
            yaml::read(
                &path.display().to_string(),
                &text,
                Layer::File(index),
                &mut heard,
            );
        }
    }
    for (index, path) in sources.env_files.iter().enumerate() {
        let Some(text) = open(path, &mut heard) else {
            continue;
        };
        let shown = path.display().to_string();
        let (lines, problems) = dotenv::read(&shown, &text);
        heard.problems.extend(problems);
        for line in lines {
            let origin = Origin::EnvFile {
                path: shown.clone(),
                line: line.number,
                name: line.name.clone(),
            };
            environment::read(
                &line.name,
                &line.value,
                origin,
                Layer::EnvFile(index),
                &mut heard,
            );
        }
    }
    for (name, value) in &sources.env {
        let origin = Origin::Environment { name: name.clone() };
        environment::read(name, value, origin, Layer::Environment, &mut heard);
    }
    for flag in &sources.flags {
        let origin = Origin::Flag {
            name: flag.flag.clone(),
        };
        let place = Place {
            written: flag.key.clone(),
            origin,
            layer: Layer::Flag,
        };
        match Target::find(&flag.key) {
            Some(target) => heard.hear(target, &flag.value, place),
            None => heard.unknown(&flag.key, place),
        }
    }
    settle(heard)
}

/// The text of a settings file; what keeps it from being read becomes a problem.
fn open(path: &Path, heard: &mut Heard) -> Option<String> {
    let mut refuse = |code: &'static str, reason: String, hint: &str| {
        let path = path.display().to_string();
        heard.problems.push(Problem {
            code,
            key: String::new(),
            origin: Origin::File {
                path,
                line: 0,
                column: 0,
            },
            given: None,
            reason,
            hint: Some(hint.to_owned()),
        });
    };
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        refuse(
            "config.unreadable",
            format!("cannot be read: {error}"),
            "is the path right?",
        );
        return None;
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        let reason = format!("is longer than {FILE_BYTES_MAX} bytes");
        refuse(
            "config.unreadable",
            reason,
            "no settings file is; is the path right?",
        );
        return None;
    }
    String::from_utf8(bytes)
        .map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let reason = format!("is not UTF-8: byte {at} begins no character");
            refuse("config.unreadable", reason, "save the file as UTF-8");
        })
        .ok()
}

#[cfg(test)]
mod tests;
