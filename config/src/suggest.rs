//! "Did you mean": the known word nearest to a typed one.
//!
//! It knows spelling only, not what any word means.

/// Words further apart than this are different words, not typing errors.
const SIMILARITY_MIN: f64 = 0.75;

/// The nearest of `known`, if any is near enough; the first of equals.
#[must_use]
pub fn closest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(f64, &str)> = None;
    for word in known {
        let score = strsim::normalized_damerau_levenshtein(typed, word);
        if score >= SIMILARITY_MIN && best.is_none_or(|(found, _)| score > found) {
            best = Some((score, word));
        }
    }
    best.map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised_and_other_words_are_not() {
        let known = ["max_tokens", "max_memory_mb", "block_size"];
        assert_eq!(closest("max_token", known), Some("max_tokens"));
        assert_eq!(closest("maxtokens", known), Some("max_tokens"));
        assert_eq!(closest("blok_size", known), Some("block_size"));
        assert_eq!(closest("colour", known), None);
    }
}
