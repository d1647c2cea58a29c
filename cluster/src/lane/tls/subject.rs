//! The names that certificates carry. It must never know how a certificate was checked.

use std::fmt;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::NodeId;

/// The name of a cluster: part of every certificate, so that two clusters never mix even under one authority.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClusterName(String);

impl ClusterName {
    /// The longest name.
    pub const BYTES_MAX: usize = 63;

    /// Reads a name: 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = text.len() <= Self::BYTES_MAX
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        good.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a certificate speaks of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The authority itself.
    Authority,
    /// A node; only these open lanes.
    Node(NodeId),
    /// A client with a name of its own; it never opens a lane.
    Client(ClusterName),
}

impl Subject {
    /// The URI that a certificate carries.
    #[must_use]
    pub fn uri(&self, cluster: &ClusterName) -> String {
        match self {
            Self::Authority => format!("ultrakv://{cluster}/authority"),
            Self::Node(id) => format!("ultrakv://{cluster}/node/{id}"),
            Self::Client(name) => format!("ultrakv://{cluster}/client/{name}"),
        }
    }

    /// Reads such a URI; anything else, even in another spelling, is none.
    #[must_use]
    pub fn parse(uri: &str) -> Option<(ClusterName, Self)> {
        let (cluster, rest) = uri.strip_prefix("ultrakv://")?.split_once('/')?;
        let cluster = ClusterName::parse(cluster)?;
        let subject = match rest.split_once('/') {
            None if rest == "authority" => Self::Authority,
            Some(("node", id)) => Self::Node(NodeId::parse(id)?),
            Some(("client", name)) => Self::Client(ClusterName::parse(name)?),
            _ => return None,
        };
        Some((cluster, subject))
    }

    /// The one subject of a certificate; none when it has no such URI, or more than one URI.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<(ClusterName, Self)> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let names = certificate.subject_alternative_name().ok()??;
        let mut uris = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        match (uris.next(), uris.next()) {
            (Some(uri), None) => Self::parse(uri),
            _ => None,
        }
    }
}
