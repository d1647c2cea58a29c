//! Purges as this node carries them out: what can be named by nobody any more is freed, and that is told.
//!
//! It must never confirm a purge before nothing of it can be served here.

use std::time::Duration;

use super::{Directed, Director};
use crate::domains::Ended;
use crate::metadata::{Command, PurgeConfirm, View};

/// The time for freeing one domain in one turn; what is left is freed by the next.
const FREE_WITHIN: Duration = Duration::from_secs(1);
/// Reports of purges that are kept for who asked.
const REPORTS_MAX: usize = 1_024;

/// What a purge dropped on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    pub(crate) blocks: u64,
    pub(crate) entries: u64,
}

impl Director {
    /// Takes in the domains of the metadata, and frees those that ended.
    pub(super) async fn follow_domains(&mut self, view: &View) {
        let directed = &self.directed;
        let before = directed.domains.load_full();
        let (now, ended) = before.follow(view.shared_services(), || directed.cache.open_arena());
        // Published first: from here on nothing of an old generation is named by this node's doors.
        directed.domains.store(std::sync::Arc::new(now));
        self.ended.extend(ended);
        let mut left = Vec::new();
        for ended in std::mem::take(&mut self.ended) {
            match directed.free(&ended).await {
                Some(purged) => directed.confirm(&ended, purged, view).await,
                None => left.push(ended),
            }
        }
        self.ended = left;
    }
}

impl Directed {
    /// Frees a domain that ended; nothing when that was not done in time.
    async fn free(&self, ended: &Ended) -> Option<Purged> {
        let deadline = self.clock.deadline(FREE_WITHIN);
        let freed = self.cache.purge(ended.held.arena, deadline).await;
        let entries = self.host.retire(ended.held.tag, deadline).await;
        match (freed, entries) {
            (Ok(freed), Ok(entries)) => Some(Purged {
                blocks: freed.blocks,
                entries,
            }),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, domain = ended.sharing.label(), "a purge is not finished yet");
                None
            }
        }
    }

    async fn confirm(&self, ended: &Ended, purged: Purged, view: &View) {
        let Some(generation) = ended.next else {
            return;
        };
        tracing::info!(
            domain = ended.sharing.label(),
            generation,
            blocks = purged.blocks,
            entries = purged.entries,
            "domain purged"
        );
        {
            let mut reports = self.purged.lock();
            reports.insert((ended.sharing.label(), generation), purged);
            while reports.len() > REPORTS_MAX {
                reports.pop_first();
            }
        }
        let waits = view
            .services()
            .keyring(&ended.sharing)
            .is_some_and(|keyring| {
                let mut waiting = keyring.waiting_for(generation);
                waiting.any(|life| life == self.life())
            });
        if waits {
            self.propose(vec![Command::PurgeConfirm(PurgeConfirm {
                sharing: ended.sharing.clone(),
                generation,
                life: self.life(),
            })])
            .await;
        }
    }
}
