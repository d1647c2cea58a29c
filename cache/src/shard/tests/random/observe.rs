//! Responsible for what each effect may say, given what a naive observer knows.

use super::super::*;
use super::{
    Held, KEYS, KnownBlock, Player, Step, chain_to, end_of, header_of, pages_of, parent_of,
};
use crate::arena::Extents;

impl Player {
    /// Takes one effect in, in order, and checks what it may say.
    pub(super) fn observe(&mut self, step: &Step, effect: &Effect, before: &ShardStats) {
        match (step, effect) {
            (Step::Match { of, skip, term }, Effect::Matched { blocks, lease, .. }) => {
                let chain: Vec<usize> = chain_to(*of).into_iter().skip(*skip).collect();
                let expected = chain
                    .iter()
                    .take_while(|of| self.blocks.contains_key(of))
                    .count();
                assert_eq!(*blocks, expected, "{chain:?}");
                assert!(lease.is_none() || term.is_some());
                self.run_leases.extend(*lease);
            }
            (
                Step::Get {
                    keys,
                    leading_only,
                    term,
                },
                Effect::Lent { blocks, .. },
            ) => {
                self.observe_lent(keys, *leading_only, *term, blocks);
            }
            (
                Step::Reserve { of, .. },
                Effect::Reserved {
                    reservation,
                    arena,
                    extents,
                    ..
                },
            ) => {
                self.observe_reserved(step, *reservation, *arena, extents);
                assert!(!self.blocks.contains_key(of), "known blocks need no pages");
            }
            (Step::Reserve { of, .. }, Effect::Known { .. }) => {
                assert!(self.blocks.contains_key(of))
            }
            (
                Step::Commit(_),
                Effect::Stored { .. } | Effect::Known { .. } | Effect::Refused { .. },
            ) => {
                self.observe_commit(self.named, effect);
            }
            (Step::Remove(keys), Effect::Removed { blocks, .. }) => {
                let removed = keys
                    .iter()
                    .filter(|of| self.blocks.remove(of).is_some())
                    .count();
                assert_eq!(usize::try_from(*blocks).unwrap(), removed);
            }
            (Step::Pin(keys, _), Effect::Pinned { outcomes, .. }) => {
                for (of, outcome) in keys.iter().zip(outcomes) {
                    assert_eq!(
                        *outcome == PinOutcome::Absent,
                        !self.blocks.contains_key(of)
                    );
                }
            }
            (step, Effect::Purged { .. }) => self.observe_purge(step),
            (_, Effect::Appeared { .. } | Effect::Vanished { .. }) => self.observe_change(effect),
            (_, Effect::Discard { .. } | Effect::ArenaClosed { .. }) => self.observe_memory(effect),
            (_, Effect::Resized { applied, .. }) => {
                assert!(*applied || self.shard.stats().budget == before.budget);
            }
            _ => {}
        }
    }

    fn observe_change(&mut self, effect: &Effect) {
        match effect {
            Effect::Appeared { key, run, codec } => {
                let of = (0..KEYS).find(|of| super::super::key(*of) == *key);
                let known = of.map(|of| header_of(of).codec);
                assert_eq!(known, Some(*codec), "told in another form");
                assert_eq!(self.told.insert(*key, *run), None, "appeared twice");
            }
            Effect::Vanished { key, slot } => {
                let told = self.told.remove(key).expect("it had appeared");
                assert_eq!(*slot, told.slot(), "of another run");
            }
            other => panic!("{other:?} is no change"),
        }
    }

    fn observe_lent(
        &mut self,
        keys: &[usize],
        leading_only: bool,
        term: Term,
        lent: &[Option<Lent>],
    ) {
        assert_eq!(lent.len(), keys.len());
        let mut has_missed = false;
        for (of, lent) in keys.iter().zip(lent) {
            let Some(lent) = lent else {
                let is_full = self.shard.leases.claims() >= 12;
                assert!(is_full || leading_only && has_missed || !self.blocks.contains_key(of));
                has_missed = true;
                continue;
            };
            assert!(!leading_only || !has_missed, "lent behind the leading run");
            assert_eq!(
                lent.header,
                header_of(*of),
                "bytes that nobody stored under this key"
            );
            assert_eq!(
                Some(lent.arena.0),
                self.blocks.get(of).map(|block| block.arena)
            );
            let extents = lent.extents.clone();
            let held = Held {
                arena: lent.arena.0,
                extents,
                until: self.until(term),
            };
            if self.now < held.until {
                assert!(
                    self.leases.insert(lent.lease, held).is_none(),
                    "a lease twice"
                );
            }
        }
    }

    fn observe_reserved(
        &mut self,
        step: &Step,
        id: ReservationId,
        arena: ArenaId,
        extents: &Extents,
    ) {
        let Step::Reserve {
            of, retain, term, ..
        } = *step
        else {
            panic!("{step:?}")
        };
        for (arena, page) in pages_of(arena.0, extents) {
            self.assert_free(arena, page);
            self.resident.insert((arena, page));
        }
        let resident = u64::try_from(self.resident.len()).unwrap() * u64::from(PAGE_BYTES);
        let stats = self.shard.stats();
        assert!(
            resident + stats.usage.entry_bytes <= stats.budget.bytes_max,
            "before it is filled"
        );
        let until = self.until(term);
        let held = Held {
            arena: arena.0,
            extents: extents.clone(),
            until,
        };
        let parent = parent_of(of).map(key);
        let block = ReserveBlock {
            key: key(of),
            run: super::run_of(of),
            parent,
            depth: 0,
            arena,
            header: header_of(of),
            retain,
            term,
        };
        if self.now < until {
            self.reservations.insert(id, (block, of, held));
        }
    }

    /// Nobody who reads or writes a page may find it given to another.
    fn assert_free(&self, arena: u32, page: u32) {
        let holds =
            |held: &Held| pages_of(held.arena, &held.extents).any(|held| held == (arena, page));
        assert!(
            !self.leases.values().any(holds),
            "page {page} of {arena} is being read"
        );
        let mut reserved = self.reservations.values();
        assert!(
            !reserved.any(|(_, _, held)| holds(held)),
            "page {page} of {arena} is being written"
        );
    }

    fn observe_commit(&mut self, id: ReservationId, effect: &Effect) {
        let Some((block, of, _)) = self.reservations.remove(&id) else {
            assert!(matches!(
                effect,
                Effect::Refused {
                    why: PutRefusal::Gone,
                    ..
                }
            ));
            return;
        };
        let is_refused = matches!(
            effect,
            Effect::Refused {
                why: PutRefusal::Gone,
                ..
            }
        );
        assert_eq!(
            is_refused,
            self.doomed.contains(&id),
            "late writes are harmless"
        );
        assert_eq!(
            matches!(effect, Effect::Known { .. }),
            self.blocks.contains_key(&of) && !matches!(effect, Effect::Refused { .. })
        );
        if matches!(effect, Effect::Stored { .. }) {
            let arena = block.arena.0;
            let parent = parent_of(of).and_then(|of| self.blocks.get(&of));
            let parent_end = parent
                .filter(|parent| parent.arena == arena)
                .map(|parent| parent.expires);
            let expires =
                end_of(self.now, block.retain.ttl_ms).min(parent_end.unwrap_or(Now(u64::MAX)));
            if self.now < expires {
                self.blocks.insert(of, KnownBlock { arena, expires });
            }
        }
    }

    fn observe_purge(&mut self, step: &Step) {
        let Step::Purge(arena) = step else {
            panic!("{step:?}")
        };
        self.blocks.retain(|_, block| block.arena != *arena);
        let doomed = self
            .reservations
            .iter()
            .filter(|(_, (_, _, held))| held.arena == *arena);
        self.doomed.extend(doomed.map(|(id, _)| *id));
    }

    fn observe_memory(&mut self, effect: &Effect) {
        match effect {
            Effect::Discard { arena, pages } => {
                for page in pages.first..pages.end() {
                    assert!(
                        self.resident.remove(&(arena.0, page)),
                        "page {page} held no memory"
                    );
                    self.assert_free(arena.0, page);
                }
            }
            Effect::ArenaClosed { arena } => {
                assert!(!self.leases.values().any(|held| held.arena == arena.0));
                assert!(
                    !self
                        .reservations
                        .values()
                        .any(|(_, _, held)| held.arena == arena.0)
                );
                self.resident.retain(|(id, _)| *id != arena.0);
            }
            _ => {}
        }
    }
}
