//! Clients: they write and read entries and blocks through a door, and record every answer.
//!
//! What a block holds follows from its name and the run's seed, and an entry's value carries its own check, so that every byte
//! that comes back can be judged. It must never know which faults are on.

use std::sync::atomic::{AtomicBool, Ordering};

use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::http::{CallError, Door};
use super::record::{Recorder, WrongBytes};
use crate::history::{Op, Outcome};
use crate::rng::Rng;

/// A way to reach entries and blocks.
pub trait Traffic: Sync {
    /// Carries out one operation on an entry.
    ///
    /// # Errors
    /// When bytes come back that no writer stored there.
    fn entry(&self, key: u32, op: Op) -> Result<Outcome, WrongBytes>;
    /// Stores a block; tells whether it was acknowledged.
    fn block_put(&self, name: &str, bytes: &[u8]) -> bool;
    /// Reads a block; a miss or a failure is `None`.
    fn block_get(&self, name: &str) -> Option<Vec<u8>>;
}

/// Traffic through the HTTP door of one node.
#[derive(Debug, Clone)]
pub struct HttpTraffic {
    /// The door.
    pub door: Door,
    /// Separates this run's names and contents from every other's.
    pub seed: u64,
}

impl HttpTraffic {
    fn entry_path(&self, key: u32) -> String {
        format!("/v1/kv/entries/chaos-{:016x}-{key}", self.seed)
    }

    /// An entry's value as text: the number, and a check over number, key and run.
    fn value_text(&self, key: u32, value: u64) -> String {
        let check = xxh3_64_with_seed(format!("{key} {value}").as_bytes(), self.seed);
        format!("{value} {check:016x}")
    }

    fn value_of(&self, key: u32, body: &[u8]) -> Result<u64, WrongBytes> {
        let text = String::from_utf8_lossy(body);
        let value = text.split(' ').next().and_then(|word| word.parse().ok());
        value
            .filter(|value| self.value_text(key, *value) == text)
            .ok_or_else(|| WrongBytes {
                name: self.entry_path(key),
                what: format!("{text:?}"),
            })
    }
}

impl Traffic for HttpTraffic {
    fn entry(&self, key: u32, op: Op) -> Result<Outcome, WrongBytes> {
        let path = self.entry_path(key);
        let answer = match op {
            Op::Read => self.door.call("GET", &path, &[], b""),
            Op::Write(value) => {
                let text = self.value_text(key, value);
                self.door.call("PUT", &path, &[], text.as_bytes())
            }
            Op::CompareAndSet {
                expected: None,
                value,
            } => {
                let text = self.value_text(key, value);
                self.door
                    .call("PUT", &path, &[("if-none-match", "*")], text.as_bytes())
            }
            // The door compares versions, not values.
            Op::CompareAndSet { .. } => return Ok(Outcome::Refused),
            Op::Delete => self.door.call("DELETE", &path, &[], b""),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(CallError::NotSent(_)) => return Ok(Outcome::Refused),
            Err(CallError::Lost(_)) => return Ok(Outcome::Unknown),
        };
        Ok(match (op, answer.status) {
            (Op::Read, 200) => Outcome::Value(Some(self.value_of(key, &answer.body)?)),
            (Op::Read, 404) => Outcome::Value(None),
            (Op::Read, _) => Outcome::Refused,
            (_, 200..=299) => Outcome::Done,
            (Op::CompareAndSet { .. }, 412) => Outcome::Conflict,
            // Nothing was begun: bad request, no way in, too large, too many, no room.
            (_, 400..=499 | 507) => Outcome::Refused,
            _ => Outcome::Unknown,
        })
    }

    fn block_put(&self, name: &str, bytes: &[u8]) -> bool {
        let put = self
            .door
            .call("PUT", &format!("/v1/kv/blocks/{name}"), &[], bytes);
        put.is_ok_and(|answer| (200..300).contains(&answer.status))
    }

    fn block_get(&self, name: &str) -> Option<Vec<u8>> {
        let got = self
            .door
            .call("GET", &format!("/v1/kv/blocks/{name}"), &[], b"");
        got.ok()
            .filter(|answer| answer.status == 200)
            .map(|answer| answer.body)
    }
}

/// What the block of this name holds in a run with this seed.
#[must_use]
pub fn block_bytes(seed: u64, name: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ChaCha8Rng::seed_from_u64(xxh3_64_with_seed(name.as_bytes(), seed)).fill_bytes(&mut bytes);
    bytes
}

/// How much load, and of what kind.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Decides names, contents and the order of operations.
    pub seed: u64,
    /// Clients at once.
    pub clients: u32,
    /// Operations of each client; fewer when told to stop.
    pub operations: u32,
    /// Entries that all clients contend for.
    pub keys: u32,
    /// Blocks that each client writes and reads.
    pub blocks: u32,
    /// Bytes of a block.
    pub block_bytes: usize,
}

/// Runs the load to its end, or until `stop` is set, and records every answer.
pub fn run(load: Load, doors: &[&dyn Traffic], record: &Recorder, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        for client in 0..load.clients {
            scope.spawn(move || one_client(load, client, doors, record, stop));
        }
    });
}

fn one_client(
    load: Load,
    client: u32,
    doors: &[&dyn Traffic],
    record: &Recorder,
    stop: &AtomicBool,
) {
    let mut dice = Rng::new(load.seed ^ u64::from(client).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for _ in 0..load.operations {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(door) = dice.pick(doors).copied() else {
            return;
        };
        let key = u32::try_from(dice.below(u64::from(load.keys))).unwrap_or(0);
        let op = match dice.below(10) {
            0..5 => Op::Read,
            5..8 => Op::Write(record.fresh_value()),
            8 => Op::CompareAndSet {
                expected: None,
                value: record.fresh_value(),
            },
            _ => Op::Delete,
        };
        record.call(client, key, op, || door.entry(key, op));
        if load.blocks > 0 {
            let block = dice.below(u64::from(load.blocks));
            touch_block(
                load,
                &format!("chaos-{:x}-{client}-{block}", load.seed),
                door,
                record,
            );
        }
    }
}

/// Reads a block and judges its bytes; stores it when it is not there.
fn touch_block(load: Load, name: &str, door: &dyn Traffic, record: &Recorder) {
    let expected = block_bytes(load.seed, name, load.block_bytes);
    match door.block_get(name) {
        Some(bytes) if bytes == expected => record.block(Ok(())),
        Some(bytes) => {
            let right = bytes
                .iter()
                .zip(&expected)
                .take_while(|(is, should)| is == should)
                .count();
            record.block(Err(WrongBytes {
                name: name.to_owned(),
                what: format!(
                    "{} of {} bytes, wrong from byte {right}",
                    bytes.len(),
                    expected.len()
                ),
            }));
        }
        None => {
            door.block_put(name, &expected);
        }
    }
}
