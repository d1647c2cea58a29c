//! Responsible for the candidates for eviction that earlier draws found: the lowest of many draws are kept, so that few
//! new ones a victim are enough. It must never know what a score is made of.
//!
//! # Source
//! Redis' eviction pool (Sanfilippo, "Random notes on improving the Redis LRU algorithm", 2016); keeping the best of a
//! sample for the next one: Psounis, Prabhakar, "A randomized web-cache replacement scheme", INFOCOM 2001.

/// Candidates kept.
const POOL: usize = 16;

/// A leaf, and how little it is worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) score: f32,
    pub(super) depth: u16,
    pub(super) id: u32,
}

impl Candidate {
    /// Whether it goes before `other`: for the lower score, then the greater depth.
    pub(super) fn goes_before(&self, other: &Self) -> bool {
        self.score < other.score || self.score <= other.score && self.depth > other.depth
    }

    /// The same as an order: the first to go first; of equal ones the lower number.
    pub(super) fn order(&self, other: &Self) -> std::cmp::Ordering {
        let by_score = self.score.total_cmp(&other.score);
        let by_depth = other.depth.cmp(&self.depth);
        by_score.then(by_depth).then(self.id.cmp(&other.id))
    }
}

/// The candidates of one list of leaves.
#[derive(Debug, Default)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
    /// The request whose scores these are.
    request: u32,
    /// Place of the highest of a full pool, while it is known.
    highest: Option<usize>,
}

impl Pool {
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.candidates.iter().map(|candidate| candidate.id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Scores all candidates anew, once a request; those without a score are no longer candidates.
    pub(super) fn refresh(&mut self, request: u32, score: impl Fn(u32) -> Option<f32>) {
        if std::mem::replace(&mut self.request, request) != request {
            self.highest = None;
            self.candidates
                .retain_mut(|candidate| match score(candidate.id) {
                    Some(score) => {
                        candidate.score = score;
                        true
                    }
                    None => false,
                });
        }
    }

    /// Takes a candidate in; answers the one that has to leave for it, which may be itself.
    pub(super) fn add(&mut self, candidate: Candidate) -> Option<u32> {
        if self.candidates.len() < POOL {
            self.candidates.push(candidate);
            return None;
        }
        let place = match self.highest {
            Some(place) => place,
            None => *self.highest.insert(self.find_highest()?),
        };
        let highest = self.candidates.get_mut(place)?;
        // Mostly none is better than the worst of the best.
        if !candidate.goes_before(highest) {
            return Some(candidate.id);
        }
        self.highest = None;
        Some(std::mem::replace(highest, candidate).id)
    }

    fn find_highest(&self) -> Option<usize> {
        let candidates = self.candidates.iter().enumerate();
        let highest = candidates.reduce(|highest, other| match highest.1.goes_before(other.1) {
            true => other,
            false => highest,
        });
        highest.map(|(place, _)| place)
    }

    /// The place of the lowest.
    pub(super) fn lowest(&self) -> Option<(usize, Candidate)> {
        let candidates = self.candidates.iter().copied().enumerate();
        candidates.reduce(|lowest, other| {
            if other.1.goes_before(&lowest.1) {
                other
            } else {
                lowest
            }
        })
    }

    /// Takes the candidate at a place out.
    pub(super) fn remove(&mut self, place: usize) {
        self.highest = None;
        self.candidates.swap_remove(place);
    }

    /// Gives the candidate at a place another score.
    pub(super) fn rescore(&mut self, place: usize, score: f32) {
        if let Some(candidate) = self.candidates.get_mut(place) {
            self.highest = None;
            candidate.score = score;
        }
    }
}
