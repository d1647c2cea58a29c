//! Makes authorities and certificates. It must never touch a file.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use ultrakv_actors::UnixMs;

use super::{CertsError, ClusterName, Subject};

/// How long a node's certificate is valid: two years.
pub const NODE_DAYS_DEFAULT: u32 = 730;

const DAY_SECONDS: u64 = 86_400;
const AUTHORITY_DAYS: u32 = 3650;
/// Certificates are valid from a little before they were made, since clocks of nodes differ.
const CLOCK_SKEW_SECONDS: u64 = 3600;

/// A certificate and its key, as PEM.
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// The private key.
    pub key_pem: String,
}

/// The one that signs the certificates of a cluster.
pub struct Authority {
    cluster: ClusterName,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority; its certificate and key come with it.
    ///
    /// # Errors
    /// When the library below refuses.
    pub fn create(cluster: ClusterName, now: UnixMs) -> Result<(Self, Issued), CertsError> {
        let key = KeyPair::generate().map_err(refused)?;
        let mut params = authority_params(&cluster)?;
        valid(&mut params, now, AUTHORITY_DAYS);
        let cert_pem = params.self_signed(&key).map_err(refused)?.pem();
        let issued = Issued {
            cert_pem,
            key_pem: key.serialize_pem(),
        };
        let issuer = Issuer::new(params, key);
        Ok((Self { cluster, issuer }, issued))
    }

    /// The authority of a cluster, with a key that was checked against its certificate.
    pub(super) fn restore(cluster: ClusterName, key: KeyPair) -> Result<Self, CertsError> {
        let issuer = Issuer::new(authority_params(&cluster)?, key);
        Ok(Self { cluster, issuer })
    }

    /// The cluster it signs for.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Makes a key and signs a certificate for it.
    ///
    /// # Errors
    /// When the library below refuses.
    pub fn issue(&self, subject: &Subject, days: u32, now: UnixMs) -> Result<Issued, CertsError> {
        let key = KeyPair::generate().map_err(refused)?;
        let mut params = params(subject, &self.cluster)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(subject, Subject::Node(_)) {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, days);
        let cert = params.signed_by(&key, &self.issuer).map_err(refused)?;
        Ok(Issued {
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn authority_params(cluster: &ClusterName) -> Result<CertificateParams, CertsError> {
    let mut params = params(&Subject::Authority, cluster)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(subject: &Subject, cluster: &ClusterName) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::default();
    let uri = subject.uri(cluster);
    params.distinguished_name = DistinguishedName::new();
    // The names of X.509 are for people here; only the URI is ever believed.
    params
        .distinguished_name
        .push(DnType::OrganizationName, "UltraKV");
    let common_name = match subject {
        Subject::Authority => format!("authority of {cluster}"),
        Subject::Node(id) => format!("node {id}"),
        Subject::Client(name) => format!("client {name}"),
    };
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(refused)?)];
    Ok(params)
}

fn valid(params: &mut CertificateParams, now: UnixMs, days: u32) {
    let epoch = date_time_ymd(1970, 1, 1);
    // A clock beyond the year 9000 is wrong, and the date arithmetic ends there.
    let now_seconds = now.seconds().min(200_000_000_000);
    let from = now_seconds.saturating_sub(CLOCK_SKEW_SECONDS);
    let days = u64::from(days.min(36_500));
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = epoch + Duration::from_secs(now_seconds + days * DAY_SECONDS);
}

fn refused(error: impl std::fmt::Display) -> CertsError {
    CertsError::Crypto {
        reason: error.to_string(),
    }
}
