//! Work without an end as an actor: begun with each of its lives, ended with it, and begun again by its supervisor when it
//! fails.
//!
//! It must never know what the work is.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;
use ultrakv_actors::ChildSpec;

/// Why a life of a duty ended by itself.
pub(crate) type Failed = String;

type Work = Arc<dyn Fn() -> BoxFuture<'static, Failed> + Send + Sync>;

/// An actor that does nothing but its work.
#[derive(Clone)]
struct Duty {
    work: Work,
}

enum DutyMsg {
    Ended(Failed),
}

impl ractor::Message for DutyMsg {}

/// Ends the work with the actor's life.
struct Working(JoinHandle<()>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An actor whose every life runs `begin` anew. The work ends only by failing: the supervisor's limit on restarts then says
/// when it is not worth trying.
pub(crate) fn duty<B, W>(name: &'static str, kind: &'static str, begin: B) -> ChildSpec
where
    B: Fn() -> W + Send + Sync + 'static,
    W: Future<Output = Failed> + Send + 'static,
{
    let work: Work = Arc::new(move || begin().boxed());
    let duty = Duty { work };
    ChildSpec::actor(name, kind, move |_| (duty.clone(), ()))
}

impl Actor for Duty {
    type Msg = DutyMsg;
    type State = Working;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<DutyMsg>,
        (): (),
    ) -> Result<Working, ActorProcessingErr> {
        let work = (self.work)();
        let task = tokio::spawn(async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            let why = ended.unwrap_or_else(|_| "it panicked".to_owned());
            // An actor that is gone needs no telling.
            let _ = myself.send_message(DutyMsg::Ended(why));
        });
        Ok(Working(task))
    }

    async fn handle(
        &self,
        _myself: ActorRef<DutyMsg>,
        DutyMsg::Ended(why): DutyMsg,
        _working: &mut Working,
    ) -> Result<(), ActorProcessingErr> {
        Err(why.into())
    }
}
