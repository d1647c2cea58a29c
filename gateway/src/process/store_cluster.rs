//! The cluster's handle as the process path's store. Translation only; it decides nothing.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ultrakv_actors::clock::Deadline;
use ultrakv_actors::{BlockPut, Domain, LeasedBlock, Stored};
use ultrakv_cache::prefetch::SessionName;
use ultrakv_cache::{BlockAddress, Pin};
use ultrakv_cluster::{ClusterHandle, EntryOptions};

use crate::process::error::ProcessError;
use crate::process::store::{CachedBlock, Coming, InDoubt, NewBlock, NewEntry, Store};

impl Store for ClusterHandle {
    fn domain(&self, service: &str, salt: Option<&str>) -> Result<Domain, ProcessError> {
        let domain = self.numbers_domain(service, salt);
        domain.map_err(|unknown| ProcessError::UnknownService {
            service: unknown.service,
        })
    }

    fn arriving(&self, domain: Domain, coming: Coming) {
        let Coming {
            chain,
            block_tokens,
            session,
        } = coming;
        let session = session.map(SessionName);
        // What the prefetch actor has no room for is fetched when it is asked for.
        let _busy = self
            .prefetch()
            .arrived(&domain, chain, block_tokens, session);
    }

    fn computed(&self, tokens: u32, before: u32, elapsed_us: u64) {
        let prefetch = self.prefetch();
        let _busy = prefetch.computed(tokens, u64::from(before), elapsed_us);
    }

    fn prefix(
        &self,
        domain: Domain,
        chain: Vec<BlockAddress>,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<Vec<CachedBlock>, InDoubt>> {
        let cluster = self.clone();
        async move {
            let blocks = cluster.get_prefix(&domain, &chain, deadline).await;
            let blocks = blocks.map_err(|error| InDoubt(error.code()))?;
            Ok(blocks.into_iter().map(cached).collect())
        }
        .boxed()
    }

    fn put(
        &self,
        domain: Domain,
        block: NewBlock,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<bool, InDoubt>> {
        let cluster = self.clone();
        async move {
            let NewBlock {
                address,
                parent,
                depth,
                header,
                payload,
            } = block;
            let put = BlockPut {
                address,
                parent,
                depth,
                header,
                payload,
                pin: Pin::None,
                ttl_ms: None,
            };
            let stored = cluster.put(&domain, put, deadline).await;
            match stored.map_err(|error| InDoubt(error.code()))? {
                Stored::Copies(_) | Stored::Known => Ok(true),
                Stored::NotAdmitted => Ok(false),
            }
        }
        .boxed()
    }

    fn entry(
        &self,
        domain: Domain,
        key: Vec<u8>,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<Option<Bytes>, InDoubt>> {
        let cluster = self.clone();
        async move {
            let value = cluster.entry_get(&domain, &key, deadline).await;
            let value = value.map_err(|error| InDoubt(error.code()))?;
            Ok(value.map(|entry| entry.value))
        }
        .boxed()
    }

    fn put_entry(
        &self,
        domain: Domain,
        entry: NewEntry,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<(), InDoubt>> {
        let cluster = self.clone();
        async move {
            let ttl_ms = u64::try_from(entry.ttl.as_millis()).unwrap_or(u64::MAX);
            let options = EntryOptions::cached(Some(ttl_ms));
            let put = cluster
                .entry_put(&domain, &entry.key, entry.value, options, deadline)
                .await;
            put.map(|_version| ())
                .map_err(|error| InDoubt(error.code()))
        }
        .boxed()
    }
}

fn cached(block: LeasedBlock) -> CachedBlock {
    CachedBlock {
        header: block.header,
        payload: block.payload,
    }
}
