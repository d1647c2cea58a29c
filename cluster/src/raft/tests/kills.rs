//! A child that appends and votes is killed again and again; what it was told to be durable must be there.
//!
//! A killed process leaves its writes in the system's cache, so this proves order and recovery, not that the disk was
//! flushed: the disk that forgets, in `faults`, proves that.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{CommittedLeaderId, EntryPayload};
use ultrakv_actors::{Clock, Entropy};

use crate::raft::log::LogStore;
use crate::raft::types::{Batch, Entry, LogId, Vote};

const FOLDER: &str = "ULTRAKV_TEST_RAFT_CHILD";
const KILLS: u64 = 20;

pub(super) fn entry(index: u64) -> Entry {
    Entry {
        log_id: LogId::new(CommittedLeaderId::new(1, 1.into()), index),
        payload: EntryPayload::Normal(Batch::new(Bytes::from(vec![7; 200])).unwrap()),
    }
}

fn open(folder: &Path) -> LogStore {
    LogStore::open(folder, &Entropy::seeded(9), Clock::machine()).unwrap()
}

/// Does nothing unless the test below starts it.
#[tokio::test]
async fn child_appends_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let mut store = open(Path::new(&folder));
    let mut next = store
        .get_log_state()
        .await
        .unwrap()
        .last_log_id
        .map_or(0, |last| last.index + 1);
    loop {
        store
            .blocking_append((next..next + 3).map(entry))
            .await
            .unwrap();
        next += 3;
        store.save_vote(&Vote::new(next, 1.into())).await.unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "durable {next}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn twenty_kills_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut durable = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "raft::tests::kills::child_appends_until_it_is_killed",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Some(said) = line.unwrap().strip_prefix("durable ").map(str::to_owned) else {
                continue;
            };
            durable = said.parse().unwrap();
            seen += 1;
            if seen == 1 + kill * 7 % 23 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen > kill * 7 % 23, "the child died of something else");
        let mut store = open(folder.path());
        let last = store.get_log_state().await.unwrap().last_log_id.unwrap();
        assert!(
            last.index + 1 >= durable,
            "{last} but {durable} were acknowledged"
        );
        let vote = store.read_vote().await.unwrap().unwrap();
        assert!(
            vote.leader_id().term >= durable,
            "{vote} but {durable} was acknowledged"
        );
    }
}
