//! The limits and times of this module, with the reasons for their defaults. It must never know where they are set.

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// As soon as one copy is stored; the others follow.
    #[default]
    One,
    /// When every wanted copy was tried.
    All,
    /// When one copy is stored and the directory's record of it is agreed on, so that every node finds it.
    Committed,
}

/// Everything that can be set about blocks of many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockOptions {
    /// Copies that a block is stored in, at different nodes.
    pub copies: usize,
    /// Whether a block that was fetched a second time is stored here too.
    pub copy_on_second_hit: bool,
    /// Changes of one shard that wait for their report: about 100 bytes each.
    pub report_waiting_max: usize,
    /// How long a report may wait for company.
    pub report_ms: u64,
    /// Batches of reports on their way at once.
    pub batches_in_flight_max: usize,
    /// How long a holder has before another is asked too, until enough answers were timed.
    pub hedge_ms_default: u64,
    /// Blocks asked for, or brought, in one frame.
    pub frame_blocks_max: usize,
    /// Bytes of blocks in one frame, unless a single block is larger.
    pub frame_bytes_max: u64,
    /// Frames of this node on their way to other nodes at once; together with the bytes of a frame a bound on memory.
    pub reads_in_flight_max: usize,
    /// Requests of one peer that are worked on at once: the others' turn must come too.
    pub peer_requests_max: usize,
    /// The longest time that another node's write may take before the block is stored here instead.
    pub write_ms_max: u64,
    /// How long a node must be down before its blocks are copied again.
    pub repair_after_ms: u64,
    /// Bytes a second that repair and moves may send.
    pub move_bytes_per_s: u64,
    /// Time after which all blocks are looked at again though nothing changed: some were stored off their target while that
    /// was not reached.
    pub move_rescan_ms: u64,
    /// Time between looks at whether something must move.
    pub move_tick_ms: u64,
}

impl Default for BlockOptions {
    /// 16 MiB a frame are some blocks of a large model, and 15 ms on a 10 Gbit/s wire; 64 such frames are a gibibyte.
    fn default() -> Self {
        Self {
            copies: 1,
            copy_on_second_hit: true,
            report_waiting_max: 65_536,
            report_ms: 5,
            batches_in_flight_max: 4,
            hedge_ms_default: 20,
            frame_blocks_max: 64,
            frame_bytes_max: 16 << 20,
            reads_in_flight_max: 64,
            peer_requests_max: 32,
            write_ms_max: 2_000,
            repair_after_ms: 30_000,
            move_bytes_per_s: 64 << 20,
            move_rescan_ms: 600_000,
            move_tick_ms: 500,
        }
    }
}
