//! Settings of members against those of a cluster of one, as they are typed.

use std::path::PathBuf;

use crate::{ConfigError, FlagValue, Loaded, Sources, effective, load, to_yaml};

/// Settles `--set` flags.
fn settled(pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let flags = pairs.iter().map(|(key, value)| FlagValue {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        flag: "--set".to_owned(),
    });
    load(&Sources {
        flags: flags.collect(),
        ..Sources::default()
    })
}

const MEMBER: [(&str, &str); 2] = [("cluster.certs", "/c"), ("node.data", "/d")];

fn member(pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    settled(&[&MEMBER, pairs].concat())
}

#[track_caller]
fn refused(found: Result<Loaded, ConfigError>, key: &str, names: &str) {
    let error = found.expect_err(key);
    let problem = &error.problems[0];
    assert_eq!(
        (problem.code, problem.key.as_str()),
        ("config.contradiction", key),
        "{error}"
    );
    assert!(problem.reason.contains(names), "{error}");
    assert!(problem.hint.is_some(), "{error}");
}

#[track_caller]
fn warned(found: Result<Loaded, ConfigError>) -> Vec<(&'static str, String)> {
    let loaded = found.unwrap_or_else(|error| panic!("{error}"));
    let warnings = loaded.warnings.into_iter();
    warnings
        .map(|warning| (warning.code, warning.key))
        .collect()
}

#[test]
fn a_member_needs_certificates_and_a_folder_and_founds_or_joins() {
    refused(
        settled(&MEMBER[..1]),
        "cluster.certs",
        "needs node.data, which is not set",
    );
    refused(
        settled(&[("cluster.found", "yes")]),
        "cluster.found",
        "needs cluster.certs",
    );
    refused(
        settled(&[("cluster.join", "a:1")]),
        "cluster.join",
        "needs cluster.certs",
    );
    refused(
        member(&[("cluster.found", "yes"), ("cluster.join", "a:1")]),
        "cluster.found",
        "contradicts cluster.join",
    );
    assert_eq!(
        warned(member(&[])),
        [],
        "a data folder may know its cluster"
    );
    assert_eq!(warned(member(&[("cluster.found", "yes")])), []);
    let joins = member(&[("cluster.join", "node-1:7802, [fd00::7]:7802")]).expect("joins");
    assert_eq!(
        joins.settings.cluster.join,
        ["node-1:7802", "[fd00::7]:7802"]
    );
    assert!(joins.settings.cluster.is_member());
}

#[test]
fn elections_are_slower_than_heartbeats() {
    refused(
        settled(&[("cluster.heartbeat_ms", "100")]),
        "cluster.heartbeat_ms",
        "below half of cluster.election_ms_min, which is 200",
    );
    refused(
        settled(&[("cluster.election_ms_min", "110")]),
        "cluster.election_ms_min",
        "cluster.heartbeat_ms, which is 60",
    );
    refused(
        settled(&[("cluster.election_ms_max", "200")]),
        "cluster.election_ms_max",
        "below cluster.election_ms_max, which is 200",
    );
    let slow = [
        ("cluster.heartbeat_ms", "500"),
        ("cluster.election_ms_min", "2000"),
        ("cluster.election_ms_max", "4000"),
    ];
    assert_eq!(warned(member(&slow)), []);
}

#[test]
fn lanes_stand_anywhere_if_others_can_dial_them() {
    // No token file: both sides show certificates.
    let apart = [
        ("cluster.bind", "10.0.0.7:7802"),
        ("cluster.bulk_bind", "10.0.0.7:7803"),
    ];
    assert_eq!(warned(member(&apart)), []);
    refused(
        member(&[("cluster.bind", "0.0.0.0:7802")]),
        "cluster.bind",
        "cluster.advertise is not set",
    );
    refused(
        member(&[("cluster.bulk_bind", "[::]:7803")]),
        "cluster.bulk_bind",
        "cluster.bulk_advertise is not set",
    );
    let everywhere = [
        ("cluster.bind", "0.0.0.0:7802"),
        ("cluster.advertise", "node-1:7802"),
        ("cluster.bulk_bind", "0.0.0.0:7803"),
        ("cluster.bulk_advertise", "node-1:7803"),
    ];
    assert_eq!(warned(member(&everywhere)), []);
    refused(
        member(&[("cluster.bulk_bind", "127.0.0.1:7801")]),
        "cluster.bulk_bind",
        "the address of admin.bind too",
    );
    let shared = member(&[("cluster.bind", "127.0.0.1:7801")]);
    assert_eq!(warned(shared), [], "UDP and TCP do not meet");
}

#[test]
fn plain_bytes_and_settings_without_effect_are_warned_about() {
    let plain = ("cluster.bulk_plain", "true");
    assert_eq!(warned(member(&[plain])), [], "nobody else is on loopback");
    assert_eq!(
        warned(member(&[plain, ("cluster.bulk_bind", "10.0.0.7:7803")])),
        [("config.plain_bulk", "cluster.bulk_plain".to_owned())]
    );
    let alone = settled(&[("node.data", "/d"), ("cluster.zone", "rack-1")]);
    assert_eq!(
        warned(alone),
        [
            ("config.no_effect", "cluster.zone".to_owned()),
            ("config.no_effect", "node.data".to_owned())
        ]
    );
}

#[test]
fn a_list_is_written_in_yaml_in_a_variable_or_in_a_flag() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kv.yaml");
    let of_yaml = |yaml: &str| {
        std::fs::write(&path, yaml).expect("a file");
        load(&Sources {
            files: vec![path.clone()],
            ..Sources::default()
        })
    };
    let head = "node: {data: /d}\ncluster:\n  certs: /c\n  join:";
    let seeds = ["node-1:7802", "10.0.0.7:7802"];
    for written in [
        " [node-1:7802, 10.0.0.7:7802]",
        "\n    - node-1:7802\n    - 10.0.0.7:7802",
        " node-1:7802, 10.0.0.7:7802",
    ] {
        let loaded = of_yaml(&format!("{head}{written}\n")).expect("settles");
        assert_eq!(loaded.settings.cluster.join, seeds, "{written}");
        assert_eq!(loaded.settings.node.data, Some(PathBuf::from("/d")));
        let shown = to_yaml(&loaded);
        let again = of_yaml(&shown).unwrap_or_else(|error| panic!("{shown}\n{error}"));
        assert_eq!(again.settings, loaded.settings, "{shown}");
        let json = effective(&loaded)
            .into_iter()
            .find(|setting| setting.key == "cluster.join");
        assert_eq!(json.map(|setting| setting.value), Some(seeds.into()));
    }
    assert_eq!(
        of_yaml(&format!("{head} []\n"))
            .expect("settles")
            .settings
            .cluster
            .join,
        [""; 0]
    );
    let env = |value: &str| {
        load(&Sources {
            env: vec![
                ("ULTRAKV_CLUSTER__CERTS".to_owned(), "/c".to_owned()),
                ("ULTRAKV_NODE__DATA".to_owned(), "/d".to_owned()),
                ("ULTRAKV_CLUSTER__JOIN".to_owned(), value.to_owned()),
            ],
            ..Sources::default()
        })
    };
    let loaded = env("node-1:7802,10.0.0.7:7802").expect("settles");
    assert_eq!(loaded.settings.cluster.join, seeds);
    let wrong = env("node-1:7802,node-2").expect_err("no port").to_string();
    assert!(
        wrong.contains("lists `node-2`, which is not a host and a port"),
        "{wrong}"
    );
    for (written, reason) in [
        (" [[a:1]]", "must be a list of single values"),
        (" [{a: 1}]", "must be a list of single values"),
        (" {a: 1}", "must be one value or a list, not a mapping"),
        (" [a:1, b]", "lists `b`, which is not a host and a port"),
    ] {
        let told = of_yaml(&format!("{head}{written}\n"))
            .expect_err(written)
            .to_string();
        assert!(told.contains(reason), "{written}: {told}");
    }
}
