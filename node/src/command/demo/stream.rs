//! Requests without pause through the nodes that stay, while another is killed. It counts what happens before and after, and must
//! never judge it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::ask::{Asker, Caching, Said};
use super::cluster::DemoCluster;
use super::entries::{Amiss, Entries, Wrote};
use super::outcome::{Complaints, Outcome, Window};
use super::script::{Progress, Question};
use crate::exit::{Failure, Status};

/// Prompts that are answered before the kill, and after it.
const QUESTIONS: (u64, u64) = (4, 8);
/// How long either part may take.
const PART_WITHIN: Duration = Duration::from_secs(40);
/// Between two entries.
const ENTRY_EVERY: Duration = Duration::from_millis(10);

/// Where the stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Before,
    After,
    Over,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    part: Part,
    before: Window,
    after: Window,
    /// Which door said what, and to which question.
    said: Vec<(usize, usize, Said)>,
    entries_right: u64,
    wrong: Complaints,
    failed: Complaints,
}

impl Seen {
    const fn window(&mut self) -> &mut Window {
        match self.part {
            Part::Before => &mut self.before,
            Part::After | Part::Over => &mut self.after,
        }
    }

    fn fail(&mut self, told: String) {
        self.window().failed += 1;
        self.failed.add(told);
    }
}

/// The stream, and what it is made of.
pub(super) struct Stream<'a> {
    /// All doors; those before `first` are not asked.
    doors: &'a [Asker],
    first: usize,
    questions: &'a [Question],
    seen: watch::Sender<Seen>,
}

impl<'a> Stream<'a> {
    /// A stream through the doors from `first` on.
    pub(super) fn new(doors: &'a [Asker], first: usize, questions: &'a [Question]) -> Self {
        Self {
            doors,
            first,
            questions,
            seen: watch::Sender::default(),
        }
    }

    /// Sends requests, kills the node in the middle of them, and goes on.
    pub(super) async fn run(
        self,
        (cluster, victim): (&mut DemoCluster, usize),
        entries: &mut Entries,
        progress: &impl Progress,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let all = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let driven = async {
            let driven = self.drive(cluster, victim, all, progress).await;
            self.seen.send_modify(|seen| seen.part = Part::Over);
            driven
        };
        let (driven, (), ()) = tokio::join!(driven, self.ask(progress), self.write(&mut *entries));
        driven?;
        let seen = self.seen.send_replace(Seen::default());
        outcome.kill.before = seen.before;
        outcome.kill.after = seen.after;
        outcome.entries_right += seen.entries_right;
        outcome.kill.tried_again = entries.tried_again();
        outcome.wrong += seen.wrong;
        outcome.failed += seen.failed;
        for (at, number, said) in &seen.said {
            outcome.count(*at, said, Caching::Afresh);
            if let Some(question) = self.questions.get(*number) {
                outcome.compare(&question.text, &question.answer, &said.text);
            }
        }
        Ok(())
    }

    async fn drive(
        &self,
        cluster: &mut DemoCluster,
        victim: usize,
        entries: u64,
        progress: &impl Progress,
    ) -> Result<(), Failure> {
        let mut seen = self.seen.subscribe();
        let enough = |window: &Window, questions| {
            window.questions >= questions && window.entries + window.failed >= entries
        };
        let before = seen.wait_for(|seen| enough(&seen.before, QUESTIONS.0));
        within(before).await?;
        progress.step("killing node-1 in the middle of them; the others go on");
        cluster.kill(victim)?;
        self.seen.send_modify(|seen| seen.part = Part::After);
        // Each entry is written anew, and read, without the node that is gone.
        let after = seen.wait_for(|seen| enough(&seen.after, QUESTIONS.1));
        within(after).await
    }

    fn is_over(&self) -> bool {
        self.seen.borrow().part == Part::Over
    }

    /// Asks over the beginning, one question after the other, at one door after the other.
    async fn ask(&self, progress: &impl Progress) {
        let doors = self.doors.iter().enumerate().skip(self.first);
        let questions = self.questions.iter().enumerate();
        // The doors in turn, and the questions in turn, so that each door gets each question.
        let turns = questions
            .flat_map(|question| doors.clone().map(move |door| (door, question)))
            .cycle();
        for ((at, door), (number, question)) in turns {
            if self.is_over() {
                return;
            }
            let said = door.process(&question.text, Caching::Afresh).await;
            progress.answered();
            self.seen.send_modify(|seen| {
                seen.window().questions += 1;
                match said {
                    Ok(said) => {
                        seen.window().hits += u64::from(said.reused_tokens > 0);
                        seen.said.push((at, number, said));
                    }
                    Err(failure) => {
                        let told = failure.message.unwrap_or_default();
                        seen.fail(format!("{}: {told}", door.name));
                    }
                }
            });
        }
    }

    /// Writes entries at one door and reads them at the next.
    async fn write(&self, entries: &mut Entries) {
        let doors = self.doors.get(self.first..).unwrap_or_default();
        let (writers, readers) = (doors.iter().cycle(), doors.iter().cycle().skip(1));
        let mut every = tokio::time::interval(ENTRY_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let numbers = (0..entries.len()).cycle();
        for (number, (writer, reader)) in numbers.zip(writers.zip(readers)) {
            every.tick().await;
            if self.is_over() {
                return;
            }
            let stopwatch = writer.clock().stopwatch();
            let wrote = entries.write(number, writer).await;
            let write_ms = stopwatch.elapsed().as_secs_f64() * 1_000.0;
            let stopwatch = reader.clock().stopwatch();
            let read = entries.read(number, reader).await;
            let read_ms = stopwatch.elapsed().as_secs_f64() * 1_000.0;
            self.seen.send_modify(|seen| {
                let window = seen.window();
                window.longest_entry_ms = window.longest_entry_ms.max(write_ms).max(read_ms);
                match wrote.and_then(|wrote| read.map(|()| wrote)) {
                    Ok(wrote) => {
                        window.entries += 1;
                        window.in_doubt += u64::from(wrote == Wrote::DoneAgain);
                        seen.entries_right += 1;
                    }
                    Err(Amiss::Failed(told)) => seen.fail(told),
                    Err(Amiss::Wrong(told)) => {
                        window.entries += 1;
                        seen.wrong.add(told);
                    }
                }
            });
        }
    }
}

/// Waits for what the stream must come to.
async fn within<T>(
    seen: impl Future<Output = Result<T, watch::error::RecvError>>,
) -> Result<(), Failure> {
    let Ok(Ok(_)) = tokio::time::timeout(PART_WITHIN, seen).await else {
        let limit = humantime::format_duration(PART_WITHIN);
        let message = format!("too few requests were answered within {limit}");
        return Err(Failure::new(Status::Failed, message));
    };
    Ok(())
}
