//! The response cache: whole answers as entries of the class that may vanish at any time.
//!
//! An answer is stored under its request's canonical key inside the caller's effective domain, so two
//! services, two salts or two purge generations can never read each other's. What cannot be read, or
//! not understood, is a miss.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::process::answer::Answer;
use crate::process::canonical::RequestKey;

/// What keeps our entries apart from others of the same domain: it is not UTF-8, so no client's name begins with it.
const PREFIX: &[u8] = b"\xffultrakv:response:";
/// Changes when the stored form does; another form is a miss.
const FORM: u32 = 1;

/// An answer as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored<A> {
    form: u32,
    answer: A,
}

/// The entry's key.
pub(super) fn entry_key(key: &RequestKey) -> Vec<u8> {
    [PREFIX, key.as_bytes()].concat()
}

/// The entry's value, or `None` where an answer cannot be written down (it always can).
pub(super) fn encode(answer: &Answer) -> Option<Bytes> {
    serde_json::to_vec(&Stored { form: FORM, answer })
        .ok()
        .map(Bytes::from)
}

/// The answer of an entry, or `None` when it is not one we understand.
pub(super) fn decode(value: &[u8]) -> Option<Answer> {
    let stored: Stored<Answer> = serde_json::from_slice(value).ok()?;
    (stored.form == FORM).then_some(stored.answer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::answer::Finish;

    proptest! {
        #[test]
        fn an_answer_survives_being_stored(text in ".*", tokens in any::<[u32; 3]>()) {
            let answer = Answer {
                text,
                prompt_tokens: tokens[0],
                completion_tokens: tokens[1],
                finish: Finish::Stop,
                reused_tokens: tokens[2],
            };
            prop_assert_eq!(decode(&encode(&answer).unwrap()), Some(answer));
        }

        #[test]
        fn anything_else_is_a_miss(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(&bytes), None);
        }
    }

    #[test]
    fn another_form_is_a_miss() {
        let answer = Answer {
            text: String::new(),
            prompt_tokens: 1,
            completion_tokens: 1,
            finish: Finish::Length,
            reused_tokens: 0,
        };
        let other = serde_json::to_vec(&Stored {
            form: FORM + 1,
            answer,
        })
        .unwrap();
        assert_eq!(decode(&other), None);
    }
}
