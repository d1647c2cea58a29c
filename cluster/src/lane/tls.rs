//! Who is at the other end: one authority a cluster, one certificate a node, mutual TLS on every lane.
//!
//! A certificate names its holder as `ultrakv://<cluster>/node/<id>`, never as a host, so that a node may move. This
//! module must never know an address or what is sent.

mod error;
mod files;
mod issue;
mod subject;
mod verify;

#[cfg(test)]
mod tests;

pub use error::CertsError;
pub use files::{AUTHORITY_CERT, AUTHORITY_KEY, Credentials, NODE_CERT, NODE_KEY};
pub use issue::{Authority, Issued, NODE_DAYS_DEFAULT};
pub use subject::{ClusterName, Subject};
pub use verify::{Identity, IdentityError};
