//! Responsible for what is done with entries, against a map that forgets nothing by itself.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::*;
use super::steps::ttls;
use super::{Entry, EntryBox, EntryClass, Player};

pub(super) const BOXES: u16 = 4;

/// One thing done with entries, in small numbers.
#[derive(Clone, Debug)]
pub(super) enum EntryStep {
    Get(u16, u8),
    Put((u16, u8), usize, EntryClass, Option<u64>),
    Expire(u16, u8, Option<u64>),
    Remove(u16, u8),
    /// Asks for room; where there is, it is taken.
    Room((u16, u8), usize, EntryClass),
    Clear(u16),
    List(u16, usize),
    Due(u16),
}

pub(super) fn entry_steps() -> impl Strategy<Value = EntryStep> {
    let classes = || prop_oneof![Just(EntryClass::Kept), Just(EntryClass::Cached)];
    let places = || (0..BOXES, 0..4_u8);
    prop_oneof![
        3 => places().prop_map(|(at, key)| EntryStep::Get(at, key)),
        4 => (places(), 0..3_000_usize, classes(), ttls())
            .prop_map(|(place, bytes, class, ttl_ms)| EntryStep::Put(place, bytes, class, ttl_ms)),
        1 => (places(), ttls()).prop_map(|((at, key), ttl_ms)| EntryStep::Expire(at, key, ttl_ms)),
        1 => places().prop_map(|(at, key)| EntryStep::Remove(at, key)),
        2 => (places(), 0..3_000_usize, classes())
            .prop_map(|(place, bytes, class)| EntryStep::Room(place, bytes, class)),
        1 => (0..BOXES).prop_map(EntryStep::Clear),
        1 => (0..BOXES, 0..4_000_usize).prop_map(|(at, bytes)| EntryStep::List(at, bytes)),
        1 => (0..BOXES).prop_map(EntryStep::Due),
    ]
}

impl Player {
    /// Does one thing and compares the outcome; gives what the shard asks for.
    pub(super) fn play_entry(&mut self, step: &EntryStep) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (now, version) = (self.now, self.ticket);
        let mut table = self.shard.entries(&mut effects);
        let new = |key: u8, bytes: usize, class, ttl_ms: Option<u64>| Entry {
            value: vec![key; bytes].into(),
            version,
            class,
            expires: ttl_ms.map(|ms| now.add_ms(ms)),
        };
        match *step {
            EntryStep::Get(at, key) => {
                let found = table.get(EntryBox(at), &[key]);
                assert_eq!(found, self.entries.get(&(at, key)).cloned());
            }
            EntryStep::Put((at, key), bytes, class, ttl_ms) => {
                let entry = new(key, bytes, class, ttl_ms);
                if table.put(EntryBox(at), &[key], entry.clone()).is_ok() {
                    self.entries.insert((at, key), entry);
                }
            }
            EntryStep::Room((at, key), bytes, class) => {
                if table.has_room(EntryBox(at), &[key], bytes, 0) {
                    let entry = new(key, bytes, class, None);
                    let put = table.put(EntryBox(at), &[key], entry.clone());
                    put.expect("there was room");
                    self.entries.insert((at, key), entry);
                }
            }
            EntryStep::Expire(at, key, ttl_ms) => {
                let expires = ttl_ms.map(|ms| now.add_ms(ms));
                let known = self.entries.get_mut(&(at, key));
                let found = table.set_expires(EntryBox(at), &[key], expires);
                assert_eq!(found, known.is_some());
                if let Some(known) = known {
                    known.expires = expires;
                }
            }
            EntryStep::Remove(at, key) => {
                let known = self.entries.remove(&(at, key));
                assert_eq!(table.remove(EntryBox(at), &[key]), known.is_some());
            }
            EntryStep::Clear(at) => {
                let known = self.entries.len();
                self.entries.retain(|(of, _), _| *of != at);
                let gone = u64::try_from(known - self.entries.len()).unwrap();
                assert_eq!(table.clear(EntryBox(at)), gone);
            }
            EntryStep::List(at, bytes) => self.list(at, bytes),
            EntryStep::Due(at) => self.due(at),
        }
        // Entries tell the shard no time; what is compared afterwards needs it.
        self.shard.handle(Event::Tick, now, &mut effects);
        effects
    }

    /// All parts of a list are what the box holds, in order.
    fn list(&mut self, at: u16, bytes: usize) {
        let (mut effects, mut listed) = (Vec::new(), Vec::new());
        let table = self.shard.entries(&mut effects);
        loop {
            let after = listed.last().map(|(key, _): &(Arc<[u8]>, Entry)| &**key);
            let page = table.page(EntryBox(at), after, bytes);
            assert!(page.is_last || !page.entries.is_empty(), "no progress");
            listed.extend(page.entries);
            if page.is_last {
                break;
            }
        }
        let known = self.entries.iter().filter(|((of, _), _)| *of == at);
        let known: Vec<_> = known
            .map(|((_, key), entry)| (Arc::from([*key]), entry.clone()))
            .collect();
        assert_eq!(listed, known);
    }

    /// What is due is what the map's times say.
    fn due(&mut self, at: u16) {
        let mut effects = Vec::new();
        let table = self.shard.entries(&mut effects);
        let is_over = |entry: &Entry| entry.expires.is_some_and(|expires| expires <= self.now);
        let due: BTreeSet<_> = table.due(EntryBox(at), self.now, 99).into_iter().collect();
        let known = self.entries.iter().filter(|(_, entry)| is_over(entry));
        let here = known.clone().filter(|((of, _), _)| *of == at);
        assert_eq!(due, here.map(|((_, key), _)| Arc::from([*key])).collect());
        let boxes: BTreeSet<_> = table.due_boxes(self.now, 99).into_iter().collect();
        assert_eq!(boxes, known.map(|((of, _), _)| EntryBox(*of)).collect());
    }
}
