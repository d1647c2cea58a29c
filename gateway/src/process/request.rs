//! What a door asks of the process path, whatever wire it speaks: prompt, sampling, and how the
//! caches may be used.
//!
//! Knows nothing of HTTP, JSON or the shapes of any door; ranges are checked by the doors, meaning
//! is decided here once for all of them.

/// The door a request came through. Part of the canonical key, because doors prepare prompts
/// differently and promise different things about caching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `POST /api/v1/kv-cache/process`: every answer is cached, as documented.
    Process,
    /// `POST /v1/chat/completions`: cached only when the answer is reproducible.
    Chat,
    /// `POST /v1/completions`: cached only when the answer is reproducible.
    Completion,
}

impl Door {
    /// A stable number for the canonical encoding; never renumber.
    #[must_use]
    pub const fn tag(self) -> u8 {
        match self {
            Self::Process => 1,
            Self::Chat => 2,
            Self::Completion => 3,
        }
    }
}

/// What the model is to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Plain text, to be tokenized as it stands.
    Text(String),
    /// A conversation already rendered by the model's chat template; its markers are part of it.
    Rendered(String),
    /// Token ids, to be used as they stand.
    Tokens(Vec<u32>),
}

/// How the next token is chosen and when to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Tokens to generate at most; `None`: until the model stops or its context is full.
    pub tokens_max: Option<u32>,
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus mass, in (0, 1].
    pub top_p: f64,
    /// Makes a sampled answer reproducible.
    pub seed: Option<u64>,
    /// Text that ends the answer; it is not part of the answer.
    pub stop: Vec<String>,
}

impl Sampling {
    /// Whether equal requests have equal answers by construction.
    #[must_use]
    pub fn is_reproducible(&self) -> bool {
        self.temperature == 0.0 || self.seed.is_some()
    }
}

/// How far a request may use the caches (`Cache-Control` of the request).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheControl {
    /// Read and write.
    #[default]
    Normal,
    /// `no-cache`: compute afresh, then store for others.
    NoCache,
    /// `no-store`: the response is neither read nor stored, and no block of it is stored. Blocks
    /// that others stored may still be read: they tell nobody anything about this request.
    NoStore,
}

/// Who goes first when generations queue. Ties go to whoever came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Before everything else.
    Critical,
    /// Before normal requests.
    High,
    /// The default.
    #[default]
    Normal,
    /// After normal requests.
    Low,
    /// When nothing else waits.
    Background,
}

impl Priority {
    /// All of them, most urgent first.
    pub const ALL: [Self; 5] = [
        Self::Critical,
        Self::High,
        Self::Normal,
        Self::Low,
        Self::Background,
    ];

    /// Its documented name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
            Self::Background => "background",
        }
    }

    /// The priority of that name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.name().eq_ignore_ascii_case(name))
    }

    /// The priority of that number: 1 is the most urgent, 5 the least.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        Self::ALL.get(index).copied()
    }
}

/// One request to the process path.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessRequest {
    /// Where it came from.
    pub door: Door,
    /// What to continue.
    pub prompt: Prompt,
    /// How to continue it.
    pub sampling: Sampling,
    /// An opaque name the caller gives its conversation: echoed, and part of the response's key.
    /// It separates nothing else: equal prefixes share blocks whatever the session.
    pub session_id: Option<String>,
    /// Place in the queue.
    pub priority: Priority,
    /// A caller's own separation inside its service's domain: requests under different salts share
    /// neither blocks nor responses.
    pub cache_salt: Option<String>,
    /// How far the caches may be used.
    pub cache: CacheControl,
}

impl ProcessRequest {
    /// Whether an answer to this request may be given to an equal request, now or later.
    /// `process` promises that for every answer; the OpenAI doors only where sampling is
    /// reproducible.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        self.door == Door::Process || self.sampling.is_reproducible()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_have_names_and_numbers_in_order_of_urgency() {
        for (number, priority) in (1..).zip(Priority::ALL) {
            assert_eq!(
                Priority::from_name(&priority.name().to_uppercase()),
                Some(priority)
            );
            assert_eq!(Priority::from_number(number), Some(priority));
        }
        assert_eq!(Priority::from_number(0), None);
        assert_eq!(Priority::from_number(6), None);
        assert_eq!(Priority::from_name("urgent"), None);
        assert!(Priority::Critical < Priority::Background);
    }
}
