//! The canonical form of a request: one byte string for everything that changes the answer, and
//! its digest.
//!
//! Two requests have the same form exactly when any answer to one is an answer to the other, so the
//! encoding must be injective: every part is preceded by its length or is of fixed size, and every
//! optional part by a presence byte. What does *not* change the answer is normalised away: under
//! greedy decoding (temperature 0) neither `top_p` nor the seed is looked at.
//!
//! The digest is not a secret and separates no services; whoever stores under it does so inside the
//! caller's effective domain.

use crate::process::request::{ProcessRequest, Prompt, Sampling};

/// Changes when the encoding or the meaning of a stored answer does.
const VERSION: &[u8] = b"ultrakv response 1";

/// The digest of a canonical request. Equal digests: one answer serves both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestKey([u8; 32]);

impl RequestKey {
    /// Digests a request to the model of that identity (weights, shapes, numerics: whatever makes
    /// two models answer differently).
    pub(crate) fn new(model: &[u8], request: &ProcessRequest) -> Self {
        Self(*blake3::hash(&canonical_form(model, request)).as_bytes())
    }

    /// Its bytes.
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Writes the canonical form. Cache directives, priority and salt do not change the answer; the
/// session does by promise, not by computation.
fn canonical_form(model: &[u8], request: &ProcessRequest) -> Vec<u8> {
    let mut form = Form(Vec::with_capacity(256));
    form.bytes(VERSION);
    form.bytes(model);
    form.byte(request.door.tag());
    form.prompt(&request.prompt);
    form.sampling(&request.sampling);
    form.optional(request.session_id.as_ref(), |form, session| {
        form.bytes(session.as_bytes())
    });
    form.0
}

/// A canonical form in the making.
struct Form(Vec<u8>);

impl Form {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// A length and as many bytes. No slice is longer than `u64::MAX`.
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len().try_into().unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.byte(0),
            Some(value) => {
                self.byte(1);
                write(self, value);
            }
        }
    }

    fn prompt(&mut self, prompt: &Prompt) {
        match prompt {
            Prompt::Text(text) => {
                self.byte(1);
                self.bytes(text.as_bytes());
            }
            Prompt::Rendered(text) => {
                self.byte(2);
                self.bytes(text.as_bytes());
            }
            Prompt::Tokens(tokens) => {
                self.byte(3);
                self.number(tokens.len().try_into().unwrap_or(u64::MAX));
                for token in tokens {
                    self.0.extend_from_slice(&token.to_le_bytes());
                }
            }
        }
    }

    fn sampling(&mut self, sampling: &Sampling) {
        self.optional(sampling.tokens_max, |form, tokens| {
            form.number(u64::from(tokens))
        });
        // Adding zero turns -0.0 into 0.0, which samples the same way.
        self.number((sampling.temperature + 0.0).to_bits());
        if sampling.temperature != 0.0 {
            self.number((sampling.top_p + 0.0).to_bits());
            self.optional(sampling.seed, Self::number);
        }
        self.number(sampling.stop.len().try_into().unwrap_or(u64::MAX));
        for stop in &sampling.stop {
            self.bytes(stop.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::request::{CacheControl, Door, Priority};

    fn request(text: &str) -> ProcessRequest {
        ProcessRequest {
            door: Door::Process,
            prompt: Prompt::Text(text.to_owned()),
            sampling: Sampling {
                tokens_max: Some(100),
                temperature: 1.0,
                top_p: 1.0,
                seed: None,
                stop: Vec::new(),
            },
            session_id: None,
            priority: Priority::Normal,
            cache_salt: None,
            cache: CacheControl::Normal,
        }
    }

    fn key(request: &ProcessRequest) -> RequestKey {
        RequestKey::new(b"weights", request)
    }

    #[test]
    fn everything_that_changes_the_answer_changes_the_key() {
        let base = request("hello");
        let mut keys = vec![key(&base), RequestKey::new(b"other weights", &base)];
        let changes: [fn(&mut ProcessRequest); 10] = [
            |it| it.door = Door::Chat,
            |it| it.prompt = Prompt::Text("hello ".to_owned()),
            |it| it.prompt = Prompt::Rendered("hello".to_owned()),
            |it| it.prompt = Prompt::Tokens(vec![104, 101]),
            |it| it.sampling.tokens_max = Some(101),
            |it| it.sampling.tokens_max = None,
            |it| it.sampling.temperature = 0.5,
            |it| it.sampling.top_p = 0.5,
            |it| it.sampling.seed = Some(0),
            |it| it.session_id = Some(String::new()),
        ];
        for change in changes {
            let mut changed = base.clone();
            change(&mut changed);
            keys.push(key(&changed));
        }
        let mut changed = base.clone();
        changed.sampling.stop = vec!["a".to_owned(), "b".to_owned()];
        keys.push(key(&changed));
        changed.sampling.stop = vec!["ab".to_owned()];
        keys.push(key(&changed));
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn what_does_not_change_the_answer_does_not_change_the_key() {
        let base = request("hello");
        let mut other = base.clone();
        other.priority = Priority::Low;
        other.cache = CacheControl::NoCache;
        other.cache_salt = Some("salt".to_owned());
        assert_eq!(key(&base), key(&other));

        let mut greedy = base.clone();
        greedy.sampling.temperature = 0.0;
        let mut seeded = greedy.clone();
        seeded.sampling.seed = Some(7);
        seeded.sampling.top_p = 0.1;
        seeded.sampling.temperature = -0.0;
        assert_eq!(key(&greedy), key(&seeded));
    }

    fn any_request() -> impl Strategy<Value = ProcessRequest> {
        // A tiny alphabet makes neighbours that differ only in where one part ends and the next
        // begins, which is what a careless encoding would confuse.
        let text = || {
            proptest::collection::vec(prop_oneof![Just('a'), Just('\0')], 0..4)
                .prop_map(|chars| chars.into_iter().collect::<String>())
        };
        let prompt = prop_oneof![
            text().prop_map(Prompt::Text),
            text().prop_map(Prompt::Rendered),
            proptest::collection::vec(0_u32..2, 0..3).prop_map(Prompt::Tokens),
        ];
        let sampling = (
            proptest::option::of(0_u32..2),
            prop_oneof![Just(0.0), Just(1.0)],
            prop_oneof![Just(0.5), Just(1.0)],
            proptest::option::of(0_u64..2),
            proptest::collection::vec(text(), 0..3),
        )
            .prop_map(|(tokens_max, temperature, top_p, seed, stop)| Sampling {
                tokens_max,
                temperature,
                top_p,
                seed,
                stop,
            });
        let door = prop_oneof![
            Just(Door::Process),
            Just(Door::Chat),
            Just(Door::Completion)
        ];
        (door, prompt, sampling, proptest::option::of(text())).prop_map(
            |(door, prompt, sampling, session_id)| ProcessRequest {
                door,
                prompt,
                sampling,
                session_id,
                ..request("")
            },
        )
    }

    /// The naive model: what the key stands for, compared field by field.
    fn same_answer(a: &ProcessRequest, b: &ProcessRequest) -> bool {
        let greedy = a.sampling.temperature == 0.0;
        a.door == b.door
            && a.prompt == b.prompt
            && a.session_id == b.session_id
            && a.sampling.tokens_max == b.sampling.tokens_max
            && a.sampling.temperature == b.sampling.temperature
            && a.sampling.stop == b.sampling.stop
            && (greedy
                || (a.sampling.top_p == b.sampling.top_p && a.sampling.seed == b.sampling.seed))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn forms_are_equal_exactly_when_answers_are(
            a in any_request(),
            b in any_request(),
            model in proptest::collection::vec(0_u8..2, 0..3),
            other in proptest::collection::vec(0_u8..2, 0..3),
        ) {
            let equal = canonical_form(&model, &a) == canonical_form(&other, &b);
            prop_assert_eq!(equal, model == other && same_answer(&a, &b));
        }
    }
}
