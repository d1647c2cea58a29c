//! Parts by weight: the whole, within bounds, and no pair of them that a swap would make fairer by more than one.

use super::super::quota::{Claim, apportion};
use super::*;

fn any_claim() -> impl Strategy<Value = Claim> {
    let weight = prop_oneof![0..3_u64, 0..1_000_000_u64, any::<u64>()];
    (weight, 0..50_u32, 0..400_u32, 0..200_u32).prop_map(|(weight, least, more, held)| Claim {
        weight: weight.into(),
        least,
        most: least + more,
        held,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn parts_are_the_whole_within_bounds_and_fair(
        claims in prop::collection::vec(any_claim(), 1..12),
        permille in 0..=1_000_u32,
    ) {
        let (least, most) = claims.iter().fold((0, 0), |(least, most), claim| {
            (least + claim.least, most + claim.most)
        });
        let total = least + (most - least) * permille / 1_000;
        let parts = apportion(total, &claims);
        prop_assert_eq!(parts.iter().sum::<u32>(), total);
        for (part, claim) in parts.iter().zip(&claims) {
            prop_assert!((claim.least..=claim.most).contains(part), "{part} {claim:?}");
        }
        let weighing: u32 = claims
            .iter()
            .map(|claim| if claim.weight > 0 { claim.most } else { claim.least })
            .sum();
        if total > weighing {
            // Who weighs nothing gets what nobody else can take.
            let full = parts.iter().zip(&claims).filter(|(_, claim)| claim.weight > 0);
            prop_assert!(full.into_iter().all(|(part, claim)| *part == claim.most));
            return Ok(());
        }
        for (may_give, gives) in parts.iter().zip(&claims) {
            for (may_take, takes) in parts.iter().zip(&claims) {
                if *may_give > gives.least && *may_take < takes.most {
                    let given = u128::from(may_give - 1) * takes.weight;
                    let taken = u128::from(may_take + 1) * gives.weight;
                    prop_assert!(given <= taken, "{gives:?} {may_give} {takes:?} {may_take}");
                }
            }
        }
    }
}

#[test]
fn between_equals_who_has_one_more_keeps_it() {
    let claim = |held| Claim {
        weight: 7,
        least: 0,
        most: 100,
        held,
    };
    assert_eq!(apportion(10, &[3, 3, 4].map(claim)), [3, 3, 4]);
    assert_eq!(apportion(10, &[3, 4, 4].map(claim)), [3, 4, 3]);
    assert_eq!(apportion(10, &[0, 0, 0].map(claim)), [4, 3, 3]);
}

#[test]
fn without_weights_all_weigh_the_same() {
    let claim = |most| Claim {
        weight: 0,
        least: 0,
        most,
        held: 0,
    };
    assert_eq!(apportion(9, &[100, 1, 100].map(claim)), [4, 1, 4]);
    assert_eq!(apportion(0, &[1, 1].map(claim)), [0, 0]);
    assert_eq!(apportion(0, &[]), [0; 0]);
}
