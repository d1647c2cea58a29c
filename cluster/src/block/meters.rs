//! The names of this module's metrics. It must never decide anything.

use metrics::{counter, gauge};

/// Counter: blocks that came from other nodes.
pub(super) const FETCHED: &str = "ultrakv_remote_blocks_fetched_total";
/// Counter: blocks that the directory listed elsewhere and nobody gave.
pub(super) const MISSED: &str = "ultrakv_remote_blocks_missed_total";
/// Counter: blocks whose checksum was wrong on arrival.
pub(super) const CORRUPT: &str = "ultrakv_remote_blocks_corrupt_total";
/// Counter: second holders asked since the first was slow.
pub(super) const HEDGED: &str = "ultrakv_remote_reads_hedged_total";
/// Counter: reads that waited for another caller's.
pub(super) const SHARED: &str = "ultrakv_remote_reads_shared_total";
/// Counter: blocks copied here at their second fetch.
pub(super) const COPIED: &str = "ultrakv_remote_blocks_copied_total";
/// Counter: records of the directory found wrong.
pub(super) const CORRECTIONS: &str = "ultrakv_directory_corrections_total";
/// Counter: changes that the directory was not told of, for want of room.
pub(super) const REPORTS_DROPPED: &str = "ultrakv_directory_reports_dropped_total";
/// Counter: inventories begun.
pub(super) const INVENTORIES: &str = "ultrakv_directory_inventories_total";
/// Counter: batches that were not known to be agreed on.
pub(super) const BATCHES_FAILED: &str = "ultrakv_directory_batches_failed_total";
/// Counter: blocks stored here since no target took them.
pub(super) const STRAYED: &str = "ultrakv_blocks_stored_off_target_total";
/// Counter: blocks that repair and moves copied to other nodes.
pub(super) const MOVED: &str = "ultrakv_blocks_moved_total";
/// Counter: bytes of those.
pub(super) const MOVED_BYTES: &str = "ultrakv_blocks_moved_bytes_total";
/// Counter: requests of peers refused.
pub(super) const REFUSED: &str = "ultrakv_peer_block_requests_refused_total";
/// Gauge: blocks of this node that the round under way has still to look at.
pub(super) const MOVE_LEFT: &str = "ultrakv_blocks_move_left";

/// Counts.
pub(super) fn count(name: &'static str, by: u64) {
    if by > 0 {
        counter!(name).increment(by);
    }
}

/// Shows a level.
pub(super) fn show(name: &'static str, level: u64) {
    gauge!(name).set(u32::try_from(level).map_or(f64::from(u32::MAX), f64::from));
}
