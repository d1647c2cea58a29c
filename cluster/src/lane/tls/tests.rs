//! Folders that do not fit together, each with its own error. Connections are tested beside the lanes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;
use ultrakv_actors::{Clock, UnixMs};

use super::*;
use crate::NodeId;

const DAY_MS: u64 = 86_400_000;

fn now() -> UnixMs {
    Clock::machine().unix()
}

fn cluster() -> ClusterName {
    ClusterName::parse("blue").unwrap()
}

/// An authority's folder and a node's folder made with it.
fn folders(node: u128) -> (TempDir, TempDir) {
    let (ca, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (_, issued) = Authority::create(cluster(), now()).unwrap();
    Authority::write(ca.path(), &issued, false).unwrap();
    add_node(
        ca.path(),
        out.path(),
        &Subject::Node(NodeId::from_u128(node)),
        1,
    );
    (ca, out)
}

fn add_node(ca: &Path, out: &Path, subject: &Subject, days: u32) {
    let (authority, pem) = Authority::load(ca, now()).unwrap();
    let issued = authority.issue(subject, days, now()).unwrap();
    Credentials::write(out, &pem, &issued, true).unwrap();
}

fn code(folder: &Path, at: UnixMs) -> &'static str {
    let error = Credentials::load(folder, at).unwrap_err();
    assert!(!error.hint().is_empty() && !error.to_string().is_empty());
    error.code()
}

#[test]
fn names_are_read_back_and_other_spellings_are_not() {
    let node = NodeId::from_u128(0xab);
    let uri = Subject::Node(node).uri(&cluster());
    assert_eq!(uri, "ultrakv://blue/node/000000000000000000000000000000ab");
    assert_eq!(Subject::parse(&uri), Some((cluster(), Subject::Node(node))));
    for wrong in [
        "ultrakv://blue/node/ab",
        "ultrakv://blue/node/000000000000000000000000000000AB",
        "ultrakv://blue/node/+00000000000000000000000000000ab",
        "ultrakv://blue/node/000000000000000000000000000000ab/",
        "ultrakv://Blue/authority",
        "ultrakv:///authority",
        "https://blue/authority",
        "ultrakv://blue/authority/x",
    ] {
        assert_eq!(Subject::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_folder_loads_and_its_files_are_for_the_owner_alone() {
    let (ca, out) = folders(7);
    let credentials = Credentials::load(out.path(), now()).unwrap();
    assert_eq!(credentials.node, NodeId::from_u128(7));
    assert_eq!(credentials.cluster, cluster());
    let identity = Identity::new(&credentials).unwrap();
    assert_eq!(identity.node(), credentials.node);
    for folder in [ca.path(), out.path()] {
        for file in fs::read_dir(folder).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
    assert!(!out.path().join(AUTHORITY_KEY).exists());
}

#[test]
fn nothing_is_overwritten_unless_forced() {
    let (ca, _out) = folders(7);
    let before = fs::read(ca.path().join(AUTHORITY_KEY)).unwrap();
    let (_, other) = Authority::create(cluster(), now()).unwrap();
    let refused = Authority::write(ca.path(), &other, false).unwrap_err();
    assert_eq!(refused.code(), "certs_exists");
    assert_eq!(fs::read(ca.path().join(AUTHORITY_KEY)).unwrap(), before);
    Authority::write(ca.path(), &other, true).unwrap();
    assert_ne!(fs::read(ca.path().join(AUTHORITY_KEY)).unwrap(), before);
}

#[test]
fn each_thing_that_can_be_wrong_has_its_own_error() {
    let (ca, out) = folders(7);
    let (other_ca, other) = folders(8);
    let key = out.path().join(NODE_KEY);

    assert_eq!(
        code(out.path(), UnixMs(now().0 + 2 * DAY_MS)),
        "certs_expired"
    );
    assert_eq!(code(out.path(), UnixMs(0)), "certs_not_yet_valid");

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(code(out.path(), now()), "certs_key_too_open");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let own_key = fs::read(&key).unwrap();
    fs::write(&key, fs::read(other.path().join(NODE_KEY)).unwrap()).unwrap();
    assert_eq!(code(out.path(), now()), "certs_wrong_key");
    fs::write(&key, b"garbage").unwrap();
    assert_eq!(code(out.path(), now()), "certs_not_pem");
    fs::write(&key, own_key).unwrap();

    let ca_pem = out.path().join(AUTHORITY_CERT);
    fs::copy(other_ca.path().join(AUTHORITY_CERT), &ca_pem).unwrap();
    assert_eq!(code(out.path(), now()), "certs_wrong_authority");
    fs::copy(out.path().join(NODE_CERT), &ca_pem).unwrap();
    assert_eq!(code(out.path(), now()), "certs_wrong_subject");
    fs::remove_file(&ca_pem).unwrap();
    assert_eq!(code(out.path(), now()), "certs_missing");

    let client = Subject::Client(ClusterName::parse("dashboard").unwrap());
    add_node(ca.path(), out.path(), &client, 1);
    assert_eq!(code(out.path(), now()), "certs_wrong_subject");
}

#[test]
fn an_authority_loads_only_with_its_own_closed_key() {
    let (ca, _out) = folders(7);
    let (other, _other_out) = folders(8);
    let key = ca.path().join(AUTHORITY_KEY);
    let load = || Authority::load(ca.path(), now()).map(|_| ()).unwrap_err();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(load().code(), "certs_key_too_open");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, fs::read(other.path().join(AUTHORITY_KEY)).unwrap()).unwrap();
    assert_eq!(load().code(), "certs_wrong_key");
}
