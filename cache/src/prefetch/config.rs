//! Responsible for what a prefetcher is told before it begins. It must never know where the values come from.

/// Share of the bytes in flight that reading ahead may take: a request that waits comes first.
const READ_AHEAD_SHARE: u64 = 2;

/// Share of the bytes in flight that sessions may take: a fifth, so that a wrong guess never delays others by much.
const SESSION_SHARE: u64 = 5;

/// Limits of a prefetcher, and which of its sources are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefetchConfig {
    /// Whether chains of requests that have come are fetched.
    pub arrival: bool,
    /// Blocks read ahead of a chain that is being read, at most; 0 for none.
    pub read_ahead_blocks_max: u32,
    /// Whether conversations are fetched ahead of their next turn.
    pub session: bool,
    /// Bytes on their way here at once, of all sources.
    pub in_flight_bytes_max: u64,
    /// Bytes that one source may have on their way or lying here unused: what can turn out to be wasted.
    pub at_risk_bytes_max: u64,
    /// Milliseconds for which a block that was fetched ahead is given the chance to be used.
    pub hold_ms: u64,
    /// Where chance begins.
    pub seed: u64,
}

impl PrefetchConfig {
    /// All sources on, for a cache of so many bytes: an eighth of them may be at risk for each source, and an eighth of
    /// that on its way at once.
    pub const fn of_bytes(local_bytes_max: u64) -> Self {
        Self {
            arrival: true,
            read_ahead_blocks_max: 16,
            session: true,
            in_flight_bytes_max: local_bytes_max / 64,
            at_risk_bytes_max: local_bytes_max / 8,
            hold_ms: 180_000,
            seed: 0,
        }
    }

    /// Bytes on their way at once, with those of this source added last.
    pub(super) const fn in_flight_bytes_max_of(&self, source: super::Source) -> u64 {
        match source {
            super::Source::Arrival => self.in_flight_bytes_max,
            super::Source::ReadAhead => self.in_flight_bytes_max / READ_AHEAD_SHARE,
            super::Source::Session => self.in_flight_bytes_max / SESSION_SHARE,
        }
    }
}
