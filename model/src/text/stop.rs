//! Stop texts: finding them across pieces, and holding back what might become one.

/// Watches a text that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    /// Text that may be the beginning of a stop text.
    held: String,
}

/// What a piece of text did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// Text that certainly comes before any stop text.
    pub(crate) emit: String,
    /// A stop text was complete; nothing more may be emitted.
    pub(crate) stopped: bool,
}

impl StopFilter {
    /// Watches for these texts.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            held: String::new(),
        }
    }

    /// Takes a piece. Of several stop texts, the one that begins first counts.
    pub(crate) fn push(&mut self, piece: &str) -> Filtered {
        self.held.push_str(piece);
        if let Some(at) = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min()
        {
            self.held.truncate(at);
            return Filtered {
                emit: core::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Filtered {
            emit: core::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// The text is over: what was held back was no stop text.
    pub(crate) fn finish(&mut self) -> String {
        core::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that begins `stop` without being all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let beginnings = stop.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
    beginnings
        .filter(|at| {
            stop.get(..*at)
                .is_some_and(|beginning| text.ends_with(beginning))
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut filter = StopFilter::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut text = String::new();
        for piece in pieces {
            let filtered = filter.push(piece);
            text.push_str(&filtered.emit);
            if filtered.stopped {
                return (text, true);
            }
        }
        (text + &filter.finish(), false)
    }

    #[test]
    fn stop_texts_are_found_across_pieces_and_not_emitted() {
        for (stops, pieces, text, stopped) in [
            (&["END"][..], &["abE", "N", "Dcd"][..], "ab", true),
            (&["END"], &["abE", "N", "X"], "abENX", false),
            (&["END"], &["abEN"], "abEN", false),
            (&["bc", "abcd"], &["xab", "cd"], "x", true),
            (&["aab"], &["aa", "ab"], "a", true),
            (&["\u{e9}t\u{e9}"], &["l'\u{e9}", "t\u{e9}!"], "l'", true),
            (&[], &["a", "b"], "ab", false),
        ] {
            assert_eq!(
                run(stops, pieces),
                (text.to_owned(), stopped),
                "{stops:?} {pieces:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab]{0,20}", stop in "[ab]{1,4}") {
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            let expected = match text.find(&stop) {
                Some(at) => (text[..at].to_owned(), true),
                None => (text.clone(), false),
            };
            prop_assert_eq!(run(&[&stop], &letters), expected.clone());
            prop_assert_eq!(run(&[&stop], &[&text]), expected);
        }
    }
}
