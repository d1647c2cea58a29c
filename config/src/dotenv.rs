//! A file of environment variables: `NAME=value`, one a line.
//!
//! As in the files that container runtimes and shells share: `#` begins a comment, `export` may stand before a name,
//! and one pair of quotes around a value is taken off. Nothing is expanded, because a value that contains `$` should
//! mean itself.

use crate::problem::{Origin, Problem};

/// One line that sets a variable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: u64,
    /// The variable.
    pub(crate) name: String,
    /// Its value, without quotes.
    pub(crate) value: String,
}

/// Reads every line of `text`, which came from the file `path`.
pub(crate) fn read(path: &str, text: &str) -> (Vec<Line>, Vec<Problem>) {
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1_u64..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match read_line(line) {
            Ok((name, value)) => lines.push(Line {
                number,
                name,
                value,
            }),
            Err(reason) => problems.push(Problem {
                code: "config.bad_env_file",
                key: String::new(),
                origin: Origin::File {
                    path: path.to_owned(),
                    line: number,
                    column: 1,
                },
                given: None,
                reason: reason.to_owned(),
                hint: Some("each line is `NAME=value`, empty, or a `#` comment".to_owned()),
            }),
        }
    }
    (lines, problems)
}

fn read_line(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("the line has no `=`")?;
    let name = name.trim();
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !starts_well
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err("the text before `=` is not a variable's name");
    }
    Ok((name.to_owned(), read_value(value.trim())?.to_owned()))
}

fn read_value(value: &str) -> Result<&str, &'static str> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            let (inner, after) = rest.split_once(quote).ok_or("the quote is not closed")?;
            let after = after.trim_start();
            let clean = after.is_empty() || after.starts_with('#');
            return if clean {
                Ok(inner)
            } else {
                Err("there is text after the closing quote")
            };
        }
    }
    // A `#` inside a value is part of it; only one after a blank begins a comment.
    let end = value
        .find(" #")
        .or_else(|| value.find("\t#"))
        .unwrap_or(value.len());
    let plain = value.get(..end).unwrap_or(value).trim_end();
    Ok(if plain.starts_with('#') { "" } else { plain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_shells_and_containers_read_them() {
        let text = "\u{feff}# head\n\nA=1\nexport B = two words # said\nC='a # b'\nD=\"q\" # c\nE=x#y\nF=\nG= # none\n";
        let (lines, problems) = read("x.env", text);
        let pairs: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.value.as_str()))
            .collect();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a # b"),
            ("D", "q"),
            ("E", "x#y"),
            ("F", ""),
            ("G", ""),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(lines[1].number, 4);
        assert_eq!(problems, []);
    }

    #[test]
    fn a_line_that_is_not_an_assignment_is_told_with_its_number() {
        let (lines, problems) = read("x.env", "A=1\nnonsense\n9=2\nQ='open\nR='a' b\n");
        assert_eq!(lines.len(), 1);
        let told: Vec<String> = problems
            .iter()
            .map(|problem| problem.reason.clone())
            .collect();
        assert_eq!(
            told,
            [
                "the line has no `=`",
                "the text before `=` is not a variable's name",
                "the quote is not closed",
                "there is text after the closing quote",
            ]
        );
        assert_eq!(problems[0].origin.to_string(), "x.env:2:1");
    }
}
