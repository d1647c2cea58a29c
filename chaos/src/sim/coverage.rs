//! What a run exercised, in numbers: a fault that hit nothing is a failure of the run, not a success of the cluster.
//!
//! Responsible for counting and for what a batch must have seen. It must never know how a fault is made.

use std::collections::BTreeMap;

use serde::Serialize;

/// Something that a batch of runs must have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Messages were lost by their link.
    Loss,
    /// Messages overtook older ones of their link.
    Reorder,
    /// Messages came twice.
    Duplicate,
    /// Links took rare long ways.
    Tail,
    /// A process stood still while its clock went on.
    Pause,
    /// A process stood still in the middle of a question.
    Stall,
    /// A process ended and began again with its disk.
    Crash,
    /// A machine ended and began again with its disk, and with another clock.
    Reboot,
    /// A machine lost its disk and came back as another node.
    DiskLost,
    /// One direction between two places was cut.
    OneWay,
    /// Two halves saw each other only through one node.
    Bridge,
    /// Two groups did not see each other.
    Partition,
    /// The leader saw nobody.
    LeaderIsolated,
    /// A node joined.
    Join,
    /// A node was drained.
    Drain,
    /// A drained node was taken back.
    Undrain,
    /// A drained node left.
    Leave,
    /// A shard alone began a new life.
    ShardRestart,
    /// Plans followed each other faster than slots move.
    Storm,
    /// Clocks ran at different rates.
    Drift,
    /// A member became owner because the one before was lost.
    Promotion,
    /// A slot changed hands by plan.
    HandOver,
    /// A joiner became a member.
    JoinDone,
    /// A member was removed by its owner.
    Removal,
    /// A client was sent elsewhere.
    Moved,
    /// A write's outcome stayed unknown.
    UnknownWrite,
    /// A read waited for a write.
    ParkedRead,
    /// A compare-and-set found something else.
    Conflict,
    /// An entry's time was over.
    Expiry,
    /// Another leader than before.
    LeaderChange,
    /// A node was said to be down.
    NodeDown,
    /// A node that was down came back in the same life.
    Comeback,
}

impl Seen {
    /// Faults; the rest are what faults and plans lead to.
    pub const FAULTS: [Self; 20] = [
        Self::Loss,
        Self::Reorder,
        Self::Duplicate,
        Self::Tail,
        Self::Pause,
        Self::Stall,
        Self::Crash,
        Self::Reboot,
        Self::DiskLost,
        Self::OneWay,
        Self::Bridge,
        Self::Partition,
        Self::LeaderIsolated,
        Self::Join,
        Self::Drain,
        Self::Undrain,
        Self::Leave,
        Self::ShardRestart,
        Self::Storm,
        Self::Drift,
    ];
    /// What faults and plans lead to.
    pub const EVENTS: [Self; 12] = [
        Self::Promotion,
        Self::HandOver,
        Self::JoinDone,
        Self::Removal,
        Self::Moved,
        Self::UnknownWrite,
        Self::ParkedRead,
        Self::Conflict,
        Self::Expiry,
        Self::LeaderChange,
        Self::NodeDown,
        Self::Comeback,
    ];
}

/// Counts of what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage(BTreeMap<Seen, u64>);

impl Coverage {
    /// Once more.
    pub fn note(&mut self, seen: Seen) {
        self.add(seen, 1);
    }

    /// So many times more.
    pub fn add(&mut self, seen: Seen, times: u64) {
        if times > 0 {
            *self.0.entry(seen).or_default() += times;
        }
    }

    /// Adds what another run saw.
    pub fn merge(&mut self, other: &Self) {
        for (seen, times) in &other.0 {
            self.add(*seen, *times);
        }
    }

    /// How often.
    #[must_use]
    pub fn count(&self, seen: Seen) -> u64 {
        self.0.get(&seen).copied().unwrap_or(0)
    }

    /// Everything that was seen, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Seen, u64)> {
        self.0.iter().map(|(seen, times)| (*seen, *times))
    }

    /// Kinds of faults that hit something.
    #[must_use]
    pub fn faults(&self) -> usize {
        let faults = Seen::FAULTS.iter();
        faults.filter(|seen| self.count(**seen) > 0).count()
    }

    /// What was never seen.
    #[must_use]
    pub fn missing(&self) -> Vec<Seen> {
        let all = Seen::FAULTS.iter().chain(&Seen::EVENTS).copied();
        all.filter(|seen| self.count(*seen) == 0).collect()
    }
}
