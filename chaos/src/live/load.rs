//! Clients: they write and read entries and blocks through a door, and record every answer.
//!
//! What a block holds follows from its name and the run's seed, and an entry's value carries its own check, so that every byte
//! that comes back can be judged. It must never know which faults are on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::http::{Answer, CallError, Door};
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
        format!("/v1/kv/entries/{}", entry_name(self.seed, key))
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
            (_, status) if is_certainly_not_done(status, &answer) => Outcome::Refused,
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

/// Whether a write that was answered so will never take effect: the door is held to its word.
fn is_certainly_not_done(status: u16, answer: &Answer) -> bool {
    match status {
        // Bad request, no way in, too large, too many, no room.
        400..=499 | 507 => true,
        // "Come back later" is not "perhaps": that has a code of its own.
        503 => {
            let problem = serde_json::from_slice::<serde_json::Value>(&answer.body);
            let code = problem
                .ok()
                .and_then(|problem| Some(problem.get("code")?.as_str()?.to_owned()));
            code.is_some_and(|code| code != "outcome_unknown")
                && answer.header("retry-after").is_some()
        }
        _ => false,
    }
}

/// The name of an entry in a run with this seed.
#[must_use]
pub fn entry_name(seed: u64, key: u32) -> String {
    format!("chaos-{seed:016x}-{key}")
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
    /// The number of the first of them.
    pub first_key: u32,
    /// Blocks that each client writes and reads.
    pub blocks: u32,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// How long a client thinks between two operations; without it, load is all that this machine does.
    pub think: Duration,
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
        let key = load.first_key.saturating_add(key);
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
            std::thread::sleep(load.think);
            let block = dice.below(u64::from(load.blocks));
            touch_block(
                load,
                &format!("chaos-{:x}-{client}-{block}", load.seed),
                door,
                record,
            );
        }
        std::thread::sleep(load.think);
    }
}

/// Reads a block and judges its bytes; stores it when it is not there.
fn touch_block(load: Load, name: &str, door: &dyn Traffic, record: &Recorder) {
    match read_block(load.seed, name, load.block_bytes, door) {
        Ok(true) => record.block(Ok(())),
        Ok(false) => {
            door.block_put(name, &block_bytes(load.seed, name, load.block_bytes));
        }
        Err(wrong) => record.block(Err(wrong)),
    }
}

/// Reads a block and compares every byte; tells whether it was there.
///
/// # Errors
/// When other bytes came than this name has in this run.
pub fn read_block(
    seed: u64,
    name: &str,
    length: usize,
    door: &dyn Traffic,
) -> Result<bool, WrongBytes> {
    let Some(bytes) = door.block_get(name) else {
        return Ok(false);
    };
    let expected = block_bytes(seed, name, length);
    if bytes == expected {
        return Ok(true);
    }
    let pairs = bytes.iter().zip(&expected);
    let right = pairs.take_while(|(is, should)| is == should).count();
    let (is, should) = (bytes.len(), expected.len());
    Err(WrongBytes {
        name: name.to_owned(),
        what: format!("{is} of {should} bytes, wrong from byte {right}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, head: &str, body: &str) -> Answer {
        Answer {
            status,
            head: head.to_owned(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn only_what_the_door_calls_certain_is_certain() {
        let rows = [
            (400, "", "", true),
            (429, "retry-after: 1", "", true),
            (507, "", "", true),
            (503, "retry-after: 1", r#"{"code":"slot_moved"}"#, true),
            (
                503,
                "retry-after: 1",
                r#"{"code":"outcome_unknown"}"#,
                false,
            ),
            (503, "", r#"{"code":"slot_moved"}"#, false),
            (503, "retry-after: 1", "torn", false),
            (504, "retry-after: 1", r#"{"code":"deadline"}"#, false),
            (500, "", "", false),
        ];
        for (status, head, body, certain) in rows {
            let answer = answer(status, head, body);
            assert_eq!(
                is_certainly_not_done(status, &answer),
                certain,
                "{answer:?}"
            );
        }
    }

    /// A door that gives what it is told to.
    struct Told(Option<Vec<u8>>);

    impl Traffic for Told {
        fn entry(&self, _: u32, _: Op) -> Result<Outcome, WrongBytes> {
            Ok(Outcome::Refused)
        }

        fn block_put(&self, _: &str, _: &[u8]) -> bool {
            true
        }

        fn block_get(&self, _: &str) -> Option<Vec<u8>> {
            self.0.clone()
        }
    }

    #[test]
    fn every_byte_of_a_block_is_compared() {
        let right = block_bytes(7, "name", 100);
        assert_eq!(read_block(7, "name", 100, &Told(None)), Ok(false));
        assert_eq!(
            read_block(7, "name", 100, &Told(Some(right.clone()))),
            Ok(true)
        );
        let mut flipped = right.clone();
        flipped[99] ^= 1;
        let wrong = read_block(7, "name", 100, &Told(Some(flipped))).unwrap_err();
        assert!(wrong.what.contains("wrong from byte 99"), "{wrong}");
        for other in [
            block_bytes(8, "name", 100),
            block_bytes(7, "mane", 100),
            right[..99].to_vec(),
        ] {
            assert!(read_block(7, "name", 100, &Told(Some(other))).is_err());
        }
    }
}
