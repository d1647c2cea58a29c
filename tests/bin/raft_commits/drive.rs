//! Starts the members, has them do the same at the same time, and sums up what they tell.

#![expect(
    clippy::indexing_slicing,
    reason = "an absent field of JSON is null, and the checks below name it"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use ultrakv_actors::Clock;
use ultrakv_cluster::NodeId;
use ultrakv_cluster::lane::tls::{Authority, ClusterName, Credentials, Subject};

/// Until the three vote.
const VOTERS_WITHIN: Duration = Duration::from_secs(30);
/// Until a snapshot that was begun is written.
const SNAPSHOTS_WITHIN: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Blocks that are listed all the time.
    #[arg(long, default_value_t = 1_000_000)]
    live: u64,
    /// Records a second that all shards together tell, half of them additions.
    #[arg(long, default_value_t = 110_000)]
    pace: u64,
    /// How long that is measured.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How long they then tell as fast as they can; 0 for not at all.
    #[arg(long, default_value_t = 10)]
    most_seconds: u64,
    /// Members.
    #[arg(long, default_value_t = 3)]
    members: u16,
    /// Shards of each member.
    #[arg(long, default_value_t = 2)]
    shards: u16,
    /// Where the members keep their logs, in a folder of its own; on a real disk.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// A snapshot is made when this many bytes were logged since the last.
    #[arg(long, default_value_t = 256 << 20)]
    log_bytes_min: u64,
}

/// A member's process. It ends when its input does.
struct Member {
    process: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Member {
    fn start(folder: &Path, number: u16, arguments: &Arguments) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("member")
            .args(["--number", &number.to_string()])
            .args(["--shards", &arguments.shards.to_string()])
            .args(["--log-bytes-min", &arguments.log_bytes_min.to_string()])
            .arg("--folder")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asks = process.stdin.take();
        let answers = process.stdout.take().context("no output")?;
        Ok(Self {
            process,
            asks,
            answers: BufReader::new(answers),
        })
    }

    fn ask(&mut self, what: &Value) -> Result<()> {
        let asks = self.asks.as_mut().context("it was told to end")?;
        writeln!(asks, "{what}").context("a member is gone")
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("a member did not answer; see above")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.asks = None;
        // Whatever it is doing, nobody wants it any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// All members.
struct Members(Vec<Member>);

impl Members {
    fn start(folder: &Path, arguments: &Arguments) -> Result<Self> {
        let now = Clock::machine().unix();
        let name = ClusterName::parse("measured").context("a good name")?;
        let (authority, issued) = Authority::create(name, now)?;
        let mut members = Vec::new();
        for number in 1..=arguments.members {
            let folder = folder.join(number.to_string());
            let certs = folder.join("certs");
            std::fs::create_dir_all(&certs)?;
            let subject = Subject::Node(NodeId::from_u128(number.into()));
            let of_node = authority.issue(&subject, 1, now)?;
            Credentials::write(&certs, &issued.cert_pem, &of_node, false)?;
            members.push(Member::start(&folder, number, arguments)?);
        }
        let mut members = Self(members);
        let book: Vec<Value> = members
            .answers()?
            .iter()
            .map(|said| said["address"].clone())
            .collect();
        // One after the other: the first founds what the others join.
        for member in &mut members.0 {
            member.ask(&json!({"do": "enter", "book": book}))?;
            member.answer()?;
        }
        Ok(members)
    }

    fn answers(&mut self) -> Result<Vec<Value>> {
        self.0.iter_mut().map(Member::answer).collect()
    }

    /// Has all do the same at once.
    fn all(&mut self, what: &Value) -> Result<Vec<Value>> {
        for member in &mut self.0 {
            member.ask(what)?;
        }
        self.answers()
    }

    fn wait_for_voters(&mut self) -> Result<()> {
        let clock = Clock::machine();
        let deadline = clock.deadline(VOTERS_WITHIN);
        let wanted = u64::try_from(self.0.len())?;
        loop {
            let told = self.all(&json!({"do": "tell"}))?;
            let settled = |said: &Value| said["voters"] == wanted && said["is_joint"] == false;
            if told.iter().all(settled) {
                return Ok(());
            }
            ensure!(!clock.remaining(deadline).is_zero(), "{told:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many members made a snapshot of a state between two log items; one that is still being written is waited for.
    fn snapshots(&mut self, from: u64, to: u64) -> Result<usize> {
        let clock = Clock::machine();
        let deadline = clock.deadline(SNAPSHOTS_WITHIN);
        loop {
            let told = self.all(&json!({"do": "tell"}))?;
            let made = |said: &&Value| {
                let index = said["snapshot_index"].as_u64();
                index.is_some_and(|index| index > from && index <= to)
            };
            let count = told.iter().filter(made).count();
            if count == self.0.len() || clock.remaining(deadline).is_zero() {
                return Ok(count);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What all say once each has applied what any has.
    fn settled(&mut self) -> Result<Vec<Value>> {
        let told = self.all(&json!({"do": "tell"}))?;
        let index = told
            .iter()
            .filter_map(|said| said["applied_index"].as_u64());
        let index = index.max().context("nobody told")?;
        let told = self.all(&json!({"do": "tell", "index": index}))?;
        for said in &told {
            ensure!(said["applied_index"] == index, "{said} beside {index}");
            ensure!(
                said["digest"] == told[0]["digest"],
                "directories differ: {told:?}"
            );
        }
        let live: u64 = told.iter().filter_map(|said| said["live"].as_u64()).sum();
        ensure!(told[0]["records"] == live, "{live} are live: {told:?}");
        Ok(told)
    }
}

/// What all shards together did.
struct Sum {
    per_second: f64,
    failures: u64,
    slowest_at_ms: u64,
    proposed: Histogram<u64>,
    due: Histogram<u64>,
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a rate for people"
)]
fn churn(members: &mut Members, pace: Option<u64>, seconds: u64) -> Result<Sum> {
    let clock = Clock::machine();
    let took = clock.stopwatch();
    let told = members.all(&json!({"do": "churn", "pace": pace, "seconds": seconds}))?;
    let took = took.elapsed().as_secs_f64();
    let mut proposed = Histogram::new(3)?;
    let mut due = Histogram::new(3)?;
    let (mut records, mut failures, mut slowest) = (0, 0, (0, 0));
    for said in &told {
        records += said["records"].as_u64().context("records")?;
        failures += said["failures"].as_u64().context("failures")?;
        let part = |place: usize| said["slowest"][place].as_u64().context("slowest");
        slowest = slowest.max((part(0)?, part(1)?));
        for (name, histogram) in [("proposed", &mut proposed), ("due", &mut due)] {
            for step in said[name].as_array().context("figures")? {
                let part = |place: usize| step[place].as_u64().context("figures");
                histogram.record_n(part(0)?, part(1)?)?;
            }
        }
    }
    Ok(Sum {
        per_second: records as f64 / took,
        failures,
        slowest_at_ms: slowest.1,
        proposed,
        due,
    })
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "milliseconds for people"
)]
fn milliseconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// The greatest number that any member tells under a name.
fn greatest(told: &[Value], name: &str) -> u64 {
    told.iter()
        .filter_map(|said| said[name].as_u64())
        .max()
        .unwrap_or(0)
}

#[expect(
    clippy::print_stdout,
    reason = "a measuring program prints its figures"
)]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir_in(&arguments.folder)?;
    let mut members = Members::start(folder.path(), arguments)?;
    members.wait_for_voters()?;
    let shards = u64::from(arguments.members) * u64::from(arguments.shards);
    members.all(&json!({"do": "fill", "blocks": arguments.live / shards}))?;
    let before = members.settled()?;
    let paced = churn(
        &mut members,
        Some(arguments.pace / shards),
        arguments.seconds,
    )?;
    let after = members.settled()?;
    let began_at = greatest(&before, "applied_index");
    let ended_at = greatest(&after, "applied_index");
    let snapshots = members.snapshots(began_at, ended_at)?;
    let mut printed = json!({
        "live": after[0]["records"],
        "records_per_second": paced.per_second,
        "p50_ms": milliseconds(&paced.proposed, 0.5),
        "p99_ms": milliseconds(&paced.proposed, 0.99),
        "p999_ms": milliseconds(&paced.proposed, 0.999),
        "max_ms": milliseconds(&paced.proposed, 1.0),
        "due_p50_ms": milliseconds(&paced.due, 0.5),
        "due_p99_ms": milliseconds(&paced.due, 0.99),
        "slowest_at_ms": paced.slowest_at_ms,
        "failures": paced.failures,
        "log_items": ended_at - began_at,
        "members_with_a_snapshot": snapshots,
        "terms": greatest(&after, "term") - greatest(&before, "term"),
    });
    if arguments.most_seconds > 0 {
        let most = churn(&mut members, None, arguments.most_seconds)?;
        members.settled()?;
        printed["most_per_second"] = json!(most.per_second);
        printed["most_p99_ms"] = json!(milliseconds(&most.proposed, 0.99));
    }
    println!("{printed}");
    Ok(())
}
