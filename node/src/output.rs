//! Words and tables: data on stdout, everything else on stderr, plain wherever no person is looking.
//!
//! It knows how things look, never what they mean.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::presets::{NOTHING, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::args::Output;
use crate::exit::{Failure, Status};

/// Writes a line of data.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| {
        if text.ends_with('\n') {
            Ok(())
        } else {
            out.write_all(b"\n")
        }
    });
    match written.and_then(|()| out.flush()) {
        // `ultrakv stats | head -1` closes the pipe when it has seen enough, which is not a failure of ours.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Status::Failed,
            format!("cannot write to stdout: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Writes a value as one JSON object.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Status::Failed, format!("cannot write JSON: {error}")))?;
    data(&text)
}

/// Writes a value as one YAML document.
fn yaml(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_saphyr::to_string(value)
        .map_err(|error| Failure::new(Status::Failed, format!("cannot write YAML: {error}")))?;
    data(&text)
}

/// Writes a result as it was asked for: the value for machines, or what `people` writes.
pub(crate) fn result(
    format: Output,
    value: &impl Serialize,
    people: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    match format {
        Output::Table => people(),
        Output::Json => json(value),
        Output::Yaml => yaml(value),
    }
}

/// Writes a line for the operator. Nobody can be told that stderr is closed.
pub(crate) fn note(text: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{text}");
}

/// Writes figures: columns but the first stand to the right.
pub(crate) fn print_figures(header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    print_records(header, rows, 1)
}

/// Writes words: every column stands to the left.
pub(crate) fn print_words(rows: &[Vec<String>]) -> Result<(), Failure> {
    print_records(&[], rows, usize::MAX)
}

/// Writes a table, framed for a person and bare for a pipe: so many columns of words to the left, the others to the right.
pub(crate) fn print_records(
    header: &[&str],
    rows: &[Vec<String>],
    words: usize,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(if io::stdout().is_terminal() {
        UTF8_BORDERS_ONLY
    } else {
        NOTHING
    });
    if !header.is_empty() {
        table.set_header(header);
    }
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    // Without a frame the padding of the last column would be invisible text.
    data(&table.trim_fmt())
}

#[cfg(test)]
mod tests {
    use ultrakv_cluster::{JobId, JobKind, JobReport, JobState, NodeId};

    /// An id of digits alone must not come back as a number.
    #[test]
    fn what_is_written_as_yaml_is_read_back() {
        let job = JobReport {
            id: JobId(3),
            kind: JobKind::Drain,
            node_id: Some(NodeId::from_u128(7)),
            leave: true,
            state: JobState::Running,
            reason: "yes: # \"no\"\nnull".to_owned(),
            done: 0,
            total: 16_384,
            throttle_bytes_per_second: None,
            created_unix_ms: 1_700_000_000_000,
        };
        let text = serde_saphyr::to_string(&job).expect("YAML");
        let read: JobReport = serde_saphyr::from_str(&text).expect("the same");
        assert_eq!(read, job, "{text}");
        let value: serde_json::Value = serde_saphyr::from_str(&text).expect("plain data");
        assert_eq!(
            value["node_id"], "00000000000000000000000000000007",
            "{text}"
        );
    }
}
