//! `ultrakv-directory`: how fast the local directory answers "how long a prefix is cached, and where" while batches are
//! applied to it, and what a record costs. It calls the directory itself: no door, no network, keys already computed.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring program reads the wall's clock and prints its figures"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use ultrakv_actors::BootId;
use ultrakv_cache::{
    BlockAddress, BlockKey, BlockKind, BlockLayout, DomainSecret, Dtype, KeyInputs, KeySpace,
    PLACEMENT_RUN_BLOCKS,
};
use ultrakv_cluster::NodeId;
use ultrakv_cluster::directory::{
    Accept, BATCH_RECORDS_MAX, BatchBuilder, Change, Directory, Form, Life, Place, Prefix, Section,
    Tier, decode,
};

/// Fills a directory, asks it for long prefixes while a writer is at work, and prints one JSON object.
#[derive(Parser)]
struct Arguments {
    /// Records in the directory.
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// Blocks of each chain that is asked for.
    #[arg(long, default_value_t = 1_000)]
    chain: u64,
    /// Questions that are measured.
    #[arg(long, default_value_t = 20_000)]
    questions: u64,
    /// Records that the writer tells a second; 0 for as many as it can.
    #[arg(long, default_value_t = 400_000)]
    written_per_second: u64,
}

/// The nodes whose shards hold the blocks.
const NODES: u64 = 3;

/// A chain as it would be after hashing: keys that are spread like digests, runs of neighbours.
fn chain(number: u64, blocks: u64) -> Vec<BlockAddress> {
    let mut chain = Vec::new();
    chain_into(&mut chain, number, blocks);
    chain
}

/// The same in the memory of a former one: what allocators give back to the system, other threads wait for.
fn chain_into(chain: &mut Vec<BlockAddress>, number: u64, blocks: u64) {
    let key = |block: u64| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        seed[8..16].copy_from_slice(&block.to_le_bytes());
        BlockKey::from_bytes(
            DomainSecret::from_bytes(seed)
                .effective(0, b"")
                .as_bytes()
                .to_owned(),
        )
    };
    let run_blocks = u64::try_from(PLACEMENT_RUN_BLOCKS).unwrap_or(16);
    chain.clear();
    chain.extend((0..blocks).map(|block| BlockAddress {
        key: key(block),
        run: key(block - block % run_blocks),
    }));
}

/// One shard's numbered reports.
struct Shard {
    boot: BootId,
    sequence: u64,
}

/// Tells a directory of changes as the log would, in whole batches; gives how many records were told.
fn tell(directory: &Directory, shard: &mut Shard, changes: Vec<Change>) -> Result<u64> {
    let told = u64::try_from(changes.len())?;
    let mut left = changes.as_slice();
    while !left.is_empty() {
        let (now, later) = left.split_at(left.len().min(BATCH_RECORDS_MAX - 1));
        shard.sequence += 1;
        let mut batch = BatchBuilder::new();
        let report = Section::Report {
            boot: shard.boot,
            sequence: shard.sequence,
            changes: now.to_vec(),
        };
        ensure!(batch.push(&report), "a report did not fit a batch");
        let sections = decode(&batch.finish()).context("an own batch cannot be read")?;
        directory.apply(&sections);
        left = later;
    }
    Ok(told)
}

fn add(address: &BlockAddress) -> Result<Change> {
    Ok(Change::Add {
        place: Place::of(address),
        form: Form::new(Tier::Host, 0).context("no form")?,
        parent: None,
    })
}

fn shards(directory: &Directory) -> Result<Vec<Shard>> {
    let mut shards = Vec::new();
    for number in 1..=u128::from(NODES) {
        let boot = BootId::from_u128(number);
        let mut batch = BatchBuilder::new();
        let life = Life {
            node: NodeId::from_u128(number),
            shard: 0,
            boot,
        };
        ensure!(batch.push(&Section::Open(life)), "no room for a life");
        directory.apply(&decode(&batch.finish()).context("an own batch cannot be read")?);
        shards.push(Shard { boot, sequence: 0 });
    }
    Ok(shards)
}

/// Memory by the fill: the tables' bytes a record, looked at all the way up from a tenth, and the worst of it.
struct Fill {
    worst_bytes: f64,
    end_bytes: f64,
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a ratio for people"
)]
fn fill(directory: &Directory, shards: &mut [Shard], arguments: &Arguments) -> Result<Fill> {
    let chains = arguments.records / arguments.chain;
    let mut told = Fill {
        worst_bytes: 0.0,
        end_bytes: 0.0,
    };
    let mut records = 0;
    for number in 0..chains {
        let holder = usize::try_from(number % NODES)?;
        let blocks = chain(number, arguments.chain);
        let changes = blocks.iter().map(add).collect::<Result<Vec<_>>>()?;
        let shard = shards.get_mut(holder).context("no such shard")?;
        records += tell(directory, shard, changes)?;
        if number % (chains / 200).max(1) == 0 && records * 10 >= arguments.records {
            told.end_bytes = directory.table_bytes() as f64 / records as f64;
            told.worst_bytes = told.worst_bytes.max(told.end_bytes);
        }
    }
    Ok(told)
}

/// Adds and removes other chains until it is told to stop, at a rate or as fast as it can.
fn write(
    directory: &Directory,
    mut shard: Shard,
    stop: &AtomicBool,
    told: &AtomicU64,
    per_second: u64,
) -> Result<()> {
    let mut number = 1 << 40;
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if let Some(due_us) = (told.load(Ordering::Relaxed) * 1_000_000).checked_div(per_second) {
            let due = Duration::from_micros(due_us);
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let blocks = chain(number, 650);
        let mut changes = blocks.iter().map(add).collect::<Result<Vec<_>>>()?;
        changes.extend(blocks.iter().map(|address| Change::Remove {
            place: Place::of(address),
        }));
        told.fetch_add(tell(directory, &mut shard, changes)?, Ordering::Relaxed);
        number += 1;
    }
    Ok(())
}

fn ask(directory: &Directory, arguments: &Arguments) -> Result<Histogram<u64>> {
    let chains = arguments.records / arguments.chain;
    let mut latencies = Histogram::<u64>::new_with_max(1_000_000_000, 3)?;
    let mut found = Prefix::default();
    let expected = usize::try_from(arguments.chain)?;
    let warm_up = arguments.questions / 20;
    let mut blocks = Vec::new();
    for question in 0..arguments.questions + warm_up {
        // A stride that visits chains far apart, so that no answer is still in a core's cache from the one before.
        let number = question.wrapping_mul(0x9E37_79B9_7F4A_7C15) % chains;
        chain_into(&mut blocks, number, arguments.chain);
        let asked = Instant::now();
        directory.longest_prefix(&blocks, Accept::ALL, &mut found);
        let took = asked.elapsed();
        ensure!(
            found.blocks() == expected,
            "{} of {expected} found",
            found.blocks()
        );
        if question >= warm_up {
            latencies.record(u64::try_from(took.as_nanos())?)?;
        }
    }
    Ok(latencies)
}

/// What the machine itself takes for as much: for each block of a chain, two neighbouring lines of a plain array as large as the
/// tables, anywhere in it. Nothing is compared and nothing is locked.
fn plain_reads(bytes: usize, arguments: &Arguments) -> Result<Histogram<u64>> {
    const LINE_WORDS: usize = 8;
    let words = vec![1_u64; bytes / size_of::<u64>()];
    let lines = words.len() / LINE_WORDS - 1;
    let mut latencies = Histogram::<u64>::new_with_max(1_000_000_000, 3)?;
    let (mut draw, mut sum) = (0x9E37_79B9_7F4A_7C15_u64, 0_u64);
    for _ in 0..arguments.questions {
        let asked = Instant::now();
        for _ in 0..arguments.chain {
            draw = draw
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(0x1405_7B7E_F767_814F);
            let line = usize::try_from((u128::from(draw) * u128::try_from(lines)?) >> 64)?;
            let word = |line: usize| words.get(line * LINE_WORDS).copied().unwrap_or(0);
            sum = sum.wrapping_add(word(line)).wrapping_add(word(line + 1));
        }
        latencies.record(u64::try_from(asked.elapsed().as_nanos())?)?;
    }
    black_box(sum);
    Ok(latencies)
}

/// What hashing the same chain from tokens costs: told apart, since it is done once a request whoever is asked.
fn hashing(blocks: u64) -> Result<Duration> {
    let inputs = KeyInputs {
        weights: [1; 32],
        adapter: [0; 32],
        rope: [2; 32],
        layout: BlockLayout {
            kind: BlockKind::Kv,
            dtype: Dtype::F16,
            layers: 32,
            kv_heads: 8,
            head_size: 128,
        },
        block_tokens: 64,
    };
    let domain = DomainSecret::from_bytes([1; 32]).effective(0, b"");
    let space = KeySpace::new(&domain, &inputs);
    let tokens: Vec<u32> = (0..u32::try_from(blocks * 64 + 1)?).collect();
    let mut times = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        let chain = space.chain(&tokens);
        times.push(began.elapsed());
        ensure!(
            chain.len() == usize::try_from(blocks)?,
            "{} blocks",
            chain.len()
        );
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("no time")
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a rate for people"
)]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let directory: Arc<Directory> = Directory::new(u64::MAX);
    let mut holders = shards(&directory)?;
    let filled = fill(&directory, &mut holders, &arguments)?;

    let stop = AtomicBool::new(false);
    let told = AtomicU64::new(0);
    let writer_shard = holders.pop().context("no shard to write with")?;
    let (latencies, seconds) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let rate = arguments.written_per_second;
            write(&directory, writer_shard, &stop, &told, rate)
        });
        let began = Instant::now();
        let latencies = ask(&directory, &arguments);
        let seconds = began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let written = writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        written.and(latencies).map(|latencies| (latencies, seconds))
    })?;
    let microseconds = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
    let plain = plain_reads(directory.table_bytes(), &arguments)?;
    let plain_us = |quantile: f64| plain.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{}",
        serde_json::json!({
            "records": directory.stats().records,
            "questions": latencies.len(),
            "p50_us": microseconds(0.5),
            "p99_us": microseconds(0.99),
            "p999_us": microseconds(0.999),
            "plain_p50_us": plain_us(0.5),
            "plain_p99_us": plain_us(0.99),
            "written_per_second": told.load(Ordering::Relaxed) as f64 / seconds,
            "bytes_a_record_worst": filled.worst_bytes,
            "bytes_a_record": filled.end_bytes,
            "hashing_us": hashing(arguments.chain)?.as_secs_f64() * 1e6,
        })
    );
    Ok(())
}
