//! Certificates in folders: written for their owner alone, loaded only when they fit together.
//!
//! It must never know a socket. An authority's folder holds `ca.pem` and `ca.key`, a node's `ca.pem`, `node.pem` and
//! `node.key`; the authority's key belongs on no node.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use ultrakv_actors::UnixMs;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

use super::{Authority, CertsError, ClusterName, Issued, Subject};
use crate::NodeId;

/// The authority's certificate, in every folder.
pub const AUTHORITY_CERT: &str = "ca.pem";
/// The authority's key, in its own folder only.
pub const AUTHORITY_KEY: &str = "ca.key";
/// A node's certificate.
pub const NODE_CERT: &str = "node.pem";
/// A node's key.
pub const NODE_KEY: &str = "node.key";

/// A certificate file of some hundred bytes is never this long.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const OTHERS: u32 = 0o077;

/// What a node shows and whom it believes, checked against each other.
#[derive(Debug)]
pub struct Credentials {
    /// The node that the certificate names.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterName,
    pub(super) authority: CertificateDer<'static>,
    pub(super) cert: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Loads a node's folder.
    ///
    /// # Errors
    /// When a file is missing, unreadable, damaged, open to others or out of date, or when they do not fit together.
    pub fn load(folder: &Path, now: UnixMs) -> Result<Self, CertsError> {
        let (authority_path, path) = (folder.join(AUTHORITY_CERT), folder.join(NODE_CERT));
        let key_path = folder.join(NODE_KEY);
        let (authority, cluster) = load_authority_cert(&authority_path, now)?;
        let cert = read_cert(&path)?;
        let key = read_key(&key_path)?;
        in_its_time(&path, &cert, now)?;
        let node = match Subject::of_certificate(&cert) {
            Some((of, Subject::Node(node))) if of == cluster => node,
            found => {
                return Err(wrong_subject(
                    path,
                    "a node of the authority's cluster",
                    found,
                ));
            }
        };
        signed(&path, &cert, &authority_path, &authority, now)?;
        let signing = aws_lc_rs::sign::any_supported_type(&key).map_err(crypto)?;
        CertifiedKey::new(vec![cert.clone()], signing)
            .keys_match()
            .map_err(|_| CertsError::WrongKey {
                cert: path,
                key: key_path,
            })?;
        Ok(Self {
            node,
            cluster,
            authority,
            cert,
            key,
        })
    }

    /// Writes a node's folder.
    ///
    /// # Errors
    /// When a file exists and `force` is not given, or cannot be written.
    pub fn write(
        folder: &Path,
        authority_pem: &str,
        issued: &Issued,
        force: bool,
    ) -> Result<(), CertsError> {
        let files = [
            (AUTHORITY_CERT, authority_pem),
            (NODE_CERT, &issued.cert_pem),
            (NODE_KEY, &issued.key_pem),
        ];
        write_all(folder, &files, force)
    }
}

impl Authority {
    /// Loads an authority's folder; its certificate as PEM comes with it.
    ///
    /// # Errors
    /// When a file is missing, unreadable, damaged, open to others or out of date, or when they do not fit together.
    pub fn load(folder: &Path, now: UnixMs) -> Result<(Self, String), CertsError> {
        let path = folder.join(AUTHORITY_CERT);
        let key_path = folder.join(AUTHORITY_KEY);
        let (cert, cluster) = load_authority_cert(&path, now)?;
        let not_pem = |path: &Path| CertsError::NotPem {
            path: path.to_owned(),
            what: "private key",
        };
        closed_to_others(&key_path)?;
        let key = String::from_utf8(read(&key_path)?).map_err(|_| not_pem(&key_path))?;
        let key = KeyPair::from_pem(&key).map_err(|_| not_pem(&key_path))?;
        let (_, parsed) = X509Certificate::from_der(&cert).map_err(crypto)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(CertsError::WrongKey {
                cert: path,
                key: key_path,
            });
        }
        let pem = String::from_utf8(read(&path)?).map_err(crypto)?;
        Ok((Self::restore(cluster, key)?, pem))
    }

    /// Writes an authority's folder.
    ///
    /// # Errors
    /// When a file exists and `force` is not given, or cannot be written.
    pub fn write(folder: &Path, issued: &Issued, force: bool) -> Result<(), CertsError> {
        let files = [
            (AUTHORITY_CERT, issued.cert_pem.as_str()),
            (AUTHORITY_KEY, &issued.key_pem),
        ];
        write_all(folder, &files, force)
    }
}

fn load_authority_cert(
    path: &Path,
    now: UnixMs,
) -> Result<(CertificateDer<'static>, ClusterName), CertsError> {
    let cert = read_cert(path)?;
    in_its_time(path, &cert, now)?;
    match Subject::of_certificate(&cert) {
        Some((cluster, Subject::Authority)) => Ok((cert, cluster)),
        found => Err(wrong_subject(path.to_owned(), "an authority", found)),
    }
}

fn wrong_subject(
    path: PathBuf,
    wanted: &'static str,
    found: Option<(ClusterName, Subject)>,
) -> CertsError {
    CertsError::WrongSubject {
        path,
        wanted,
        found: found.map_or_else(
            || "nobody".to_owned(),
            |(cluster, subject)| subject.uri(&cluster),
        ),
    }
}

fn in_its_time(path: &Path, cert: &[u8], now: UnixMs) -> Result<(), CertsError> {
    let (_, parsed) = X509Certificate::from_der(cert).map_err(crypto)?;
    let validity = parsed.validity();
    let now = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
    if now > validity.not_after.timestamp() {
        return Err(CertsError::Expired {
            path: path.to_owned(),
            until: readable(validity.not_after),
        });
    }
    if now < validity.not_before.timestamp() {
        return Err(CertsError::NotYetValid {
            path: path.to_owned(),
            from: readable(validity.not_before),
        });
    }
    Ok(())
}

fn readable(time: ASN1Time) -> String {
    time.to_rfc2822()
        .unwrap_or_else(|_| time.timestamp().to_string())
}

/// Whether the authority signed the certificate, and for this use.
fn signed(
    path: &Path,
    cert: &CertificateDer<'_>,
    authority_path: &Path,
    authority: &CertificateDer<'static>,
    now: UnixMs,
) -> Result<(), CertsError> {
    let wrong = |error: Error| CertsError::WrongAuthority {
        cert: path.to_owned(),
        authority: authority_path.to_owned(),
        reason: error.to_string(),
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(wrong)?;
    let parsed = ParsedCertificate::try_from(cert).map_err(wrong)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now.seconds()));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], at, algorithms.all)
        .map_err(wrong)
}

fn read_cert(path: &Path) -> Result<CertificateDer<'static>, CertsError> {
    CertificateDer::from_pem_slice(&read(path)?).map_err(|_| CertsError::NotPem {
        path: path.to_owned(),
        what: "certificate",
    })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertsError> {
    closed_to_others(path)?;
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| CertsError::NotPem {
        path: path.to_owned(),
        what: "private key",
    })
}

fn closed_to_others(path: &Path) -> Result<(), CertsError> {
    let mode = fs::metadata(path)
        .map_err(|error| io_error(path, error))?
        .permissions()
        .mode()
        & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(CertsError::KeyTooOpen {
        path: path.to_owned(),
        mode,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CertsError> {
    let found = fs::metadata(path).map_err(|error| io_error(path, error))?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(CertsError::NotPem {
            path: path.to_owned(),
            what: "certificate or key",
        });
    }
    fs::read(path).map_err(|error| io_error(path, error))
}

/// Writes all files or, when one of them exists already, none.
fn write_all(folder: &Path, files: &[(&str, &str)], force: bool) -> Result<(), CertsError> {
    fs::create_dir_all(folder).map_err(|error| io_error(folder, error))?;
    for (name, _) in files {
        let path = folder.join(name);
        let there = fs::symlink_metadata(&path).is_ok();
        if there && !force {
            return Err(CertsError::Exists { path });
        }
    }
    for (name, text) in files {
        let path = folder.join(name);
        // Beside it first: the old file stays whole until the new one is, and a looser mode is not inherited.
        let beside = folder.join(format!(".{name}.new"));
        let written = write_new(&beside, text).and_then(|()| fs::rename(&beside, &path));
        written.map_err(|error| io_error(&path, error))?;
    }
    Ok(())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn io_error(path: &Path, source: io::Error) -> CertsError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        return CertsError::Missing { path };
    }
    CertsError::Io { path, source }
}

fn crypto(error: impl std::fmt::Display) -> CertsError {
    CertsError::Crypto {
        reason: error.to_string(),
    }
}
