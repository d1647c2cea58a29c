//! One slot's committed entries, as they lie in the shard's table: the box of the slot's number, under domain and name.
//!
//! It must never know epochs, members, or other slots.

use std::collections::BTreeSet;
use std::sync::Arc;

use ultrakv_actors::DomainTag;
use ultrakv_cache::{Entry, EntryBox, EntryTable, Now};

use crate::entry::{Change, CopyEntry, Full, Key, Page, Store, Stored, Version};

/// Bytes of a domain in front of a name.
const DOMAIN_BYTES: usize = 32;

/// A slot's box, for one event.
pub(super) struct BoxStore<'a, 'b> {
    pub(super) entries: &'a mut EntryTable<'b>,
    pub(super) at: EntryBox,
    /// Domains of which nothing is stored any more.
    pub(super) retired: &'a BTreeSet<DomainTag>,
    /// What is promised to the shard's other slots.
    pub(super) promised_bytes: u64,
}

/// Where a key lies: in the order of keys.
pub(super) fn place(key: &Key) -> Vec<u8> {
    [&key.domain[..], &key.name].concat()
}

fn key_at(place: &[u8]) -> Option<Key> {
    let (domain, name) = place.split_at_checked(DOMAIN_BYTES)?;
    Some(Key {
        domain: domain.try_into().ok()?,
        name: name.into(),
    })
}

impl Store for BoxStore<'_, '_> {
    fn get(&mut self, key: &Key) -> Option<Stored> {
        let entry = self.entries.get(self.at, &place(key))?;
        Some(Stored {
            value: entry.value,
            version: Version(entry.version),
            class: entry.class,
            expires: entry.expires,
        })
    }

    fn apply(
        &mut self,
        key: &Key,
        change: &Change,
        version: Version,
        now: Now,
    ) -> Result<(), Full> {
        let place = place(key);
        match change {
            // What was purged is void on every replica, whenever each of them hears of it.
            Change::Put { .. } if self.retired.contains(&key.tag()) => {}
            Change::Put {
                value,
                class,
                ttl_ms,
            } => {
                let entry = Entry {
                    value: Arc::clone(value),
                    version: version.0,
                    class: *class,
                    expires: ttl_ms.map(|ms| now.add_ms(ms)),
                };
                return self.entries.put(self.at, &place, entry).map_err(|_| Full);
            }
            Change::Delete => {
                self.entries.remove(self.at, &place);
            }
            Change::Expire { ttl_ms } => {
                let expires = ttl_ms.map(|ms| now.add_ms(ms));
                self.entries.set_expires(self.at, &place, expires);
            }
        }
        Ok(())
    }

    fn has_room(&mut self, key: &Key, value_bytes: usize, ahead_bytes: usize) -> bool {
        let ahead_bytes = u64::try_from(ahead_bytes).unwrap_or(u64::MAX);
        let ahead_bytes = ahead_bytes.saturating_add(self.promised_bytes);
        self.entries
            .has_room(self.at, &place(key), value_bytes, ahead_bytes)
    }

    fn page(&mut self, after: Option<&Key>, bytes_max: usize, now: Now) -> Page {
        let after = after.map(place);
        let page = self.entries.page(self.at, after.as_deref(), bytes_max);
        let entries = page.entries.into_iter();
        Page {
            entries: entries
                .filter_map(|(place, entry)| {
                    Some(CopyEntry {
                        key: key_at(&place)?,
                        value: entry.value,
                        version: Version(entry.version),
                        class: entry.class,
                        ttl_ms: entry.expires.map(|expires| expires.since_ms(now)),
                    })
                })
                .collect(),
            is_last: page.is_last,
        }
    }

    fn due(&mut self, now: Now, keys_max: usize) -> Vec<Key> {
        let due = self.entries.due(self.at, now, keys_max);
        due.iter().filter_map(|place| key_at(place)).collect()
    }

    fn clear(&mut self) {
        self.entries.clear(self.at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = Key> {
        let domain = prop_oneof![Just([0; 32]), Just([255; 32]), any::<[u8; 32]>()];
        (domain, prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(domain, name)| Key {
            domain,
            name: name.into(),
        })
    }

    proptest! {
        #[test]
        fn places_are_in_the_order_of_keys_and_give_them_back(one in keys(), other in keys()) {
            prop_assert_eq!(place(&one).cmp(&place(&other)), one.cmp(&other));
            prop_assert_eq!(key_at(&place(&one)), Some(one));
        }
    }
}
