//! What prefetching did, as operators see it. Plain values; it must never hold anything that lives.

use ultrakv_cache::prefetch::{BySource, Prefetcher, Source, Tally};

/// What one source did and may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct SourceReport {
    /// Blocks asked for.
    pub asked_blocks: u64,
    /// Blocks that came and were stored.
    pub stored_blocks: u64,
    /// Bytes of those.
    pub stored_bytes: u64,
    /// Blocks that came and were here already.
    pub known_blocks: u64,
    /// Blocks that did not come, or found no room.
    pub failed_blocks: u64,
    /// Blocks that were here before a request asked for them.
    pub timely_blocks: u64,
    /// Blocks that a request asked for while they were on their way.
    pub late_blocks: u64,
    /// Blocks that went unused, to make room.
    pub evicted_blocks: u64,
    /// Blocks that nobody asked for in the time given.
    pub lapsed_blocks: u64,
    /// Blocks pushed out while this source's lay unused, and asked for again.
    pub polluted_blocks: u64,
    /// Blocks that were cheaper to compute than to fetch.
    pub declined_blocks: u64,
    /// Blocks that found no room in a budget, or were held back by the throttle.
    pub held_back_blocks: u64,
    /// Bytes that came for nothing.
    pub wasted_bytes: u64,
    /// Used for each whose fate is known.
    pub accuracy_ratio: f64,
    /// Of the blocks that were elsewhere when needed, how many it had fetched.
    pub coverage_ratio: f64,
    /// Here in time for each used.
    pub timeliness_ratio: f64,
    /// Bytes on their way or lying here unused.
    pub at_risk_bytes: u64,
    /// Bytes that may be; 0 when the source is closed and only probed.
    pub allowance_bytes: u64,
}

/// What prefetching did on this node since its actor's present life began.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct PrefetchReport {
    /// Blocks of requests that had come.
    pub arrival: SourceReport,
    /// Blocks that follow what was read.
    pub read_ahead: SourceReport,
    /// Blocks of conversations that were likely to go on.
    pub session: SourceReport,
    /// Blocks that requests asked for, that were elsewhere, and that nobody had fetched ahead.
    pub missed_blocks: u64,
    /// Bytes on their way here.
    pub in_flight_bytes: u64,
    /// Words to the actor that found no room.
    pub unheard_total: u64,
}

impl PrefetchReport {
    pub(crate) fn of(prefetcher: &Prefetcher, unheard_total: u64) -> Self {
        let BySource {
            arrival,
            read_ahead,
            session,
        } = BySource::make(|source| source_report(prefetcher, source));
        Self {
            arrival,
            read_ahead,
            session,
            missed_blocks: prefetcher.figures().missed_blocks,
            in_flight_bytes: prefetcher.in_flight_bytes(),
            unheard_total,
        }
    }

    /// That of one source.
    #[must_use]
    pub const fn of_source(&self, source: Source) -> &SourceReport {
        match source {
            Source::Arrival => &self.arrival,
            Source::ReadAhead => &self.read_ahead,
            Source::Session => &self.session,
        }
    }
}

fn source_report(prefetcher: &Prefetcher, source: Source) -> SourceReport {
    let figures = prefetcher.figures();
    let tally = figures.by_source.of(source);
    let Tally {
        asked_blocks,
        stored_blocks,
        stored_bytes,
        known_blocks,
        failed_blocks,
        timely_blocks,
        late_blocks,
        evicted_blocks,
        lapsed_blocks,
        purged_blocks: _,
        wasted_bytes,
        polluted_blocks,
        declined_blocks,
        held_back_blocks,
    } = *tally;
    SourceReport {
        asked_blocks,
        stored_blocks,
        stored_bytes,
        known_blocks,
        failed_blocks,
        timely_blocks,
        late_blocks,
        evicted_blocks,
        lapsed_blocks,
        polluted_blocks,
        declined_blocks,
        held_back_blocks,
        wasted_bytes,
        accuracy_ratio: tally.accuracy(),
        coverage_ratio: figures.coverage(source),
        timeliness_ratio: tally.timeliness(),
        at_risk_bytes: prefetcher.at_risk_bytes(source),
        allowance_bytes: prefetcher.allowance_bytes(source),
    }
}
