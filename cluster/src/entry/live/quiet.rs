//! Told stories on whole nodes: one thing at a time. It must never depend on luck.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_reads_writes_touches_and_deletes_what_another_owns() {
    let rig = Rig::start(3, &[b"a", b"b"], node_plan).await;
    for at in 0..3 {
        let first = rig.put(at, b"a", b"one").await.unwrap();
        assert_eq!(rig.get((at + 1) % 3, b"a").await, Ok(Some(b"one".to_vec())));
        let router = &rig.members[at].router;
        let deadline = rig.deadline(5_000);
        let absent = EntryOptions {
            only_if: OnlyIf::Absent,
            ..EntryOptions::kept(None)
        };
        let conflict = Err(EntryError::Conflict {
            version: Some(first),
        });
        assert_eq!(rig.put_with(at, b"a", b"two", absent).await, conflict);
        let touched = router.touch(
            &rig.domain,
            b"a",
            Some(60_000),
            OnlyIf::Version(first),
            deadline,
        );
        assert_eq!(touched.await, Ok(first));
        let found = router
            .get(&rig.domain, b"a", deadline)
            .await
            .unwrap()
            .unwrap();
        assert!(
            found
                .ttl_ms
                .is_some_and(|ms| (50_000..=60_000).contains(&ms))
        );
        let deleted = router.delete(&rig.domain, b"a", OnlyIf::Version(first), deadline);
        assert_eq!(deleted.await, Ok(true));
        assert_eq!(rig.get(at, b"a").await, Ok(None));
        let touched = router.touch(&rig.domain, b"a", None, OnlyIf::Always, deadline);
        assert_eq!(touched.await, Err(EntryError::Conflict { version: None }));
        let large = vec![0; RECORD_BYTES_MAX];
        let refused = Err(EntryRefusal::TooLarge.into());
        assert_eq!(rig.put(at, b"a", &large).await, refused);
    }
    rig.until_stored(2, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn salts_of_one_domain_stay_apart() {
    let rig = Rig::start(1, &[b"a"], node_plan).await;
    rig.put(0, b"a", b"one").await.unwrap();
    let mut salted = rig.domain;
    salted.effective = DomainSecret::from_bytes([9; 32]).effective(0, b"salt");
    let router = &rig.members[0].router;
    let found = router.get(&salted, b"a", rig.deadline(5_000)).await;
    assert_eq!(found, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_whose_time_is_over_goes_from_every_node() {
    let rig = Rig::start(3, &[b"a", b"b"], node_plan).await;
    rig.put_with(1, b"a", b"one", EntryOptions::kept(Some(40)))
        .await
        .unwrap();
    rig.put(2, b"b", b"two").await.unwrap();
    for at in 0..3 {
        rig.until_stored(at, 1).await;
    }
    assert_eq!(rig.get(0, b"a").await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_has_everything_before_it_owns_it() {
    let names: Vec<String> = (0..3_000)
        .map(|number| format!("{{tag}}{number}"))
        .collect();
    let rig = Rig::start(2, &[b"{tag}"], node_plan).await;
    rig.register.plan(|_| vec![id(0)]);
    rig.until_settled().await;
    let value = vec![7; 1_000];
    let writes = names.iter().map(|name| rig.put(1, name.as_bytes(), &value));
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    rig.until_stored(1, 0).await;
    rig.register.plan(|_| vec![id(1)]);
    // Writes go on meanwhile.
    for round in 0..200_u32 {
        rig.put(0, b"{tag}late", &round.to_le_bytes())
            .await
            .unwrap();
    }
    rig.until_settled().await;
    rig.until_stored(1, 3_001).await;
    rig.until_stored(0, 0).await;
    for name in names.iter().step_by(97) {
        assert_eq!(rig.get(0, name.as_bytes()).await, Ok(Some(value.clone())));
    }
    let last = 199_u32.to_le_bytes().to_vec();
    assert_eq!(rig.get(0, b"{tag}late").await, Ok(Some(last)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_domain_is_gone_from_owner_and_followers_and_never_comes_back() {
    let rig = Rig::start(3, &[b"a", b"b"], node_plan).await;
    rig.put(0, b"a", b"one").await.unwrap();
    rig.put(0, b"b", b"two").await.unwrap();
    let mut other = rig.domain;
    other.tag = DomainTag([8; 16]);
    let router = &rig.members[0].router;
    let options = EntryOptions::kept(None);
    let kept = router.put(&other, b"a", Bytes::new(), options, rig.deadline(5_000));
    kept.await.unwrap();
    for at in 0..3 {
        rig.until_stored(at, 3).await;
    }
    for (at, member) in rig.members.iter().enumerate() {
        let dropped = member
            .host
            .retire(rig.domain.tag, rig.deadline(5_000))
            .await;
        assert_eq!(dropped, Ok(2), "node {at}");
        assert_eq!(rig.stored(at).await, 1);
    }
    assert_eq!(rig.get(1, b"a").await, Ok(None));
    assert_eq!(
        rig.put(1, b"a", b"late").await,
        Err(EntryError::DomainPurged)
    );
    let again = rig.members[0]
        .host
        .retire(rig.domain.tag, rig.deadline(5_000))
        .await;
    assert_eq!(again, Ok(2), "harmless");
    let found = router.get(&other, b"a", rig.deadline(5_000)).await;
    assert!(found.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_in_doubt_and_not_sent_again() {
    let rig = Rig::start(2, &[b"a"], node_plan).await;
    rig.until_heard(&[b"a"]).await;
    rig.put(0, b"a", b"one").await.unwrap();
    rig.net.change(|faults| faults.answers_lost = 1);
    let asked = rig.net.asked.load(Ordering::SeqCst);
    let unknown = rig.put(1, b"a", b"two").await;
    assert!(
        matches!(unknown, Err(EntryError::OutcomeUnknown(_))),
        "{unknown:?}"
    );
    assert_eq!(rig.net.asked.load(Ordering::SeqCst), asked + 1);
    // A read is asked again.
    rig.net.change(|faults| faults.answers_lost = 1);
    assert_eq!(rig.get(1, b"a").await, Ok(Some(b"two".to_vec())));
    assert_eq!(rig.net.asked.load(Ordering::SeqCst), asked + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_owner_or_a_tenure_nothing_is_said_to_be_absent() {
    let rig = Rig::start(2, &[b"a"], node_plan).await;
    rig.put(0, b"a", b"one").await.unwrap();
    // A name of a slot that nobody was given.
    assert_eq!(rig.get(0, b"b").await, Err(EntryError::Unavailable));
    rig.members[0].tenure.set(false);
    for at in 0..2 {
        let router = &rig.members[at].router;
        let found = router.get(&rig.domain, b"a", rig.deadline(200)).await;
        assert_eq!(found, Err(EntryError::Unavailable));
        let value = Bytes::from_static(b"two");
        let options = EntryOptions::kept(None);
        let put = router.put(&rig.domain, b"a", value, options, rig.deadline(200));
        assert_eq!(put.await, Err(EntryError::Unavailable));
    }
    rig.members[0].tenure.set(true);
    assert_eq!(rig.get(1, b"a").await, Ok(Some(b"one".to_vec())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quota_refuses_kept_entries_and_a_follower_without_room_leaves() {
    let small = |bytes: u64| {
        move |clock: &Clock| {
            let mut plan = node_plan(clock);
            plan.budget.entry_bytes_max = bytes;
            plan
        }
    };
    let rig = Rig::start(2, &[b"{a}"], small(64 << 10)).await;
    let mut refused = 0;
    for number in 0..64_u8 {
        let name = [&b"{a}"[..], &[number]].concat();
        match rig.put(1, &name, &[number; 1_000]).await {
            Ok(_) => {}
            Err(EntryError::Refused(EntryRefusal::Full)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        (30..50).contains(&refused),
        "{refused} of 64 refused by half a quota"
    );
    // An overwrite of the same size, and a delete, always have room.
    rig.put(0, b"{a}\0", &[9; 1_000]).await.unwrap();
    let is_whole = rig
        .register
        .word(entry_slot(b"{a}"))
        .ownership
        .in_sync
        .len();
    assert_eq!(is_whole, 2, "the owner refuses before a follower must");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_reaches_the_new_owner_though_its_asker_heard_nothing() {
    let rig = Rig::start(3, &[b"a"], node_plan).await;
    rig.put(2, b"a", b"one").await.unwrap();
    rig.register.forget(id(2));
    rig.register.plan(|_| vec![id(1), id(0)]);
    rig.until_settled().await;
    // Node 0 owns it no more; its replica says who does.
    assert_eq!(rig.get(2, b"a").await, Ok(Some(b"one".to_vec())));
    rig.put(2, b"a", b"two").await.unwrap();
    assert_eq!(rig.get(1, b"a").await, Ok(Some(b"two".to_vec())));
}
