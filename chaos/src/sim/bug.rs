//! Bugs that are planted on purpose: a simulator that does not see them proves nothing about a cluster without them.
//!
//! Responsible for their names, for what each breaks, and for the seeds that are known to see it. It must never know how a
//! run is judged.

use serde::Serialize;
use ultrakv_cluster::Incarnation;
#[cfg(any(test, feature = "sabotage"))]
use ultrakv_cluster::entry::Sabotage;
use ultrakv_cluster::entry::{Replica, Timing};

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bug {
    /// Replicas take messages of lower epochs, and owners questions of them.
    EpochUnchecked,
    /// The owner answers before all members in sync have the write.
    AnswerEarly,
    /// The tenure is asked before the value is read.
    TenureFirst,
    /// A restarted node takes itself for the life it had before.
    BootForgotten,
    /// The leader grants tenures without asking anybody whether it still leads.
    GrantUnconfirmed,
    /// The leader grants tenures to nodes that have not heard of their own coming up.
    GrantUnheard,
    /// A restarted voter votes though it promised not to.
    PromiseForgotten,
    /// The leader says that a node is down while its tenure may last.
    DownEarly,
    /// The only member of a slot is taken away while it is merely silent, and the slot is given out anew.
    SoleClaimed,
}

impl Bug {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::EpochUnchecked,
        Self::AnswerEarly,
        Self::TenureFirst,
        Self::BootForgotten,
        Self::GrantUnconfirmed,
        Self::GrantUnheard,
        Self::PromiseForgotten,
        Self::DownEarly,
        Self::SoleClaimed,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EpochUnchecked => "epoch_unchecked",
            Self::AnswerEarly => "answer_early",
            Self::TenureFirst => "tenure_first",
            Self::BootForgotten => "boot_forgotten",
            Self::GrantUnconfirmed => "grant_unconfirmed",
            Self::GrantUnheard => "grant_unheard",
            Self::PromiseForgotten => "promise_forgotten",
            Self::DownEarly => "down_early",
            Self::SoleClaimed => "sole_claimed",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }

    /// Whether this build can plant it: four of them are in the machines themselves.
    #[must_use]
    pub const fn is_there(self) -> bool {
        let is_in_replica = matches!(
            self,
            Self::EpochUnchecked | Self::AnswerEarly | Self::TenureFirst | Self::BootForgotten
        );
        !is_in_replica || cfg!(any(test, feature = "sabotage"))
    }
}

/// A replica with the bug, if it is one of a replica.
#[cfg(any(test, feature = "sabotage"))]
pub(super) fn replica(shard: Incarnation, bug: Option<Bug>) -> Replica {
    let sabotage = Sabotage {
        epoch_unchecked: bug == Some(Bug::EpochUnchecked),
        answer_early: bug == Some(Bug::AnswerEarly),
        tenure_first: bug == Some(Bug::TenureFirst),
        boot_forgotten: bug == Some(Bug::BootForgotten),
    };
    Replica::sabotaged(shard, Timing::default(), sabotage)
}

/// A replica; this build has no bugs for it.
#[cfg(not(any(test, feature = "sabotage")))]
pub(super) fn replica(shard: Incarnation, _: Option<Bug>) -> Replica {
    Replica::new(shard, Timing::default())
}
