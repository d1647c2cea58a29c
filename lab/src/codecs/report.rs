//! Responsible for the lab's figures as one value, as tables for people and as JSON for programs. It must never measure.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::contracts::Held;
use super::profile::SampleShape;
use super::quality::Quality;
use super::speed::Speed;

/// Everything measured on one sample.
#[derive(Clone, Debug, Serialize)]
pub struct SampleReport {
    /// The profile, or where the numbers came from.
    pub name: String,
    /// A row a rung.
    pub rungs: Vec<Quality>,
    /// A row a contract.
    pub contracts: Vec<Held>,
}

/// Everything measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was measured on.
    pub shape: SampleShape,
    /// Tokens a block.
    pub block_tokens: usize,
    /// Element type.
    pub dtype: String,
    /// Seed of the synthetic samples.
    pub seed: u64,
    /// Instruction set of the kernels.
    pub instructions: &'static str,
    /// A sample each.
    pub samples: Vec<SampleReport>,
    /// memcpy, then a row a rung; empty when speed was not asked for.
    pub speeds: Vec<Speed>,
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

impl Report {
    /// The figures as JSON.
    ///
    /// # Errors
    /// Never in practice: all fields are plain.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The figures as tables.
    pub fn tables(&self) -> String {
        let SampleShape {
            heads,
            tokens,
            dims,
            queries,
        } = self.shape;
        let mut text = format!(
            "{heads} heads x {tokens} tokens x {dims} dimensions, {}, blocks of {} tokens, {queries} queries a head, seed {}\n",
            self.dtype, self.block_tokens, self.seed
        );
        for sample in &self.samples {
            text += &format!("\n{}\n{}\n", sample.name, rungs(&sample.rungs));
            if !sample.contracts.is_empty() {
                text += &format!("{}\n", contracts(&sample.contracts));
            }
        }
        if !self.speeds.is_empty() {
            text += &format!(
                "\none core, {} kernels, 10^9 bytes of numbers a second\n{}\n",
                self.instructions,
                speeds(&self.speeds)
            );
        }
        text
    }
}

fn rungs(rows: &[Quality]) -> Table {
    let mut table = table(&[
        "rung",
        "ratio",
        "bits",
        "output",
        "K only",
        "V only",
        "head p50",
        "p95",
        "max",
        "KL",
        "logit",
        "logit max",
        "top 1",
        "top 8",
        "element",
        "bound",
    ]);
    for row in rows {
        let [p50, p95, most] = row.heads;
        let error = if row.exact {
            "exact".to_owned()
        } else {
            percent(row.all.output)
        };
        table.add_row([
            row.codec.to_owned(),
            format!("{:.3}", row.ratio),
            format!("{:.2}", row.bits),
            error,
            percent(row.keys_only),
            percent(row.values_only),
            percent(p50),
            percent(p95),
            percent(most),
            format!("{:.1e}", row.all.divergence),
            format!("{:.3}", row.all.logit_rms),
            format!("{:.2}", row.all.logit_max),
            percent(row.all.top_one),
            percent(row.all.top_eight),
            format!("{:.3}", row.error_max),
            format!("{:.3}", row.error_bound),
        ]);
    }
    table
}

fn contracts(rows: &[Held]) -> Table {
    let mut table = table(&[
        "accepted", "ratio", "probed", "promised", "held out", "kept", "bound", "blocks",
    ]);
    for row in rows {
        let blocks: Vec<String> = row
            .rungs
            .iter()
            .map(|(rung, count)| format!("{count} {rung}"))
            .collect();
        table.add_row([
            percent(row.accepted.into()),
            format!("{:.3}", row.ratio),
            percent(row.probed),
            percent(row.promised),
            percent(row.held_out),
            if row.kept { "yes" } else { "NO" }.to_owned(),
            format!("{:.1e}", row.bound),
            blocks.join(", "),
        ]);
    }
    table
}

fn speeds(rows: &[Speed]) -> Table {
    let mut table = table(&[
        "rung",
        "encode",
        "of memcpy",
        "decode",
        "of memcpy",
        "check and decode",
    ]);
    let copy = rows.first().map_or(f64::NAN, |row| row.decode_gbs);
    for row in rows {
        table.add_row([
            row.codec.to_owned(),
            format!("{:.2}", row.encode_gbs),
            format!("{:.2}", row.encode_gbs / copy),
            format!("{:.2}", row.decode_gbs),
            format!("{:.2}", row.decode_gbs / copy),
            format!("{:.2}", row.checked_gbs),
        ]);
    }
    table
}
