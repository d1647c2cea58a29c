//! Questions for the leader, from any node: commands to agree on, a point to read at, a join.
//!
//! Responsible for finding the leader again while time is left, and for sending nothing twice that may have been done.
//! It must never know how commands are agreed on.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ultrakv_actors::Deadline;

use super::control::ControlError;
use super::handle::Consensus;
use super::rpc::{answer, unreadable};
use super::types::RaftId;
use crate::NodeId;
use crate::metadata::{ClusterId, Command, MemberJoin, MemberStart, Outcome};
use crate::peer::{Parcel, PeerError, Refused};
use crate::wire::Kind;

/// Commands of one call, as bytes: below what a frame may have.
const CALL_BYTES_MAX: usize = 2 << 20;
/// Before the leader is looked for again.
const REST: Duration = Duration::from_millis(20);
/// How long the answer of a leader is still waited for when another one leads, or nobody does.
const LATE: Duration = Duration::from_millis(100);
/// Of the time that a caller has, what the way back may take.
const WAY_BACK_MS: u64 = 10;

/// What the leader is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ask {
    /// To agree on the commands in the payload.
    Propose,
    /// Up to where a reader who asks now must have applied.
    ReadPoint,
    /// To make a node a member, or to take note of its new life.
    Join {
        about: Box<MemberJoin>,
        /// A member already passed it on: it is not passed on again.
        is_passed_on: bool,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ForwardHead {
    ask: Ask,
    /// How long the caller waits, in milliseconds.
    within_ms: u64,
}

/// What the leader answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Reply {
    /// The outcomes are in the payload.
    Outcomes,
    ReadPoint(u64),
    Joined(Box<Joined>),
    Failed(ControlError),
}

/// What came of a join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The cluster.
    pub cluster: ClusterId,
    /// What the metadata say: a member now, or refused.
    pub outcome: Outcome,
    /// Where a node that has applied this much knows that it is a member.
    pub index: u64,
}

impl Consensus {
    /// Has commands agreed on and applied by the leader, wherever that is, and returns their outcomes in order.
    /// Commands of one call are not atomic: they may be spread over several log items, control commands first.
    ///
    /// # Errors
    /// [`ControlError`]; all but [`ControlError::Unknown`] and [`ControlError::Fatal`] mean that nothing was done.
    pub async fn propose(
        &self,
        commands: Vec<Command>,
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, ControlError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let failed = match self.leader() {
                Some(leader) if leader == self.node() => {
                    match self.propose_here(commands.clone(), deadline).await {
                        Ok(outcomes) => return Ok(outcomes),
                        Err(error) => error,
                    }
                }
                Some(leader) => match self.propose_there(leader, &commands, deadline).await {
                    Ok(outcomes) => return Ok(outcomes),
                    Err(error) => error,
                },
                None => ControlError::Unavailable,
            };
            self.rest(failed, deadline).await?;
        }
    }

    /// As [`Consensus::propose`], but only if this node leads: for what must never be sent on or tried again.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn propose_here(
        &self,
        commands: Vec<Command>,
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, ControlError> {
        if let Some(error) = self.stopped() {
            return Err(error);
        }
        if self.leading().is_none() {
            return Err(ControlError::NotLeader {
                leader: self.leader(),
            });
        }
        let mut ticket = self.inner.queue.push(commands)?;
        let left = self.clock().remaining(deadline);
        match tokio::time::timeout(left, ticket.answer()).await {
            Ok(answer) => answer,
            Err(_) => Err(ticket.leave()),
        }
    }

    /// Waits until this node has applied everything that anybody was told of before this call; reads of the view are
    /// then linearizable. The log item up to which that is.
    ///
    /// # Errors
    /// [`ControlError`]; asking again is always harmless.
    pub async fn read_point(&self, deadline: Deadline) -> Result<u64, ControlError> {
        loop {
            let asked = match self.leader() {
                Some(leader) if leader == self.node() => self.read_point_here(deadline).await,
                Some(leader) => {
                    let reply = self.ask(leader, Ask::ReadPoint, Bytes::new(), deadline);
                    match reply.await {
                        Ok((Reply::ReadPoint(index), _)) => Ok(index),
                        other => Err(failure(other)),
                    }
                }
                None => Err(ControlError::Unavailable),
            };
            match asked {
                Ok(index) => {
                    self.wait_applied(index, deadline).await?;
                    return Ok(index);
                }
                Err(ControlError::Unknown) => self.rest(ControlError::Deadline, deadline).await?,
                Err(error) => self.rest(error, deadline).await?,
            }
        }
    }

    async fn read_point_here(&self, deadline: Deadline) -> Result<u64, ControlError> {
        if self.leading().is_none() {
            return Err(ControlError::NotLeader { leader: None });
        }
        let left = self.clock().remaining(deadline);
        let confirmed = self.confirm_leadership();
        tokio::time::timeout(left, confirmed)
            .await
            .unwrap_or(Err(ControlError::Deadline))
    }

    /// Makes this node a member, or takes note of its new life: the same for a newcomer, for a restart and for a node
    /// that lost its disk. Asks `via` when nobody is known to lead; harmless to repeat.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn join(
        &self,
        via: &[NodeId],
        about: MemberJoin,
        deadline: Deadline,
    ) -> Result<Joined, ControlError> {
        let mut turn = 0_usize;
        loop {
            let to = self.leader().or_else(|| {
                let others: Vec<_> = via.iter().filter(|seed| **seed != self.node()).collect();
                let seed = others.get(turn.checked_rem(others.len())?);
                seed.map(|seed| **seed)
            });
            turn = turn.wrapping_add(1);
            let joined = match to {
                Some(to) if to == self.node() => self.admit(about.clone(), deadline).await,
                Some(to) => {
                    let ask = Ask::Join {
                        about: Box::new(about.clone()),
                        is_passed_on: false,
                    };
                    match self.ask(to, ask, Bytes::new(), deadline).await {
                        Ok((Reply::Joined(joined), _)) => Ok(*joined),
                        other => Err(failure(other)),
                    }
                }
                None => Err(ControlError::Unavailable),
            };
            match joined {
                Ok(joined) => return Ok(joined),
                // It is the same when it is done twice.
                Err(ControlError::Unknown) => {
                    self.rest(ControlError::Unavailable, deadline).await?
                }
                Err(error) => self.rest(error, deadline).await?,
            }
        }
    }

    /// The leader's side of a join. Consensus itself learns of the node from the members' table.
    async fn admit(&self, about: MemberJoin, deadline: Deadline) -> Result<Joined, ControlError> {
        self.read_point_here(deadline).await?;
        let view = self.view();
        let cluster = view.cluster().ok_or(ControlError::Unavailable)?;
        let former = view
            .members()
            .present()
            .find(|(node, _)| *node == about.node);
        let command = match former {
            Some((_, record)) if record.boot != about.boot => Command::MemberStart(MemberStart {
                replaces: record.boot,
                about,
            }),
            _ => Command::MemberJoin(about),
        };
        let outcomes = self.propose_here(vec![command], deadline).await?;
        let outcome = outcomes.into_iter().next().ok_or(ControlError::Unknown)?;
        self.inner.look_at_voters.notify_one();
        Ok(Joined {
            cluster,
            outcome,
            index: self.applied_index(),
        })
    }

    async fn propose_there(
        &self,
        leader: NodeId,
        commands: &[Command],
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, ControlError> {
        let payload = rmp_serde::to_vec(commands).map_err(|_| ControlError::TooLarge)?;
        if payload.len() > CALL_BYTES_MAX {
            return Err(ControlError::TooLarge);
        }
        match self
            .ask(leader, Ask::Propose, payload.into(), deadline)
            .await
        {
            Ok((Reply::Outcomes, payload)) => {
                rmp_serde::from_slice(&payload).map_err(|_| ControlError::Unknown)
            }
            other => Err(failure(other)),
        }
    }

    async fn ask(
        &self,
        leader: NodeId,
        ask: Ask,
        payload: Bytes,
        deadline: Deadline,
    ) -> Result<(Reply, Bytes), ControlError> {
        let left = self.clock().remaining(deadline).as_millis();
        let head = ForwardHead {
            ask,
            within_ms: u64::try_from(left).unwrap_or(u64::MAX),
        };
        let parcel = Parcel::new(Kind::Forward, &head, payload);
        let parcel = parcel.map_err(|_| ControlError::TooLarge)?;
        let answer = tokio::select! {
            biased;
            answer = self.callers().call(leader, parcel, deadline) => answer,
            // A leader that died would be waited for until the deadline.
            () = self.abandoned(leader) => return Err(ControlError::Unknown),
        };
        let answer = answer.map_err(|error| match error {
            PeerError::Busy { .. } => ControlError::Busy,
            PeerError::Unreachable { .. } | PeerError::Refused { .. } => ControlError::Unavailable,
            PeerError::Deadline { .. } | PeerError::Lost { .. } | PeerError::Protocol { .. } => {
                ControlError::Unknown
            }
        })?;
        let reply = answer.header().map_err(|_| ControlError::Unknown)?;
        Ok((reply, answer.payload))
    }

    /// Waits until another node leads, or nobody, and the one that did is late with its answer. For ever for one that is not
    /// known to lead now.
    async fn abandoned(&self, leader: NodeId) {
        let mut news = self.inner.raft.server_metrics();
        let leads = |now: Option<RaftId>| now.is_some_and(|now| now.node == leader);
        let is_known = leads(news.borrow().current_leader);
        let over = news.wait_for(|server| !leads(server.current_leader));
        if !is_known || over.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LATE).await;
    }

    /// Waits a little before the next try, unless that is of no use.
    async fn rest(&self, failed: ControlError, deadline: Deadline) -> Result<(), ControlError> {
        let is_hopeful = matches!(
            failed,
            ControlError::NotLeader { .. }
                | ControlError::Unavailable
                | ControlError::Busy
                | ControlError::Deadline
        );
        if let Some(error) = self.stopped() {
            return Err(error);
        }
        let left = self.clock().remaining(deadline);
        if !is_hopeful || left.is_zero() {
            return Err(failed);
        }
        // A new leader is heard of at once.
        let mut news = self.inner.raft.server_metrics();
        let _ = tokio::time::timeout(REST.min(left), news.changed()).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    /// Answers another node's question for the leader.
    pub(super) async fn answer_forward(
        &self,
        peer: NodeId,
        parcel: Parcel,
    ) -> Result<Parcel, Refused> {
        let head: ForwardHead = parcel.header().map_err(|error| unreadable(&error))?;
        let within_ms = head.within_ms.saturating_sub(WAY_BACK_MS);
        let deadline = self.clock().deadline(Duration::from_millis(within_ms));
        let (reply, payload) = match head.ask {
            Ask::Propose => match rmp_serde::from_slice(&parcel.payload) {
                Ok(commands) => match self.propose_here(commands, deadline).await {
                    Ok(outcomes) => match rmp_serde::to_vec(&outcomes) {
                        Ok(outcomes) => (Reply::Outcomes, outcomes.into()),
                        Err(_) => (Reply::Failed(ControlError::Unknown), Bytes::new()),
                    },
                    Err(error) => (Reply::Failed(error), Bytes::new()),
                },
                Err(_) => (Reply::Failed(ControlError::TooLarge), Bytes::new()),
            },
            Ask::ReadPoint => {
                let index = self.read_point_here(deadline).await;
                (
                    index.map_or_else(Reply::Failed, Reply::ReadPoint),
                    Bytes::new(),
                )
            }
            Ask::Join {
                about,
                is_passed_on,
            } => {
                let joined = self.pass_join(peer, *about, is_passed_on, deadline).await;
                let joined = joined.map(Box::new);
                (
                    joined.map_or_else(Reply::Failed, Reply::Joined),
                    Bytes::new(),
                )
            }
        };
        answer(&reply, payload)
    }

    /// A newcomer knows no leader, so whom it asked asks for it.
    async fn pass_join(
        &self,
        peer: NodeId,
        about: MemberJoin,
        is_passed_on: bool,
        deadline: Deadline,
    ) -> Result<Joined, ControlError> {
        // Nobody joins for another; who passes a join on has looked at the certificate.
        if !is_passed_on && about.node != peer {
            return Err(ControlError::NotLeader { leader: None });
        }
        match self.leader() {
            Some(leader) if leader == self.node() => self.admit(about, deadline).await,
            Some(leader) if !is_passed_on => {
                let ask = Ask::Join {
                    about: Box::new(about),
                    is_passed_on: true,
                };
                match self.ask(leader, ask, Bytes::new(), deadline).await {
                    Ok((Reply::Joined(joined), _)) => Ok(*joined),
                    other => Err(failure(other)),
                }
            }
            leader => Err(ControlError::NotLeader { leader }),
        }
    }
}

/// Why an answer is not the one that was hoped for.
fn failure(answer: Result<(Reply, Bytes), ControlError>) -> ControlError {
    match answer {
        // What stopped there stopped nothing here; and it may have been done.
        Ok((Reply::Failed(ControlError::Fatal { .. }), _)) => ControlError::Unknown,
        Ok((Reply::Failed(error), _)) | Err(error) => error,
        Ok(_) => ControlError::Unknown,
    }
}
