//! A part of a block: the header `range` of one range of bytes.
//!
//! # Source
//! RFC 9110, section 14. A server may ignore ranges; ours ignores several ranges in one header, other units and what it cannot
//! read, and answers the whole block, as the RFC allows.

use std::ops::Range;

/// What of a block is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, which are at least one.
    Part(Range<usize>),
    /// Bytes that the block does not have.
    Unsatisfiable,
}

/// What the header `range` asks of a block of `length` bytes.
pub(super) fn wanted(header: Option<&str>, length: usize) -> Wanted {
    let Some((first, last)) = header.and_then(one_range) else {
        return Wanted::Whole;
    };
    let number = |digits: &str| {
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse::<usize>().unwrap_or(usize::MAX))
    };
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
        _ => return Wanted::Whole,
    };
    if part.is_empty() {
        Wanted::Unsatisfiable
    } else {
        Wanted::Part(part)
    }
}

/// The two sides of `bytes=first-last`.
fn one_range(header: &str) -> Option<(&str, &str)> {
    let range = header.trim().strip_prefix("bytes=")?;
    range
        .split_once('-')
        .map(|(first, last)| (first.trim(), last.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_cut_to_the_block_and_anything_odd_means_the_whole() {
        let check = |header: &str, expected: Wanted| {
            assert_eq!(wanted(Some(header), 10), expected, "{header}");
        };
        assert_eq!(wanted(None, 10), Wanted::Whole);
        check("bytes=0-3", Wanted::Part(0..4));
        check("bytes=0-9", Wanted::Part(0..10));
        check("bytes=4-", Wanted::Part(4..10));
        check("bytes=4-400", Wanted::Part(4..10));
        check("bytes=-3", Wanted::Part(7..10));
        check("bytes=-30", Wanted::Part(0..10));
        check("bytes=10-", Wanted::Unsatisfiable);
        check("bytes=10-12", Wanted::Unsatisfiable);
        check("bytes=-0", Wanted::Unsatisfiable);
        check("bytes=99999999999999999999-", Wanted::Unsatisfiable);
        check("bytes=3-1", Wanted::Whole);
        check("bytes=0-1,4-5", Wanted::Whole);
        check("bytes=-", Wanted::Whole);
        check("bytes=a-b", Wanted::Whole);
        check("blocks=0-1", Wanted::Whole);
    }
}
