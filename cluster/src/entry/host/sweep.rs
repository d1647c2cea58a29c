//! Drops what lies under retired domains, box by box, a bounded step at a time.
//!
//! Nobody can read it any more, so this only gives room back. It must never know why a domain was retired.

use tokio::sync::oneshot;
use ultrakv_actors::DomainTag;
use ultrakv_cache::{EntryBox, EntryTable};

/// Boxes looked at in one step.
const BOXES_MAX: usize = 4_096;

/// Entries dropped in one step: some hundred microseconds.
const ENTRIES_MAX: usize = 1_024;

/// One domain on its way out.
#[derive(Debug)]
pub(super) struct Sweep {
    tag: DomainTag,
    after: Option<EntryBox>,
    dropped: u64,
    replies: Vec<oneshot::Sender<u64>>,
}

impl Sweep {
    /// A sweep, after earlier ones that dropped so many.
    pub(super) const fn new(tag: DomainTag, dropped: u64) -> Self {
        Self {
            tag,
            after: None,
            dropped,
            replies: Vec::new(),
        }
    }

    pub(super) const fn tag(&self) -> DomainTag {
        self.tag
    }

    /// How many entries are gone.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Has somebody told when all are gone.
    pub(super) fn tell(&mut self, reply: oneshot::Sender<u64>) {
        self.replies.push(reply);
    }

    /// One step; whether it was the last, which answers whoever waits.
    pub(super) fn step(&mut self, entries: &mut EntryTable<'_>) -> bool {
        let mut left = ENTRIES_MAX;
        for _ in 0..BOXES_MAX {
            let Some(at) = entries.box_after(self.after) else {
                for reply in self.replies.drain(..) {
                    // Nobody has to wait for it.
                    let _ = reply.send(self.dropped);
                }
                return true;
            };
            let dropped = entries.remove_beginning(at, &self.tag.0, left);
            self.dropped += dropped;
            left = left.saturating_sub(usize::try_from(dropped).unwrap_or(usize::MAX));
            if left == 0 {
                return false; // There may be more in this box.
            }
            self.after = Some(at);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_cache::{Budget, Entry, EntryClass, Shard, ShardConfig};

    use super::*;

    #[test]
    fn all_of_a_domain_goes_step_by_step_and_nothing_else() {
        let mut shard = Shard::new(ShardConfig::new(Budget::of_bytes(64 << 20)));
        let mut effects = Vec::new();
        let mut entries = shard.entries(&mut effects);
        let put = |entries: &mut EntryTable<'_>, at, tag: u8, number: u32| {
            let key = [&[tag; 16][..], &number.to_be_bytes()].concat();
            let entry = Entry {
                value: [1][..].into(),
                version: 1,
                class: EntryClass::Kept,
                expires: None,
            };
            entries.put(EntryBox(at), &key, entry).unwrap();
        };
        for number in 0..3_000 {
            put(&mut entries, 5, 1, number);
            put(&mut entries, u16::try_from(number).unwrap(), 2, number);
        }
        put(&mut entries, 9, 1, 0);
        let (reply, mut answer) = oneshot::channel();
        let mut sweep = Sweep::new(DomainTag([1; 16]), 5);
        sweep.tell(reply);
        let mut steps = 1;
        while !sweep.step(&mut entries) {
            assert!(answer.try_recv().is_err(), "answered before it was done");
            steps += 1;
        }
        assert_eq!((steps, answer.try_recv()), (3, Ok(3_006)));
        let left = (0..3_000)
            .map(|at| entries.clear(EntryBox(at)))
            .sum::<u64>();
        assert_eq!(left, 3_000);
    }
}
