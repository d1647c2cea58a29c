//! Words and tables: data on stdout, everything else on stderr, plain wherever no person is looking.
//!
//! It knows how things look, never what they mean.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::presets::{NOTHING, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

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

/// Writes a line for the operator. Nobody can be told that stderr is closed.
pub(crate) fn note(text: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{text}");
}

/// Writes figures: columns but the first stand to the right.
pub(crate) fn print_figures(header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    print_table(header, rows, CellAlignment::Right)
}

/// Writes words: every column stands to the left.
pub(crate) fn print_words(rows: &[Vec<String>]) -> Result<(), Failure> {
    print_table(&[], rows, CellAlignment::Left)
}

/// A table: framed for a person, bare columns for a pipe.
fn print_table(
    header: &[&str],
    rows: &[Vec<String>],
    alignment: CellAlignment,
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
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(alignment);
    }
    // Without a frame the padding of the last column would be invisible text.
    data(&table.trim_fmt())
}
