//! What is counted of a shard's replicas. It must never be read to decide something.

use metrics::{Gauge, gauge};

use crate::entry::Why;

/// Counter: changes of slots that replicas asked Raft for, repetitions included. Labels: `why`.
pub(super) const PROPOSALS: &str = "ultrakv_slot_proposals_total";
/// Gauge: replicas that were needed since the shard began. Labels: `shard`.
const REPLICAS: &str = "ultrakv_slot_replicas";
/// Gauge: slots that are being copied into the shard. Labels: `shard`.
const JOINING: &str = "ultrakv_slots_joining";

/// Tells the recorder what the metrics mean.
pub(super) fn describe() {
    metrics::describe_counter!(PROPOSALS, "Changes of slots that replicas asked for");
    metrics::describe_gauge!(REPLICAS, "Replicas of slots in use");
    metrics::describe_gauge!(JOINING, "Slots that are being copied");
}

/// What a change is for, as a label.
pub(super) const fn label(why: Why) -> &'static str {
    match why {
        Why::Remove(_) => "remove",
        Why::Dismiss(_) => "dismiss",
        Why::Add(_) => "add",
        Why::HandOver(_) => "hand_over",
        Why::Renew => "renew",
    }
}

/// One shard's gauges.
pub(super) struct Meters {
    replicas: Gauge,
    joining: Gauge,
}

impl Meters {
    pub(super) fn new(shard: usize) -> Self {
        let shard = shard.to_string();
        Self {
            replicas: gauge!(REPLICAS, "shard" => shard.clone()),
            joining: gauge!(JOINING, "shard" => shard),
        }
    }

    pub(super) fn publish(&self, replicas: usize, joining: usize) {
        let figure = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.replicas.set(figure(replicas));
        self.joining.set(figure(joining));
    }
}
