//! Certificates that open no lane: of another authority, out of date, of a client, of another cluster, or none.

use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::house::{Ca, id, now};
use crate::lane::tls::{ClusterName, Subject};

impl Ca {
    /// Diallers that a node of this authority's cluster must refuse. They believe anybody themselves.
    pub(super) fn strangers(&self, served: u128) -> Vec<(&'static str, ClientConfig)> {
        let other_ca = Self::new("blue");
        let (_old, expired) = Self::expired("blue", 7);
        let client = Subject::Client(ClusterName::parse("dashboard").unwrap());
        let mut other_protocol = self.identity(7).client_config().as_ref().clone();
        other_protocol.alpn_protocols = vec![b"h3".to_vec()];
        let mut nameless = self.identity(7).client_config().as_ref().clone();
        nameless.client_auth_cert_resolver = Arc::new(Nothing);
        let of = |identity: &crate::lane::tls::Identity| identity.client_config().as_ref().clone();
        let all = [
            ("another authority", of(&other_ca.identity(7))),
            ("an expired certificate", of(&expired)),
            ("a client", self.dialler(&client)),
            ("the authority", self.dialler(&Subject::Authority)),
            ("another cluster", self.other_cluster("green", 7)),
            ("another protocol", other_protocol),
            ("no certificate", nameless),
            ("the node's own", of(&self.identity(served))),
        ];
        all.map(|(what, config)| (what, believing(&config))).into()
    }

    /// The settings of a dialler that shows a certificate of this subject; a node's folder would refuse it.
    pub(super) fn dialler(&self, subject: &Subject) -> ClientConfig {
        let issued = self.authority.issue(subject, 1, now()).unwrap();
        self.showing(&issued.cert_pem, &issued.key_pem)
    }

    /// A dialler whose certificate this authority signed, for a node of another cluster.
    pub(super) fn other_cluster(&self, cluster: &str, node: u128) -> ClientConfig {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "UltraKV");
        name.push(
            DnType::CommonName,
            format!("authority of {}", self.authority.cluster()),
        );
        let mut of_issuer = CertificateParams::default();
        of_issuer.distinguished_name = name;
        let issuer = Issuer::new(of_issuer, KeyPair::from_pem(&self.key_pem).unwrap());
        let cluster = ClusterName::parse(cluster).unwrap();
        let uri = Subject::Node(id(node)).uri(&cluster);
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        self.showing(&cert.pem(), &key.serialize_pem())
    }

    fn showing(&self, cert_pem: &str, key_pem: &str) -> ClientConfig {
        let cert = CertificateDer::from_pem_slice(cert_pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
        let mut config = self.identity(0xfeed).client_config().as_ref().clone();
        let provider = Arc::clone(config.crypto_provider());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let certified = CertifiedKey::new(vec![cert], key);
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        config
    }
}

/// Shows no certificate.
#[derive(Debug)]
struct Nothing;

impl rustls::client::ResolvesClientCert for Nothing {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// The same dialler, believing any certificate.
pub(super) fn believing(config: &ClientConfig) -> ClientConfig {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    struct Anybody;

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }

    let mut config = config.clone();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anybody));
    config
}
