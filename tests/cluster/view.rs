//! The cluster as one of its nodes tells it on the admin door, read by names and nothing more.
//!
//! It knows the JSON of `/v1/cluster/status`, `/v1/cluster/layout` and `/v1/cluster/jobs`; it must never ask anybody.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
pub use ultrakv_cache::SLOT_COUNT;

/// What `/v1/cluster/status` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The node that answered.
    pub node: String,
    /// Grows with every change.
    pub revision: u64,
    /// The leader that it follows; none while it knows none.
    pub leader: Option<String>,
    /// The leader's term, where it is told.
    pub term: Option<u64>,
    /// Every member that did not leave.
    pub members: Vec<Member>,
    /// Every slot once, in order.
    pub ranges: Vec<Range>,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// Its present life.
    pub boot: String,
    /// The name it was configured with.
    pub name: String,
    /// `joining`, `up`, `draining`, `down` or `left`.
    pub state: String,
}

/// Neighbouring slots with the same record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first of them.
    pub first: u16,
    /// The last of them.
    pub last: u16,
    /// Who orders their entries; nobody while all copies are lost.
    pub owner: Option<String>,
    /// Who holds every answered write.
    pub in_sync: Vec<String>,
    /// The version of the record.
    pub epoch: u64,
}

/// One node's line of `/v1/cluster/layout`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutLine {
    /// The node.
    pub id: String,
    /// Slots that its capacity entitles it to own.
    pub quota: u64,
    /// Slots that it owns.
    pub owned: u64,
    /// Slots that the plan wants it to own.
    pub target_owned: u64,
}

/// What `/v1/cluster/layout` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The number of the plan.
    pub plan: u64,
    /// Slots that are not yet as it wants them.
    pub unsettled: u64,
    /// A line for each node.
    pub nodes: Vec<LayoutLine>,
}

/// A job, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// `join`, `drain` or `rebalance`.
    pub kind: String,
    /// `running`, `cancelling`, `done`, `cancelled` or `failed`.
    pub state: String,
    /// Why it stands so.
    pub reason: String,
}

impl View {
    /// Reads the answer.
    ///
    /// # Errors
    /// When something is missing, or not every slot is told exactly once.
    pub fn read(status: &Value) -> Result<Self> {
        let view = Self {
            node: text(status, "node_id")?,
            revision: number(status, "revision")?,
            leader: status
                .get("leader")
                .and_then(Value::as_str)
                .map(str::to_owned),
            term: status.get("term").and_then(Value::as_u64),
            members: list(status, "members")?
                .iter()
                .map(Member::read)
                .collect::<Result<_>>()?,
            ranges: list(status.get("slots").context("no slots")?, "ranges")?
                .iter()
                .map(Range::read)
                .collect::<Result<_>>()?,
        };
        let mut next = 0;
        for range in &view.ranges {
            if range.first != next || range.last < range.first {
                bail!("the slots from {next} on are told as {range:?}");
            }
            next = range.last.saturating_add(1);
        }
        if next != SLOT_COUNT {
            bail!("the slots from {next} on are not told");
        }
        Ok(view)
    }

    /// The record of a slot.
    #[must_use]
    pub fn record(&self, slot: u16) -> Option<&Range> {
        let at = self.ranges.partition_point(|range| range.last < slot);
        self.ranges.get(at).filter(|range| range.first <= slot)
    }

    /// Who owns the slot of an entry's name.
    #[must_use]
    pub fn owner_of(&self, name: &str) -> Option<&str> {
        self.record(ultrakv_cache::entry_slot(name.as_bytes()))?
            .owner
            .as_deref()
    }

    /// How many slots each node owns.
    #[must_use]
    pub fn owned(&self) -> BTreeMap<&str, u64> {
        let mut owned = BTreeMap::new();
        for range in &self.ranges {
            if let Some(owner) = &range.owner {
                *owned.entry(owner.as_str()).or_default() += range.slots();
            }
        }
        owned
    }

    /// How many slots have another owner than in `former`.
    #[must_use]
    pub fn moved_since(&self, former: &Self) -> u64 {
        let owner = |view: &Self, slot| view.record(slot).and_then(|range| range.owner.clone());
        let slots = (0..SLOT_COUNT).filter(|slot| owner(self, *slot) != owner(former, *slot));
        slots.map(|_| 1).sum()
    }

    /// A member by its id.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// What is not as it shall be when all is well: exactly these members, all up, a leader among them, and every slot held in
    /// sync by `copies` of them.
    #[must_use]
    pub fn blemish(&self, ids: &BTreeSet<String>, copies: usize) -> Option<String> {
        let present = self.members.iter().filter(|member| member.state != "left");
        let up: BTreeSet<String> = present
            .clone()
            .filter(|member| member.state == "up")
            .map(|member| member.id.clone())
            .collect();
        if present.count() != ids.len() || up != *ids {
            let told: Vec<String> = self
                .members
                .iter()
                .map(|member| format!("{} {}", member.name, member.state))
                .collect();
            return Some(format!("members: {}", told.join(", ")));
        }
        if !self
            .leader
            .as_ref()
            .is_some_and(|leader| ids.contains(leader))
        {
            return Some(format!("leader: {:?}", self.leader));
        }
        let copies = copies.min(ids.len());
        let unfit = |range: &&Range| {
            !range
                .owner
                .as_ref()
                .is_some_and(|owner| ids.contains(owner))
                || range.in_sync.len() != copies
        };
        let unfit: Vec<&Range> = self.ranges.iter().filter(unfit).collect();
        let slots: u64 = unfit.iter().map(|range| range.slots()).sum();
        unfit
            .first()
            .map(|range| format!("{slots} slots, the first of them: {range:?}"))
    }
}

impl Member {
    fn read(value: &Value) -> Result<Self> {
        Ok(Self {
            id: text(value, "node_id")?,
            boot: text(value, "boot_id")?,
            name: text(value, "name")?,
            state: text(value, "state")?,
        })
    }
}

impl Range {
    fn read(value: &Value) -> Result<Self> {
        let slot = |name| Ok::<_, anyhow::Error>(u16::try_from(number(value, name)?)?);
        let in_sync = list(value, "in_sync")?.iter();
        Ok(Self {
            first: slot("first")?,
            last: slot("last")?,
            owner: value
                .get("owner")
                .and_then(Value::as_str)
                .map(str::to_owned),
            in_sync: in_sync
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            epoch: number(value, "epoch")?,
        })
    }

    /// How many slots it spans.
    #[must_use]
    pub fn slots(&self) -> u64 {
        u64::from(self.last.saturating_sub(self.first)) + 1
    }
}

impl Layout {
    /// Reads the answer.
    ///
    /// # Errors
    /// When something is missing.
    pub fn read(value: &Value) -> Result<Self> {
        let line = |node: &Value| {
            Ok(LayoutLine {
                id: text(node, "node_id")?,
                quota: number(node, "quota")?,
                owned: number(node, "owned")?,
                target_owned: number(node, "target_owned")?,
            })
        };
        Ok(Self {
            plan: number(value, "plan")?,
            unsettled: number(value, "unsettled")?,
            nodes: list(value, "nodes")?
                .iter()
                .map(line)
                .collect::<Result<_>>()?,
        })
    }

    /// The line of a node.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&LayoutLine> {
        self.nodes.iter().find(|line| line.id == id)
    }
}

impl Job {
    /// Reads one job.
    ///
    /// # Errors
    /// When something is missing.
    pub fn read(value: &Value) -> Result<Self> {
        Ok(Self {
            id: text(value, "id")?,
            kind: text(value, "kind")?,
            state: text(value, "state")?,
            reason: text(value, "reason")?,
        })
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "done" | "cancelled" | "failed")
    }
}

fn text(value: &Value, name: &str) -> Result<String> {
    let found = value.get(name).and_then(Value::as_str);
    Ok(found
        .with_context(|| format!("no {name} in {value}"))?
        .to_owned())
}

fn number(value: &Value, name: &str) -> Result<u64> {
    let found = value.get(name).and_then(Value::as_u64);
    found.with_context(|| format!("no {name} in {value}"))
}

/// A list; its own name may be left out when the answer is nothing else.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    let found = value.get(name).unwrap_or(value).as_array();
    found.with_context(|| format!("no {name} in {value}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(middle: Value) -> Value {
        let member = |id: &str, state: &str| json!({"node_id": id, "boot_id": "b", "name": id, "state": state, "role": "voter"});
        json!({
            "node_id": "a", "revision": 7, "leader": "b",
            "members": [member("a", "up"), member("b", "up"), member("c", "left")],
            "slots": {"ranges": [
                {"first": 0, "last": 99, "owner": "a", "in_sync": ["a", "b"], "epoch": 3},
                middle,
                {"first": 200, "last": 16383, "owner": "b", "in_sync": ["b", "a"], "epoch": 1},
            ]},
        })
    }

    fn view(owner: Value) -> View {
        View::read(&status(
            json!({"first": 100, "last": 199, "owner": owner, "in_sync": ["a", "b"], "epoch": 9}),
        ))
        .unwrap()
    }

    #[test]
    fn a_status_is_read_and_counted() {
        let (before, after) = (view("a".into()), view("b".into()));
        assert_eq!(before.owned(), BTreeMap::from([("a", 200), ("b", 16_184)]));
        assert_eq!(after.moved_since(&before), 100);
        assert_eq!(before.moved_since(&before), 0);
        assert_eq!(before.record(150).unwrap().epoch, 9);
        // CRC16 of "foo" is 12182, as Redis' documentation has it.
        assert_eq!(ultrakv_cache::entry_slot(b"foo"), 12_182);
        assert_eq!(before.owner_of("foo"), Some("b"));
        assert_eq!(before.leader.as_deref(), Some("b"));
        assert_eq!(before.member("c").unwrap().state, "left");
    }

    #[test]
    fn a_status_that_leaves_slots_out_or_tells_them_twice_is_refused() {
        for (first, last) in [(101, 199), (100, 198), (99, 199), (100, 200)] {
            let told =
                json!({"first": first, "last": last, "owner": "a", "in_sync": [], "epoch": 1});
            assert!(View::read(&status(told)).is_err(), "{first} to {last}");
        }
        let mut short =
            status(json!({"first": 100, "last": 199, "owner": "a", "in_sync": [], "epoch": 1}));
        short["slots"]["ranges"].as_array_mut().unwrap().pop();
        assert!(View::read(&short).is_err());
        assert!(View::read(&json!({})).is_err());
    }

    #[test]
    fn what_is_not_well_is_named() {
        let ids = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let both = ids(&["a", "b"]);
        assert_eq!(view("a".into()).blemish(&both, 3), None);
        assert_eq!(view("a".into()).blemish(&both, 2), None);
        let rows = [
            (view("a".into()).blemish(&both, 1), "16384 slots"),
            (view(Value::Null).blemish(&both, 2), "100 slots"),
            (view("c".into()).blemish(&both, 2), "100 slots"),
            (
                view("a".into()).blemish(&ids(&["a", "b", "d"]), 2),
                "members: a up",
            ),
            (view("a".into()).blemish(&ids(&["a"]), 1), "members: a up"),
        ];
        for (found, words) in rows {
            assert!(
                found.clone().is_some_and(|found| found.contains(words)),
                "{words}: {found:?}"
            );
        }
        let mut leaderless = view("a".into());
        leaderless.leader = None;
        assert!(leaderless.blemish(&both, 2).unwrap().contains("leader"));
    }

    #[test]
    fn layouts_and_jobs_are_read() {
        let layout = Layout::read(
            &json!({"node_id": "a", "plan": 4, "unsettled": 2, "nodes": [
                {"node_id": "a", "quota": 5, "owned": 6, "target_owned": 5, "followers": 0}
            ]}),
        )
        .unwrap();
        assert_eq!(
            (
                layout.plan,
                layout.unsettled,
                layout.node("a").unwrap().owned
            ),
            (4, 2, 6)
        );
        let job = json!({"id": "3f", "kind": "drain", "state": "running", "reason": "moving", "done": 1, "total": 2});
        let job = Job::read(&job).unwrap();
        assert!(!job.is_over() && job.id == "3f");
        assert!(
            Job {
                state: "failed".to_owned(),
                ..job
            }
            .is_over()
        );
    }
}
