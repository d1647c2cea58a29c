//! What the demo asks, in order, and what must come of it.
//!
//! Every warm answer is held against the same request computed with the cache off; a difference fails the demo. It
//! knows requests and figures, and nothing of processes or tables.

use std::time::Duration;

use ultrakv_actors::clock::Clock;

use super::ask::{Asker, Caching, Said};
use crate::exit::{Failure, Status};

/// Tokens of the shared beginning; the built-in model's tokens are bytes.
const PREFIX_TOKENS: usize = 1_000;
/// Different endings over the shared beginning.
const QUESTIONS: [&str; 6] = [
    "What is kept, and for how long?",
    "Who may read what was kept?",
    "What happens when there is no room?",
    "Why is the answer the same?",
    "What does the second request save?",
    "What is lost when a node stops?",
];
/// The text that the beginning repeats.
const SENTENCE: &str = "The keys and values that one request computed are kept, so that the next \
                        request with the same beginning does not compute them again. ";

/// When the questions have taken this long, no further one is asked, so that the demo ends in time on a machine that is
/// slow or busy.
const ASK_WITHIN: Duration = Duration::from_secs(20);
/// Questions that are asked however long they take.
const QUESTIONS_MIN: usize = 2;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Requests sent.
    pub(super) requests: u64,
    /// Requests answered with a stored answer.
    pub(super) response_hits: u64,
    /// Requests that reused a prefix.
    pub(super) prefix_hits: u64,
    /// Tokens that were not computed.
    pub(super) tokens_reused: u64,
    /// Tokens that were.
    pub(super) tokens_computed: u64,
    /// Times to the first token with the cache off.
    pub(super) cold: Vec<Duration>,
    /// Times to the first token over a stored prefix.
    pub(super) warm: Vec<Duration>,
    /// Times to the first token of stored answers.
    pub(super) stored: Vec<Duration>,
    /// Warm answers that equalled the cold one.
    pub(super) answers_equal: u64,
}

/// What the person at the terminal is told while it runs.
pub(super) trait Progress {
    /// A step begins.
    fn step(&self, what: &str);
    /// A request was answered.
    fn answered(&self);
}

/// Requests that [`run`] sends, for the progress bar: a first one, three a question, and the conversation's four.
pub(super) const REQUESTS: u64 = 1 + 3 * 6 + 4;

const _: () = assert!(QUESTIONS.len() == 6, "REQUESTS counts the questions");

/// Asks everything.
pub(super) async fn run(
    asker: &Asker,
    clock: &Clock,
    progress: &impl Progress,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    let asking = clock.stopwatch();
    let prefix: String = SENTENCE.chars().cycle().take(PREFIX_TOKENS).collect();

    progress.step("computing a beginning of 1000 tokens");
    let first = asker
        .process(&format!("{prefix}Begin."), Caching::On)
        .await?;
    outcome.count(&first);
    progress.answered();

    progress.step("asking over the stored beginning, and again with the cache off");
    let mut warm = Vec::new();
    for (index, question) in QUESTIONS.iter().enumerate() {
        if index >= QUESTIONS_MIN && asking.elapsed() > ASK_WITHIN {
            progress.step("this machine is slow or busy: asking fewer questions");
            break;
        }
        let text = format!("{prefix}{question}");
        let salt = format!("demo-{index}");
        let cold = asker.process(&text, Caching::Off { salt: &salt }).await?;
        progress.answered();
        let reused = asker.process(&text, Caching::On).await?;
        progress.answered();
        outcome.count(&cold);
        outcome.count(&reused);
        outcome.compare(question, &cold.text, &reused.text)?;
        outcome.cold.push(cold.first_token);
        outcome.warm.push(reused.first_token);
        warm.push((text, reused));
    }

    progress.step("asking the same again");
    for (text, earlier) in &warm {
        let again = asker.process(text, Caching::On).await?;
        progress.answered();
        outcome.count(&again);
        outcome.compare("the same request", &earlier.text, &again.text)?;
        outcome.stored.push(again.first_token);
    }

    progress.step("holding a conversation over the OpenAI-compatible route");
    converse(asker, &prefix, progress, &mut outcome).await?;
    outcome.judge()
}

/// Two questions under one long system message, and the second once more with the cache off.
async fn converse(
    asker: &Asker,
    system: &str,
    progress: &impl Progress,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let models = asker.get("/v1/models").await?;
    let model = models
        .pointer("/data/0/id")
        .and_then(serde_json::Value::as_str)
        .ok_or_else(|| Failure::new(Status::Failed, "the node names no model"))?;
    let ask =
        |user: &'static str, caching: Caching<'static>| asker.chat(model, system, user, caching);
    let first = ask("Who are you?", Caching::On).await?;
    progress.answered();
    let second = ask("What do you keep?", Caching::On).await?;
    progress.answered();
    let cold = ask("What do you keep?", Caching::Off { salt: "demo-chat" }).await?;
    progress.answered();
    let again = ask("What do you keep?", Caching::On).await?;
    progress.answered();
    outcome.requests += 4;
    outcome.prefix_hits += u64::from(first.1 > 0) + u64::from(second.1 > 0);
    outcome.tokens_reused += first.1 + second.1 + again.1;
    outcome.response_hits += u64::from(again.1 > 0);
    outcome.compare("a conversation", &cold.0, &second.0)?;
    outcome.compare("the same conversation", &second.0, &again.0)
}

impl Outcome {
    fn count(&mut self, said: &Said) {
        self.requests += 1;
        self.response_hits += u64::from(said.cache == "response");
        self.prefix_hits += u64::from(said.cache == "prefix");
        self.tokens_reused += said.reused_tokens;
        self.tokens_computed += said.computed_tokens;
    }

    fn compare(&mut self, what: &str, cold: &str, warm: &str) -> Result<(), Failure> {
        if cold == warm {
            self.answers_equal += 1;
            return Ok(());
        }
        let message =
            format!("{what}: the answer differs with and without the cache: {cold:?}, {warm:?}");
        Err(Failure::new(Status::Failed, message))
    }

    /// A demo in which nothing was reused has failed, however well everything answered.
    fn judge(self) -> Result<Self, Failure> {
        let questions = u64::try_from(self.warm.len()).unwrap_or(u64::MAX);
        if self.prefix_hits < questions || self.response_hits < questions {
            let message = format!(
                "of {questions} questions over one beginning only {} reused it, and only {} were answered from store",
                self.prefix_hits, self.response_hits
            );
            return Err(Failure::new(Status::Failed, message));
        }
        Ok(self)
    }
}

/// The middle of the times; the mean of the two middles of an even number.
pub(super) fn median_ms(times: &[Duration]) -> f64 {
    let mut sorted: Vec<f64> = times
        .iter()
        .map(|time| time.as_secs_f64() * 1_000.0)
        .collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let ms = |list: &[u64]| -> Vec<Duration> {
            list.iter().copied().map(Duration::from_millis).collect()
        };
        assert!((median_ms(&ms(&[9, 1, 5])) - 5.0).abs() < 1e-9);
        assert!((median_ms(&ms(&[4, 2])) - 3.0).abs() < 1e-9);
        assert!(median_ms(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_demo_without_reuse_or_with_another_answer_fails() {
        let asked = |prefix_hits, response_hits| Outcome {
            prefix_hits,
            response_hits,
            warm: vec![Duration::ZERO; 6],
            ..Outcome::default()
        };
        assert!(asked(6, 6).compare("x", "a", "a").is_ok());
        assert!(asked(6, 6).compare("x", "a", "b").is_err());
        assert!(asked(5, 6).judge().is_err());
        assert!(asked(6, 5).judge().is_err());
        assert!(asked(6, 6).judge().is_ok());
    }
}
