//! The gate before a shard's mailbox: permits for requests and for payload bytes in flight.
//!
//! ractor's mailboxes have no limit, so the limit is here: a caller without a permit is told `Busy`
//! at once and nothing is queued. It must never know what the requests ask for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::RequestError;
use crate::plan::GateLimits;

/// The grain of the byte permits, so that a semaphore's 32-bit count spans 4 TiB.
const GRAIN_BYTES: u64 = 1024;

/// A shard's gate.
#[derive(Debug)]
pub(crate) struct Gate {
    requests: Arc<Semaphore>,
    requests_max: usize,
    grains: Arc<Semaphore>,
    grains_max: usize,
}

/// The right to have one request in flight; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _request: OwnedSemaphorePermit,
    _grains: Option<OwnedSemaphorePermit>,
}

impl Gate {
    pub(crate) fn new(limits: &GateLimits) -> Self {
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
        }
    }

    /// A permit for a request without payload.
    pub(crate) fn enter(&self) -> Result<Permit, RequestError> {
        let requests = Arc::clone(&self.requests);
        let request = requests
            .try_acquire_owned()
            .map_err(|_| RequestError::Busy)?;
        Ok(Permit {
            _request: request,
            _grains: None,
        })
    }

    /// A permit for a request that carries this payload. A payload larger than the limit counts as
    /// the limit, so that it enters alone rather than never.
    pub(crate) fn enter_with(&self, payload_bytes: u64) -> Result<Permit, RequestError> {
        let mut permit = self.enter()?;
        let grains = usize::try_from(payload_bytes.div_ceil(GRAIN_BYTES)).unwrap_or(usize::MAX);
        let grains = u32::try_from(grains.min(self.grains_max)).unwrap_or(u32::MAX);
        let payload = Arc::clone(&self.grains).try_acquire_many_owned(grains);
        permit._grains = Some(payload.map_err(|_| RequestError::Busy)?);
        Ok(permit)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(requests_in_flight_max: usize, payload_in_flight_bytes_max: u64) -> Gate {
        Gate::new(&GateLimits {
            requests_in_flight_max,
            payload_in_flight_bytes_max,
        })
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
}
