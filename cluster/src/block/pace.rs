//! How long holders take to answer, and from when on another one is asked too. It must never know who answered.

use std::time::Duration;

use parking_lot::Mutex;

/// Answers remembered: enough for a 95th percentile, few enough that a change of weather shows within a second.
const SAMPLES: usize = 64;
/// Below this many answers the default counts.
const SAMPLES_MIN: usize = 8;
/// Less than this would double requests for the jitter of a scheduler.
const DELAY_MIN: Duration = Duration::from_millis(2);
/// More than this is no hedge: a reader would rather compute.
const DELAY_MAX: Duration = Duration::from_millis(200);

/// The last answers' times.
#[derive(Debug)]
pub(super) struct Pace {
    default: Duration,
    samples: Mutex<Samples>,
}

#[derive(Debug)]
struct Samples {
    took: [Duration; SAMPLES],
    count: usize,
}

impl Pace {
    pub(super) const fn new(default: Duration) -> Self {
        Self {
            default,
            samples: Mutex::new(Samples {
                took: [Duration::ZERO; SAMPLES],
                count: 0,
            }),
        }
    }

    /// Notes how long an answer took.
    pub(super) fn note(&self, took: Duration) {
        let mut samples = self.samples.lock();
        let place = samples.count % SAMPLES;
        if let Some(slot) = samples.took.get_mut(place) {
            *slot = took;
        }
        samples.count += 1;
    }

    /// The time after which another holder is asked: about the 95th percentile.
    pub(super) fn delay(&self) -> Duration {
        let samples = self.samples.lock();
        let known = samples.count.min(SAMPLES);
        if known < SAMPLES_MIN {
            return self.default;
        }
        let mut took = samples.took;
        drop(samples);
        let took = took.get_mut(..known).unwrap_or_default();
        let place = (known * 95 / 100).min(known - 1);
        let (_, percentile, _) = took.select_nth_unstable(place);
        (*percentile).clamp(DELAY_MIN, DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_follows_the_slow_answers_and_forgets_old_ones() {
        let pace = Pace::new(Duration::from_millis(20));
        assert_eq!(pace.delay(), Duration::from_millis(20));
        (1..=100).for_each(|ms| pace.note(Duration::from_millis(ms)));
        let delay = pace.delay();
        assert!((90..=100).contains(&delay.as_millis()), "{delay:?}");
        (0..64).for_each(|_| pace.note(Duration::ZERO));
        assert_eq!(pace.delay(), DELAY_MIN);
        (0..64).for_each(|_| pace.note(Duration::from_secs(9)));
        assert_eq!(pace.delay(), DELAY_MAX);
    }
}
