//! Responsible for a trace as text in our own format. It must never lose what reading it back needs.

use std::io::{self, Write};

use serde::Serialize;

use super::Trace;

#[derive(Serialize)]
struct Header {
    ultrakv_trace: u32,
    block_tokens: u32,
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: u64,
    hash_ids: &'a [u32],
}

/// Writes a trace; [`super::Format::Ours`] reads it.
///
/// # Errors
/// What the writer fails with.
pub fn write(trace: &Trace, mut to: impl Write) -> io::Result<()> {
    let header = Header {
        ultrakv_trace: 1,
        block_tokens: trace.block_tokens,
    };
    serde_json::to_writer(&mut to, &header)?;
    writeln!(to)?;
    for request in &trace.requests {
        let line = Line {
            timestamp: request.at_ms,
            hash_ids: &request.blocks,
        };
        serde_json::to_writer(&mut to, &line)?;
        writeln!(to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::generate::{Mix, generate};
    use crate::trace::{Format, OURS_BEGINS, read, write};

    #[test]
    fn what_is_written_is_read_back() {
        let trace = generate(Mix::Everything, 4, 300);
        let mut text = Vec::new();
        write(&trace, &mut text).unwrap();
        assert!(text.starts_with(OURS_BEGINS));
        assert_eq!(
            read(&trace.name, Format::Ours, text.as_slice()).unwrap(),
            trace
        );
    }
}
