//! What can be wrong with certificates and their files. It must never know who wanted them.

use std::io;
use std::path::PathBuf;

/// Why certificates could not be made, written or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file is not there.
    #[error("{path} does not exist")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file would be overwritten.
    #[error("{path} exists already")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write a key.
    #[error("the key {path} may be used by others than its owner (mode {mode:04o})")]
    KeyTooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no {what} in PEM")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A certificate's time is over.
    #[error("the certificate {path} expired at {until}")]
    Expired {
        /// The file.
        path: PathBuf,
        /// When it did.
        until: String,
    },
    /// A certificate's time has not come.
    #[error("the certificate {path} is valid from {from}")]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// When it will be.
        from: String,
    },
    /// Key and certificate are not a pair.
    #[error("the key {key} does not belong to the certificate {cert}")]
    WrongKey {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Another authority signed the certificate.
    #[error("the certificate {cert} was not signed by the authority {authority}: {reason}")]
    WrongAuthority {
        /// The certificate.
        cert: PathBuf,
        /// The authority's certificate.
        authority: PathBuf,
        /// What the check said.
        reason: String,
    },
    /// The certificate speaks of someone else than it should.
    #[error("the certificate {path} is not that of {wanted} (it says {found})")]
    WrongSubject {
        /// The file.
        path: PathBuf,
        /// Whom it should speak of.
        wanted: &'static str,
        /// Whom it speaks of.
        found: String,
    },
    /// The libraries below refused.
    #[error("cannot make keys or certificates: {reason}")]
    Crypto {
        /// What they said.
        reason: String,
    },
}

impl CertsError {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "certs_missing",
            Self::Io { .. } => "certs_io",
            Self::Exists { .. } => "certs_exists",
            Self::KeyTooOpen { .. } => "certs_key_too_open",
            Self::NotPem { .. } => "certs_not_pem",
            Self::Expired { .. } => "certs_expired",
            Self::NotYetValid { .. } => "certs_not_yet_valid",
            Self::WrongKey { .. } => "certs_wrong_key",
            Self::WrongAuthority { .. } => "certs_wrong_authority",
            Self::WrongSubject { .. } => "certs_wrong_subject",
            Self::Crypto { .. } => "certs_crypto",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "make it with `ultrakv certs init` (authority) or `ultrakv certs node` (node)"
            }
            Self::Io { .. } => "check the path, its permissions and the room on the disk",
            Self::Exists { .. } => "choose another folder, or overwrite it with --force",
            Self::KeyTooOpen { .. } => {
                "chmod 600 the key, and make a new one if others may have read it"
            }
            Self::NotPem { .. } => "check that the file is the one that `ultrakv certs` wrote",
            Self::Expired { .. } => {
                "make a new certificate with `ultrakv certs node --id` and the node's own id"
            }
            Self::NotYetValid { .. } => "check the clocks of this machine and the one that made it",
            Self::WrongKey { .. } => "copy certificate and key of one node together",
            Self::WrongAuthority { .. } => {
                "use the ca.pem of the authority that signed it, in the same cluster"
            }
            Self::WrongSubject { .. } => "check that the file is the one for this purpose",
            Self::Crypto { .. } => "report it with the version of this build",
        }
    }
}
