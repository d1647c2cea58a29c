//! `ultrakv-raft-commits`: how many of the directory's records three nodes agree on a second, and how long each takes.
//!
//! Three real processes: certificates, the QUIC lane, consensus with its log on a disk, the metadata with the directory.
//! Each has shards that tell of blocks, half additions and half removals, as a node's shards do: one batch of a shard
//! under way at a time. This process starts them, tells them when, and sums up.

mod drive;
mod member;
mod shard;

use clap::Parser;

#[derive(Parser)]
enum Arguments {
    /// Starts three members, has them agree, and prints one JSON object.
    Drive(drive::Arguments),
    /// One member; told what to do by lines of JSON on its standard input.
    Member(member::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse() {
        Arguments::Drive(arguments) => drive::run(&arguments),
        Arguments::Member(arguments) => member::run(&arguments),
    }
}
