//! Tests of keys: golden vectors, and that different inputs never meet.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::layout::{BlockKind, Dtype};

fn domain() -> EffectiveDomain {
    DomainSecret::from_bytes([1; 32]).effective(0, b"")
}

fn inputs() -> KeyInputs {
    KeyInputs {
        weights: [2; 32],
        adapter: [0; 32],
        rope: [3; 32],
        layout: BlockLayout {
            kind: BlockKind::Kv,
            dtype: Dtype::F16,
            layers: 4,
            kv_heads: 2,
            head_size: 64,
        },
        block_tokens: 4,
    }
}

/// Computed independently with Python's `blake3`. A change of any of these orphans every stored block of every node.
#[test]
fn derives_the_golden_keys() {
    let space = KeySpace::new(&domain(), &inputs());
    let chain = space.chain(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let golden = [
        (
            "domain",
            BlockKey(*domain().as_bytes()),
            "b0d44a2d80e7f7f4d86ac3506f037733a07435a9b4bf1ffbcae901916c50a63a",
        ),
        (
            "first",
            chain[0].key,
            "79687c57dc20a6bca348d6947c3aff4ef2a7fc49e4954fdf25a5f297163a1ee4",
        ),
        (
            "second",
            chain[1].key,
            "e3a50842200e0cee2daca8ed1de2c49cd31039be4e96f649cc622217a4ca7ee4",
        ),
        (
            "multimodal",
            space.child(Some(&chain[1].key), &[9], b"image"),
            "ba0eb0a066fa053d7432bb3060b145107c913101b99db9a0cb8e4c6eb098743c",
        ),
        (
            "opaque",
            opaque_key(&domain(), b"name"),
            "26e1fd479888c57a91979fb4f4cf21465fb82eefdb554db754d308bba433983c",
        ),
    ];
    for (name, key, want) in golden {
        assert_eq!(key.to_string(), want, "{name}");
    }
}

#[test]
fn chains_whole_blocks_only_and_names_each_runs_head() {
    let space = KeySpace::new(&domain(), &inputs());
    let tokens: Vec<u32> = (0..4 * 35 + 3).collect();
    let chain = space.chain(&tokens);
    assert_eq!(chain.len(), 35);
    for (index, address) in chain.iter().enumerate() {
        assert_eq!(
            address.run,
            chain[index / PLACEMENT_RUN_BLOCKS * PLACEMENT_RUN_BLOCKS].key
        );
        assert_eq!(address.slot(), address.run.slot());
        let parent = index.checked_sub(1).map(|before| chain[before].key);
        assert_eq!(
            address.key,
            space.child(parent.as_ref(), &tokens[index * 4..][..4], b"")
        );
    }
    assert!(space.chain(&[1, 2, 3]).is_empty());
    let nothing = KeySpace::new(
        &domain(),
        &KeyInputs {
            block_tokens: 0,
            ..inputs()
        },
    );
    assert!(nothing.chain(&[1, 2, 3]).is_empty());
}

#[test]
fn gives_different_inputs_different_keys() {
    let base = inputs();
    let secret = DomainSecret::from_bytes([1; 32]);
    let mut seen = BTreeSet::new();
    let mut add = |what: &str, key: BlockKey| assert!(seen.insert(key), "{what}");
    let domains = [
        domain(),
        secret.effective(1, b""),
        secret.effective(0, b"\0"),
        secret.effective(0, b"salt"),
        DomainSecret::from_bytes([9; 32]).effective(0, b""),
    ];
    for domain in &domains {
        let variants = [
            base,
            KeyInputs {
                weights: [9; 32],
                ..base
            },
            KeyInputs {
                adapter: [9; 32],
                ..base
            },
            KeyInputs {
                rope: [9; 32],
                ..base
            },
            KeyInputs {
                layout: BlockLayout {
                    dtype: Dtype::Bf16,
                    ..base.layout
                },
                ..base
            },
            KeyInputs {
                layout: BlockLayout {
                    kv_heads: 4,
                    layers: 2,
                    ..base.layout
                },
                ..base
            },
            KeyInputs {
                block_tokens: 8,
                ..base
            },
        ];
        for inputs in variants {
            let space = KeySpace::new(domain, &inputs);
            let zero = BlockKey::from_bytes([0; 32]);
            add("root", space.child(None, &[1, 2], b""));
            add(
                "zero parent is not no parent",
                space.child(Some(&zero), &[1, 2], b""),
            );
            add("tokens", space.child(None, &[1, 3], b""));
            add("order", space.child(None, &[2, 1], b""));
            add(
                "a token is not multimodal bytes",
                space.child(None, &[1], &2_u32.to_le_bytes()),
            );
            add("multimodal", space.child(None, &[1, 2], b"\x01"));
        }
        add("opaque", opaque_key(domain, b""));
        add("opaque name", opaque_key(domain, b"a"));
    }
}

#[test]
fn writes_and_reads_64_hexadecimal_digits() {
    let key = opaque_key(&domain(), b"x");
    let text = key.to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(text.parse(), Ok(key));
    assert_eq!(text.to_uppercase().parse(), Ok(key));
    assert_eq!(
        "12".parse::<BlockKey>(),
        Err(ParseKeyError::Length { digits: 2 })
    );
    assert_eq!(
        "g".repeat(64).parse::<BlockKey>(),
        Err(ParseKeyError::Digit)
    );
}

#[test]
fn prints_no_secret() {
    let secret = DomainSecret::from_bytes([0xab; 32]);
    let domain = EffectiveDomain::from_bytes([0xab; 32]);
    let text = format!(
        "{secret:?} {domain:?} {:?}",
        KeySpace::new(&domain, &inputs())
    );
    assert!(!text.contains("abab") && !text.contains("171"), "{text}");
}

#[test]
fn finds_the_slots_that_redis_finds() {
    // The specification's own check value for CRC-16/XMODEM, and slots as `CLUSTER KEYSLOT` answers them.
    assert_eq!(crc16(b"123456789"), 0x31c3);
    for (key, slot) in [
        ("foo", 12_182),
        ("bar", 5_061),
        ("", 0),
        ("foo{}{bar}", 8_363),
    ] {
        assert_eq!(entry_slot(key.as_bytes()), slot, "{key}");
    }
    let tagged = [
        "{user1000}.following",
        "{user1000}.followers",
        "user1000",
        "a{user1000}}b{c}",
    ];
    let slots: BTreeSet<u16> = tagged
        .iter()
        .map(|key| entry_slot(key.as_bytes()))
        .collect();
    assert_eq!(slots.len(), 1);
    assert_eq!(entry_slot(b"a{b"), crc16(b"a{b") % SLOT_COUNT);
    assert_eq!(entry_slot(b"foo{{bar}}zap"), entry_slot(b"{bar"));
}

proptest! {
    #[test]
    fn slots_are_slots(key in proptest::collection::vec(any::<u8>(), 0..64), bytes in any::<[u8; 32]>()) {
        prop_assert!(entry_slot(&key) < SLOT_COUNT);
        prop_assert!(BlockKey::from_bytes(bytes).slot() < SLOT_COUNT);
    }
}
