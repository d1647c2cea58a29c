//! The one actor that a node shows to others: it reports the node. It must never know what is in a report.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorClusterMessage;

use super::Reporter;

/// The longest report; a peer ends a session over a message of twice this.
pub(super) const REPORT_BYTES_MAX: usize = 1024 * 1024;

/// What it is asked.
#[derive(RactorClusterMessage)]
pub(super) enum ReportMsg {
    /// Report the node.
    #[rpc]
    Report(RpcReplyPort<Vec<u8>>),
}

pub(super) struct ReportActor {
    pub(super) reporter: Reporter,
}

impl Actor for ReportActor {
    type Msg = ReportMsg;
    type State = ();
    type Arguments = String;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        group: String,
    ) -> Result<(), ActorProcessingErr> {
        ractor::pg::join(group, vec![myself.get_cell()]);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let ReportMsg::Report(reply) = message;
        let report = (self.reporter)();
        if report.len() > REPORT_BYTES_MAX {
            // Without a reply the asker is told at its deadline; with one the session would end.
            tracing::error!(bytes = report.len(), "this node's report is too long");
            return Ok(());
        }
        // An asker that left needs no report.
        drop(reply.send(report.to_vec()));
        Ok(())
    }
}
