//! Responsible for one session: what it asks, and when and whether it goes on. It must never know of other sessions, except
//! for what all share.

use crate::generate::chance::{Chance, millis, zipf};
use crate::replay::whole;
use crate::trace::Trace;

/// What a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Agent,
    Template,
    Document,
    Scan,
}

/// Texts that sessions start with, and how popular each is.
struct Texts {
    blocks: Vec<Vec<u32>>,
    weights: Vec<f64>,
}

impl Texts {
    /// `count` texts of about `tokens`, behind the common `front`.
    fn new(
        count: usize,
        skew: f64,
        tokens: f64,
        front: &[u32],
        chance: &mut Chance,
        trace: &mut Trace,
    ) -> Self {
        let block_tokens = f64::from(trace.block_tokens);
        let mut text = || {
            let own = whole(chance.around(tokens, 0.6) / block_tokens);
            let mut blocks = front.to_vec();
            blocks.extend((0..own).map(|_| trace.add_block()));
            blocks
        };
        Self {
            blocks: (0..count).map(|_| text()).collect(),
            weights: zipf(count, skew),
        }
    }

    fn pick(&self, chance: &mut Chance) -> Vec<u32> {
        let at = chance.weighted(&self.weights);
        self.blocks.get(at).cloned().unwrap_or_default()
    }
}

/// What the sessions of a trace share, and the numbers that this seed drew.
pub(super) struct Shared {
    prompts: Texts,
    tools: Texts,
    templates: Texts,
    documents: Texts,
    think_ms: f64,
    step_ms: f64,
    steps: f64,
    turn_tokens: f64,
    continues: f64,
}

impl Shared {
    pub(super) fn new(chance: &mut Chance, trace: &mut Trace) -> Self {
        let count = |chance: &mut Chance, low, high| whole(chance.scale(low, high));
        let prompt_count = count(chance, 1.0, 12.0);
        let prompt_tokens = chance.scale(300.0, 3_000.0);
        let prompts = Texts::new(prompt_count, 1.0, prompt_tokens, &[], chance, trace);
        let tool_count = count(chance, 2.0, 12.0);
        let tool_tokens = chance.scale(4_000.0, 14_000.0);
        let tools = Texts::new(tool_count, 0.8, tool_tokens, &[], chance, trace);
        let template_count = count(chance, 100.0, 1_500.0);
        let (skew, tokens) = (chance.between(0.7, 1.1), chance.scale(1_000.0, 6_000.0));
        let templates = Texts::new(template_count, skew, tokens, &[], chance, trace);
        let document_count = count(chance, 200.0, 2_500.0);
        let (skew, tokens) = (chance.between(0.6, 1.1), chance.scale(3_000.0, 16_000.0));
        let front = prompts.blocks.first().cloned().unwrap_or_default();
        let documents = Texts::new(document_count, skew, tokens, &front, chance, trace);
        Self {
            prompts,
            tools,
            templates,
            documents,
            think_ms: chance.scale(40_000.0, 200_000.0),
            step_ms: chance.scale(3_000.0, 20_000.0),
            steps: chance.between(6.0, 25.0),
            turn_tokens: chance.scale(500.0, 2_500.0),
            continues: chance.between(0.2, 0.6),
        }
    }
}

/// One session.
pub(super) struct Session {
    kind: Kind,
    /// Full blocks so far.
    blocks: Vec<u32>,
    /// Tokens in the block that is not full.
    open_tokens: f64,
    turns: u32,
    turns_max: u32,
    next_ms: f64,
    turn_tokens: f64,
    continues: f64,
}

impl Session {
    pub(super) fn new(kind: Kind, shared: &Shared, chance: &mut Chance, trace: &mut Trace) -> Self {
        let (blocks, first_tokens, turns_max, next_ms) = match kind {
            Kind::Chat => {
                let first = chance.around(shared.turn_tokens * 2.0, 1.0);
                (shared.prompts.pick(chance), first, 30, shared.think_ms)
            }
            Kind::Agent => {
                let steps = whole(chance.exponential(shared.steps)) + 2;
                let steps = u32::try_from(steps).unwrap_or(u32::MAX).min(80);
                let first = chance.around(shared.turn_tokens, 0.8);
                (shared.tools.pick(chance), first, steps, shared.step_ms)
            }
            Kind::Template => (
                shared.templates.pick(chance),
                chance.around(600.0, 0.8),
                1,
                0.0,
            ),
            Kind::Document => {
                let turns = if chance.happens(0.3) { 3 } else { 1 };
                (
                    shared.documents.pick(chance),
                    chance.around(250.0, 0.5),
                    turns,
                    shared.think_ms,
                )
            }
            Kind::Scan => (Vec::new(), chance.around(20_000.0, 0.6), 1, 0.0),
        };
        let mut session = Self {
            kind,
            blocks,
            open_tokens: 0.0,
            turns: 1,
            turns_max,
            next_ms,
            turn_tokens: shared.turn_tokens,
            continues: shared.continues,
        };
        session.add(first_tokens, trace);
        session
    }

    /// The chain it asks for now. The last block is seldom full; what comes later makes another block of it.
    pub(super) fn ask(&self, trace: &mut Trace) -> Vec<u32> {
        let mut blocks = self.blocks.clone();
        if self.open_tokens >= 1.0 || blocks.is_empty() {
            blocks.push(trace.add_block());
        }
        blocks
    }

    /// When it goes on, if it does: milliseconds from now. It has then grown by an answer and a question.
    pub(super) fn goes_on(&mut self, chance: &mut Chance, trace: &mut Trace) -> Option<u64> {
        let goes_on = match self.kind {
            // Who has asked twice will likely ask again.
            Kind::Chat => {
                let habit = 1.0 - 1.0 / (1.0 + 0.6 * f64::from(self.turns));
                chance.happens(
                    self.continues + (0.85 - self.continues) * (habit - 0.375).max(0.0) * 1.6,
                )
            }
            _ => self.turns < self.turns_max,
        };
        if !goes_on || self.turns >= self.turns_max {
            return None;
        }
        self.turns += 1;
        let tokens = match self.kind {
            Kind::Agent => chance.around(900.0, 0.9),
            _ => chance.around(self.turn_tokens, 0.8),
        };
        self.add(tokens, trace);
        // One tool in twenty takes minutes.
        let is_slow = self.kind == Kind::Agent && chance.happens(0.05);
        let median = if is_slow {
            40.0 * self.next_ms
        } else {
            self.next_ms
        };
        Some(millis(chance.around(median, 0.9)))
    }

    fn add(&mut self, tokens: f64, trace: &mut Trace) {
        let block_tokens = f64::from(trace.block_tokens);
        self.open_tokens += tokens.min(200_000.0);
        while self.open_tokens >= block_tokens {
            self.open_tokens -= block_tokens;
            self.blocks.push(trace.add_block());
        }
    }
}
