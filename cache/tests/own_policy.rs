//! A policy that another crate brings runs in a shard like those of the house: the example of the book, driven by a shard.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use ultrakv_cache::{
    ArenaId, BlockHeader, BlockKey, BlockLayout, Budget, Effect, Event, Now, PolicyKind,
    ReserveBlock, Retain, Shard, ShardConfig, Term, Ticket,
};

#[expect(dead_code, reason = "the example's own entry point is not called here")]
#[path = "../examples/own_policy.rs"]
mod example;

const PAGE_BYTES: u32 = 64;

fn key(number: u8) -> BlockKey {
    BlockKey::from_bytes([number; 32])
}

/// Stores a block of a page.
fn put(shard: &mut Shard, number: u8, parent: Option<u8>) {
    let key = key(number);
    let header = BlockHeader::seal(BlockLayout::OPAQUE, 1, &key, &[number]);
    let block = Box::new(ReserveBlock {
        key,
        run: key,
        parent: parent.map(self::key),
        depth: 0,
        arena: ArenaId(0),
        header,
        retain: Retain::default(),
        term: Term::Held,
    });
    let mut effects = Vec::new();
    let ticket = Ticket(1);
    shard.handle(Event::Reserve { ticket, block }, Now(0), &mut effects);
    let reserved = effects.drain(..).find_map(|effect| match effect {
        Effect::Reserved { reservation, .. } => Some(reservation),
        _ => None,
    });
    let reservation = reserved.expect("room for a page");
    let commit = Event::Commit {
        ticket,
        reservation,
    };
    shard.handle(commit, Now(0), &mut effects);
    assert!(effects.contains(&Effect::Stored { ticket }));
}

#[test]
fn a_shard_evicts_by_a_policy_that_is_not_in_the_house() {
    let policy = PolicyKind::of(&example::FIFO);
    assert_eq!(PolicyKind::named("fifo"), None);
    let mut shard = Shard::new(ShardConfig {
        policy,
        page_bytes: PAGE_BYTES,
        ..ShardConfig::new(Budget::of_bytes(u64::from(4 * PAGE_BYTES)))
    });
    put(&mut shard, 1, None);
    put(&mut shard, 2, Some(1));
    put(&mut shard, 3, None);
    put(&mut shard, 4, None);
    // Used or not, the oldest leaf goes: the second, since the first has a child.
    let touch = Event::Touch { keys: vec![key(2)] };
    shard.handle(touch, Now(1), &mut Vec::new());
    let next: Vec<BlockKey> = shard.outlook(9).iter().map(|block| block.key).collect();
    assert_eq!(next, [key(2), key(3), key(4)]);
    put(&mut shard, 5, None);
    let told = shard.explain(&key(1)).expect("it is here");
    assert_eq!(shard.explain(&key(2)), None);
    assert_eq!(told.explanation.class, "queue");
    assert!(told.explanation.can_go, "its child is gone");
    put(&mut shard, 6, None);
    assert_eq!(shard.explain(&key(1)), None, "and it came first");
    assert!(shard.explain(&key(3)).is_some());
}
