//! Plans keep their promises for one to a thousand nodes, whatever the members, their zones and the plan before.

mod apportion;
mod layout;

use std::collections::BTreeSet;

use proptest::prelude::*;
use ultrakv_cache::SLOT_COUNT;

use super::*;

fn node(id: usize) -> PlanNode {
    PlanNode {
        node: NodeId::from_u128(u128::try_from(id).unwrap()),
        capacity_bytes: 1 << 30,
        zone: String::new(),
        share: Share::Full,
    }
}

fn nodes(count: usize) -> Vec<PlanNode> {
    (1..=count).map(node).collect()
}

fn nothing(slots: usize) -> Vec<Targets> {
    vec![Targets::default(); slots]
}

fn whole() -> Vec<Targets> {
    nothing(usize::from(SLOT_COUNT))
}

/// How many slots each owns, follows, and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    owned: u32,
    following: u32,
}

impl Load {
    fn copies(self) -> u32 {
        self.owned + self.following
    }
}

fn loads(targets: &[Targets]) -> BTreeMap<NodeId, Load> {
    let mut loads = BTreeMap::<NodeId, Load>::new();
    for list in targets {
        for (place, node) in list.iter().enumerate() {
            let load = loads.entry(*node).or_default();
            load.owned += u32::from(place == 0);
            load.following += u32::from(place > 0);
        }
    }
    loads
}

/// Makes a plan and checks all that is promised of any.
fn checked(nodes: &[PlanNode], copies: usize, present: &[Targets]) -> Plan {
    let plan = plan(nodes, copies, present).unwrap();
    assert_eq!(plan.targets.len(), present.len());
    let eligible: BTreeMap<NodeId, &PlanNode> = nodes
        .iter()
        .filter(|node| node.share != Share::Nothing)
        .map(|node| (node.node, node))
        .collect();
    rows(&eligible, copies, present, &plan);
    owners(&eligible, present, &plan);
    followers(&eligible, copies, &plan);
    told(present, &plan);
    plan
}

fn is_simple(eligible: &BTreeMap<NodeId, &PlanNode>) -> bool {
    eligible.values().all(|node| node.share == Share::Full)
}

/// A node without a label is a zone of its own.
fn zone(node: &PlanNode) -> String {
    match &*node.zone {
        "" => format!(" {}", node.node),
        label => label.to_owned(),
    }
}

fn zones<'a>(nodes: impl Iterator<Item = &'a PlanNode>) -> usize {
    nodes.map(zone).collect::<BTreeSet<_>>().len()
}

fn rows(eligible: &BTreeMap<NodeId, &PlanNode>, copies: usize, present: &[Targets], plan: &Plan) {
    let copies = copies.min(eligible.len());
    let wanted = zones(eligible.values().copied()).min(copies);
    for (was, is) in present.iter().zip(&plan.targets) {
        let distinct: BTreeSet<_> = is.iter().collect();
        assert_eq!(distinct.len(), is.len(), "one copy a node");
        assert!(!is.is_empty() && is.len() <= copies);
        for node in is.iter() {
            let share = eligible[node].share;
            assert!(share == Share::Full || was.contains(node), "{share:?}");
        }
        if is_simple(eligible) {
            assert_eq!(is.len(), copies);
            assert_eq!(zones(is.iter().map(|node| eligible[node])), wanted);
        }
    }
}

fn owners(eligible: &BTreeMap<NodeId, &PlanNode>, present: &[Targets], plan: &Plan) {
    let (was, is) = (loads(present), loads(&plan.targets));
    let of = |loads: &BTreeMap<NodeId, Load>, node| loads.get(&node).copied().unwrap_or_default();
    let mut fewest = 0;
    for (node, quota) in &plan.quotas {
        assert_eq!(of(&is, *node).owned, quota.owned, "{node}");
        fewest += quota.owned.saturating_sub(of(&was, *node).owned);
    }
    assert_eq!(plan.owners_moved(), usize::try_from(fewest).unwrap());
    if is_simple(eligible) {
        let slots = u128::try_from(present.len()).unwrap();
        let all: u128 = eligible
            .values()
            .map(|node| u128::from(node.capacity_bytes))
            .sum();
        for (id, node) in eligible {
            let share = slots * u128::from(node.capacity_bytes);
            let quota = u128::from(plan.quotas[id].owned) * all;
            assert!(
                all == 0 || quota.abs_diff(share) < all,
                "{quota} of {share}"
            );
        }
    }
}

fn followers(eligible: &BTreeMap<NodeId, &PlanNode>, copies: usize, plan: &Plan) {
    if !is_simple(eligible) {
        return;
    }
    let loads = loads(&plan.targets);
    for (node, quota) in &plan.quotas {
        let load = loads.get(node).copied().unwrap_or_default();
        assert_eq!(load.following, quota.following, "{node}");
    }
    let (slots, copies) = (plan.targets.len(), copies.min(eligible.len()));
    let mut capacities = eligible.values().map(|node| node.capacity_bytes);
    let first = capacities.next();
    let are_equal = capacities.all(|capacity| Some(capacity) == first);
    if are_equal && zones(eligible.values().copied()) == eligible.len() {
        // Equal nodes hold equally much.
        let share = slots * copies / eligible.len();
        for load in loads.values() {
            let copies = usize::try_from(load.copies()).unwrap();
            assert!(
                copies == share || copies == share + 1,
                "{copies} of {share}"
            );
        }
    }
}

fn told(present: &[Targets], plan: &Plan) {
    let mut made = present.to_vec();
    for slot in &plan.moves {
        let list = &mut made[usize::from(slot.slot)];
        assert_eq!(slot.from, list.first().copied());
        let is = &plan.targets[usize::from(slot.slot)];
        let mut nodes: BTreeSet<NodeId> = list.iter().copied().collect();
        for node in &slot.loses {
            assert!(nodes.remove(node));
        }
        for node in &slot.gains {
            assert!(nodes.insert(*node));
        }
        assert_eq!(nodes, is.iter().copied().collect());
        assert_eq!(Some(slot.to), is.first().copied());
        *list = Arc::clone(is);
    }
    assert_eq!(made, plan.targets);
}

/// How many copies a plan moves beyond what its nodes lack.
fn detours(present: &[Targets], plan: &Plan) -> usize {
    let was = loads(present);
    let lacks = plan.quotas.iter().map(|(node, quota)| {
        let held = was.get(node).map_or(0, |load| load.copies());
        usize::try_from((quota.owned + quota.following).saturating_sub(held)).unwrap()
    });
    plan.copies_moved() - lacks.sum::<usize>()
}

fn settles(nodes: &[PlanNode], copies: usize, plan: &Plan) {
    let again = checked(nodes, copies, &plan.targets);
    assert!(again.moves.is_empty(), "{:?}", again.moves.first());
}

#[test]
fn one_node_holds_everything_and_a_second_copy_waits_for_a_second_node() {
    let one = checked(&nodes(1), COPIES_DEFAULT, &whole());
    assert_eq!(one.owners_moved(), usize::from(SLOT_COUNT));
    settles(&nodes(1), COPIES_DEFAULT, &one);
    let two = checked(&nodes(2), COPIES_DEFAULT, &one.targets);
    assert_eq!(two.owners_moved(), usize::from(SLOT_COUNT / 2));
    assert_eq!(two.copies_moved(), usize::from(SLOT_COUNT));
    let three = checked(&nodes(3), COPIES_DEFAULT, &two.targets);
    assert_eq!(three.copies_moved(), usize::from(SLOT_COUNT));
    let none = plan(&[], 3, &whole()).unwrap_err();
    assert_eq!((none, none.code()), (PlanError::NoNode, "plan_no_node"));
    assert_eq!(
        plan(&nodes(9), 9, &whole()).unwrap_err().code(),
        "plan_copies"
    );
    assert!(plan(&nodes(9), 0, &whole()).is_err());
}

#[test]
fn a_join_and_a_drain_move_the_fewest_for_one_to_a_thousand_nodes() {
    for count in [1, 2, 3, 4, 8, 31, 100, 999] {
        let first = checked(&nodes(count), 3, &whole());
        let joined = checked(&nodes(count + 1), 3, &first.targets);
        let mut drained = nodes(count + 1);
        drained[count / 2].share = Share::Nothing;
        let left = checked(&drained, 3, &joined.targets);
        settles(&drained, 3, &left);
        // With few nodes nobody fetches what it will not keep; with many, each of them has so few slots that a chain of
        // two is needed now and then.
        for (was, plan) in [
            (&whole(), &first),
            (&first.targets, &joined),
            (&joined.targets, &left),
        ] {
            let detours = detours(was, plan);
            assert!(
                detours <= if count <= 100 { 0 } else { 40 },
                "{count}: {detours}"
            );
        }
    }
}

#[test]
fn a_drained_node_is_followed_by_who_holds_a_copy_already() {
    let first = checked(&nodes(5), 3, &whole());
    let mut drained = nodes(5);
    drained[2].share = Share::Nothing;
    let left = checked(&drained, 3, &first.targets);
    let gone = drained[2].node;
    assert!(!loads(&left.targets).contains_key(&gone));
    let handed = left.moves.iter().filter(|slot| slot.from != Some(slot.to));
    let (mut promoted, mut fetched) = (0, 0);
    for slot in handed {
        assert_eq!(slot.from, Some(gone));
        if slot.gains.contains(&slot.to) {
            fetched += 1;
        } else {
            promoted += 1;
        }
    }
    assert!(promoted > 50 * fetched, "{promoted} {fetched}");
}

#[test]
fn a_node_that_is_down_keeps_what_it_has_and_gets_nothing_new() {
    let first = checked(&nodes(4), 3, &whole());
    let mut down = nodes(5);
    down[1].share = Share::Present;
    let joined = checked(&down, 3, &first.targets);
    let gains = joined.moves.iter().flat_map(|slot| &slot.gains);
    assert!(gains.clone().all(|node| *node != down[1].node));
    // It makes room for the new one as all others do.
    let share = u32::from(SLOT_COUNT) / 5;
    let owned = loads(&joined.targets)[&down[1].node].owned;
    assert!(owned == share || owned == share + 1, "{owned}");
}

#[test]
fn copies_lie_in_different_zones_and_weight_is_what_a_node_can_hold() {
    let mut racks = nodes(6);
    for (at, node) in racks.iter_mut().enumerate() {
        node.zone = label(1 + at % 3);
    }
    racks[5].capacity_bytes *= 3;
    let plan = checked(&racks, 3, &whole());
    let load = loads(&plan.targets);
    let [small, large] = [4, 5].map(|at| load[&racks[at].node]);
    assert_eq!(large.owned, u32::from(SLOT_COUNT) * 3 / 8);
    assert_eq!(small.owned, u32::from(SLOT_COUNT) / 8);
    // Its rack holds each slot once, and it three quarters of that.
    assert_eq!(load[&racks[2].node].copies(), u32::from(SLOT_COUNT) / 4);
    assert_eq!(large.copies(), u32::from(SLOT_COUNT) * 3 / 4);
}

/// What happens to a cluster.
#[derive(Clone, Debug)]
enum Step {
    Join { capacity: u64, zone: usize },
    Share(usize, Share),
    Capacity(usize, u64),
    Zone(usize, usize),
    Gone(usize),
    Copies(usize),
}

fn any_capacity() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(64), 3 => 1..200_u64, 1 => Just(0), 1 => any::<u64>()]
}

fn any_step(zones: usize) -> impl Strategy<Value = Step> {
    let share = prop::sample::select(vec![
        Share::Full,
        Share::Full,
        Share::Present,
        Share::Nothing,
    ]);
    let at = || 0..64_usize;
    prop_oneof![
        6 => (any_capacity(), 0..=zones).prop_map(|(capacity, zone)| Step::Join { capacity, zone }),
        4 => (at(), share).prop_map(|(at, share)| Step::Share(at, share)),
        1 => (at(), any_capacity()).prop_map(|(at, capacity)| Step::Capacity(at, capacity)),
        1 => (at(), 0..=zones).prop_map(|(at, zone)| Step::Zone(at, zone)),
        2 => at().prop_map(Step::Gone),
        1 => (1..5_usize).prop_map(Step::Copies),
    ]
}

/// Up to so many labels; none for the first.
fn label(zone: usize) -> String {
    if zone == 0 {
        String::new()
    } else {
        format!("rack-{zone}")
    }
}

fn happen(step: &Step, nodes: &mut Vec<PlanNode>, copies: &mut usize) {
    let count = nodes.len().max(1);
    match step {
        Step::Join { capacity, zone } => {
            let next = nodes.iter().map(|node| node.node.to_u128()).max();
            let mut node = node(usize::try_from(next.unwrap_or(0)).unwrap() + 1);
            node.capacity_bytes = *capacity;
            node.zone = label(*zone);
            nodes.push(node);
        }
        _ if nodes.is_empty() => {}
        Step::Share(which, share) => nodes[which % count].share = *share,
        Step::Capacity(which, capacity) => nodes[which % count].capacity_bytes = *capacity,
        Step::Zone(which, zone) => nodes[which % count].zone = label(*zone),
        Step::Gone(which) => {
            nodes.remove(which % count);
        }
        Step::Copies(number) => *copies = *number,
    }
}

fn steps() -> impl Strategy<Value = (usize, Vec<Step>)> {
    (prop::sample::select(vec![0, 2, 3, 5]), 10..200_usize).prop_flat_map(|(zones, slots)| {
        (Just(slots), prop::collection::vec(any_step(zones), 1..20))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_next_plan_keeps_its_promises((slots, steps) in steps()) {
        let (mut members, mut copies) = (nodes(1), 3);
        let mut present = nothing(slots);
        for step in &steps {
            happen(step, &mut members, &mut copies);
            if !members.iter().any(|node| node.share == Share::Full) {
                prop_assert_eq!(plan(&members, copies, &present), Err(PlanError::NoNode));
                continue;
            }
            let next = checked(&members, copies, &present);
            // The order in which members are told is nothing to the plan.
            let mut turned = members.clone();
            turned.reverse();
            prop_assert_eq!(&plan(&turned, copies, &present).unwrap(), &next);
            let is_plain = |node: &PlanNode| node.share != Share::Present && node.zone.is_empty();
            if members.iter().all(is_plain) {
                let detours = detours(&present, &next);
                // Measured, not proven: the worst that was seen is 3.4 for each member.
                prop_assert!(detours <= 6 * members.len(), "{detours}");
            }
            if members.iter().all(|node| node.share != Share::Present) {
                settles(&members, copies, &next);
            } else {
                // What it has now bounds its share from now on, so it takes a few plans more.
                let mut last = next.clone();
                for _ in 0..8 {
                    last = checked(&members, copies, &last.targets);
                }
                prop_assert!(last.moves.is_empty(), "{}", last.moves.len());
            }
            present = next.targets;
        }
    }
}
