//! What a cluster is made with: its options, its authority of certificates, and the words of a node's command line.
//!
//! It must never start anything but `ultrakv certs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::Process;
use crate::seat::{BULK_PORT, CLUSTER_PORT, Seat};
use crate::ultrakv;

/// How long a command that makes certificates may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's name in its certificates.
    pub name: String,
    /// Settings of every node, as `--set` takes them.
    pub settings: Vec<String>,
    /// The model's folder; without one, the reference model.
    pub model: Option<PathBuf>,
    /// Where the nodes sit, in order; loopback addresses when there are no more.
    pub seats: Vec<Seat>,
    /// Copies of entries that a whole cluster has, if it has so many nodes.
    pub copies: usize,
}

impl Default for Options {
    /// Small nodes that start in a moment: the smallest fixture as the model, a few megabytes, two shards.
    fn default() -> Self {
        let settings = [
            "cache.bytes_max=64MiB",
            "cache.entry_bytes_max=16MiB",
            "cache.devices=2",
            "cache.block_tokens=16",
            "model.threads=1",
            "cluster.repair_delay=1s",
            "cluster.directory_bytes_max=16MiB",
            "log.format=text",
        ];
        Self {
            name: "test".to_owned(),
            settings: settings.map(str::to_owned).to_vec(),
            model: Some(fixture()),
            seats: Vec::new(),
            copies: 3,
        }
    }
}

impl Options {
    /// With clocks that a loaded machine and unoptimised nodes keep: there a pause of half a second is no failure. What fails
    /// over does so within five seconds.
    #[must_use]
    pub fn patient(self) -> Self {
        self.set("cluster.heartbeat_ms=250")
            .set("cluster.election_ms_min=800")
            .set("cluster.election_ms_max=2000")
    }

    /// With one setting more; a later one of the same key wins.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }
}

/// The folder of a model that has real weights, 512 tokens of context and no size.
#[must_use]
pub fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/fixtures/llama")
}

/// An authority of certificates in a folder.
#[derive(Debug, Clone)]
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes one with `ultrakv certs init`.
    ///
    /// # Errors
    /// When the command fails.
    pub fn create(folder: PathBuf, cluster: &str) -> Result<Self> {
        certs(&[
            "init",
            "--out",
            &folder.to_string_lossy(),
            "--cluster",
            cluster,
        ])?;
        Ok(Self { folder })
    }

    /// Makes a node's folder with `ultrakv certs node`, with this id or a drawn one, and tells the id.
    ///
    /// # Errors
    /// When the command fails.
    pub fn node(&self, folder: &Path, id: Option<&str>) -> Result<String> {
        let (ca, out) = (self.folder.to_string_lossy(), folder.to_string_lossy());
        let mut arguments = vec!["node", "--ca", &*ca, "--out", &*out, "--force"];
        arguments.extend(id.iter().flat_map(|id| ["--id", *id]));
        let made = certs(&arguments)?;
        let id = made.get("node_id").and_then(Value::as_str);
        Ok(id
            .with_context(|| format!("no node_id in {made}"))?
            .to_owned())
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn certs(arguments: &[&str]) -> Result<Value> {
    let all = [&["certs"], arguments, &["-o", "json"]].concat();
    let said = ultrakv(&all, &[], COMMAND_WITHIN)?;
    if said.code != Some(0) {
        bail!("ultrakv {}: {}", all.join(" "), said.err);
    }
    serde_json::from_str(&said.out).with_context(|| format!("ultrakv {}", all.join(" ")))
}

/// What a node is started with, beyond doors and tokens.
pub(super) fn arguments(
    options: &Options,
    process: &Process,
    founds: bool,
    seeds: &[String],
) -> Vec<String> {
    let seat = process.seat();
    let mut own = vec![
        format!("node.name={}", process.name()),
        format!("node.data={}", process.data().display()),
        format!("cluster.certs={}", process.folder().join("certs").display()),
        format!("cluster.bind={}", seat.door(CLUSTER_PORT)),
        format!("cluster.bulk_bind={}", seat.door(BULK_PORT)),
        format!("cluster.advertise={}", seat.cluster),
        format!("cluster.bulk_advertise={}", seat.bulk),
    ];
    if founds {
        own.push("cluster.found=true".to_owned());
    } else {
        own.push(format!("cluster.join={}", seeds.join(",")));
    }
    if let Some(model) = &options.model {
        own.push(format!("model.folder={}", model.display()));
    }
    let all = own.iter().chain(&options.settings);
    all.flat_map(|setting| ["--set".to_owned(), setting.clone()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_where_it_stands_and_whom_to_join() {
        let folder = tempfile::tempdir().unwrap();
        let mut seat = Seat::loopback().unwrap();
        seat.cluster = "10.1.2.3:9".parse().unwrap();
        let process = Process::new("n2", folder.path().join("n2"), seat.clone()).unwrap();
        let options = Options::default().set("cache.bytes_max=1MiB");
        let seeds = ["10.0.0.1:7802", "10.0.0.2:7802"].map(str::to_owned);
        let all = arguments(&options, &process, false, &seeds).join(" ");
        for part in [
            "--set cluster.join=10.0.0.1:7802,10.0.0.2:7802 --set model.folder=",
            "--set node.name=n2 ",
            "--set cluster.advertise=10.1.2.3:9 ",
            &format!("--set cluster.bind={}:7802 ", seat.address),
            &format!(
                "--set node.data={} ",
                folder.path().join("n2/data").display()
            ),
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        assert!(all.ends_with("--set cache.bytes_max=1MiB"), "{all}");
        assert!(!all.contains("cluster.found"));
        let founder = arguments(&options, &process, true, &seeds).join(" ");
        assert!(
            founder.contains("cluster.found=true") && !founder.contains("cluster.join"),
            "{founder}"
        );
    }

    #[test]
    fn an_authority_gives_every_node_an_id_of_its_own_or_the_one_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path().join("ca"), "blue").unwrap();
        let one = authority.node(&folder.path().join("one"), None).unwrap();
        let two = authority.node(&folder.path().join("two"), None).unwrap();
        assert_ne!(one, two);
        let again = authority
            .node(&folder.path().join("one"), Some(&two))
            .unwrap();
        assert_eq!(again, two);
        assert!(Authority::create(folder.path().join("bad"), "No Name").is_err());
    }
}
