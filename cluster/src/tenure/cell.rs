//! Until when this node may serve as owner: written by who asks for tenures, read on the path of every entry. It must
//! never know who grants.

use std::sync::atomic::{AtomicU64, Ordering};

use ultrakv_actors::Clock;

/// The end of this node's tenure.
#[derive(Debug)]
pub struct TenureCell {
    clock: Clock,
    /// In µs of CLOCK_BOOTTIME; 0 when nothing was granted.
    until_us: AtomicU64,
}

impl TenureCell {
    /// Without a tenure.
    #[must_use]
    pub const fn new(clock: Clock) -> Self {
        Self {
            clock,
            until_us: AtomicU64::new(0),
        }
    }

    /// Whether the node may serve at this moment. Ask after what is served was read, never before: the time is read
    /// inside, after the end of the tenure.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let until_us = self.until_us.load(Ordering::SeqCst);
        self.clock.boot_us() < until_us
    }

    /// The end of the tenure, in µs of CLOCK_BOOTTIME; none when none was granted.
    #[must_use]
    pub fn until_us(&self) -> Option<u64> {
        Some(self.until_us.load(Ordering::SeqCst)).filter(|until_us| *until_us > 0)
    }

    /// Extends the tenure; an earlier end than the present one is ignored.
    pub fn extend(&self, until_us: u64) {
        self.until_us.fetch_max(until_us, Ordering::SeqCst);
    }

    /// Gives the tenure back: the node stops serving at once.
    pub fn end(&self) {
        self.until_us.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_tenure_ends_by_itself() {
        let clock = Clock::manual();
        let cell = TenureCell::new(clock.clone());
        assert!(!cell.is_held());
        cell.extend(5_000);
        cell.extend(3_000);
        assert!(cell.is_held() && cell.until_us() == Some(5_000));
        clock.advance(Duration::from_millis(5));
        assert!(!cell.is_held());
        cell.extend(9_000);
        assert!(cell.is_held());
        cell.end();
        assert!(!cell.is_held() && cell.until_us().is_none());
    }
}
