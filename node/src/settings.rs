//! From the command line to loaded settings: which files, which variables, which flags.
//!
//! What a setting means is decided in `config`; this only hands over what was typed.

use std::ffi::OsString;

use ultrakv_cache::PolicyKind;
use ultrakv_config::{ConfigError, FlagValue, Loaded, Sources};

use crate::args::SettingsArguments;
use crate::exit::{Failure, Status};
use crate::output;

/// Loads the settings of this process.
///
/// # Errors
/// Every problem found, already printed; the status is 2.
pub(crate) fn load(arguments: &SettingsArguments) -> Result<Loaded, Failure> {
    ultrakv_config::load(&sources(arguments)?).map_err(|error| refuse(&error))
}

/// Prints what is wrong. Warnings would bury it; their number says where to look.
pub(crate) fn refuse(error: &ConfigError) -> Failure {
    output::note(&error.to_string());
    let problems = match error.problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let warnings = match error.warnings.len() {
        0 => String::new(),
        count => format!("; `ultrakv config check` shows {count} warnings as well"),
    };
    output::note(&format!("{problems}{warnings}"));
    Failure::told(Status::Usage)
}

/// What was typed, and the process's variables.
pub(crate) fn sources(arguments: &SettingsArguments) -> Result<Sources, Failure> {
    let env = variables(std::env::vars_os())?;
    Ok(Sources {
        files: arguments.files.clone(),
        env_files: arguments.env_files.clone(),
        env,
        flags: flags(arguments)?,
        policies: PolicyKind::all().map(|kind| kind.recipe().name).collect(),
    })
}

/// The variables that are text. Others belong to other programs, unless the name says that we are meant.
fn variables(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    for (name, value) in all {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            Err(_) if ultrakv_config::is_prefixed(&name) => {
                let message = format!("environment variable {name}: is not UTF-8");
                return Err(Failure::new(Status::Usage, message).hint("write it as UTF-8"));
            }
            Err(_) => {}
        }
    }
    Ok(variables)
}

fn flags(arguments: &SettingsArguments) -> Result<Vec<FlagValue>, Failure> {
    let mut flags = Vec::new();
    for pair in &arguments.set {
        let Some((key, value)) = pair.split_once('=') else {
            let message = format!("--set {pair}: there is no `=`");
            return Err(Failure::new(Status::Usage, message)
                .hint("write a key and its value, such as `--set cache.bytes_max=2GiB`"));
        };
        flags.push(flag(key.trim(), value, "--set"));
    }
    let join = (!arguments.join.is_empty()).then(|| arguments.join.join(","));
    let found = arguments.found.then(|| "true".to_owned());
    // The named flags come last: of two flags for one setting, the one with a name of its own counts.
    let named = [
        ("http.bind", &arguments.http, "--http"),
        ("admin.bind", &arguments.admin, "--admin"),
        ("model.folder", &arguments.model, "--model"),
        ("cluster.certs", &arguments.certs, "--certs"),
        ("node.data", &arguments.data, "--data"),
        ("cluster.join", &join, "--join"),
        ("cluster.found", &found, "--found"),
        ("log.format", &arguments.log_format, "--log-format"),
        ("log.level", &arguments.log_level, "--log-level"),
    ];
    for (key, value, name) in named {
        flags.extend(value.as_deref().map(|value| flag(key, value, name)));
    }
    Ok(flags)
}

fn flag(key: &str, value: &str, flag: &str) -> FlagValue {
    FlagValue {
        key: key.to_owned(),
        value: value.to_owned(),
        flag: flag.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_ours_that_is_not_text_is_refused_and_others_are_passed_over() {
        use std::os::unix::ffi::OsStringExt as _;

        let given = |name: &str, value: &[u8]| {
            let pair = (name.into(), OsString::from_vec(value.to_vec()));
            variables([pair].into_iter()).map_err(|failure| failure.status)
        };
        let kept = vec![("A".to_owned(), "1".to_owned())];
        assert_eq!(given("A", b"1").ok(), Some(kept));
        assert_eq!(given("A", b"\xff").ok(), Some(Vec::new()));
        for name in ["ULTRAKV_CACHE__BYTES_MAX", "KV_CACHE_MAX_TOKENS"] {
            assert!(given(name, b"\xff").is_err(), "{name}");
        }
    }

    #[test]
    fn flags_become_settings_and_the_ones_with_names_count_last() {
        let arguments = SettingsArguments {
            set: vec![
                "http.bind=127.0.0.1:1".to_owned(),
                "log.level = a=b".to_owned(),
            ],
            http: Some("127.0.0.1:2".to_owned()),
            join: vec!["a:1".to_owned(), "b:2".to_owned()],
            found: true,
            ..SettingsArguments::default()
        };
        let flags = flags(&arguments).expect("well formed");
        let pairs: Vec<(&str, &str, &str)> = flags
            .iter()
            .map(|flag| (flag.key.as_str(), flag.value.as_str(), flag.flag.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("http.bind", "127.0.0.1:1", "--set"),
                ("log.level", " a=b", "--set"),
                ("http.bind", "127.0.0.1:2", "--http"),
                ("cluster.join", "a:1,b:2", "--join"),
                ("cluster.found", "true", "--found"),
            ]
        );
        let wrong = SettingsArguments {
            set: vec!["x".to_owned()],
            ..SettingsArguments::default()
        };
        assert_eq!(
            super::flags(&wrong).map_err(|failure| failure.status),
            Err(Status::Usage)
        );
    }
}
