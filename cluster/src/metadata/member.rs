//! The members of the cluster and their lives.
//!
//! Responsible for what a node told of itself and for its state. It must never know what a node holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use ultrakv_actors::BootId;

use super::command::{MemberJoin, MemberStart};
use super::outcome::{Bound, Done, FieldName, Outcome, Present, Refusal};
use super::{is_name, is_text};
use crate::{Incarnation, NodeId};

/// Members, those that left and are remembered among them.
pub const MEMBERS_MAX: usize = 1_024;
/// Shards of one node.
pub const SHARDS_MAX: u16 = 256;

/// Where a member is reached: `host:port`, or empty for a lane that it does not open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Raft, control and mesh, over QUIC.
    pub control: String,
    /// Block bytes, over TCP.
    pub bulk: String,
    /// The main HTTP door, for redirects and for people.
    pub door: String,
}

/// The versions of commands that a binary understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl VersionRange {
    /// Whether a version is among them.
    #[must_use]
    pub const fn contains(self, version: u16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// What a member can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberCapacity {
    /// Shards.
    pub shards: u16,
    /// Budget in bytes, over all shards.
    pub bytes_max: u64,
    /// Budget in tokens, over all shards; none when bytes alone bind.
    pub tokens_max: Option<u64>,
}

/// Whether a member serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It is known, and not yet given anything to serve.
    Joining,
    /// It serves its slots.
    Up,
    /// It serves while its slots are moved away.
    Draining,
    /// Its tenure ran out: others serve.
    Down,
    /// It is no longer a member; remembered so that a life that does not know it is refused.
    Left,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Left => "left",
        })
    }
}

impl MemberState {
    /// Whether a member in this state may be given something to hold.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Joining | Self::Up | Self::Draining)
    }

    /// Whether a member may be told to go there. To `Down` and `Left` lead commands of their own.
    const fn leads_to(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::Joining | Self::Draining | Self::Down, Self::Up)
                | (Self::Up | Self::Down, Self::Draining)
        )
    }
}

/// One member, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Its disk, as Raft names it together with the node's id: a node that lost it is a new voter.
    pub disk: u64,
    /// Its present life; of one that is down or left, its last.
    pub boot: BootId,
    /// The name it was configured with.
    pub name: String,
    /// The version of its binary.
    pub binary: String,
    /// Versions of commands that this binary understands.
    pub versions: VersionRange,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it can hold.
    pub capacity: MemberCapacity,
    /// Its failure zone; empty when it has no label.
    pub zone: String,
    /// Whether it serves.
    pub state: MemberState,
    /// The present life of each shard that told of itself in the node's present life.
    pub shards: BTreeMap<u16, BootId>,
    /// When its present life began, in unix ms of its own clock.
    pub started_unix_ms: u64,
    /// The log index of the last change of state.
    pub changed_index: u64,
}

/// Every member by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members(BTreeMap<NodeId, MemberRecord>);

impl Members {
    /// A member.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&MemberRecord> {
        self.0.get(&node)
    }

    /// Every member, those that left among them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &MemberRecord)> {
        self.0.iter().map(|(node, record)| (*node, record))
    }

    /// Every member that did not leave, by id.
    pub fn present(&self) -> impl Iterator<Item = (NodeId, &MemberRecord)> {
        self.iter()
            .filter(|(_, record)| record.state != MemberState::Left)
    }

    /// Whether this is a node's present life.
    #[must_use]
    pub fn is_present(&self, life: Incarnation) -> bool {
        let record = self.get(life.node);
        record.is_some_and(|record| record.boot == life.boot && record.state != MemberState::Left)
    }

    /// Whether a node is a member that is joining, up or draining.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|record| record.state.is_alive())
    }

    /// Whether this is the present life of a *shard*, of a member that is joining, up or draining.
    #[must_use]
    pub fn is_alive_shard(&self, shard: Incarnation) -> bool {
        self.is_alive(shard.node) && self.has_shard(shard)
    }

    /// Whether this is the present life of a shard of a member, which may be down.
    pub(super) fn has_shard(&self, shard: Incarnation) -> bool {
        let record = self.get(shard.node);
        record.is_some_and(|record| record.shards.values().any(|boot| *boot == shard.boot))
    }

    /// Whether every record is one that commands could have made.
    pub(super) fn is_valid(&self) -> bool {
        let valid = |record: &MemberRecord| {
            told(
                &record.name,
                &record.binary,
                &record.addresses,
                &record.zone,
            )
            .is_ok()
                && record.capacity.shards <= SHARDS_MAX
                && record
                    .shards
                    .keys()
                    .all(|shard| *shard < record.capacity.shards)
                && record.shards.values().collect::<BTreeSet<_>>().len() == record.shards.len()
                && (record.state != MemberState::Left || record.shards.is_empty())
                && record.versions.min <= record.versions.max
        };
        self.0.len() <= MEMBERS_MAX && self.0.values().all(valid)
    }

    /// A new member, or one that left and comes again.
    pub(super) fn join(&mut self, join: &MemberJoin, version: u16, index: u64) -> Outcome {
        if let Err(refusal) = fields(join, version) {
            return Outcome::Refused(refusal);
        }
        if let Some(there) = self
            .get(join.node)
            .filter(|there| there.state != MemberState::Left)
        {
            // Sent twice; anything else is another node under this id.
            let same = there.boot == join.boot && there.disk == join.disk;
            return if same {
                Outcome::Applied(Done::Already)
            } else {
                Outcome::Refused(Refusal::MemberThere)
            };
        }
        if !self.0.contains_key(&join.node) && !self.make_room() {
            let what = Bound::Members;
            let max = u64::try_from(MEMBERS_MAX).unwrap_or(u64::MAX);
            return Outcome::Refused(Refusal::Full { what, max });
        }
        let record = MemberRecord {
            disk: join.disk,
            boot: join.boot,
            name: join.name.clone(),
            binary: join.binary.clone(),
            versions: join.versions,
            addresses: join.addresses.clone(),
            capacity: join.capacity,
            zone: join.zone.clone(),
            state: MemberState::Joining,
            shards: BTreeMap::new(),
            started_unix_ms: join.at_unix_ms,
            changed_index: index,
        };
        self.0.insert(join.node, record);
        Outcome::Applied(Done::Set)
    }

    /// Forgets the member that left first when there is no room.
    fn make_room(&mut self) -> bool {
        if self.0.len() < MEMBERS_MAX {
            return true;
        }
        let left = self
            .iter()
            .filter(|(_, record)| record.state == MemberState::Left);
        let oldest = left.min_by_key(|(node, record)| (record.changed_index, *node));
        let oldest = oldest.map(|(node, _)| node);
        oldest.is_some_and(|node| self.0.remove(&node).is_some())
    }

    /// A member's next life. Gives the life that is over, when this one is news.
    pub(super) fn start(
        &mut self,
        start: &MemberStart,
        version: u16,
        index: u64,
    ) -> Result<Option<Incarnation>, Outcome> {
        let about = &start.about;
        fields(about, version).map_err(Outcome::Refused)?;
        let record = self.0.get_mut(&about.node);
        let record = record.ok_or(Outcome::Refused(Refusal::UnknownMember))?;
        if record.state == MemberState::Left {
            return Err(Outcome::Refused(Refusal::UnknownMember));
        }
        if record.boot == about.boot {
            return Ok(None);
        }
        if record.boot != start.replaces {
            return Err(Outcome::Stale(Present::Member(Box::new(record.clone()))));
        }
        let over = Incarnation {
            node: about.node,
            boot: record.boot,
        };
        record.disk = about.disk;
        record.boot = about.boot;
        record.name.clone_from(&about.name);
        record.binary.clone_from(&about.binary);
        record.versions = about.versions;
        record.addresses = about.addresses.clone();
        record.capacity = about.capacity;
        record.zone.clone_from(&about.zone);
        record.shards.clear();
        record.started_unix_ms = about.at_unix_ms;
        record.changed_index = index;
        // It has nothing yet; one that was to leave still is.
        if record.state != MemberState::Draining {
            record.state = MemberState::Joining;
        }
        Ok(Some(over))
    }

    /// A shard's next life. Gives its former one, when this one is news.
    pub(super) fn start_shard(
        &mut self,
        life: Incarnation,
        shard: u16,
        boot: BootId,
    ) -> Result<Option<Option<BootId>>, Refusal> {
        let record = self.life(life)?;
        // A life that two shards had would end twice.
        let is_taken = |(other, theirs): (&u16, &BootId)| *other != shard && *theirs == boot;
        if shard >= record.capacity.shards || record.shards.iter().any(is_taken) {
            return Err(Refusal::Field {
                field: FieldName::Shard,
            });
        }
        let former = record.shards.insert(shard, boot);
        Ok((former != Some(boot)).then_some(former))
    }

    /// The record of a present life.
    fn life(&mut self, life: Incarnation) -> Result<&mut MemberRecord, Refusal> {
        let record = self.0.get_mut(&life.node).ok_or(Refusal::UnknownMember)?;
        match record.state {
            MemberState::Left => Err(Refusal::UnknownMember),
            _ if record.boot != life.boot => Err(Refusal::OtherLife),
            _ => Ok(record),
        }
    }

    /// Moves a member from one state to another.
    pub(super) fn set_state(
        &mut self,
        life: Incarnation,
        (from, to): (MemberState, MemberState),
        index: u64,
    ) -> Outcome {
        let record = match self.life(life) {
            Ok(record) => record,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        if record.state == to {
            return Outcome::Applied(Done::Already);
        }
        if record.state != from {
            return Outcome::Stale(Present::Member(Box::new(record.clone())));
        }
        if !from.leads_to(to) {
            return Outcome::Refused(Refusal::Transition { from, to });
        }
        record.state = to;
        record.changed_index = index;
        Outcome::Applied(Done::Set)
    }

    /// The granted tenure of this life ran out.
    pub(super) fn down(&mut self, life: Incarnation, changed_index: u64, index: u64) -> Outcome {
        match self.life(life) {
            Ok(record) if record.state == MemberState::Down => Outcome::Applied(Done::Already),
            Ok(record) if record.changed_index != changed_index => {
                Outcome::Stale(Present::Member(Box::new(record.clone())))
            }
            Ok(record) => {
                record.state = MemberState::Down;
                record.changed_index = index;
                Outcome::Applied(Done::Set)
            }
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// A member is one no more.
    pub(super) fn leave(&mut self, life: Incarnation, index: u64) -> Outcome {
        let gone = self.get(life.node);
        if gone.is_some_and(|gone| gone.state == MemberState::Left && gone.boot == life.boot) {
            return Outcome::Applied(Done::Already);
        }
        let is_last = self.present().count() == 1;
        let record = match self.life(life) {
            Ok(record) => record,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        if is_last {
            return Outcome::Refused(Refusal::LastMember);
        }
        if record.state == MemberState::Up {
            let (from, to) = (record.state, MemberState::Left);
            return Outcome::Refused(Refusal::Transition { from, to });
        }
        record.state = MemberState::Left;
        record.shards.clear();
        record.changed_index = index;
        Outcome::Applied(Done::Set)
    }
}

fn told(name: &str, binary: &str, addresses: &Addresses, zone: &str) -> Result<(), Refusal> {
    let Addresses {
        control,
        bulk,
        door,
    } = addresses;
    let checks = [
        (is_name(name), FieldName::Name),
        (is_name(binary), FieldName::Version),
        (
            is_text(control) && is_text(bulk) && is_text(door),
            FieldName::Address,
        ),
        (is_text(zone), FieldName::Zone),
    ];
    let wrong = checks.into_iter().find(|(ok, _)| !ok);
    wrong.map_or(Ok(()), |(_, field)| Err(Refusal::Field { field }))
}

/// Whether what a node tells of itself may be kept.
fn fields(about: &MemberJoin, version: u16) -> Result<(), Refusal> {
    told(&about.name, &about.binary, &about.addresses, &about.zone)?;
    if about.capacity.shards == 0 || about.capacity.shards > SHARDS_MAX {
        return Err(Refusal::Field {
            field: FieldName::Shard,
        });
    }
    if !about.versions.contains(version) {
        return Err(Refusal::VersionNotSpoken { version });
    }
    Ok(())
}
