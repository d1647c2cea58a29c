//! A network of discrete events: delays, losses, duplicates, cuts, pauses and restarts, all from one seed.
//!
//! Responsible for what arrives where and when, in simulated microseconds. It must never know what a message means,
//! nor a real clock or socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::rng::Rng;

/// A moment of simulated time, in microseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Us(pub u64);

impl Us {
    /// The moment `after_us` later.
    #[must_use]
    pub const fn plus(self, after_us: u64) -> Self {
        Self(self.0.saturating_add(after_us))
    }
}

/// The index of a simulated node or client.
pub type Place = u8;

/// Messages and timers that may wait at once; what comes on top is lost and counted.
pub const WAITING_MAX: usize = 1 << 17;

/// How a link behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkShape {
    /// The shortest delay.
    pub delay_us_min: u64,
    /// The longest ordinary delay.
    pub delay_us_max: u64,
    /// Messages lost, of a million.
    pub loss_ppm: u32,
    /// Messages that arrive twice, of a million; each copy has its own delay.
    pub duplicate_ppm: u32,
    /// Messages that take a rare long way, of a million.
    pub tail_ppm: u32,
    /// The longest delay of those.
    pub tail_us_max: u64,
}

impl LinkShape {
    /// A calm local network: 100 to 500 microseconds, nothing lost.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            delay_us_min: 100,
            delay_us_max: 500,
            loss_ppm: 0,
            duplicate_ppm: 0,
            tail_ppm: 0,
            tail_us_max: 0,
        }
    }
}

/// A message or a timer that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival<M> {
    /// When.
    pub at: Us,
    /// At which place.
    pub to: Place,
    /// Who sent it; `None` for a timer.
    pub from: Option<Place>,
    /// What it is.
    pub message: M,
}

/// What happened to messages, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkCounts {
    /// Messages and timers that arrived.
    pub delivered: u64,
    /// Messages the link lost.
    pub lost: u64,
    /// Messages that were given a second copy.
    pub duplicated: u64,
    /// Messages a cut swallowed.
    pub cut: u64,
    /// Messages and timers that a restart of their receiver swallowed.
    pub forgotten: u64,
    /// Messages that arrived before an older one of the same link.
    pub overtaken: u64,
    /// Messages and timers lost because too many waited; a run in which this is not 0 says little.
    pub overflowed: u64,
}

struct Flight<M> {
    to: Place,
    from: Option<Place>,
    /// The start of the receiver that it was meant for.
    start: u64,
    sent: u64,
    message: M,
}

#[derive(Default)]
struct Standing {
    start: u64,
    paused: bool,
}

/// The network between all places of one run.
pub struct Network<M> {
    now: Us,
    serial: u64,
    shape: LinkShape,
    rng: Rng,
    places: BTreeMap<Place, Standing>,
    cuts: BTreeSet<(Place, Place)>,
    waiting: BTreeMap<(Us, u64), Flight<M>>,
    held: VecDeque<Flight<M>>,
    latest: BTreeMap<(Place, Place), u64>,
    digest: u64,
    counts: NetworkCounts,
}

impl<M: Clone> Network<M> {
    /// A quiet network of `places` places, 0 and up.
    #[must_use]
    pub fn new(places: u8, shape: LinkShape, rng: Rng) -> Self {
        Self {
            now: Us(0),
            serial: 0,
            shape,
            rng,
            places: (0..places)
                .map(|place| (place, Standing::default()))
                .collect(),
            cuts: BTreeSet::new(),
            waiting: BTreeMap::new(),
            held: VecDeque::new(),
            latest: BTreeMap::new(),
            digest: 0,
            counts: NetworkCounts::default(),
        }
    }

    /// Sends a message. One to oneself arrives at once and is never lost; one to a place that is not there is dropped.
    pub fn send(&mut self, from: Place, to: Place, message: M) {
        if from == to {
            self.enqueue(self.now, to, Some(from), message);
            return;
        }
        // Every throw is made whatever the others say: the sequence depends only on how often `send` was called.
        let lost = self.rng.chance_ppm(self.shape.loss_ppm);
        let twice = self.rng.chance_ppm(self.shape.duplicate_ppm);
        let (first, second) = (self.delay_us(), self.delay_us());
        if self.cuts.contains(&(from, to)) {
            self.counts.cut += 1;
            return;
        }
        if lost {
            self.counts.lost += 1;
            return;
        }
        if twice {
            self.counts.duplicated += 1;
            self.enqueue(self.now.plus(second), to, Some(from), message.clone());
        }
        self.enqueue(self.now.plus(first), to, Some(from), message);
    }

    /// Wakes a place later. A paused place is woken when it resumes; a restart forgets its timers.
    pub fn timer(&mut self, at: Place, after_us: u64, message: M) {
        self.enqueue(self.now.plus(after_us), at, None, message);
    }

    /// The next arrival up to and including `limit`; if there is none, time moves to `limit`
    /// (except to the end of time, where it stays).
    pub fn next_before(&mut self, limit: Us) -> Option<Arrival<M>> {
        while let Some(first) = self.waiting.first_entry() {
            let (at, _) = *first.key();
            if at > limit {
                break;
            }
            let flight = first.remove();
            self.now = self.now.max(at);
            if let Some(arrival) = self.arrive(flight) {
                return Some(arrival);
            }
        }
        if limit != Us(u64::MAX) {
            self.now = self.now.max(limit);
        }
        None
    }

    /// The present moment.
    #[must_use]
    pub const fn now(&self) -> Us {
        self.now
    }

    /// Cuts one direction. What is sent meanwhile is lost, and what would arrive meanwhile too; what was sent before and is
    /// slow enough arrives after the healing, as stale as it then is.
    pub fn cut(&mut self, from: Place, to: Place) {
        if from != to {
            self.cuts.insert((from, to));
        }
    }

    /// Heals one direction.
    pub fn heal(&mut self, from: Place, to: Place) {
        self.cuts.remove(&(from, to));
    }

    /// Heals every direction.
    pub fn heal_all(&mut self) {
        self.cuts.clear();
    }

    /// Stops a place; what arrives is kept for it.
    pub fn pause(&mut self, place: Place) {
        if let Some(standing) = self.places.get_mut(&place) {
            standing.paused = true;
        }
    }

    /// Lets a place go on; what was kept arrives now, in the order in which it came.
    pub fn resume(&mut self, place: Place) {
        if let Some(standing) = self.places.get_mut(&place) {
            standing.paused = false;
        }
        let (released, kept) = self
            .held
            .drain(..)
            .partition::<VecDeque<_>, _>(|flight| flight.to == place);
        self.held = kept;
        for flight in released {
            self.serial += 1;
            self.waiting.insert((self.now, self.serial), flight);
        }
    }

    /// Starts a place anew: everything under way to it, and its timers, vanish. A paused place runs again.
    pub fn restart(&mut self, place: Place) {
        let Some(standing) = self.places.get_mut(&place) else {
            return;
        };
        standing.start += 1;
        standing.paused = false;
        let before = self.held.len();
        self.held.retain(|flight| flight.to != place);
        let gone = before.saturating_sub(self.held.len());
        self.counts.forgotten += u64::try_from(gone).unwrap_or(u64::MAX);
    }

    /// Changes how links behave from now on; what is under way keeps its fate.
    pub fn set_shape(&mut self, shape: LinkShape) {
        self.shape = shape;
    }

    /// A running hash over every (time, from, to) delivered: the same seed gives the same trace.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// What happened to messages so far.
    #[must_use]
    pub const fn counts(&self) -> NetworkCounts {
        self.counts
    }

    fn delay_us(&mut self) -> u64 {
        let LinkShape {
            delay_us_min,
            delay_us_max,
            tail_us_max,
            ..
        } = self.shape;
        let ordinary = self.rng.between(delay_us_min, delay_us_max);
        let long = self
            .rng
            .between(delay_us_max, tail_us_max.max(delay_us_max));
        if self.rng.chance_ppm(self.shape.tail_ppm) {
            long
        } else {
            ordinary
        }
    }

    fn enqueue(&mut self, at: Us, to: Place, from: Option<Place>, message: M) {
        let Some(standing) = self.places.get(&to) else {
            return;
        };
        if self.waiting.len() + self.held.len() >= WAITING_MAX {
            self.counts.overflowed += 1;
            return;
        }
        self.serial += 1;
        let flight = Flight {
            to,
            from,
            start: standing.start,
            sent: self.serial,
            message,
        };
        self.waiting.insert((at, self.serial), flight);
    }

    fn arrive(&mut self, flight: Flight<M>) -> Option<Arrival<M>> {
        let standing = self.places.get(&flight.to)?;
        if standing.start != flight.start {
            self.counts.forgotten += 1;
            return None;
        }
        if standing.paused {
            // The cut is judged when it would have arrived, which for a message already held has happened.
            if !self.swallowed(&flight) {
                self.held.push_back(flight);
            }
            return None;
        }
        if self.swallowed(&flight) {
            return None;
        }
        self.note(&flight);
        Some(Arrival {
            at: self.now,
            to: flight.to,
            from: flight.from,
            message: flight.message,
        })
    }

    fn swallowed(&mut self, flight: &Flight<M>) -> bool {
        let cut = flight
            .from
            .is_some_and(|from| self.cuts.contains(&(from, flight.to)));
        self.counts.cut += u64::from(cut);
        cut
    }

    fn note(&mut self, flight: &Flight<M>) {
        self.counts.delivered += 1;
        if let Some(from) = flight.from {
            let latest = self.latest.entry((from, flight.to)).or_default();
            self.counts.overtaken += u64::from(flight.sent < *latest);
            *latest = flight.sent.max(*latest);
        }
        // 255 is no sender but a timer: a network has at most 255 places, 0 to 254.
        let ends = [flight.from.unwrap_or(u8::MAX), flight.to];
        let timed = xxh3_64_with_seed(&self.now.0.to_le_bytes(), self.digest);
        self.digest = xxh3_64_with_seed(&ends, timed);
    }
}

impl<M: Clone> Iterator for Network<M> {
    type Item = Arrival<M>;

    /// The next arrival, or `None` when nothing is under way any more; time moves to it.
    fn next(&mut self) -> Option<Arrival<M>> {
        self.next_before(Us(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
