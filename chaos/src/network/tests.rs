//! What the network promises: faults as asked for, and one trace a seed.

use super::*;

fn calm(places: u8) -> Network<u32> {
    Network::new(places, LinkShape::calm(), Rng::new(1))
}

fn drain(network: &mut Network<u32>) -> Vec<u32> {
    std::iter::from_fn(|| network.next())
        .map(|arrival| arrival.message)
        .collect()
}

fn stormy_run(seed: u64) -> (u64, NetworkCounts) {
    let shape = LinkShape {
        loss_ppm: 100_000,
        duplicate_ppm: 100_000,
        tail_ppm: 50_000,
        tail_us_max: 20_000,
        ..LinkShape::calm()
    };
    let mut network = Network::new(3, shape, Rng::new(seed));
    for number in 0..200_u32 {
        network.send(0, 1, number);
        network.timer(2, u64::from(number) * 10, number);
    }
    while let Some(arrival) = network.next() {
        // Every message walks on once from place to place, until it is 1 000.
        if let (Some(_), true) = (arrival.from, arrival.message < 1_000) {
            network.send(arrival.to, (arrival.to + 1) % 3, arrival.message + 200);
        }
        match arrival.message {
            77 => network.pause(1),
            150 => network.resume(1),
            180 => network.restart(2),
            _ => {}
        }
    }
    (network.digest(), network.counts())
}

#[test]
fn one_seed_gives_one_trace() {
    let mut digests = BTreeSet::new();
    for seed in 0..20 {
        assert_eq!(stormy_run(seed), stormy_run(seed), "seed {seed}");
        digests.insert(stormy_run(seed).0);
    }
    assert_eq!(digests.len(), 20, "other seeds, other traces");
}

#[test]
fn a_storm_loses_doubles_and_reorders() {
    let (_, counts) = stormy_run(3);
    assert!(
        counts.lost > 0 && counts.duplicated > 0 && counts.overtaken > 0 && counts.forgotten > 0
    );
    assert_eq!(counts.overflowed, 0);
}

#[test]
fn a_cut_is_one_way_and_takes_what_arrives_meanwhile() {
    let mut network = calm(2);
    network.send(0, 1, 1);
    network.cut(0, 1);
    network.send(0, 1, 2);
    network.send(1, 0, 3);
    assert_eq!(drain(&mut network), [3]);
    network.heal(0, 1);
    network.send(0, 1, 4);
    assert_eq!(drain(&mut network), [4]);
    assert_eq!(network.counts().cut, 2);
}

#[test]
fn a_slow_message_outlives_a_short_cut() {
    let mut network = calm(2);
    network.send(0, 1, 1);
    network.cut(0, 1);
    assert_eq!(network.next_before(Us(50)), None);
    network.heal_all();
    assert_eq!(drain(&mut network), [1]);
}

#[test]
fn a_pause_keeps_messages_and_timers_in_order() {
    let mut network = calm(2);
    network.pause(1);
    network.timer(1, 5_000, 9);
    network.send(0, 1, 1);
    network.timer(1, 1_000, 2);
    assert_eq!(network.next_before(Us(10_000)), None);
    assert_eq!(network.now(), Us(10_000));
    network.resume(1);
    assert_eq!(drain(&mut network), [1, 2, 9]);
    assert_eq!(network.now(), Us(10_000));
}

#[test]
fn a_restart_forgets_what_was_under_way_even_while_paused() {
    let mut network = calm(2);
    network.timer(1, 1_000, 1);
    network.send(0, 1, 2);
    network.pause(1);
    assert_eq!(network.next_before(Us(700)), None);
    network.restart(1);
    network.timer(1, 2_000, 3);
    network.send(1, 0, 4);
    assert_eq!(drain(&mut network), [4, 3]);
    assert_eq!(network.counts().forgotten, 2);
}

#[test]
fn a_message_to_oneself_is_never_lost_and_comes_at_once() {
    let shape = LinkShape {
        loss_ppm: 1_000_000,
        ..LinkShape::calm()
    };
    let mut network = Network::new(1, shape, Rng::new(1));
    network.cut(0, 0);
    network.send(0, 0, 5);
    let arrival = network.next().unwrap();
    assert_eq!((arrival.at, arrival.from), (Us(0), Some(0)));
    network.send(0, 9, 6);
    assert_eq!(network.next(), None, "nobody is there");
}

#[test]
fn too_many_waiting_messages_are_dropped_and_counted() {
    let mut network = calm(2);
    for number in 0..=u32::try_from(WAITING_MAX).unwrap() {
        network.send(0, 1, number);
    }
    assert_eq!(network.counts().overflowed, 1);
    assert_eq!(drain(&mut network).len(), WAITING_MAX);
}
