//! Deals one fault to a live cluster, holds it, heals it, and brings evidence that it bit.
//!
//! It must never know who watches, nor judge what they saw. A fault without evidence is an error: such a round shows nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ultrakv_tests::cluster::{SETTLES_WITHIN, TestCluster, View};
use ultrakv_tests::http::Door;

use super::faults::{Fault, Shape};
use super::relay::{Counts, Disorder};
use super::scenario::{Blow, Cut, Who};
use super::stage::Stage;
use crate::rng::Rng;

/// How long a cluster may take to notice what it must notice.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// A node that stands still answers nothing within this.
const SILENT_FOR: Duration = Duration::from_millis(300);

/// A fault and whom it will hit.
#[derive(Debug, Clone)]
pub struct Aim {
    /// The fault.
    pub blow: Blow,
    /// The node that it hits, or the leader where it hits all.
    pub victim: usize,
    /// Nodes that it leaves alone: whoever asks there must be served.
    pub calm: Vec<usize>,
    /// The node that leads now.
    leader: usize,
    /// The cluster before.
    pub before: View,
}

/// What the watchers do meanwhile.
pub trait Watcher {
    /// The fault is about to begin.
    fn begin(&mut self);
    /// Waits until it has lasted long enough.
    ///
    /// # Errors
    /// When there is no point in going on.
    fn hold(&mut self) -> Result<()>;
    /// It is about to end.
    fn end(&mut self);
}

impl Aim {
    /// Chooses whom to hit.
    ///
    /// # Errors
    /// When the cluster does not say who leads and who owns.
    pub fn take(cluster: &TestCluster, blow: Blow, dice: &mut Rng) -> Result<Self> {
        let (before, leader) = (cluster.any_view()?, cluster.leader()?);
        let running = cluster.running();
        let owned = before.owned();
        let owns = |at: &usize| cluster.id(*at).is_ok_and(|id| owned.contains_key(id));
        let owners: Vec<usize> = running
            .iter()
            .copied()
            .filter(|at| *at != leader && owns(at))
            .collect();
        let who = match blow {
            Blow::Kill(who) | Blow::Pause(who) | Blow::FillDisk(who) | Blow::Wipe(who) => Some(who),
            Blow::Cut(Cut::Alone(who)) => Some(who),
            _ => None,
        };
        let victim = match who {
            Some(Who::Owner) => *dice
                .pick(&owners)
                .context("nobody but the leader owns a slot")?,
            Some(Who::Leader) | None => leader,
        };
        let calm = running
            .into_iter()
            .filter(|at| who.is_none() || *at != victim);
        Ok(Self {
            blow,
            victim,
            calm: calm.collect(),
            leader,
            before,
        })
    }

    /// Whether the fault makes others take over, so that it lasts until they have.
    #[must_use]
    pub fn is_failover(&self) -> bool {
        matches!(self.blow, Blow::Kill(_) | Blow::Wipe(_))
    }

    /// Deals it, holds it, heals it, and tells the evidence. The cluster need not be whole again then.
    ///
    /// # Errors
    /// When it did not bite, or a tool refuses.
    pub fn deal(&self, stage: &mut Stage, watcher: &mut dyn Watcher) -> Result<String> {
        match self.blow {
            Blow::Kill(_) => self.kill(stage, watcher),
            Blow::Wipe(_) => self.wipe(stage, watcher),
            Blow::Pause(_) => self.pause(stage, watcher),
            Blow::Cut(cut) => {
                let shape = self.shape(cut, &stage.cluster)?;
                self.network(stage, shape, watcher)
            }
            Blow::Loss(ppm) => self.network(stage, Shape::Loss { ppm }, watcher),
            Blow::Rate(kibit) => self.network(stage, Shape::Rate { kibit }, watcher),
            Blow::Relays(disorder) => relays(stage, disorder, watcher),
            Blow::FillDisk(_) => self.fill_disk(stage, watcher),
            Blow::Churn => churn(stage, watcher),
        }
    }

    fn kill(&self, stage: &mut Stage, watcher: &mut dyn Watcher) -> Result<String> {
        watcher.begin();
        stage.cluster.process_mut(self.victim)?.kill()?;
        watcher.hold()?;
        let evidence = self.taken_over(&stage.cluster)?;
        watcher.end();
        stage.cluster.restart(self.victim)?;
        Ok(evidence)
    }

    fn wipe(&self, stage: &mut Stage, watcher: &mut dyn Watcher) -> Result<String> {
        watcher.begin();
        stage.cluster.process_mut(self.victim)?.kill()?;
        watcher.hold()?;
        let evidence = self.taken_over(&stage.cluster)?;
        watcher.end();
        let cluster = &mut stage.cluster;
        let former = cluster.wipe(self.victim)?;
        let other = *cluster.running().first().context("nobody is left")?;
        cluster.wait("the dead member is forgotten", NOTICED_WITHIN, |cluster| {
            cluster.forget(other, &former)
        })?;
        cluster.restart(self.victim)?;
        let now = cluster.id(self.victim)?;
        if now == former {
            bail!("the wiped node came back as itself");
        }
        Ok(format!("{evidence}; came back under a new id"))
    }

    fn pause(&self, stage: &mut Stage, watcher: &mut dyn Watcher) -> Result<String> {
        watcher.begin();
        stage.cluster.process_mut(self.victim)?.pause()?;
        let door = Door {
            within: SILENT_FOR,
            ..stage.cluster.process(self.victim)?.admin()
        };
        let held = watcher.hold();
        let answered = door.call("GET", "/livez", &[], b"").is_ok();
        let leader = stage.cluster.leader();
        watcher.end();
        stage.cluster.process_mut(self.victim)?.resume()?;
        held?;
        if answered {
            bail!("the paused node answered");
        }
        let name = |at| {
            stage
                .cluster
                .process(at)
                .map_or("nobody", |node| node.name())
        };
        Ok(match leader {
            Ok(leader) if leader != self.leader => {
                format!(
                    "it stood still; {} led, then {}",
                    name(self.leader),
                    name(leader)
                )
            }
            _ => format!("it stood still; {} kept leading", name(self.leader)),
        })
    }

    fn network(&self, stage: &Stage, shape: Shape, watcher: &mut dyn Watcher) -> Result<String> {
        watcher.begin();
        let fault = Fault::inject(stage.network()?, shape)?;
        watcher.hold()?;
        let alone = matches!(self.blow, Blow::Cut(Cut::Alone(_)));
        let noticed = if alone {
            self.taken_over(&stage.cluster)?
        } else {
            String::new()
        };
        watcher.end();
        let evidence = fault.heal()?;
        Ok(format!("{evidence} hit {noticed}").trim_end().to_owned())
    }

    /// What the others must have noticed: another leads, and what the victim owned is others'.
    fn taken_over(&self, cluster: &TestCluster) -> Result<String> {
        let witness = *self.calm.first().context("nobody is left to ask")?;
        let victim = cluster.id(self.victim)?;
        let leader = cluster.wait("another leader", NOTICED_WITHIN, |cluster| {
            let view = cluster.view(witness)?;
            match view.leader {
                Some(leader) if leader != victim => Ok(leader),
                leader => bail!("the leader is {leader:?}"),
            }
        })?;
        let had = self.before.owned().get(victim).copied().unwrap_or(0);
        if had == 0 {
            bail!("the victim owned no slot");
        }
        cluster.wait(
            "the victim's slots are others'",
            NOTICED_WITHIN,
            |cluster| match cluster.view(witness)?.owned().get(victim) {
                None => Ok(()),
                Some(left) => bail!("it still owns {left} of {had}"),
            },
        )?;
        let changed = if self.victim == self.leader {
            "another leads"
        } else {
            "the leader stayed"
        };
        if self.victim != self.leader && Some(leader.as_str()) != cluster.id(self.leader).ok() {
            return Ok(format!(
                "{had} slots taken over, and another leads though the leader was left alone"
            ));
        }
        Ok(format!("{had} slots taken over, {changed}"))
    }

    fn shape(&self, cut: Cut, cluster: &TestCluster) -> Result<Shape> {
        let others: Vec<usize> = cluster
            .running()
            .into_iter()
            .filter(|at| *at != self.victim)
            .collect();
        let other = *others
            .first()
            .context("there is nobody to be cut off from")?;
        Ok(match cut {
            Cut::Alone(_) => Shape::Split {
                left: vec![self.victim],
                right: others,
            },
            Cut::LeaderUnheard => Shape::OneWay {
                from: self.victim,
                to: other,
            },
            Cut::LeaderDeaf => Shape::OneWay {
                from: other,
                to: self.victim,
            },
            Cut::Bridge => {
                let (middle, rest) = others.split_last().context("a bridge needs three")?;
                let (near, far) = rest.split_at(rest.len() / 2);
                let mut left = near.to_vec();
                left.push(self.victim);
                Shape::Bridge {
                    left,
                    middle: *middle,
                    right: far.to_vec(),
                }
            }
        })
    }

    fn fill_disk(&self, stage: &mut Stage, watcher: &mut dyn Watcher) -> Result<String> {
        watcher.begin();
        let ballast = stage.disk(self.victim)?.fill()?;
        let held = watcher.hold();
        let process = stage.cluster.process_mut(self.victim)?;
        let ended = process.ended()?;
        let noticed = match ended {
            Some(status) => format!("it ended with {status}"),
            None if !process.is_ready() => "it says that it is not ready".to_owned(),
            None => told_of_a_full_disk(&process.log())
                .context("nothing shows that the node met its full disk")?,
        };
        watcher.end();
        stage.disk(self.victim)?.heal()?;
        held?;
        if ended.is_some() {
            stage.cluster.restart(self.victim)?;
        }
        Ok(format!("{ballast} bytes of ballast; {noticed}"))
    }
}

/// The line of a log that speaks of a full disk.
fn told_of_a_full_disk(log: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["No space left", "StorageFull", "os error 28"];
    let mut lines = log.lines().rev();
    let line = lines.find(|line| WORDS.iter().any(|word| line.contains(word)))?;
    Some(format!(
        "it logged: {}",
        line.chars().take(120).collect::<String>()
    ))
}

fn relays(stage: &Stage, disorder: Disorder, watcher: &mut dyn Watcher) -> Result<String> {
    let before = stage.counts();
    watcher.begin();
    stage.disorder(disorder)?;
    let held = watcher.hold();
    watcher.end();
    stage.disorder(Disorder::default())?;
    held?;
    let [datagrams, streams] = stage.counts();
    bitten(
        disorder,
        datagrams.since(before[0]),
        streams.since(before[1]),
    )
}

/// Shows that everything that was asked for happened.
fn bitten(disorder: Disorder, datagrams: Counts, streams: Counts) -> Result<String> {
    let asked = [
        (
            "delayed",
            disorder.delay_us + disorder.jitter_us > 0,
            datagrams.delayed,
        ),
        ("reordered", disorder.jitter_us > 0, datagrams.reordered),
        (
            "duplicated",
            disorder.duplicate_ppm > 0,
            datagrams.duplicated,
        ),
        ("turned", disorder.corrupt_ppm > 0, datagrams.corrupted),
        ("lost", disorder.loss_ppm > 0, datagrams.lost),
    ];
    if let Some((what, ..)) = asked.iter().find(|(_, asked, count)| *asked && *count == 0) {
        bail!("no datagram was {what}: {datagrams:?}");
    }
    let told = asked.iter().filter(|(_, asked, _)| *asked);
    let told: Vec<String> = told
        .map(|(what, _, count)| format!("{count} {what}"))
        .collect();
    Ok(format!(
        "datagrams: {}; streams: {} delayed, {} turned",
        told.join(", "),
        streams.delayed,
        streams.corrupted
    ))
}

/// A node joins, gets its part, gives it back and leaves, all under load.
fn churn(stage: &mut Stage, watcher: &mut dyn Watcher) -> Result<String> {
    let before = stage.cluster.any_view()?;
    watcher.begin();
    let at = stage.cluster.add()?;
    let with = stage.cluster.wait_whole(SETTLES_WITHIN)?;
    let owned = stage
        .cluster
        .wait("the new node owns slots", SETTLES_WITHIN, |cluster| {
            let view = cluster.view(at)?;
            let owned = view.owned().get(cluster.id(at)?).copied();
            owned.context("it owns none")
        })?;
    watcher.hold()?;
    let drained = stage.cluster.drain(at, true);
    if drained.is_ok() {
        stage.cluster.process_mut(at)?.terminate()?;
    }
    watcher.end();
    drained?;
    stage.cluster.retire(at)?;
    Ok(format!(
        "{owned} slots came to it and left again ({} changed hands)",
        with.moved_since(&before)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_that_did_not_do_everything_are_no_evidence() {
        let disorder = Disorder {
            delay_us: 5,
            jitter_us: 5,
            corrupt_ppm: 5,
            ..Disorder::default()
        };
        let did = Counts {
            delayed: 9,
            reordered: 2,
            corrupted: 1,
            passed: 50,
            ..Counts::default()
        };
        let told = bitten(disorder, did, Counts::default()).unwrap();
        assert!(told.contains("9 delayed, 2 reordered, 1 turned;"), "{told}");
        let lazy = Counts {
            reordered: 0,
            ..did
        };
        let error = bitten(disorder, lazy, did).unwrap_err().to_string();
        assert!(error.contains("reordered"), "{error}");
        assert!(
            bitten(
                Disorder {
                    loss_ppm: 1,
                    ..disorder
                },
                did,
                did
            )
            .is_err()
        );
    }

    #[test]
    fn a_full_disk_is_found_in_a_log_by_the_systems_words() {
        let log = "a\nERROR the log cannot be written: No space left on device (os error 28)\nb";
        assert!(
            told_of_a_full_disk(log)
                .unwrap()
                .contains("cannot be written")
        );
        assert_eq!(told_of_a_full_disk("INFO all is well"), None);
    }
}
