//! Requests that no honest node sends, and more of them than one node may.

use super::*;
use crate::block::message::{NAMES_MAX, Packed, ReadAsk, WriteAsk, pack_places};

fn service(rig: &Rig, at: usize) -> BlockService {
    rig.net.services.lock()[&node(at)].clone()
}

#[tokio::test]
async fn noise_is_refused_and_breaks_nothing() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 3);
    rig.put_chain(A, &blocks).await;
    rig.until_listed(&blocks, 1).await;
    let service = service(&rig, B);
    let ask = ReadAsk {
        domain: DomainTag([1; 16]),
        places: pack_places(&blocks),
        codecs: vec![0],
        bytes_max: u64::MAX,
        within_ms: u32::MAX,
    };
    let honest = Parcel::new(Kind::BlockRead, &ask, Bytes::new()).unwrap();
    let mut state = 5_u64;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut header = honest.header.to_vec();
        for _ in 0..=draw(4) {
            let at = draw(header.len());
            header[at] = u8::try_from(draw(256)).unwrap();
        }
        header.truncate(header.len() - draw(3) * draw(30));
        let kind = Kind::ALL[draw(Kind::ALL.len())];
        let parcel = Parcel {
            kind,
            header: header.into(),
            payload: Bytes::from(vec![1; draw(50)]),
        };
        let answer = service.serve(node(A), parcel).await;
        refused += u64::from(answer.is_err());
    }
    assert!(refused > 2_000, "{refused}");
    rig.reads_all(C, &blocks).await;
}

#[tokio::test]
async fn more_names_than_a_frame_may_have_and_payloads_that_do_not_fit_are_refused() {
    let rig = Rig::start(options()).await;
    let blocks = chain_at(&rig, B, 0, 1);
    let service = service(&rig, B);
    let ask = ReadAsk {
        domain: DomainTag([1; 16]),
        places: pack_places(vec![&blocks[0]; NAMES_MAX + 1]),
        codecs: vec![0],
        bytes_max: 0,
        within_ms: 1_000,
    };
    let parcel = Parcel::new(Kind::BlockRead, &ask, Bytes::new()).unwrap();
    let refused = service.serve(node(A), parcel).await.unwrap_err();
    assert_eq!(refused.code, "blocks_unreadable");
    let ask = WriteAsk {
        domain: DomainTag([1; 16]),
        blocks: Packed(vec![]),
        committed: false,
        within_ms: 1_000,
    };
    let parcel = Parcel::new(Kind::BlockWrite, &ask, Bytes::from_static(b"x")).unwrap();
    let refused = service.serve(node(A), parcel).await.unwrap_err();
    assert_eq!(refused.code, "blocks_unreadable");
}

#[tokio::test]
async fn one_peers_many_requests_do_not_take_anothers_turn() {
    let rig = Rig::start(BlockOptions {
        peer_requests_max: 4,
        ..options()
    })
    .await;
    let blocks = chain_at(&rig, B, 0, 1);
    rig.put_chain(A, &blocks).await;
    let service = service(&rig, B);
    let ask = ReadAsk {
        domain: DomainTag([1; 16]),
        places: pack_places(&blocks),
        codecs: vec![0],
        bytes_max: 1 << 20,
        within_ms: 10_000,
    };
    let parcel = Parcel::new(Kind::BlockRead, &ask, Bytes::new()).unwrap();
    let stalls = [
        rig.members[B].cache.stall_shard(0).await.unwrap(),
        rig.members[B].cache.stall_shard(1).await.unwrap(),
    ];
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let (service, parcel) = (service.clone(), parcel.clone());
        let mut asked = Box::pin(async move { service.serve(node(A), parcel).await });
        assert!(futures::poll!(&mut asked).is_pending());
        waiting.push(asked);
    }
    let refused = service.serve(node(A), parcel.clone()).await.unwrap_err();
    assert_eq!(refused.code, "busy");
    let mut other = Box::pin(service.serve(node(C), parcel.clone()));
    assert!(futures::poll!(&mut other).is_pending(), "it has its turn");
    drop(stalls);
    assert!(other.await.is_ok());
    for asked in waiting {
        assert!(asked.await.is_ok());
    }
    assert!(service.serve(node(A), parcel).await.is_ok());
}
