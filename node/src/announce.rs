//! The announce file: where a node that chose its own ports tells who started it.
//!
//! It appears whole or not at all, and only once the node is ready, so that its existence is the event to wait for.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ultrakv_cluster::NodeId;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// The main HTTP door.
    pub(crate) http: SocketAddr,
    /// The admin door.
    pub(crate) admin: SocketAddr,
    /// The process.
    pub(crate) pid: u32,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<NodeId>,
    /// Where a member takes messages of other nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<SocketAddr>,
    /// Where a member hands block bytes to other nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bulk: Option<SocketAddr>,
}

impl Announcement {
    /// Writes the file beside its place and moves it there.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", self.pid));
        let text = serde_json::to_string(self)?;
        fs::write(&beside, text + "\n")?;
        fs::rename(&beside, path).inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })
    }

    /// Reads the file; `None` while it does not exist.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_read_back_and_nothing_else_is_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("node.json");
        assert_eq!(Announcement::read(&path).expect("readable"), None);
        let said = Announcement {
            http: "127.0.0.1:1".parse().expect("an address"),
            admin: "127.0.0.1:2".parse().expect("an address"),
            pid: 3,
            node_id: None,
            cluster: None,
            bulk: None,
        };
        said.write(&path).expect("written");
        let text = fs::read_to_string(&path).expect("readable");
        assert!(!text.contains("bulk"), "{text}");
        assert_eq!(
            Announcement::read(&path).expect("readable"),
            Some(said.clone())
        );
        let member = Announcement {
            node_id: Some(NodeId::from_u128(7)),
            cluster: Some("127.0.0.1:4".parse().expect("an address")),
            bulk: Some("127.0.0.1:5".parse().expect("an address")),
            ..said
        };
        member.write(&path).expect("written");
        assert_eq!(Announcement::read(&path).expect("readable"), Some(member));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
