//! The state machine: one command after the other, each total.
//!
//! Responsible for which part a command changes and what follows from it in the others. It must never know where
//! commands come from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ClusterId;
use super::access::Access;
use super::command::{Command, Found, MemberStart};
use super::entry::Entry;
use super::jobs::Jobs;
use super::member::Members;
use super::outcome::{Done, Outcome, Present, Refusal};
use super::services::{Services, Sharing};
use super::slots::Slots;
use crate::directory::{self, Directory, Life, Section};
use crate::{Incarnation, NodeId};

/// Everything but the directory's records: small, and cloned by counting references.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Core {
    pub(super) founded: Option<Found>,
    pub(super) version: u16,
    pub(super) applied_index: u64,
    pub(super) revision: u64,
    pub(super) members: Arc<Members>,
    pub(super) services: Arc<Services>,
    pub(super) access: Arc<Access>,
    pub(super) jobs: Arc<Jobs>,
    /// Written to snapshots in pieces of their own.
    #[serde(skip)]
    pub(super) slots: Arc<Slots>,
}

/// The metadata as one applied command left it. Cheap to clone and to publish; the directory in it goes on.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub(super) core: Core,
    pub(super) directory: Option<Arc<Directory>>,
}

impl View {
    /// The cluster's id; none before its founding.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.core.founded.map(|found| found.cluster)
    }

    /// The newest commands that are allowed; 0 before the founding.
    #[must_use]
    pub const fn version(&self) -> u16 {
        self.core.version
    }

    /// The index of the last entry applied.
    #[must_use]
    pub const fn applied_index(&self) -> u64 {
        self.core.applied_index
    }

    /// Grows with every change of anything but the directory's records.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.core.revision
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.core.members
    }

    /// Services and their domains.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.core.services
    }

    /// Services and their domains, shared with whoever keeps them.
    #[must_use]
    pub const fn shared_services(&self) -> &Arc<Services> {
        &self.core.services
    }

    /// Tokens, quotas and pins.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.core.access
    }

    /// What operators asked for that takes its time.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.core.jobs
    }

    /// Who holds which slot, and who is to. Keep a view, not a copy, to find what changed since.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.core.slots
    }

    /// Which shard holds which block; none before the founding.
    #[must_use]
    pub const fn directory(&self) -> Option<&Arc<Directory>> {
        self.directory.as_ref()
    }
}

/// One replica of the metadata.
#[derive(Debug, Default)]
pub struct State {
    pub(super) view: View,
}

impl State {
    /// Before the first command.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on from a view, in a process whose one writer was restarted.
    #[must_use]
    pub const fn resume(view: View) -> Self {
        Self { view }
    }

    /// The state as it is now, to be published.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Applies one entry: an outcome for each command, in order. An entry that was applied before changes nothing.
    pub fn apply_entry(&mut self, index: u64, entry: &Entry) -> Vec<Outcome> {
        let applied = self.view.core.applied_index;
        if index <= applied {
            let refused = Outcome::Refused(Refusal::AppliedBefore { index, applied });
            return vec![refused; entry.0.len()];
        }
        self.view.core.applied_index = index;
        let commands = entry.0.iter();
        commands.map(|command| self.step(index, command)).collect()
    }

    /// Applies an entry of one command.
    pub fn apply(&mut self, index: u64, command: &Command) -> Outcome {
        let applied = self.view.core.applied_index;
        if index <= applied {
            return Outcome::Refused(Refusal::AppliedBefore { index, applied });
        }
        self.view.core.applied_index = index;
        self.step(index, command)
    }

    fn step(&mut self, index: u64, command: &Command) -> Outcome {
        let core = &mut self.view.core;
        if let Command::Found(found) = command {
            return self.found(*found);
        }
        if core.founded.is_none() {
            return Outcome::Refused(Refusal::NotFounded);
        }
        let (needed, present) = (command.since(), core.version);
        if needed > present {
            return Outcome::Refused(Refusal::VersionNotReached { needed, present });
        }
        let outcome = self.change(index, command);
        let changed = matches!(
            &outcome,
            Outcome::Applied(Done::Set | Done::Slot(_) | Done::Purge { .. })
        );
        self.view.core.revision += u64::from(changed);
        outcome
    }

    fn found(&mut self, found: Found) -> Outcome {
        let core = &mut self.view.core;
        if core.founded.is_some() {
            return Outcome::Refused(Refusal::FoundedAlready);
        }
        if found.version == 0 {
            return Outcome::Refused(Refusal::VersionNotSpoken {
                version: found.version,
            });
        }
        core.founded = Some(found);
        core.version = found.version;
        core.revision += 1;
        self.view.directory = Some(Directory::new(found.directory_bytes_max));
        Outcome::Applied(Done::Set)
    }

    fn change(&mut self, index: u64, command: &Command) -> Outcome {
        let core = &mut self.view.core;
        match command {
            Command::Found(_) => Outcome::Refused(Refusal::FoundedAlready),
            Command::MemberJoin(join) => {
                let version = core.version;
                Arc::make_mut(&mut core.members).join(join, version, index)
            }
            Command::MemberStart(start) => self.member_start(index, start),
            Command::ShardStart { life, shard, boot } => self.shard_start(*life, *shard, *boot),
            Command::MemberState { life, from, to } => {
                Arc::make_mut(&mut core.members).set_state(*life, (*from, *to), index)
            }
            Command::NodeDown {
                life,
                changed_index,
            } => self.node_down(index, *life, *changed_index),
            Command::MemberLeave { life } => self.member_leave(index, *life),
            Command::VersionRaise { from, to } => self.raise(*from, *to),
            Command::ServiceSet(set) => self.service(&set.service, |core| {
                Arc::make_mut(&mut core.services).set(set)
            }),
            Command::ServiceRemove { service } => self.service(service, |core| {
                Arc::make_mut(&mut core.access).forget_service(service);
                Arc::make_mut(&mut core.services).remove(service)
            }),
            Command::Purge {
                sharing,
                generation,
            } => self.purge(sharing, *generation),
            Command::PurgeConfirm(confirm) => Arc::make_mut(&mut core.services).confirm(confirm),
            Command::LeaseLost { life } => self.lease_lost(*life),
            Command::TokenSet(set) => Arc::make_mut(&mut core.access).set_token(set, index),
            Command::TokenRemove { digest } => Arc::make_mut(&mut core.access).remove_token(digest),
            Command::QuotaSet(set) if core.services.find(&set.service).is_none() => {
                Outcome::Refused(Refusal::UnknownService)
            }
            Command::QuotaSet(set) => Arc::make_mut(&mut core.access).set_quota(set, index),
            Command::PinSet(set) if core.services.keyring(&set.pin.sharing).is_none() => {
                Outcome::Refused(Refusal::UnknownService)
            }
            Command::PinSet(set) => Arc::make_mut(&mut core.access).set_pin(set),
            Command::SlotChange(change) => {
                Arc::make_mut(&mut core.slots).change(change, &core.members)
            }
            Command::SlotClaim(claim) => Arc::make_mut(&mut core.slots).claim(claim, &core.members),
            Command::SlotsStage(stage) => {
                Arc::make_mut(&mut core.slots).stage(stage, &core.members)
            }
            Command::JobCreate(create) => {
                Arc::make_mut(&mut core.jobs).create(create, &core.members, index)
            }
            Command::JobUpdate(update) => Arc::make_mut(&mut core.jobs).update(update, index),
            Command::JobCancel { id } => Arc::make_mut(&mut core.jobs).cancel(*id, index),
            Command::JobThrottle { id, bytes_s } => {
                Arc::make_mut(&mut core.jobs).throttle(*id, *bytes_s, index)
            }
            Command::Directory(batch) => self.records(&batch.0),
        }
    }

    fn node_down(&mut self, index: u64, life: Incarnation, changed_index: u64) -> Outcome {
        let core = &mut self.view.core;
        let outcome = Arc::make_mut(&mut core.members).down(life, changed_index, index);
        if outcome == Outcome::Applied(Done::Set) {
            Arc::make_mut(&mut core.slots).suspend(life.node);
        }
        outcome
    }

    fn member_leave(&mut self, index: u64, life: Incarnation) -> Outcome {
        let core = &mut self.view.core;
        let outcome = Arc::make_mut(&mut core.members).leave(life, index);
        if outcome == Outcome::Applied(Done::Set) {
            self.close(life.node);
        }
        outcome
    }

    /// A change of a service; what its former sharing had goes when nobody shares it any more.
    fn service(&mut self, name: &str, change: impl FnOnce(&mut Core) -> Outcome) -> Outcome {
        let core = &mut self.view.core;
        let former = core.services.find(name).map(|(sharing, _)| sharing.clone());
        let outcome = change(core);
        self.forget_sharing(former);
        outcome
    }

    fn member_start(&mut self, index: u64, start: &MemberStart) -> Outcome {
        let core = &mut self.view.core;
        let version = core.version;
        match Arc::make_mut(&mut core.members).start(start, version, index) {
            Ok(Some(over)) => {
                Arc::make_mut(&mut core.services).excuse(over);
                self.close(over.node);
                Outcome::Applied(Done::Set)
            }
            Ok(None) => Outcome::Applied(Done::Already),
            Err(outcome) => outcome,
        }
    }

    fn shard_start(
        &mut self,
        life: Incarnation,
        shard: u16,
        boot: ultrakv_actors::BootId,
    ) -> Outcome {
        let members = Arc::make_mut(&mut self.view.core.members);
        match members.start_shard(life, shard, boot) {
            Ok(None) => Outcome::Applied(Done::Already),
            Ok(Some(former)) => {
                let node = life.node;
                if let Some(boot) = former {
                    let over = Incarnation { node, boot };
                    Arc::make_mut(&mut self.view.core.slots).forget_shard(over);
                }
                self.tell(&[Section::Open(Life { node, shard, boot })]);
                Outcome::Applied(Done::Set)
            }
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn raise(&mut self, from: u16, to: u16) -> Outcome {
        let core = &mut self.view.core;
        if core.version != from {
            return Outcome::Stale(Present::Version(core.version));
        }
        // What this build knows is no part of the decision, or replicas would differ: reading the entry decided that.
        let spoken = core
            .members
            .present()
            .all(|(_, record)| record.versions.contains(to));
        if from.checked_add(1) != Some(to) || !spoken {
            return Outcome::Refused(Refusal::VersionNotSpoken { version: to });
        }
        core.version = to;
        Outcome::Applied(Done::Set)
    }

    fn purge(&mut self, sharing: &Sharing, generation: u64) -> Outcome {
        let core = &mut self.view.core;
        let members = Arc::clone(&core.members);
        let lives = members.present().map(|(node, record)| Incarnation {
            node,
            boot: record.boot,
        });
        let outcome = Arc::make_mut(&mut core.services).purge(sharing, generation, lives);
        if outcome.is_applied() {
            // What was pinned cannot be named any more.
            Arc::make_mut(&mut core.access).forget_pins(sharing);
        }
        outcome
    }

    fn lease_lost(&mut self, life: Incarnation) -> Outcome {
        let services = &mut self.view.core.services;
        if !services.waits_for(life) {
            return Outcome::Applied(Done::Already);
        }
        Arc::make_mut(services).excuse(life);
        Outcome::Applied(Done::Set)
    }

    fn forget_sharing(&mut self, sharing: Option<Sharing>) {
        let core = &mut self.view.core;
        if let Some(sharing) = sharing.filter(|sharing| core.services.keyring(sharing).is_none()) {
            Arc::make_mut(&mut core.access).forget_pins(&sharing);
        }
    }

    fn records(&self, batch: &[u8]) -> Outcome {
        match (directory::decode(batch), &self.view.directory) {
            (Ok(sections), Some(directory)) => {
                Outcome::Applied(Done::Directory(directory.apply(&sections)))
            }
            _ => Outcome::Refused(Refusal::DirectoryBatch),
        }
    }

    /// Whatever a node held is lost, and what the directory lists of it is void.
    fn close(&mut self, node: NodeId) {
        Arc::make_mut(&mut self.view.core.slots).forget_node(node);
        self.tell(&[Section::Close(node)]);
    }

    fn tell(&self, sections: &[Section]) {
        if let Some(directory) = &self.view.directory {
            directory.apply(sections);
        }
    }
}

impl Core {
    /// Whether commands could have made it; for what came from outside.
    pub(super) fn is_valid(&self) -> bool {
        let Some(found) = self.founded else {
            let applied_index = self.applied_index;
            return *self
                == Self {
                    applied_index,
                    ..Self::default()
                };
        };
        (1..=self.version).contains(&found.version)
            && self.members.is_valid()
            && self.services.is_valid()
            && self.access.is_valid()
            && self.jobs.is_valid()
            && self.slots.is_valid(&self.members)
    }
}
