//! Jobs: which are asked for by themselves, what each waits for, and how far it is. It must never know how slots move.

use super::{Counts, Steward, StewardWorld};
use crate::metadata::{
    Command, Job, JobCreate, JobKind, JobState, JobUpdate, MemberState, SlotCounts, View,
};
use crate::{Incarnation, NodeId};

/// What a drain says whose slots are elsewhere.
pub(super) const DRAIN_BLOCKS: &str = "its slots are elsewhere; blocks are moving";

/// Whether a member stays without slots because its join was cancelled after it came.
pub(super) fn was_join_cancelled(view: &View, node: NodeId) -> bool {
    let joins = view
        .jobs()
        .iter()
        .filter(|job| matches!(job.kind, JobKind::Join { node: joining } if joining == node));
    let last = joins.max_by_key(|job| (job.created_unix_ms, job.id));
    let is_spread_since = |cancelled: &Job| {
        view.jobs().iter().any(|job| {
            job.kind == JobKind::Rebalance && job.created_unix_ms >= cancelled.created_unix_ms
        })
    };
    last.is_some_and(|job| {
        matches!(job.state, JobState::Cancelling | JobState::Cancelled) && !is_spread_since(job)
    })
}

/// What a job should say next: state, reason, done and total.
struct Word {
    state: JobState,
    reason: String,
    done: u32,
    total: u32,
}

impl Word {
    fn running(job: &Job, reason: &str, done: u32, total: u32) -> Self {
        Self {
            state: job.state,
            reason: reason.to_owned(),
            done: done.min(total),
            total,
        }
    }

    fn over(state: JobState, reason: &str, job: &Job) -> Self {
        Self {
            state,
            reason: reason.to_owned(),
            done: if state == JobState::Done {
                job.total
            } else {
                job.done
            },
            total: job.total,
        }
    }
}

impl Steward {
    /// A member that came up and has no part in a plan that others have one in: its join is a job, so that people see it.
    pub(super) fn see_to_joins(
        view: &View,
        counts: &Counts,
        world: &mut StewardWorld<'_>,
        commands: &mut Vec<Command>,
    ) {
        if view.slots().plan() == 0 {
            return;
        }
        for (node, record) in view.members().present() {
            let has_part = counts
                .get(&node)
                .is_some_and(|count| count.target_owned + count.target_following > 0);
            let is_asked = view
                .jobs()
                .running()
                .any(|job| job.kind.node() == Some(node));
            let is_new = record.state == MemberState::Up && !has_part && !is_asked;
            if is_new && !was_join_cancelled(view, node) {
                commands.push(Command::JobCreate(JobCreate {
                    id: (world.draw)(),
                    kind: JobKind::Join { node },
                    throttle_bytes_s: None,
                    at_unix_ms: world.unix_ms,
                }));
            }
        }
    }

    /// Carries every job that is not over one step on.
    pub(super) fn see_to_jobs(
        &mut self,
        view: &View,
        counts: &Counts,
        world: &StewardWorld<'_>,
        commands: &mut Vec<Command>,
    ) {
        let of = |node| counts.get(&node).copied().unwrap_or_default();
        for job in view.jobs().running() {
            let word = match job.kind {
                JobKind::Join { node } => join(view, job, of(node)),
                JobKind::Drain { node, .. } => drain(view, job, (node, of(node)), commands),
                JobKind::Rebalance => self.rebalance(view, job, commands),
            };
            self.tell(job, word, world, commands);
        }
        for job in view.jobs().iter().filter(|job| job.state == JobState::Done) {
            see_to_leaving(view, job, commands);
        }
        self.reported.retain(|id, _| view.jobs().get(*id).is_some());
    }

    fn rebalance(&self, view: &View, job: &Job, commands: &mut Vec<Command>) -> Word {
        let unsettled = view.slots().unsettled();
        let total = job.total.max(unsettled);
        if job.state == JobState::Cancelling {
            return Word::over(
                JobState::Cancelled,
                "cancelled; slots under way still settle",
                job,
            );
        }
        let emptied = view.members().present().filter(|(node, record)| {
            record.state == MemberState::Draining
                && was_emptied(view, *node, record.started_unix_ms)
        });
        let before = commands.len();
        commands.extend(emptied.map(|(node, record)| {
            let boot = record.boot;
            Command::MemberState {
                life: Incarnation { node, boot },
                from: MemberState::Draining,
                to: MemberState::Up,
            }
        }));
        if commands.len() > before {
            return Word::running(
                job,
                "members that were emptied take slots again",
                job.done,
                total,
            );
        }
        if unsettled == 0 && !self.is_planning {
            return Word {
                state: JobState::Done,
                reason: String::new(),
                done: total,
                total,
            };
        }
        Word::running(job, "slots are moving", total - unsettled, total)
    }

    /// Proposes what a job has to say: at once when it is over or has another reason, else not too often.
    fn tell(
        &mut self,
        job: &Job,
        word: Word,
        world: &StewardWorld<'_>,
        commands: &mut Vec<Command>,
    ) {
        let is_progress = (job.done, job.total) != (word.done, word.total);
        let is_news = job.state != word.state || job.reason != word.reason;
        let is_early = self
            .reported
            .get(&job.id)
            .is_some_and(|at| world.now.since_ms(*at) < self.rules.report_ms);
        if !is_news && (!is_progress || is_early) {
            return;
        }
        self.reported.insert(job.id, world.now);
        commands.push(Command::JobUpdate(JobUpdate {
            id: job.id,
            changed_index: job.changed_index,
            state: word.state,
            reason: word.reason,
            done: word.done,
            total: word.total,
        }));
    }
}

/// A member whose drain is over and that is to leave, leaves.
fn see_to_leaving(view: &View, job: &Job, commands: &mut Vec<Command>) {
    let JobKind::Drain {
        node,
        then_leave: true,
    } = job.kind
    else {
        return;
    };
    let Some(record) = view.members().get(node) else {
        return;
    };
    // A node that came again under the same id is not the one that was drained.
    let is_drained = matches!(record.state, MemberState::Draining | MemberState::Down)
        && record.started_unix_ms <= job.created_unix_ms;
    if is_drained {
        let boot = record.boot;
        commands.push(Command::MemberLeave {
            life: Incarnation { node, boot },
        });
    }
}

fn join(view: &View, job: &Job, counts: SlotCounts) -> Word {
    let total = counts.target_owned + counts.target_following;
    let done = total.saturating_sub(counts.arriving);
    if job.state == JobState::Cancelling {
        return Word::over(JobState::Cancelled, "cancelled; its slots go back", job);
    }
    let Some(record) = job.kind.node().and_then(|node| view.members().get(node)) else {
        return Word::over(JobState::Failed, "the node is no member any more", job);
    };
    match record.state {
        MemberState::Left => Word::over(JobState::Failed, "the node left", job),
        MemberState::Down => Word::running(job, "the node is down", done, total),
        _ if total > 0 && view.slots().unsettled() == 0 => Word {
            state: JobState::Done,
            reason: String::new(),
            done: total,
            total,
        },
        _ if total == 0 => Word::running(job, "waits for the plan", done, total),
        _ => Word::running(job, "slots are moving", done, total),
    }
}

fn drain(
    view: &View,
    job: &Job,
    (node, counts): (NodeId, SlotCounts),
    commands: &mut Vec<Command>,
) -> Word {
    let Some(record) = view.members().get(node) else {
        return Word::over(JobState::Failed, "the node is no member any more", job);
    };
    let life = Incarnation {
        node,
        boot: record.boot,
    };
    let mut go = |from, to| commands.push(Command::MemberState { life, from, to });
    if job.state == JobState::Cancelling {
        if record.state == MemberState::Draining {
            go(MemberState::Draining, MemberState::Up);
            return Word::running(job, "the node takes slots again", job.done, job.total);
        }
        return Word::over(JobState::Cancelled, "cancelled", job);
    }
    if matches!(record.state, MemberState::Up) {
        go(MemberState::Up, MemberState::Draining);
    }
    let held = counts.owned + counts.following;
    let total = job
        .total
        .max(held)
        .max(counts.target_owned + counts.target_following);
    let done = total.saturating_sub(held);
    let is_only = view
        .members()
        .present()
        .all(|(other, record)| other == node || record.state != MemberState::Up);
    match record.state {
        MemberState::Left => Word::over(JobState::Done, "the node left", job),
        _ if is_only => Word::running(job, "no other node is up to take its slots", done, total),
        MemberState::Down if held == 0 => Word::over(
            JobState::Done,
            "the node is down; its blocks were not moved",
            job,
        ),
        MemberState::Down => Word::running(
            job,
            "the node is down and alone has some slots",
            done,
            total,
        ),
        // What is left are its blocks, which only the node itself can bring away and report.
        _ if held == 0 => Word::running(job, DRAIN_BLOCKS, done, total),
        _ => Word::running(job, "slots are moving", done, total),
    }
}

/// Whether a member was emptied and stayed: it takes slots again when they are spread anew.
fn was_emptied(view: &View, node: NodeId, started_unix_ms: u64) -> bool {
    view.jobs().iter().any(|job| {
        let emptied = JobKind::Drain {
            node,
            then_leave: false,
        };
        job.kind == emptied && job.state == JobState::Done && job.created_unix_ms >= started_unix_ms
    })
}
