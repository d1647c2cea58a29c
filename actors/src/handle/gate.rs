//! The gate before a shard's mailbox: permits for requests and for payload bytes in flight.
//!
//! ractor's mailboxes have no limit, so the limit is here: a caller without a permit is told `Busy`
//! at once and nothing is queued. It must never know what the requests ask for.

use std::sync::Arc;

use metrics::{Counter, counter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::RequestError;
use crate::plan::GateLimits;
use crate::telemetry;

/// The grain of the byte permits, so that a semaphore's 32-bit count spans 4 TiB.
const GRAIN_BYTES: u64 = 1024;

/// Orders of operators and of the node itself that may be in flight at one shard, beside requests:
/// they must get in when clients fill the gate, and must not pile up at a shard that is stuck.
const ORDERS_IN_FLIGHT_MAX: usize = 64;

/// What other nodes' guests may have in flight at one shard: a window of writes of some hundred slots.
const NOTES_MAX: GateLimits = GateLimits {
    requests_in_flight_max: 4_096,
    payload_in_flight_bytes_max: 64 << 20,
};

/// A shard's gate.
#[derive(Debug)]
pub(crate) struct Gate {
    requests: Arc<Semaphore>,
    requests_max: usize,
    grains: Arc<Semaphore>,
    grains_max: usize,
    orders: Arc<Semaphore>,
    busy: Busy,
}

/// The counter of callers turned away.
struct Busy(Counter);

/// The right to have one request in flight; gives it back when its last clone is dropped.
///
/// One clone stays with the caller and one travels with the message, so that a caller who gives up
/// does not make room while its message still waits.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    _held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    _entry: OwnedSemaphorePermit,
    _grains: Option<OwnedSemaphorePermit>,
}

impl Gate {
    /// The gate of clients' requests.
    pub(crate) fn new(shard: usize, limits: &GateLimits) -> Self {
        let busy = counter!(telemetry::BUSY, "shard" => shard.to_string());
        Self::counting(busy, limits)
    }

    /// The gate of what other nodes' guests say.
    pub(crate) fn of_notes(shard: usize) -> Self {
        let lost = counter!(telemetry::NOTES_LOST, "shard" => shard.to_string());
        Self::counting(lost, &NOTES_MAX)
    }

    fn counting(busy: Counter, limits: &GateLimits) -> Self {
        let grains = limits.payload_in_flight_bytes_max.div_ceil(GRAIN_BYTES);
        let grains_max = usize::try_from(grains)
            .unwrap_or(usize::MAX)
            .clamp(1, Semaphore::MAX_PERMITS);
        let requests_max = limits
            .requests_in_flight_max
            .clamp(1, Semaphore::MAX_PERMITS);
        Self {
            requests: Arc::new(Semaphore::new(requests_max)),
            requests_max,
            grains: Arc::new(Semaphore::new(grains_max)),
            grains_max,
            orders: Arc::new(Semaphore::new(ORDERS_IN_FLIGHT_MAX)),
            busy: Busy(busy),
        }
    }

    /// A permit for a request without payload.
    pub(crate) fn enter(&self) -> Result<Permit, RequestError> {
        let entry = self.take(&self.requests, 1)?;
        Ok(Permit::new(entry, None))
    }

    /// A permit for a request that carries this payload. A payload larger than the limit counts as
    /// the limit, so that it enters alone rather than never.
    pub(crate) fn enter_with(&self, payload_bytes: u64) -> Result<Permit, RequestError> {
        let entry = self.take(&self.requests, 1)?;
        let grains = usize::try_from(payload_bytes.div_ceil(GRAIN_BYTES)).unwrap_or(usize::MAX);
        let grains = u32::try_from(grains.min(self.grains_max)).unwrap_or(u32::MAX);
        let grains = self.take(&self.grains, grains)?;
        Ok(Permit::new(entry, Some(grains)))
    }

    /// A permit for an order, which does not compete with requests.
    pub(crate) fn order(&self) -> Result<Permit, RequestError> {
        let entry = self.take(&self.orders, 1)?;
        Ok(Permit::new(entry, None))
    }

    fn take(
        &self,
        from: &Arc<Semaphore>,
        permits: u32,
    ) -> Result<OwnedSemaphorePermit, RequestError> {
        let taken = Arc::clone(from).try_acquire_many_owned(permits);
        taken.map_err(|_| {
            self.busy.0.increment(1);
            RequestError::Busy
        })
    }

    /// Requests in flight.
    pub(crate) fn used(&self) -> usize {
        self.requests_max
            .saturating_sub(self.requests.available_permits())
    }

    /// Payload bytes in flight, to the grain.
    #[cfg(test)]
    pub(crate) fn grains_used(&self) -> usize {
        self.grains_max - self.grains.available_permits()
    }
}

impl Permit {
    fn new(entry: OwnedSemaphorePermit, grains: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            _held: Arc::new(Held {
                _entry: entry,
                _grains: grains,
            }),
        }
    }
}

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Busy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(requests_in_flight_max: usize, payload_in_flight_bytes_max: u64) -> Gate {
        let limits = GateLimits {
            requests_in_flight_max,
            payload_in_flight_bytes_max,
        };
        Gate::new(0, &limits)
    }

    #[test]
    fn the_request_over_the_limit_is_turned_away_until_another_leaves() {
        let gate = gate(2, 1 << 20);
        let (one, _two) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!(gate.enter().unwrap_err(), RequestError::Busy);
        assert_eq!(gate.used(), 2);
        drop(one);
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn payload_counts_in_bytes_and_a_refused_request_leaves_nothing_behind() {
        let gate = gate(10, 4096);
        let _half = gate.enter_with(2048).unwrap();
        assert_eq!(gate.enter_with(4096).unwrap_err(), RequestError::Busy);
        assert_eq!(gate.used(), 1);
        let _rest = gate.enter_with(2048).unwrap();
        assert_eq!(gate.grains_used(), 4);
    }

    #[test]
    fn a_payload_above_the_limit_enters_alone() {
        let gate = gate(10, 4096);
        let alone = gate.enter_with(1 << 40).unwrap();
        assert_eq!(gate.enter_with(1).unwrap_err(), RequestError::Busy);
        drop(alone);
        assert!(gate.enter_with(1).is_ok());
    }

    #[test]
    fn a_permit_is_held_until_its_last_clone_is_gone() {
        let gate = gate(1, 4096);
        let with_caller = gate.enter().unwrap();
        let with_message = with_caller.clone();
        drop(with_caller);
        assert_eq!(gate.enter().unwrap_err(), RequestError::Busy);
        drop(with_message);
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn orders_get_in_when_requests_fill_the_gate_and_have_a_limit_of_their_own() {
        let gate = gate(1, 4096);
        let _request = gate.enter().unwrap();
        let orders: Vec<_> = (0..ORDERS_IN_FLIGHT_MAX).map(|_| gate.order()).collect();
        assert!(orders.iter().all(Result::is_ok));
        assert_eq!(gate.order().unwrap_err(), RequestError::Busy);
    }
}
