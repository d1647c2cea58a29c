//! Entries through the handle.

use ultrakv_cache::{EntryClass, EntryRefusal, OnlyIf};

use super::*;
use crate::{EntryError, EntryOptions};

#[tokio::test]
async fn an_entry_lives_until_it_is_deleted_and_salts_stay_apart() {
    let rig = Rig::start(plan(4 << 20, 3)).await;
    let (cache, deadline) = (&rig.cache, rig.deadline());
    let salted = Domain {
        effective: DomainSecret::from_bytes([1; 32]).effective(0, b"salt"),
        ..rig.domain
    };
    let options = EntryOptions::cached(None);
    let value = Bytes::from_static(b"value");
    for i in 0..50_u32 {
        let key = i.to_le_bytes();
        cache
            .entry_put(&rig.domain, &key, value.clone(), options, deadline)
            .await
            .unwrap();
        let found = cache.entry_get(&rig.domain, &key, deadline).await;
        assert_eq!(
            found.map(|found| found.map(|found| found.value)),
            Ok(Some(value.clone()))
        );
        assert_eq!(cache.entry_get(&salted, &key, deadline).await, Ok(None));
        assert_eq!(
            cache
                .entry_delete(&salted, &key, OnlyIf::Always, deadline)
                .await,
            Ok(false)
        );
        assert_eq!(
            cache
                .entry_delete(&rig.domain, &key, OnlyIf::Always, deadline)
                .await,
            Ok(true)
        );
        assert_eq!(cache.entry_get(&rig.domain, &key, deadline).await, Ok(None));
    }
    rig.until_at_rest().await;
}

#[tokio::test]
async fn a_condition_that_does_not_hold_changes_nothing() {
    let rig = Rig::start(plan(1 << 20, 1)).await;
    let (cache, deadline) = (&rig.cache, rig.deadline());
    let put = |value: &'static [u8], only_if| {
        let options = EntryOptions {
            only_if,
            ..EntryOptions::kept(None)
        };
        cache.entry_put(
            &rig.domain,
            b"key",
            Bytes::from_static(value),
            options,
            deadline,
        )
    };
    let version = put(b"one", OnlyIf::Absent).await.unwrap();
    let conflict = EntryError::Conflict {
        version: Some(version),
    };
    assert_eq!(put(b"two", OnlyIf::Absent).await, Err(conflict));
    let third = put(b"three", OnlyIf::Version(version)).await.unwrap();
    assert!(third > version);
    let delete = |only_if| cache.entry_delete(&rig.domain, b"key", only_if, deadline);
    let conflict = EntryError::Conflict {
        version: Some(third),
    };
    assert_eq!(delete(OnlyIf::Version(version)).await, Err(conflict));
    let found = cache.entry_get(&rig.domain, b"key", deadline).await;
    let found = found.unwrap().unwrap();
    assert_eq!((&*found.value, found.version), (&b"three"[..], third));
    assert_eq!((found.class, found.ttl_ms), (EntryClass::Kept, None));
    assert_eq!(delete(OnlyIf::Version(third)).await, Ok(true));
}

#[tokio::test]
async fn kept_entries_fill_their_quota_and_are_then_refused() {
    let mut plan = plan(1 << 20, 1);
    plan.budget.entry_bytes_max = 64 << 10;
    let rig = Rig::start(plan).await;
    let value = Bytes::from(vec![0; 10_000]);
    let mut outcomes = Vec::new();
    for i in 0..10_u8 {
        let (key, options) = ([i], EntryOptions::kept(None));
        let put = rig
            .cache
            .entry_put(&rig.domain, &key, value.clone(), options, rig.deadline());
        outcomes.push(put.await.map(|_| ()));
    }
    assert_eq!(outcomes[0], Ok(()));
    assert_eq!(outcomes[9], Err(EntryRefusal::Full.into()));
}

#[tokio::test]
async fn entries_of_a_purged_domain_are_gone_and_cannot_be_written() {
    let rig = Rig::start(plan(1 << 20, 2)).await;
    let (cache, deadline) = (&rig.cache, rig.deadline());
    let options = EntryOptions::kept(None);
    let value = Bytes::from_static(b"value");
    for key in [b"a", b"b", b"c"] {
        cache
            .entry_put(&rig.domain, key, value.clone(), options, deadline)
            .await
            .unwrap();
    }
    assert_eq!(
        cache
            .purge(rig.domain.arena, deadline)
            .await
            .unwrap()
            .entries,
        3
    );
    assert_eq!(cache.entry_get(&rig.domain, b"a", deadline).await, Ok(None));
    let put = cache
        .entry_put(&rig.domain, b"a", value, options, deadline)
        .await;
    assert_eq!(put, Err(EntryError::DomainPurged));
}
