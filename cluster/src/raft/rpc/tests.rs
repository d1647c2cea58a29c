//! Messages of items: what is packed is unpacked, in as many messages as it takes, and anything else is an error.

use std::collections::{BTreeMap, BTreeSet};

use openraft::CommittedLeaderId;
use proptest::prelude::*;

use super::*;
use crate::raft::types::Addresses;

fn entry(index: u64, what: u8, len: usize) -> Entry {
    let id = RaftId::from(3);
    let payload = match what {
        0 => EntryPayload::Blank,
        1 => {
            let voters = BTreeSet::from([id, RaftId::from(index)]);
            let nodes = BTreeMap::from_iter(voters.iter().map(|id| (*id, Addresses::default())));
            EntryPayload::Membership(Membership::new(vec![voters], nodes))
        }
        _ => {
            let byte = u8::try_from(index % 251).unwrap();
            EntryPayload::Normal(Batch::new(vec![byte; len].into()).unwrap())
        }
    };
    Entry {
        log_id: LogId::new(CommittedLeaderId::new(2, id), index),
        payload,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn items_arrive_as_they_were(
        items in prop::collection::vec((0..4_u8, 0..3_000_usize), 0..40),
        bytes_max in 0..20_000_usize,
    ) {
        let all: Vec<Entry> = (1..).zip(&items).map(|(index, (what, len))| entry(index, *what, *len)).collect();
        let rpc = |entries: Vec<Entry>| AppendEntriesRequest {
            vote: Vote::new(2, 3.into()),
            prev_log_id: None,
            entries,
            leader_commit: None,
        };
        let mut left = all.clone();
        let mut came = Vec::new();
        loop {
            let packed = pack(9.into(), rpc(left.clone()), bytes_max).unwrap();
            let head: AppendHead = packed.parcel.header().unwrap();
            prop_assert_eq!(head.to, RaftId::from(9));
            let entries = unpack(head, packed.parcel.payload).unwrap().entries;
            prop_assert!(left.is_empty() || !entries.is_empty());
            left.drain(..entries.len());
            let last = entries.last().map(|entry| entry.log_id);
            prop_assert_eq!(packed.cut_at, last.filter(|_| !left.is_empty()));
            came.extend(entries);
            if left.is_empty() {
                break;
            }
        }
        prop_assert_eq!(came, all);
    }

    #[test]
    fn payloads_of_another_length_are_refused(
        items in prop::collection::vec((1..4_u8, 1..300_usize), 1..5),
        cut in any::<prop::sample::Index>(),
        longer in prop::collection::vec(any::<u8>(), 1..9),
    ) {
        let entries = (1..).zip(&items).map(|(index, (what, len))| entry(index, *what, *len)).collect();
        let rpc = AppendEntriesRequest {
            vote: Vote::new(2, 3.into()),
            prev_log_id: None,
            entries,
            leader_commit: None,
        };
        let parcel = pack(9.into(), rpc, usize::MAX).unwrap().parcel;
        let short = parcel.payload.slice(..cut.index(parcel.payload.len()));
        prop_assert!(unpack(parcel.header().unwrap(), short).is_err());
        let long = Bytes::from([&parcel.payload[..], &longer[..]].concat());
        prop_assert!(unpack(parcel.header().unwrap(), long).is_err());
    }

    #[test]
    fn noise_is_no_message(header in prop::collection::vec(any::<u8>(), 0..200), payload in prop::collection::vec(any::<u8>(), 0..64)) {
        let parcel = Parcel { kind: Kind::RaftAppend, header: header.into(), payload: payload.into() };
        if let Ok(head) = parcel.header::<AppendHead>() {
            prop_assert!(unpack(head, parcel.payload).is_err());
        }
    }
}
