//! The gateway's branch of the supervision tree, and the actor that decides who generates when.
//!
//! ```text
//! GatewaySupervisor
//! ├─ GatewayActor                    the queue for generation slots
//! └─ ServiceSupervisor
//!    └─ ServiceActor × service       the service's figures
//! ```
//! The gateway actor owns the queue and nothing that a request in progress needs: killed under load,
//! running generations finish, waiting ones are told `stopped`, and its next life serves whoever comes
//! then. It never computes, so it always answers at once. It knows no prompt, no model and no protocol.

use ractor::{Actor, ActorProcessingErr, ActorRef};
use ultrakv_actors::ChildSpec;

use crate::admission::{Admission, Queue, Waiter};
use crate::service_actor::{ServiceActor, Services};

/// The branch, for the node's supervisor to start and keep alive.
#[must_use]
pub fn branch(admission: &Admission, services: &Services, service_names: &[String]) -> ChildSpec {
    let admission = admission.clone();
    let gateway = ChildSpec::actor("gateway", "GatewayActor", move |_life| {
        (GatewayActor, admission.clone())
    });
    let actors: Vec<ChildSpec> = service_names
        .iter()
        .map(|name| {
            let (services, service) = (services.clone(), name.clone());
            ChildSpec::actor(name, "ServiceActor", move |_life| {
                (ServiceActor, (services.clone(), service.clone()))
            })
        })
        .collect();
    let services = ChildSpec::supervisor("services", "ServiceSupervisor", actors);
    ChildSpec::supervisor("gateway", "GatewaySupervisor", [gateway, services])
}

/// What the gateway actor is told.
#[derive(Debug)]
pub(crate) enum GatewayMessage {
    /// Somebody wants to generate.
    Admit(Waiter),
    /// A slot became free, or a waiter left.
    Recheck,
    /// Die in the middle of handling a message.
    #[cfg(test)]
    Panic,
}

impl ractor::Message for GatewayMessage {}

/// The actor.
#[derive(Debug)]
pub(crate) struct GatewayActor;

/// Its memory.
#[derive(Debug)]
pub(crate) struct Desk {
    admission: Admission,
    queue: Queue<Waiter>,
}

impl Actor for GatewayActor {
    type Msg = GatewayMessage;
    type State = Desk;
    type Arguments = Admission;

    async fn pre_start(
        &self,
        myself: ActorRef<GatewayMessage>,
        admission: Admission,
    ) -> Result<Desk, ActorProcessingErr> {
        // What arrives before we run waits in the mailbox.
        admission.opened_by(myself);
        Ok(Desk {
            admission,
            queue: Queue::new(),
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<GatewayMessage>,
        message: GatewayMessage,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            GatewayMessage::Admit(waiter) => desk.queue.push(waiter.priority, waiter),
            GatewayMessage::Recheck => {}
            #[cfg(test)]
            GatewayMessage::Panic => panic!("told to panic"),
        }
        desk.admission.grant(&mut desk.queue);
        Ok(())
    }

    async fn post_stop(
        &self,
        myself: ActorRef<GatewayMessage>,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        desk.admission.closed(&myself);
        Ok(())
    }
}
