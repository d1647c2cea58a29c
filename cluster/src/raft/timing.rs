//! How long consensus waits for what. It must never read a clock.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// The clockwork of elections and of what watches over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    /// A leader speaks at least about this often, and waits this long for an answer.
    pub heartbeat: Duration,
    /// A follower that hears no leader stands after `election_max` plus a draw between the two.
    pub election_min: Duration,
    /// For this long after it heard its leader a voter refuses its vote. Tenures are nine tenths of it.
    pub election_max: Duration,
    /// A whole snapshot must have been sent and installed within this.
    pub snapshot: Duration,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(60),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            snapshot: Duration::from_secs(600),
        }
    }
}

/// When the log is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRules {
    /// A snapshot is made when this many bytes were logged since the last, or as many as the state has, if that is more.
    pub log_bytes_min: u64,
    /// Log items that stay behind a snapshot, so that a member that lags a little needs none.
    pub keep_logs: u64,
}

impl Default for SnapshotRules {
    fn default() -> Self {
        Self {
            log_bytes_min: 256 << 20,
            keep_logs: 20_000,
        }
    }
}

impl SnapshotRules {
    /// For a log in memory that no other node ever reads.
    #[must_use]
    pub const fn in_memory() -> Self {
        Self {
            log_bytes_min: 16 << 20,
            keep_logs: 16,
        }
    }
}

/// Who votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoterRules {
    /// A voter that was not heard for this long is replaced when a learner has caught up.
    pub dead_after: Duration,
    /// How often the members are looked at.
    pub every: Duration,
    /// A learner that lacks at most this many log items has caught up.
    pub lag_max: u64,
}

impl Default for VoterRules {
    fn default() -> Self {
        Self {
            dead_after: Duration::from_secs(30),
            every: Duration::from_millis(500),
            lag_max: 1_000,
        }
    }
}

/// Log items of one message at most; their bytes are bounded apart.
const ITEMS_MAX: u64 = 256;
/// Log items that are purged together.
const PURGE_ITEMS: u64 = 256;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl RaftTiming {
    /// What the library is told. A member that may have voted in a former life does not stand at once.
    pub(super) fn config(&self, snapshots: SnapshotRules, may_stand: bool) -> Config {
        Config {
            cluster_name: "ultrakv".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(self.snapshot),
            max_payload_entries: ITEMS_MAX,
            // A member that lags by more than what is kept needs a snapshot, so both are the same number.
            replication_lag_threshold: snapshots.keep_logs,
            max_in_snapshot_log_to_keep: snapshots.keep_logs,
            snapshot_policy: SnapshotPolicy::Never,
            purge_batch_size: PURGE_ITEMS.min(snapshots.keep_logs.max(1)),
            enable_elect: may_stand,
            ..Config::default()
        }
    }
}
