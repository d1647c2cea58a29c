//! The demo's story: three nodes, a beginning computed once and reused by all, a node that is killed, one that is added.
//!
//! Every answer over a stored beginning is held against the same request computed with the cache off, and every entry against
//! what was written. It knows requests and figures, and nothing of processes or tables.

use std::time::Duration;

use serde_json::Value;
use ultrakv_actors::clock::Clock;
use ultrakv_cluster::{LayoutReport, NodeId};

use super::ask::{Asker, Caching};
use super::cluster::DemoCluster;
use super::entries::{Amiss, Entries};
use super::outcome::Outcome;
use super::stream::Stream;
use crate::exit::{Failure, Status};

/// Tokens of the shared beginning; the built-in model's tokens are bytes.
const PREFIX_TOKENS: usize = 1_000;
/// Different endings over the shared beginning.
const QUESTIONS: [&str; 4] = [
    "What is kept, and for how long?",
    "Who may read what was kept?",
    "What does the second request save?",
    "What is lost when a node stops?",
];
/// The text that the beginning repeats.
const SENTENCE: &str = "The keys and values that one request computed are kept, so that the next \
                        request with the same beginning does not compute them again. ";
/// Entries that are written: enough that every node owns some.
const ENTRIES: usize = 24;
/// The node that computes the beginning, and is killed: it founded the cluster, and is likely to lead it.
const VICTIM: usize = 0;

/// When the questions have taken this long, no further one is asked, so that the demo ends in time on a machine that is
/// slow or busy.
const ASK_WITHIN: Duration = Duration::from_secs(20);
/// Questions that are asked however long they take.
const QUESTIONS_MIN: usize = 2;

/// A question, and what is answered with the cache off.
pub(super) struct Question {
    /// The whole prompt.
    pub(super) text: String,
    /// The answer.
    pub(super) answer: String,
}

/// What the person at the terminal is told while it runs.
pub(super) trait Progress {
    /// A step begins.
    fn step(&self, what: &str);
    /// A request was answered.
    fn answered(&self);
}

/// Slots before and after.
pub(super) struct Layouts {
    /// With three nodes.
    pub(super) before: LayoutReport,
    /// With one of them killed and a fourth added.
    pub(super) after: LayoutReport,
}

/// Tells the whole story.
pub(super) async fn run(
    cluster: &mut DemoCluster,
    clock: &Clock,
    progress: &impl Progress,
) -> Result<(Outcome, Layouts), Failure> {
    progress.step("starting node-1, which founds a cluster, with certificates made on the spot");
    cluster.start(1).await?;
    progress.step("starting node-2 and node-3, which join it");
    cluster.start(2).await?;
    let before = cluster.settled().await?;
    let doors = cluster.askers()?;
    let mut outcome = Outcome::default();
    let questions = reuse(&doors, clock, progress, &mut outcome).await?;
    converse(&doors, progress, &mut outcome).await?;
    let mut entries = Entries::new(ENTRIES);
    share_entries(&mut entries, &doors, progress, &mut outcome).await;

    let victim = node_at(cluster, VICTIM)?;
    outcome.kill.node = name_of(&doors, VICTIM);
    outcome.kill.slots_owned = owned(&before, victim);
    outcome.kill.entries_owned = entries_of(&asker(&doors, 1)?.cluster().await?, victim, &entries);
    progress.step("asking and writing through node-2 and node-3 without pause");
    Stream::new(&doors, VICTIM + 1, &questions)
        .run((cluster, VICTIM), &mut entries, progress, &mut outcome)
        .await?;

    progress.step("adding node-4, which is given its part of the slots");
    cluster.start(1).await?;
    let after = cluster.settled().await?;
    let doors = cluster.askers()?;
    progress.step("asking node-4, and reading every entry at every node");
    greet(&doors, &questions, progress, &mut outcome).await?;
    for door in doors.iter().skip(VICTIM + 1) {
        read_all(&entries, door, &mut outcome).await;
    }
    Ok((outcome, Layouts { before, after }))
}

/// Has the beginning computed once at the first node, and asks over it at the others.
async fn reuse(
    doors: &[Asker],
    clock: &Clock,
    progress: &impl Progress,
    outcome: &mut Outcome,
) -> Result<Vec<Question>, Failure> {
    let prefix = prefix();
    let asking = clock.stopwatch();
    progress.step("computing a beginning of 1000 tokens at node-1");
    let founder = asker(doors, VICTIM)?;
    let text = format!("{prefix}Begin.");
    let first = founder.process(&text, Caching::On).await?;
    outcome.count(VICTIM, &first, Caching::On);
    progress.answered();

    progress.step("asking over it at node-2 and node-3, and again with the cache off");
    let others = doors.iter().enumerate().skip(1);
    let mut asked = Vec::new();
    for (number, (question, (at, door))) in QUESTIONS.iter().zip(others.clone().cycle()).enumerate()
    {
        if number >= QUESTIONS_MIN && asking.elapsed() > ASK_WITHIN {
            progress.step("this machine is slow or busy: asking fewer questions");
            break;
        }
        let text = format!("{prefix}{question}");
        let salt = format!("demo-{number}");
        let off = Caching::Off { salt: &salt };
        let cold = door.process(&text, off).await?;
        progress.answered();
        let reused = door.process(&text, Caching::On).await?;
        progress.answered();
        outcome.count(at, &cold, off);
        outcome.count(at, &reused, Caching::On);
        outcome.compare(question, &cold.text, &reused.text);
        outcome.cold.push(cold.first_token);
        outcome.warm.push(reused.first_token);
        let answer = cold.text;
        asked.push(Question { text, answer });
    }

    progress.step("asking the same again, each at the other node");
    for (question, (at, door)) in asked.iter().zip(others.cycle().skip(1)) {
        let again = door.process(&question.text, Caching::On).await?;
        progress.answered();
        outcome.count(at, &again, Caching::On);
        outcome.compare("the same request", &question.answer, &again.text);
        outcome.stored.push(again.first_token);
    }
    Ok(asked)
}

/// Two questions under one long system message, at two nodes, and the second once more with the cache off.
async fn converse(
    doors: &[Asker],
    progress: &impl Progress,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    progress.step("holding a conversation over the OpenAI-compatible route");
    let (at, system) = (2, prefix());
    let (one, other) = (asker(doors, 1)?, asker(doors, at)?);
    let models = one.get("/v1/models").await?;
    let model = models
        .pointer("/data/0/id")
        .and_then(Value::as_str)
        .ok_or_else(|| Failure::new(Status::Failed, "the node names no model"))?;
    let first = one.chat(model, &system, "Who are you?", Caching::On).await;
    progress.answered();
    outcome.count_door(1, first?.1 > 0);
    let off = Caching::Off { salt: "demo-chat" };
    let ask = |caching| other.chat(model, &system, "What do you keep?", caching);
    let cold = ask(off).await?;
    progress.answered();
    let warm = ask(Caching::On).await?;
    progress.answered();
    outcome.count_door(at, warm.1 > 0);
    outcome.requests += 3;
    outcome.prefix_hits += u64::from(warm.1 > 0);
    outcome.tokens_reused += warm.1;
    outcome.compare("a conversation", &cold.0, &warm.0);
    Ok(())
}

/// Writes each entry at one node and reads it at the next.
async fn share_entries(
    entries: &mut Entries,
    doors: &[Asker],
    progress: &impl Progress,
    outcome: &mut Outcome,
) {
    progress.step("writing entries at each node and reading them at the next");
    let (writers, readers) = (doors.iter().cycle(), doors.iter().cycle().skip(1));
    for (number, (writer, reader)) in (0..entries.len()).zip(writers.zip(readers)) {
        let wrote = entries.write(number, writer).await.map(drop);
        note(wrote, outcome);
        note(entries.read(number, reader).await, outcome);
    }
}

/// Reads every entry at one node.
async fn read_all(entries: &Entries, door: &Asker, outcome: &mut Outcome) {
    for number in 0..entries.len() {
        note(entries.read(number, door).await, outcome);
    }
}

fn note(answer: Result<(), Amiss>, outcome: &mut Outcome) {
    match answer {
        Ok(()) => outcome.entries_right += 1,
        Err(Amiss::Wrong(told)) => outcome.wrong.add(told),
        Err(Amiss::Failed(told)) => outcome.failed.add(told),
    }
}

/// Asks every question at the newest node.
async fn greet(
    doors: &[Asker],
    questions: &[Question],
    progress: &impl Progress,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let at = doors.len().saturating_sub(1);
    let door = asker(doors, at)?;
    for Question { text, answer } in questions {
        let said = door.process(text, Caching::Afresh).await?;
        progress.answered();
        outcome.count(at, &said, Caching::Afresh);
        outcome.compare("a question to the new node", answer, &said.text);
    }
    Ok(())
}

fn prefix() -> String {
    SENTENCE.chars().cycle().take(PREFIX_TOKENS).collect()
}

fn asker(doors: &[Asker], at: usize) -> Result<&Asker, Failure> {
    doors
        .get(at)
        .ok_or_else(|| Failure::new(Status::Failed, format!("there is no node {at}")))
}

fn name_of(doors: &[Asker], at: usize) -> String {
    doors
        .get(at)
        .map(|door| door.name.clone())
        .unwrap_or_default()
}

fn node_at(cluster: &DemoCluster, at: usize) -> Result<NodeId, Failure> {
    let node = cluster.nodes().get(at);
    node.ok_or_else(|| Failure::new(Status::Failed, format!("there is no node {at}")))?
        .id()
}

/// Slots that a node owns.
pub(super) fn owned(layout: &LayoutReport, node: NodeId) -> u32 {
    let nodes = layout.nodes.iter();
    nodes
        .filter(|line| line.node_id == node)
        .map(|line| line.owned)
        .sum()
}

/// How many entries a node owns, as the cluster tells it.
fn entries_of(status: &Value, node: NodeId, entries: &Entries) -> u64 {
    let ranges = status.pointer("/slots/ranges").and_then(Value::as_array);
    let node = node.to_string();
    let is_owned = |name: &&str| {
        let slot = u64::from(ultrakv_cache::entry_slot(name.as_bytes()));
        ranges.into_iter().flatten().any(|range| {
            let bound = |name: &str| range.get(name).and_then(Value::as_u64);
            let holds = bound("first").is_some_and(|first| first <= slot)
                && bound("last").is_some_and(|last| slot <= last);
            holds && range.get("owner").and_then(Value::as_str) == Some(node.as_str())
        })
    };
    u64::try_from(entries.names().filter(is_owned).count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_counted_at_the_owner_of_their_slot() {
        let entries = Entries::new(ENTRIES);
        let (one, two) = (NodeId::from_u128(1), NodeId::from_u128(2));
        let half = ultrakv_cache::SLOT_COUNT / 2;
        let status = json!({"slots": {"ranges": [
            {"first": 0, "last": half - 1, "owner": one.to_string()},
            {"first": half, "last": ultrakv_cache::SLOT_COUNT - 1, "owner": two.to_string()},
        ]}});
        let of = |node| entries_of(&status, node, &entries);
        assert!(of(one) > 0 && of(two) > 0, "{} {}", of(one), of(two));
        assert_eq!(of(one) + of(two), u64::try_from(ENTRIES).unwrap());
        assert_eq!(of(NodeId::from_u128(3)), 0);
    }
}
