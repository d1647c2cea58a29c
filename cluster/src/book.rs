//! Where the members are: addresses as they told them, resolved to what can be dialled.
//!
//! Responsible for names that mean something else tomorrow: a container that starts anew keeps its name and not its
//! address. It must never know what is sent there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::NodeId;
use crate::lane::AddressBook;

/// The time for resolving one name.
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default)]
struct Listed {
    /// `host:port` as the member told it.
    told: String,
    resolved: Vec<SocketAddr>,
}

/// The addresses of one lane. Clones are one book.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    listed: Arc<RwLock<BTreeMap<NodeId, Listed>>>,
}

impl Book {
    /// Takes the members' addresses as they are told now; who is not among them is forgotten. Resolves names, and keeps
    /// what a name meant before when it cannot be resolved.
    pub(crate) async fn list(&self, told: BTreeMap<NodeId, String>) {
        let mut listed = BTreeMap::new();
        for (node, told) in told {
            let known = self.listed.read().get(&node).cloned().unwrap_or_default();
            let resolved = resolve(&told).await;
            let resolved = if resolved.is_empty() && known.told == told {
                known.resolved
            } else {
                resolved
            };
            listed.insert(node, Listed { told, resolved });
        }
        *self.listed.write() = listed;
    }
}

impl AddressBook for Book {
    fn addresses(&self, node: NodeId) -> Vec<SocketAddr> {
        let listed = self.listed.read();
        listed
            .get(&node)
            .map(|listed| listed.resolved.clone())
            .unwrap_or_default()
    }
}

/// What `host:port` means now; nothing when nobody knows, or not in time.
pub(crate) async fn resolve(told: &str) -> Vec<SocketAddr> {
    if let Ok(address) = told.parse() {
        return vec![address];
    }
    match tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host(told)).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            tracing::debug!(told, %error, "a member's address cannot be resolved");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_numbers_are_found_and_those_who_left_are_not() {
        let book = Book::default();
        let (one, other) = (NodeId::from_u128(1), NodeId::from_u128(2));
        let told = [(one, "127.0.0.1:7"), (other, "localhost:9")];
        let told: BTreeMap<_, _> = told.map(|(node, at)| (node, at.to_owned())).into();
        book.list(told.clone()).await;
        assert_eq!(book.addresses(one), ["127.0.0.1:7".parse().unwrap()]);
        assert!(book.addresses(other).iter().all(|at| at.port() == 9));
        assert!(!book.addresses(other).is_empty());

        book.list(told.into_iter().take(1).collect()).await;
        assert!(book.addresses(other).is_empty());
        assert!(resolve("no port").await.is_empty());
    }
}
