//! What the process path needs of the cache: domains, blocks, entries.
//!
//! A port, so that the path can be tested against a store that is slow, full or in doubt on demand;
//! the one real implementation is the cluster's handle. Any failure is [`InDoubt`]: the path treats it
//! as a miss, because both blocks and cached responses can always be computed again.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use ultrakv_actors::Domain;
use ultrakv_actors::clock::Deadline;
use ultrakv_cache::{BlockAddress, BlockHeader, BlockKey};

use crate::process::error::ProcessError;

/// The cache did not answer, or not in time. Carries the stable code of the reason, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache is in doubt: {0}")]
pub(crate) struct InDoubt(pub(crate) &'static str);

/// A block read from the cache. Its pages stay while `payload` or a clone of it lives.
#[derive(Debug, Clone)]
pub(crate) struct CachedBlock {
    pub(crate) header: BlockHeader,
    pub(crate) payload: Bytes,
}

/// A block to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewBlock {
    pub(crate) address: BlockAddress,
    pub(crate) parent: Option<BlockKey>,
    pub(crate) depth: u32,
    pub(crate) header: BlockHeader,
    pub(crate) payload: Bytes,
}

/// What a request that has come will ask for.
#[derive(Debug, Clone)]
pub(crate) struct Coming {
    /// The blocks, from the root on.
    pub(crate) chain: Vec<BlockAddress>,
    pub(crate) block_tokens: u32,
    /// A digest of its conversation's name.
    pub(crate) session: Option<u64>,
}

/// Domains, blocks and entries.
pub(crate) trait Store: Send + Sync + 'static {
    /// The domain of a service's callers with that salt, under the contract that the service accepts.
    ///
    /// # Errors
    /// [`ProcessError::UnknownService`].
    fn domain(&self, service: &str, salt: Option<&str>) -> Result<Domain, ProcessError>;

    /// A request has come and will soon ask for this chain, in this conversation if its client names one. A word for whoever
    /// fetches ahead; nothing waits for it.
    fn arriving(&self, _domain: Domain, _coming: Coming) {}

    /// So many tokens were computed, that many others before them, in so long. As [`Store::arriving`].
    fn computed(&self, _tokens: u32, _before: u32, _elapsed_us: u64) {}

    /// The leading run of a chain that is cached.
    fn prefix(
        &self,
        domain: Domain,
        chain: Vec<BlockAddress>,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<Vec<CachedBlock>, InDoubt>>;

    /// Stores a block; whether the cache has it now.
    fn put(
        &self,
        domain: Domain,
        block: NewBlock,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<bool, InDoubt>>;

    /// Reads a cached entry.
    fn entry(
        &self,
        domain: Domain,
        key: Vec<u8>,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<Option<Bytes>, InDoubt>>;

    /// Writes a cached entry.
    fn put_entry(
        &self,
        domain: Domain,
        entry: NewEntry,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<(), InDoubt>>;
}

/// An entry to be stored, of the class that may be evicted at any time.
#[derive(Debug, Clone)]
pub(crate) struct NewEntry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Bytes,
    pub(crate) ttl: Duration,
}
