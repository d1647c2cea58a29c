//! The token file: who may come in, held as digests and compared in constant time.
//!
//! One `service token` pair a line; `#` begins a comment; a service may have several tokens, so that one can be replaced while
//! the other still works. The tokens themselves are forgotten as soon as they are read.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;
use ultrakv_config::ADMIN_SERVICE;

/// The shortest token that is taken: 16 characters of base64 are 96 bits.
pub const TOKEN_CHARS_MIN: usize = 16;

/// The stable name of the warning about a file that others may read.
pub const MODE_CODE: &str = "auth.token_file_mode";

/// The largest token file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The tokens a node knows.
pub struct Tokens {
    entries: Vec<Entry>,
}

struct Entry {
    digest: [u8; 32],
    service: String,
}

/// Why a token file was refused.
#[derive(Debug, Error)]
pub enum TokenFileError {
    /// The file could not be read.
    #[error("cannot read the token file {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any token file is.
    #[error("the token file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// A line is not `service token`.
    #[error("line {line} of the token file is not \"service token\"")]
    Malformed {
        /// The line, from 1.
        line: usize,
    },
    /// A token is short enough to be guessed.
    #[error("line {line} of the token file has a token of fewer than {TOKEN_CHARS_MIN} characters")]
    TooShort {
        /// The line, from 1.
        line: usize,
    },
    /// A line names a service that is not configured.
    #[error("line {line} of the token file names the service {service}, which is not configured")]
    UnknownService {
        /// The line, from 1.
        line: usize,
        /// The service.
        service: String,
    },
    /// Two lines have the same token, so it would not say who calls.
    #[error("line {line} of the token file repeats the token of line {first}")]
    Repeated {
        /// The line, from 1.
        line: usize,
        /// The line that had it first.
        first: usize,
    },
    /// There is no token in the file, so nobody could come in.
    #[error("the token file holds no token")]
    Empty,
}

impl TokenFileError {
    /// The stable name of this kind of error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "token_file_unreadable",
            Self::TooLarge => "token_file_too_large",
            Self::Malformed { .. } => "token_file_malformed",
            Self::TooShort { .. } => "token_file_short_token",
            Self::UnknownService { .. } => "token_file_unknown_service",
            Self::Repeated { .. } => "token_file_repeated_token",
            Self::Empty => "token_file_empty",
        }
    }

    /// What the operator can do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check auth.token_file and that this user may read the file",
            Self::TooLarge | Self::Malformed { .. } | Self::Empty => {
                "write one \"service token\" pair a line, for example: default 4f9c0d5e8b7a6c3d2e1f"
            }
            Self::TooShort { .. } => "make a token with: head -c 24 /dev/urandom | base64",
            Self::UnknownService { .. } => "add the service under services, or remove the line",
            Self::Repeated { .. } => "give every line a token of its own",
        }
    }
}

impl Tokens {
    /// Reads a token file. The second value warns about a file that others on the machine may read.
    ///
    /// # Errors
    /// [`TokenFileError`], for the operator to mend; a node must not start with half of its tokens.
    pub fn read(
        path: &Path,
        services: &BTreeSet<String>,
    ) -> Result<(Self, Option<String>), TokenFileError> {
        let unreadable = |source| TokenFileError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.len() > FILE_BYTES_MAX {
            return Err(TokenFileError::TooLarge);
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let mode = metadata.permissions().mode() & 0o777;
        let warning = (mode & 0o077 != 0).then(|| {
            format!(
                "the token file {} has mode {mode:03o}: others on this machine may read it",
                path.display()
            )
        });
        Ok((Self::parse(&text, services)?, warning))
    }

    /// Parses the text of a token file.
    ///
    /// # Errors
    /// [`TokenFileError`], with the line.
    pub fn parse(text: &str, services: &BTreeSet<String>) -> Result<Self, TokenFileError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: Vec<usize> = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.split('#').next().unwrap_or_default();
            let mut words = content.split_whitespace();
            let (Some(service), token, None) = (words.next(), words.next(), words.next()) else {
                match content.trim().is_empty() {
                    true => continue,
                    false => return Err(TokenFileError::Malformed { line }),
                }
            };
            let Some(token) = token else {
                return Err(TokenFileError::Malformed { line });
            };
            if token.chars().count() < TOKEN_CHARS_MIN {
                return Err(TokenFileError::TooShort { line });
            }
            if service != ADMIN_SERVICE && !services.contains(service) {
                let service = service.to_owned();
                return Err(TokenFileError::UnknownService { line, service });
            }
            let digest = digest(token);
            let same = entries
                .iter()
                .zip(&lines)
                .find(|(entry, _)| entry.digest == digest);
            if let Some((_, first)) = same {
                return Err(TokenFileError::Repeated {
                    line,
                    first: *first,
                });
            }
            entries.push(Entry {
                digest,
                service: service.to_owned(),
            });
            lines.push(line);
        }
        if entries.is_empty() {
            Err(TokenFileError::Empty)
        } else {
            Ok(Self { entries })
        }
    }

    /// The service of a token. Takes the same time whichever token matches, and whether any does.
    #[must_use]
    pub fn service(&self, token: &str) -> Option<&str> {
        let digest = digest(token);
        let mut found = u64::MAX;
        for (position, entry) in (0_u64..).zip(&self.entries) {
            let matches: Choice = entry.digest.ct_eq(&digest);
            found.conditional_assign(&position, matches);
        }
        let entry = self.entries.get(usize::try_from(found).ok()?)?;
        Some(&entry.service)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tokens")
            .field("count", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// What is kept of a token.
fn digest(token: &str) -> [u8; 32] {
    blake3::derive_key("ultrakv 2026-11 door token digest", token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> BTreeSet<String> {
        BTreeSet::from(["default", "alpha"].map(str::to_owned))
    }

    #[test]
    fn every_token_finds_its_service_and_no_other_text_does() {
        let text = "# who may come in\n\ndefault  0123456789abcdef # first\nalpha\tfedcba9876543210\n\
                    alpha aaaaaaaaaaaaaaaaaaaa\nadmin bbbbbbbbbbbbbbbbbbbb\n";
        let tokens = Tokens::parse(text, &services()).expect("the file is well formed");
        let check = |token: &str, service: Option<&str>| assert_eq!(tokens.service(token), service);
        check("0123456789abcdef", Some("default"));
        check("fedcba9876543210", Some("alpha"));
        check("aaaaaaaaaaaaaaaaaaaa", Some("alpha"));
        check("bbbbbbbbbbbbbbbbbbbb", Some("admin"));
        check("0123456789abcdeF", None);
        check("0123456789abcde", None);
        check("", None);
        assert!(!format!("{tokens:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_line() {
        let check = |text: &str, code: &str, says: &str| {
            let error = Tokens::parse(text, &services()).expect_err("the file is wrong");
            assert_eq!(error.code(), code);
            assert!(error.to_string().contains(says), "{error}");
            assert!(!error.to_string().contains("0123456789abcdef"), "{error}");
        };
        check("", "token_file_empty", "no token");
        check("# nothing\n", "token_file_empty", "no token");
        check("\ndefault\n", "token_file_malformed", "line 2");
        check(
            "default 0123456789abcdef extra\n",
            "token_file_malformed",
            "line 1",
        );
        check("default short\n", "token_file_short_token", "line 1");
        check(
            "gamma 0123456789abcdef\n",
            "token_file_unknown_service",
            "gamma",
        );
        check(
            "default 0123456789abcdef\nalpha 0123456789abcdef\n",
            "token_file_repeated_token",
            "line 2 of the token file repeats the token of line 1",
        );
    }

    #[test]
    fn a_file_that_others_may_read_is_warned_about() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tokens");
        fs::write(&path, "default 0123456789abcdef\n").expect("the folder is writable");
        let check = |mode: u32, warned: bool| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
            let (_, warning) = Tokens::read(&path, &services()).expect("the file is well formed");
            assert_eq!(warning.is_some(), warned, "{mode:o}");
        };
        check(0o600, false);
        check(0o640, true);
        check(0o604, true);
        let missing = Tokens::read(&folder.path().join("none"), &services());
        assert_eq!(
            missing.expect_err("no such file").code(),
            "token_file_unreadable"
        );
    }
}
