//! What a frame is for. It must never know the header that belongs to a kind.

/// What a frame is for, and so which header it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The first frame of a connection that stays open for many requests.
    Hello,
    /// Raft: entries and heartbeats.
    RaftAppend,
    /// Raft: a candidate asks for a vote.
    RaftVote,
    /// Raft: a piece of a snapshot.
    RaftSnapshot,
    /// A question for the leader of the cluster: commands to agree on, a read point, a join.
    Forward,
    /// Block bytes are asked for.
    BlockRead,
    /// Block bytes are brought.
    BlockWrite,
    /// The answer to a request.
    Answer,
    /// The request was understood and is refused.
    Refusal,
    /// A node asks the leader for a tenure.
    Tenure,
    /// Questions about entries, for a slot's owner.
    Entry,
    /// Replicas of slots speak with each other; needs no answer.
    EntryNote,
    /// Questions about blocks that move no block bytes.
    BlockAsk,
    /// A stream that carries the mesh of actors.
    Mesh,
}

impl Kind {
    /// Every kind, in order of its number.
    pub const ALL: [Self; 14] = [
        Self::Hello,
        Self::RaftAppend,
        Self::RaftVote,
        Self::RaftSnapshot,
        Self::Forward,
        Self::BlockRead,
        Self::BlockWrite,
        Self::Answer,
        Self::Refusal,
        Self::Tenure,
        Self::Entry,
        Self::EntryNote,
        Self::BlockAsk,
        Self::Mesh,
    ];

    /// The number on the wire; a number once given is never given to another kind.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Hello => 1,
            Self::RaftAppend => 2,
            Self::RaftVote => 3,
            Self::RaftSnapshot => 4,
            Self::Forward => 5,
            Self::BlockRead => 6,
            Self::BlockWrite => 7,
            Self::Answer => 8,
            Self::Refusal => 9,
            Self::Tenure => 10,
            Self::Entry => 11,
            Self::EntryNote => 12,
            Self::BlockAsk => 13,
            Self::Mesh => 14,
        }
    }

    /// The kind of a number, if this build knows it.
    #[must_use]
    pub fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}
