//! The metadata as the machine that consensus feeds, and its published view.
//!
//! Responsible for entries as bytes on one side and views for readers on the other. It must never know how entries
//! came to be agreed on.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::watch;

use super::machine::{Frozen, Machine};
use crate::metadata::{Entry, Outcome, Rebuild, State, View};

/// Where the metadata is read: the newest view, and what was applied.
pub struct Published {
    view: ArcSwap<View>,
    /// The log item up to which everything is in the view.
    applied: watch::Sender<u64>,
    /// Bytes of batches since the last snapshot.
    logged_bytes: AtomicU64,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("applied", &self.applied_index())
            .finish_non_exhaustive()
    }
}

impl Published {
    /// Before the first item.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            view: ArcSwap::from_pointee(View::default()),
            applied: watch::Sender::new(0),
            logged_bytes: AtomicU64::new(0),
        })
    }

    /// The newest view.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The log item up to which everything is in the view.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Learns when more is applied.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Bytes that were applied since the last snapshot was frozen.
    pub(super) fn logged_bytes(&self) -> u64 {
        self.logged_bytes.load(Ordering::Relaxed)
    }

    /// About how large a snapshot would be.
    pub(super) fn state_bytes(&self) -> u64 {
        let view = self.view.load();
        let directory = view.directory();
        directory.map_or(0, |directory| directory.stats().charged_bytes)
    }
}

/// The metadata, fed by consensus and published after every batch of entries.
pub struct Registry {
    state: State,
    published: Arc<Published>,
}

impl Registry {
    /// Before the first entry.
    #[must_use]
    pub fn new(published: Arc<Published>) -> Self {
        Self {
            state: State::new(),
            published,
        }
    }
}

fn foreign(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The outcomes of an entry's commands, as the log's answer to who proposed it.
pub(super) fn outcomes(bytes: &[u8]) -> Option<Vec<Outcome>> {
    rmp_serde::from_slice(bytes).ok()
}

impl Machine for Registry {
    fn apply(&mut self, index: u64, batch: &Bytes) -> io::Result<Bytes> {
        let entry = Entry::decode(batch).map_err(foreign)?;
        let outcomes = self.state.apply_entry(index, &entry);
        let logged_bytes = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let counted = &self.published.logged_bytes;
        counted.fetch_add(logged_bytes, Ordering::Relaxed);
        let outcomes = rmp_serde::to_vec(&outcomes).map_err(io::Error::other)?;
        Ok(outcomes.into())
    }

    fn applied(&mut self, index: u64) {
        self.published.view.store(Arc::new(self.state.view()));
        self.published.applied.send_replace(index);
    }

    fn freeze(&self) -> io::Result<Frozen> {
        let mut freeze = self.state.freeze().map_err(io::Error::other)?;
        self.published.logged_bytes.store(0, Ordering::Relaxed);
        Ok(Box::new(std::iter::from_fn(move || {
            freeze.next_chunk().map(Bytes::from)
        })))
    }

    fn install(&mut self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> io::Result<()> {
        let mut rebuild = Rebuild::new();
        for chunk in chunks {
            rebuild.push(&chunk?).map_err(foreign)?;
        }
        self.state = rebuild.finish().map_err(foreign)?;
        self.published.logged_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }
}
