//! The reconciler's decisions, told and drawn. It must never run consensus.

use proptest::prelude::*;

use super::*;

const fn seen(id: RaftId) -> Seen {
    Seen {
        id,
        is_dead: false,
        is_caught_up: true,
    }
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<RaftId> {
    numbers.into_iter().map(RaftId::from).collect()
}

fn scene(members: u64, voters: u64) -> Scene {
    Scene {
        me: 1.into(),
        configs: vec![ids(1..=voters)],
        known: ids(1..=members).into_iter().map(seen).collect(),
        wanted: ids(1..=members),
    }
}

#[test]
fn the_number_of_voters_is_odd_and_at_most_five() {
    for (members, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (9, 5)] {
        assert_eq!(odd(members), voters, "{members}");
    }
    assert_eq!(next(&scene(2, 1)), None);
    let Some(Step::Vote(three)) = next(&scene(3, 1)) else {
        panic!("a pair is added");
    };
    assert_eq!(three, ids(1..=3));
    assert_eq!(next(&scene(4, 3)), None);
    assert_eq!(next(&scene(5, 3)), Some(Step::Vote(ids(1..=5))));
    let mut lags = scene(3, 1);
    lags.known[2].is_caught_up = false;
    assert_eq!(next(&lags), None, "one alone would make it even");
}

#[test]
fn a_change_that_somebody_began_is_ended_first() {
    let mut joint = scene(3, 3);
    joint.configs = vec![ids([1]), ids(1..=3)];
    joint.wanted.insert(9.into());
    assert_eq!(next(&joint), Some(Step::Vote(ids(1..=3))));
}

#[test]
fn newcomers_learn_and_who_left_is_forgotten() {
    let mut one = scene(1, 1);
    one.wanted.insert(2.into());
    assert_eq!(next(&one), Some(Step::Learn(2.into())));
    let mut left = scene(4, 3);
    left.wanted.remove(&4.into());
    assert_eq!(next(&left), Some(Step::Forget(4.into())));
    // A voter that left first stops voting; here the learner takes its place at once.
    let mut left = scene(4, 3);
    left.wanted.remove(&2.into());
    assert_eq!(next(&left), Some(Step::Vote(ids([1, 3, 4]))));
    // Of two members that remain one votes.
    let mut left = scene(3, 3);
    left.wanted.remove(&3.into());
    assert_eq!(next(&left), Some(Step::Vote(ids([1]))));
}

#[test]
fn a_dead_voter_is_replaced_and_never_dropped_below_three() {
    let mut dead = scene(3, 3);
    dead.known[2].is_dead = true;
    assert_eq!(next(&dead), None, "nobody can take its place");
    let mut dead = scene(4, 3);
    dead.known[2].is_dead = true;
    assert_eq!(next(&dead), Some(Step::Vote(ids([1, 2, 4]))));
    dead.known[3].is_caught_up = false;
    assert_eq!(next(&dead), None);
    let mut five = scene(5, 5);
    five.known[1].is_dead = true;
    assert_eq!(next(&five), None);
}

#[test]
fn a_lost_disk_is_another_member() {
    // Member 3 came back as 30.
    let mut lost = scene(3, 3);
    lost.wanted = ids([1, 2, 30]);
    lost.known[2].is_caught_up = false;
    assert_eq!(next(&lost), Some(Step::Learn(30.into())));
    lost.known.push(seen(30.into()));
    assert_eq!(next(&lost), Some(Step::Vote(ids([1, 2, 30]))));
    lost.configs = vec![ids([1, 2, 30])];
    assert_eq!(next(&lost), Some(Step::Forget(3.into())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// From anywhere the steps end, with an odd number of voters that are members, and no step takes more than half of
    /// the voters' word away or leaves nobody who has the log.
    #[test]
    fn steps_end_where_they_should(
        voters in prop::collection::btree_set(1..9_u64, 1..6),
        known in prop::collection::btree_map(1..9_u64, (any::<bool>(), any::<bool>()), 0..9),
        wanted in prop::collection::btree_set(1..9_u64, 1..9),
        me in any::<prop::sample::Index>(),
    ) {
        let voters: Vec<u64> = voters.into_iter().collect();
        let me = RaftId::from(*me.get(&voters));
        let mut wanted = ids(wanted);
        wanted.insert(me);
        let mut scene = Scene {
            me,
            configs: vec![ids(voters.iter().copied())],
            known: Vec::new(),
            wanted,
        };
        for number in 1..9_u64 {
            let id = RaftId::from(number);
            let found = known.get(&number);
            if found.is_some() || scene.configs[0].contains(&id) {
                let (is_dead, is_caught_up) = found.copied().unwrap_or((false, true));
                let is_dead = is_dead && id != me;
                scene.known.push(Seen { id, is_dead, is_caught_up: is_caught_up || id == me });
            }
        }
        for _ in 0..64 {
            let Some(step) = next(&scene) else { break };
            match step {
                Step::Vote(next) => {
                    prop_assert!(!next.is_empty() && next.len() <= VOTERS_MAX);
                    for id in next.difference(&scene.configs[0]) {
                        let seen = scene.known.iter().find(|seen| seen.id == *id).unwrap();
                        prop_assert!(seen.is_caught_up && !seen.is_dead && scene.wanted.contains(id));
                    }
                    scene.configs = vec![next];
                }
                Step::Learn(id) => {
                    prop_assert!(scene.wanted.contains(&id));
                    scene.known.push(Seen { id, is_dead: false, is_caught_up: true });
                }
                Step::Forget(id) => {
                    prop_assert!(!scene.wanted.contains(&id) && !scene.configs[0].contains(&id));
                    scene.known.retain(|seen| seen.id != id);
                }
            }
        }
        prop_assert_eq!(next(&scene), None, "it never ends: {:?}", scene);
        let voters = &scene.configs[0];
        prop_assert!(voters.is_subset(&scene.wanted), "{:?}", scene);
        prop_assert!(voters.len() <= odd(scene.wanted.len()));
    }
}
