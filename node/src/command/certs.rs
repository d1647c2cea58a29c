//! `ultrakv certs`: makes the authority of a cluster and the certificates of its nodes.
//!
//! It must never print a key.

use std::path::Path;

use serde::Serialize;
use ultrakv_actors::{Clock, Entropy, UnixMs};
use ultrakv_cluster::NodeId;
use ultrakv_cluster::lane::tls::{
    AUTHORITY_CERT, AUTHORITY_KEY, Authority, CertsError, ClusterName, Credentials, NODE_CERT,
    NODE_KEY, Subject,
};

use crate::args::{CertsCommand, CertsInitArguments, CertsNodeArguments};
use crate::exit::{Failure, Status};
use crate::output;

/// What was made, and where.
#[derive(Debug, Serialize)]
struct Made {
    cluster: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
    folder: String,
    files: Vec<&'static str>,
}

/// Makes what was asked for and says what it is.
pub(super) fn run(command: &CertsCommand) -> Result<(), Failure> {
    let now = Clock::machine().unix();
    let (made, format) = match command {
        CertsCommand::Init(arguments) => (init(arguments, now)?, arguments.output),
        CertsCommand::Node(arguments) => (node(arguments, now)?, arguments.output),
    };
    output::result(format, &made, || output::print_words(&rows(&made)))
}

fn init(arguments: &CertsInitArguments, now: UnixMs) -> Result<Made, Failure> {
    let cluster = ClusterName::parse(&arguments.cluster).ok_or_else(|| {
        Failure::new(
            Status::Usage,
            format!("{:?} is no name of a cluster", arguments.cluster),
        )
        .hint("1 to 63 of a-z, 0-9 and -, beginning with a letter")
    })?;
    let authority = make_authority(&arguments.out, cluster, arguments.force, now)?;
    Ok(Made {
        cluster: authority.cluster().to_string(),
        node_id: None,
        folder: shown(&arguments.out),
        files: vec![AUTHORITY_CERT, AUTHORITY_KEY],
    })
}

fn node(arguments: &CertsNodeArguments, now: UnixMs) -> Result<Made, Failure> {
    let id = match &arguments.id {
        Some(text) => NodeId::parse(text).ok_or_else(|| {
            Failure::new(Status::Usage, format!("{text:?} is no id of a node"))
                .hint("an id is 32 hexadecimal digits in lower case; leave --id out to draw one")
        })?,
        None => draw_id()?,
    };
    let made = make_node(
        &NodeWish {
            ca: &arguments.ca,
            out: &arguments.out,
            id,
            days: arguments.days,
            force: arguments.force,
        },
        now,
    )?;
    Ok(Made {
        cluster: made.cluster.to_string(),
        node_id: Some(id.to_string()),
        folder: shown(&arguments.out),
        files: vec![AUTHORITY_CERT, NODE_CERT, NODE_KEY],
    })
}

/// A node's certificates as they are wished.
pub(super) struct NodeWish<'a> {
    /// The authority's folder.
    pub(super) ca: &'a Path,
    /// The node's folder.
    pub(super) out: &'a Path,
    /// The node.
    pub(super) id: NodeId,
    /// For how many days.
    pub(super) days: u32,
    /// Whether files may be overwritten.
    pub(super) force: bool,
}

/// An id that nobody else has.
pub(super) fn draw_id() -> Result<NodeId, Failure> {
    NodeId::draw(&Entropy::machine()).map_err(|error| Failure::caused("cannot draw an id", &error))
}

/// Makes a cluster's authority and writes it to a folder.
pub(super) fn make_authority(
    out: &Path,
    cluster: ClusterName,
    force: bool,
    now: UnixMs,
) -> Result<Authority, Failure> {
    let (authority, issued) = Authority::create(cluster, now).map_err(|e| failure(&e))?;
    Authority::write(out, &issued, force).map_err(|e| failure(&e))?;
    Ok(authority)
}

/// Makes a node's certificates and writes them to a folder; gives back what the node will read there.
pub(super) fn make_node(wish: &NodeWish<'_>, now: UnixMs) -> Result<Credentials, Failure> {
    let (authority, authority_pem) = Authority::load(wish.ca, now).map_err(|e| failure(&e))?;
    let issued = authority
        .issue(&Subject::Node(wish.id), wish.days, now)
        .map_err(|e| failure(&e))?;
    Credentials::write(wish.out, &authority_pem, &issued, wish.force).map_err(|e| failure(&e))?;
    // What was written must be what a node will accept.
    Credentials::load(wish.out, now).map_err(|e| failure(&e))
}

fn rows(made: &Made) -> Vec<Vec<String>> {
    let mut rows = vec![vec!["cluster".to_owned(), made.cluster.clone()]];
    if let Some(id) = &made.node_id {
        rows.push(vec!["node id".to_owned(), id.clone()]);
    }
    rows.push(vec!["folder".to_owned(), made.folder.clone()]);
    rows.push(vec!["files".to_owned(), made.files.join(", ")]);
    rows
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn failure(error: &CertsError) -> Failure {
    Failure::caused(error.code(), error).hint(error.hint())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn run_line(line: &[&str]) -> Result<(), Failure> {
        let arguments = Arguments::try_parse_from([&["ultrakv", "certs"], line].concat());
        match arguments.expect("the line is well formed").command {
            Command::Certs(command) => run(&command),
            other => panic!("another command: {other:?}"),
        }
    }

    #[test]
    fn an_authority_and_a_node_are_made_once_and_load() {
        let home = tempfile::tempdir().unwrap();
        let (ca, out) = (home.path().join("ca"), home.path().join("n1"));
        let (ca, out) = (ca.to_str().unwrap(), out.to_str().unwrap());
        let init = ["init", "--out", ca, "--cluster", "blue"];
        run_line(&init).unwrap();
        let again = run_line(&init).unwrap_err();
        assert!(again.message.unwrap().contains("exists already"));
        assert!(again.hint.unwrap().contains("--force"));

        let id = "000000000000000000000000000000ab";
        run_line(&["node", "--ca", ca, "--out", out, "--id", id]).unwrap();
        let credentials = Credentials::load(Path::new(out), Clock::machine().unix()).unwrap();
        assert_eq!(credentials.node.to_string(), id);
        assert_eq!(credentials.cluster.as_str(), "blue");
        run_line(&["node", "--ca", ca, "--out", out]).unwrap_err();
        run_line(&["node", "--ca", ca, "--out", out, "--force"]).unwrap();
        let drawn = Credentials::load(Path::new(out), Clock::machine().unix()).unwrap();
        assert_ne!(drawn.node.to_string(), id);
    }

    #[test]
    fn wrong_words_are_wrong_usage() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().to_str().unwrap();
        let name = run_line(&["init", "--out", out, "--cluster", "Not a name"]).unwrap_err();
        assert_eq!(name.status, Status::Usage);
        let id = run_line(&["node", "--ca", out, "--out", out, "--id", "7"]).unwrap_err();
        assert_eq!(id.status, Status::Usage);
        let missing = run_line(&["node", "--ca", out, "--out", out]).unwrap_err();
        assert!(missing.message.unwrap().contains("does not exist"));
        assert!(missing.hint.unwrap().contains("certs init"));
    }
}
