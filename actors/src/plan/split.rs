//! Cuts one number into parts, in proportion to weights, so that the parts' sum is the number.
//!
//! Pure arithmetic; it must never know what is being cut.

/// Splits `total` over `weights` by largest remainder: the sum is exactly `total`, and no part is
/// more than one away from its proportional share.
///
/// Weights that are all zero count as equal. No weights, no parts.
#[must_use]
pub fn split(total: u64, weights: &[u32]) -> Vec<u64> {
    let even = weights.iter().all(|weight| *weight == 0);
    let weight_of = |weight: u32| if even { 1 } else { u128::from(weight) };
    let weight_sum: u128 = weights.iter().map(|weight| weight_of(*weight)).sum();
    if weight_sum == 0 {
        return Vec::new();
    }

    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let share = u128::from(total) * weight_of(*weight);
        // A share is at most `total`, which is a u64, so the fallback is never taken.
        parts.push(u64::try_from(share / weight_sum).unwrap_or(u64::MAX));
        remainders.push((share % weight_sum, index));
    }

    // Fewer than one unit a part is missing: the largest remainders get one each, ties to the
    // lowest index, so that the result depends on nothing but the arguments.
    let missing = total - parts.iter().sum::<u64>();
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, index) in remainders
        .iter()
        .take(usize::try_from(missing).unwrap_or(usize::MAX))
    {
        if let Some(part) = parts.get_mut(*index) {
            *part += 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_remainder_goes_to_the_largest_fractions() {
        let check = |total, weights: &[u32], expected: &[u64]| {
            assert_eq!(split(total, weights), expected, "{total} over {weights:?}");
        };
        check(10, &[1, 1, 1], &[4, 3, 3]);
        check(10, &[1, 2], &[3, 7]);
        check(0, &[5, 5], &[0, 0]);
        check(7, &[0, 0], &[4, 3]);
        check(7, &[0, 1], &[0, 7]);
        check(2, &[1, 1, 1], &[1, 1, 0]);
        check(9, &[], &[]);
        check(u64::MAX, &[1], &[u64::MAX]);
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_whole_and_keep_their_proportion(
            total in any::<u64>(),
            weights in prop::collection::vec(any::<u32>(), 1..64),
        ) {
            let parts = split(total, &weights);
            prop_assert_eq!(parts.len(), weights.len());
            let sum: u128 = parts.iter().map(|part| u128::from(*part)).sum();
            prop_assert_eq!(sum, u128::from(total));

            let weight_sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            for (part, weight) in parts.iter().zip(&weights) {
                let share = u128::from(total) * u128::from(*weight);
                if let Some(floor) = share.checked_div(weight_sum) {
                    prop_assert!(u128::from(*part) >= floor && u128::from(*part) <= floor + 1);
                }
            }
        }
    }
}
