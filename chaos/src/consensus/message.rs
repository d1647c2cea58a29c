//! The words of the simulated consensus: what goes in, what comes out, what is said and what is written down.
//!
//! Responsible for data only. It must never decide anything.

use std::collections::BTreeSet;

use crate::network::Place;

/// Periods of the consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between heartbeats of a leader.
    pub heartbeat_us: u64,
    /// The least draw of an election's delay.
    pub election_us_min: u64,
    /// The largest draw; followers wait this long before the draw even begins.
    pub election_us_max: u64,
    /// How long a voter votes for nobody after it heard a leader, or led.
    pub promise_us: u64,
    /// Whether a voter does so after a start too. Off only to show what then goes wrong.
    pub promise_after_restart: bool,
    /// A leader that no majority answered for this long steps down; `None`: it never does.
    pub quorum_loss_us: Option<u64>,
    /// Committed commands reach the node's own state up to this late.
    pub apply_lag_us_max: u64,
}

impl Timing {
    /// Heartbeats every 60 ms, elections after 200 to 400 ms more, a promise of nine tenths of the latter: the shortest
    /// that keeps the word given with tenures, so the hardest one to be judged by.
    #[must_use]
    pub const fn standard() -> Self {
        Self {
            heartbeat_us: 60_000,
            election_us_min: 200_000,
            election_us_max: 400_000,
            promise_us: 360_000,
            promise_after_restart: true,
            quorum_loss_us: Some(400_000),
            apply_lag_us_max: 2_000,
        }
    }
}

/// Who takes part; fixed for a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// Those whose votes and answers count.
    pub voters: BTreeSet<Place>,
    /// Those who only follow.
    pub learners: BTreeSet<Place>,
}

impl Membership {
    /// `count` voters, from place 0 on, and nobody else.
    #[must_use]
    pub fn voters(count: u8) -> Self {
        Self {
            voters: (0..count).collect(),
            learners: BTreeSet::new(),
        }
    }

    pub(super) fn role_at_rest(&self, place: Place) -> Role {
        if self.voters.contains(&place) {
            Role::Follower
        } else {
            Role::Learner
        }
    }

    pub(super) fn others(&self, place: Place) -> impl Iterator<Item = Place> {
        self.voters
            .union(&self.learners)
            .copied()
            .filter(move |other| *other != place)
    }
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Follows, and never votes.
    Learner,
    /// Follows, and votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads its term, or did until others chose anew.
    Leader,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<C> {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// The command; `None` in the entry by which a leader begins its term.
    pub command: Option<C>,
}

/// What a member has written down, and what it was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persisted<C> {
    pub(super) place: Place,
    pub(super) membership: Membership,
    pub(super) timing: Timing,
    pub(super) term: u64,
    pub(super) voted_for: Option<Place>,
    pub(super) log: Vec<Entry<C>>,
}

impl<C> Persisted<C> {
    /// The commands of its log after an index, committed or not, with their indices.
    #[must_use]
    pub fn commands_after(&self, index: u64) -> Vec<(u64, &C)> {
        let skipped = usize::try_from(index).unwrap_or(usize::MAX);
        let entries = (index + 1..).zip(self.log.iter().skip(skipped));
        let commands = entries.map(|(index, entry)| entry.command.as_ref().map(|it| (index, it)));
        commands.flatten().collect()
    }
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<C> {
    /// A message of another member.
    Message(Place, ConsensusMsg<C>),
    /// Time has passed.
    Tick,
    /// Somebody here wants a command committed; the ticket names the wish.
    Propose(C, u64),
    /// Somebody here wants to know whether this member leads *now*; the ticket names the question.
    ConfirmLeadership(u64),
}

/// What a member says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<C> {
    /// To another member.
    Send(Place, ConsensusMsg<C>),
    /// The next committed command, in the order of their indices; indices of leaders' own entries are skipped.
    Committed {
        /// Its index.
        index: u64,
        /// The command.
        command: C,
    },
    /// A proposal is committed and applied here at this index. `None`: that is not known; if this member did not lead when
    /// asked it never will be, else it may still be.
    Proposed(u64, Option<u64>),
    /// This member led at this moment of its own time or later, a majority keeps its promise from then on, and all that was
    /// committed by then is applied here. `None`: no such proof.
    LeadershipConfirmed(u64, Option<u64>),
    /// It is something else now.
    RoleChanged(Role),
}

/// What members say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsensusMsg<C> {
    /// A candidate asks.
    RequestVote(VoteRequest),
    /// A voter answers.
    Vote {
        /// The voter's term.
        term: u64,
        /// Whether the vote is the candidate's, in that term.
        granted: bool,
    },
    /// A leader's heartbeat, with entries or without.
    Append(Append<C>),
    /// The answer to it.
    Appended(Appended),
}

/// What a candidate says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteRequest {
    /// Its term.
    pub term: u64,
    /// Where its log ends.
    pub last_index: u64,
    /// The term of the entry there.
    pub last_term: u64,
}

/// What a leader sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append<C> {
    /// Its term.
    pub term: u64,
    /// The entry before those sent.
    pub prev_index: u64,
    /// The term of that.
    pub prev_term: u64,
    /// The entries after it.
    pub entries: Vec<Entry<C>>,
    /// What the leader knows committed.
    pub commit: u64,
    /// When it was sent, by the leader's own time; only handed back.
    pub sent_us: u64,
}

/// What a follower answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its term.
    pub term: u64,
    /// Up to where its log is the leader's; `None` if the entry before those sent is not there.
    pub matched: Option<u64>,
    /// In that case: up to where it may be.
    pub hint: u64,
    /// As received.
    pub sent_us: u64,
}
