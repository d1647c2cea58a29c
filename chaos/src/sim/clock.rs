//! A machine's clock: it began anywhere, runs a little wrong, and goes on while processes stand still.
//!
//! Two clocks differ by a tenth at most, which is what tenures allow for. It must never know what is measured with it.

use ultrakv_cache::Now;

use crate::network::Us;
use crate::rng::Rng;

/// Rates, in millionths of true time: the slowest is nine tenths of the fastest or more.
const RATE_PPM_MIN: u64 = 950_000;
const RATE_PPM_MAX: u64 = 1_050_000;
const PPM: u128 = 1_000_000;

/// One machine's CLOCK_BOOTTIME.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    offset_us: u64,
    rate_ppm: u64,
}

impl Clock {
    /// A clock that somebody built.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let extreme = rng.chance_ppm(400_000);
        let fast = rng.chance_ppm(500_000);
        let any = rng.between(RATE_PPM_MIN, RATE_PPM_MAX);
        Self {
            offset_us: rng.below(1 << 40),
            rate_ppm: match (extreme, fast) {
                (true, true) => RATE_PPM_MAX,
                (true, false) => RATE_PPM_MIN,
                (false, _) => any,
            },
        }
    }

    /// The same machine started anew: the same rate, another beginning.
    pub(super) fn reboot(self, rng: &mut Rng) -> Self {
        Self {
            offset_us: rng.below(1 << 40),
            ..self
        }
    }

    pub(super) const fn rate_ppm(self) -> u64 {
        self.rate_ppm
    }

    /// What it shows.
    pub(super) fn us(self, at: Us) -> u64 {
        let run = u128::from(at.0) * u128::from(self.rate_ppm) / PPM;
        self.offset_us
            .saturating_add(u64::try_from(run).unwrap_or(u64::MAX))
    }
}

/// A moment of a clock as replicas count it.
pub(super) const fn now_ms(us: u64) -> Now {
    Now(us / 1_000)
}
