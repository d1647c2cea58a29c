//! The holder's side: when it asked, and until when it may serve. It must never know who grants.

use std::collections::VecDeque;

use super::{TenureAsk, TenureGrant};
use crate::Incarnation;

/// Questions remembered at most. An answer to an older one is of no use: its tenure is nearly over.
pub const ASKS_MAX: usize = 16;

/// One life of a node, and until when it may serve as owner.
#[derive(Clone, Debug)]
pub struct Holder {
    me: Incarnation,
    /// No grant counts longer than this, whatever the leader says.
    tenure_us_max: u64,
    number: u64,
    /// Number and time of questions that may still be answered, the oldest first.
    asks: VecDeque<(u64, u64)>,
    until_us: Option<u64>,
}

impl Holder {
    /// A life that holds nothing yet.
    #[must_use]
    pub const fn new(me: Incarnation, tenure_us_max: u64) -> Self {
        Self {
            me,
            tenure_us_max,
            number: 0,
            asks: VecDeque::new(),
            until_us: None,
        }
    }

    /// Asks again. `now_us` must be read *before* the question leaves; asking every 100 ms keeps a tenure of 360 ms
    /// alive through two lost answers. What was applied up to `applied_index` must have reached whoever serves.
    pub fn ask(&mut self, now_us: u64, applied_index: u64) -> TenureAsk {
        self.number += 1;
        if self.asks.len() >= ASKS_MAX {
            self.asks.pop_front();
        }
        self.asks.push_back((self.number, now_us));
        TenureAsk {
            holder: self.me,
            number: self.number,
            applied_index,
        }
    }

    /// Takes an answer, whenever and however often it comes: each counts from when its own question was sent, and the
    /// latest end counts. Answers to another life, or to what was not asked, are ignored.
    pub fn granted(&mut self, grant: TenureGrant) {
        let asked = self.asks.iter().find(|(number, _)| *number == grant.number);
        if let (true, Some((_, sent_us))) = (grant.holder == self.me, asked) {
            let tenure_us = grant.tenure_us.min(self.tenure_us_max);
            let until_us = sent_us.saturating_add(tenure_us);
            self.until_us = self.until_us.max(Some(until_us));
        }
    }

    /// Whether the node may serve at this moment. The time must be read after what is served was read.
    #[must_use]
    pub fn is_held(&self, now_us: u64) -> bool {
        self.until_us.is_some_and(|until_us| now_us < until_us)
    }

    /// The end of the tenure, on this node's clock; none when none was ever granted.
    #[must_use]
    pub const fn until_us(&self) -> Option<u64> {
        self.until_us
    }
}
