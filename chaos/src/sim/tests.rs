//! A few seeds in short: the machines stand, a seed is one run, and each planted bug is seen by a seed that is known to.

use super::*;

const PLAN: Plan = Plan {
    voters: None,
    seconds: 8,
    bug: None,
};

/// Seeds that see the bug; after a change that moves the dice, `ultrakv-sim bugs --seconds-simulated 30` names others.
const SEEN_BY: [(Bug, u64); 9] = [
    (Bug::EpochUnchecked, 6),
    (Bug::AnswerEarly, 1),
    (Bug::TenureFirst, 1),
    (Bug::BootForgotten, 1),
    (Bug::GrantUnconfirmed, 7),
    (Bug::GrantUnheard, 58),
    (Bug::PromiseForgotten, 10),
    (Bug::DownEarly, 1),
    (Bug::SoleClaimed, 3),
];

#[test]
fn nothing_is_wrong_in_a_few_seeds() {
    let mut coverage = Coverage::default();
    for seed in 1..=4 {
        let report = run(seed, &PLAN);
        assert!(
            report.violation.is_none(),
            "seed {seed}: {:#?}",
            replay(seed, &PLAN).violation
        );
        assert!(report.calls > 100, "seed {seed}: {} calls", report.calls);
        coverage.merge(&report.coverage);
    }
    assert!(coverage.faults() >= 10, "{coverage:?}");
}

#[test]
fn a_seed_is_one_run() {
    let [first, second] = [run(7, &PLAN), run(7, &PLAN)];
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.coverage, second.coverage);
    assert_eq!(first.steps, second.steps);
    assert_ne!(first.digest, run(8, &PLAN).digest);
}

#[test]
fn each_planted_bug_is_seen() {
    for (bug, seed) in SEEN_BY {
        let plan = Plan {
            bug: Some(bug),
            seconds: 30,
            ..PLAN
        };
        let report = replay(seed, &plan);
        let violation = report
            .violation
            .unwrap_or_else(|| panic!("{bug:?} is not seen"));
        assert!(!violation.is_missing, "{bug:?}: {}", violation.what);
        assert!(!violation.trace.is_empty(), "{bug:?} has no story");
    }
    let bugs: std::collections::BTreeSet<Bug> = SEEN_BY.into_iter().map(|(bug, _)| bug).collect();
    assert_eq!(bugs.len(), Bug::ALL.len());
}
