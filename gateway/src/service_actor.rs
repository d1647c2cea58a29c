//! One configured service: its figures, and later its quotas.
//!
//! It is told of every request of its service when that has ended, and answers what it has counted in
//! this life; the node-wide figures, which survive it, are kept elsewhere. It knows nothing of prompts
//! or protocols.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::process::CacheUse;

/// How long a service's actor may take to answer. It only counts, so this is long.
const STATS_WITHIN: Duration = Duration::from_secs(1);

/// What one service asked for and got, since its actor started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServiceStats {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, answered by a whole cached answer.
    pub response_hits: u64,
    /// Of these, continued from a cached prefix.
    pub prefix_hits: u64,
    /// Of these, without an answer.
    pub errors: u64,
    /// Prompt tokens that did not have to be computed.
    pub tokens_reused: u64,
    /// Prompt tokens that had to be.
    pub tokens_computed: u64,
    /// Tokens generated for this service.
    pub tokens_generated: u64,
}

/// How one request ended, for its service's figures.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ended {
    /// With an answer.
    Answered {
        cache: CacheUse,
        reused: u32,
        computed: u32,
        generated: u32,
    },
    /// Without one.
    Failed,
}

/// What a service's actor is told.
#[derive(Debug)]
pub(crate) enum ServiceMessage {
    /// A request ended.
    Ended(Ended),
    /// Somebody wants the figures.
    Stats(oneshot::Sender<ServiceStats>),
}

impl ractor::Message for ServiceMessage {}

/// Where the services' actors are found, in their present lives. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub struct Services {
    actors: Arc<ArcSwap<BTreeMap<String, ActorRef<ServiceMessage>>>>,
}

impl Services {
    /// Tells a service how one of its requests ended. Between two lives of its actor the figure is
    /// lost, as all figures of a life are with it.
    pub(crate) fn ended(&self, service: &str, ended: Ended) {
        if let Some(actor) = self.actors.load().get(service) {
            let _dead = actor.cast(ServiceMessage::Ended(ended));
        }
    }

    /// What a service has counted; nothing when its actor does not answer in time.
    pub async fn stats(&self, service: &str) -> Option<ServiceStats> {
        let (reply, stats) = oneshot::channel();
        let actor = self.actors.load().get(service).cloned()?;
        actor.cast(ServiceMessage::Stats(reply)).ok()?;
        tokio::time::timeout(STATS_WITHIN, stats).await.ok()?.ok()
    }

    fn opened_by(&self, service: &str, actor: &ActorRef<ServiceMessage>) {
        self.actors.rcu(|current| {
            let mut next = BTreeMap::clone(current);
            next.insert(service.to_owned(), actor.clone());
            next
        });
    }
}

/// The actor of one service.
#[derive(Debug)]
pub(crate) struct ServiceActor;

impl ServiceStats {
    fn add(&mut self, ended: Ended) {
        self.requests += 1;
        match ended {
            Ended::Failed => self.errors += 1,
            Ended::Answered {
                cache,
                reused,
                computed,
                generated,
            } => {
                self.tokens_reused += u64::from(reused);
                self.tokens_computed += u64::from(computed);
                match cache {
                    CacheUse::Response => self.response_hits += 1,
                    CacheUse::Prefix => self.prefix_hits += 1,
                    CacheUse::None => {}
                }
                if cache != CacheUse::Response {
                    self.tokens_generated += u64::from(generated);
                }
            }
        }
    }
}

impl Actor for ServiceActor {
    type Msg = ServiceMessage;
    type State = ServiceStats;
    type Arguments = (Services, String);

    async fn pre_start(
        &self,
        myself: ActorRef<ServiceMessage>,
        (services, service): Self::Arguments,
    ) -> Result<ServiceStats, ActorProcessingErr> {
        services.opened_by(&service, &myself);
        Ok(ServiceStats::default())
    }

    async fn handle(
        &self,
        _myself: ActorRef<ServiceMessage>,
        message: ServiceMessage,
        stats: &mut ServiceStats,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ServiceMessage::Ended(ended) => stats.add(ended),
            ServiceMessage::Stats(reply) => {
                let _nobody_waits = reply.send(stats.clone());
            }
        }
        Ok(())
    }
}
