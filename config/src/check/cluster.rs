//! What settings of a cluster cannot be together, and what the operator should know of them.

use crate::problem::{Origin, Problem, Warning};
use crate::settle::Loaded;

/// Every contradiction among them.
pub(super) fn check(loaded: &Loaded, problems: &mut Vec<Problem>) {
    check_beats(loaded, problems);
    if loaded.settings.cluster.is_member() {
        check_member(loaded, problems);
        check_places(loaded, problems);
    } else {
        check_alone(loaded, problems);
    }
}

/// What is right and still worth a word.
pub(super) fn advise(loaded: &Loaded, warnings: &mut Vec<Warning>) {
    let cluster = &loaded.settings.cluster;
    let mut warn = |code: &'static str, key: &str, message: &str, hint: &str| {
        warnings.push(Warning {
            code,
            key: key.to_owned(),
            origin: loaded.origins.get(key).cloned().unwrap_or(Origin::Default),
            message: message.to_owned(),
            hint: Some(hint.to_owned()),
        });
    };
    if !cluster.is_member() {
        // Founding and joining are more than a warning.
        let told = ["cluster.found", "cluster.join"];
        let of_members = |key: &&String| {
            key.starts_with("cluster.") && !told.contains(&key.as_str()) || *key == "node.data"
        };
        for key in loaded.origins.keys().filter(of_members) {
            warn(
                "config.no_effect",
                key,
                "does nothing: without cluster.certs the node is a cluster of one, in memory",
                "set cluster.certs, or leave this out",
            );
        }
    } else if cluster.bulk_plain && !cluster.bulk_bind.ip().is_loopback() {
        warn(
            "config.plain_bulk",
            "cluster.bulk_plain",
            "whoever reaches cluster.bulk_bind can read and forge block bytes: they travel without TLS",
            "leave it out, unless nobody but the nodes reaches that network",
        );
    }
}

/// Refuses a key that somebody typed, or the first of those named that somebody did.
fn refuse(loaded: &Loaded, problems: &mut Vec<Problem>, keys: [&str; 2], told: (String, &str)) {
    let typed = keys
        .into_iter()
        .find(|key| loaded.origins.contains_key(*key));
    let key = typed.unwrap_or(keys[0]);
    let (reason, hint) = told;
    problems.push(super::problem(
        loaded,
        key,
        "config.contradiction",
        reason,
        hint,
    ));
}

fn check_beats(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let cluster = &loaded.settings.cluster;
    let (beat, min, max) = (
        cluster.heartbeat_ms,
        cluster.election_ms_min,
        cluster.election_ms_max,
    );
    // One lost heartbeat must not be an election.
    if beat >= min / 2 {
        let keys = ["cluster.heartbeat_ms", "cluster.election_ms_min"];
        let reason = format!(
            "cluster.heartbeat_ms, which is {beat}, must be below half of cluster.election_ms_min, which is {min}"
        );
        let hint = "one heartbeat that is lost must not be an election; such as 60 and 200";
        refuse(loaded, problems, keys, (reason, hint));
    }
    if min >= max {
        let keys = ["cluster.election_ms_min", "cluster.election_ms_max"];
        let reason = format!(
            "cluster.election_ms_min, which is {min}, must be below cluster.election_ms_max, which is {max}"
        );
        let hint = "voters that all wait equally long all stand at once; such as 200 and 400";
        refuse(loaded, problems, keys, (reason, hint));
    }
}

/// Founding and joining are for members.
fn check_alone(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let cluster = &loaded.settings.cluster;
    let asked = [
        ("cluster.found", cluster.found),
        ("cluster.join", !cluster.join.is_empty()),
    ];
    for (key, asked) in asked {
        if asked {
            let reason =
                "needs cluster.certs, which is not set: nodes know each other by certificates";
            let hint = "make them with `ultrakv certs`, then set cluster.certs (--certs) and node.data (--data)";
            refuse(loaded, problems, [key; 2], (reason.to_owned(), hint));
        }
    }
}

fn check_member(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.settings;
    if settings.node.data.is_none() {
        let reason =
            "needs node.data, which is not set: a member's log and votes must outlive the process";
        let hint = "set node.data (--data) to a folder of the node's own, on a disk that is kept";
        refuse(
            loaded,
            problems,
            ["cluster.certs"; 2],
            (reason.to_owned(), hint),
        );
    }
    if settings.cluster.found && !settings.cluster.join.is_empty() {
        let reason =
            "contradicts cluster.join: a node founds a cluster or asks for admission to one";
        let hint = "cluster.found on the first node only, cluster.join on all others";
        refuse(
            loaded,
            problems,
            ["cluster.found"; 2],
            (reason.to_owned(), hint),
        );
    }
}

/// Where a member listens, and where others dial.
fn check_places(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.settings;
    let cluster = &settings.cluster;
    let dialled = [
        (
            "cluster.bind",
            cluster.bind,
            "cluster.advertise",
            &cluster.advertise,
        ),
        (
            "cluster.bulk_bind",
            cluster.bulk_bind,
            "cluster.bulk_advertise",
            &cluster.bulk_advertise,
        ),
    ];
    for (key, bind, advertise, said) in dialled {
        if bind.ip().is_unspecified() && said.is_none() {
            let reason = format!(
                "{bind} is every address of this machine, and none that others can dial: {advertise} is not set"
            );
            let hint = format!(
                "set {advertise} to a host and port such as `node-1:{}`",
                bind.port()
            );
            refuse(loaded, problems, [key, advertise], (reason, &hint));
        }
    }
    // The other lane is UDP, which shares no port with TCP.
    for (door, bind) in [
        ("http.bind", settings.http.bind),
        ("admin.bind", settings.admin.bind),
    ] {
        if cluster.bulk_bind == bind && bind.port() != 0 {
            let reason = format!("{bind} is the address of {door} too");
            let hint = "give each door a port of its own";
            refuse(
                loaded,
                problems,
                ["cluster.bulk_bind", door],
                (reason, hint),
            );
        }
    }
}

#[cfg(test)]
mod tests;
