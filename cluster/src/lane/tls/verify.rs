//! Checks a peer while the connection is made: signed by the authority, valid now, and a node of this cluster.
//!
//! It must never believe a host name: those change, ids do not.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};

use super::{CertsError, ClusterName, Credentials, Subject};
use crate::NodeId;

/// What lanes agree to speak; the version stands in every frame.
const PROTOCOL: &[u8] = b"ultrakv-frames";

/// Why a certificate of our own authority does not open a lane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It names nobody.
    #[error("the peer's certificate names no member of a cluster")]
    Nobody,
    /// It is of another cluster.
    #[error("the peer is of cluster {theirs}, this node of {ours}")]
    OtherCluster {
        /// The peer's cluster.
        theirs: ClusterName,
        /// Our own.
        ours: ClusterName,
    },
    /// It is not a node's.
    #[error("the peer's certificate is not that of a node")]
    NotANode,
}

/// What a node shows to others, and whom it believes: the settings of every lane's TLS.
#[derive(Clone, Debug)]
pub struct Identity {
    node: NodeId,
    cluster: ClusterName,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// Builds the settings of both sides.
    ///
    /// # Errors
    /// When the TLS library refuses them.
    pub fn new(credentials: &Credentials) -> Result<Self, CertsError> {
        build(credentials).map_err(|reason| CertsError::Crypto { reason })
    }

    /// Who this node is.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Its cluster.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// For the side that connects.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// For the side that is connected to.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Which node showed these certificates, once the handshake has believed them.
    ///
    /// # Errors
    /// When they are not those of a node of this cluster.
    pub fn peer(&self, certificates: &[CertificateDer<'_>]) -> Result<NodeId, IdentityError> {
        let certificate = certificates.first().ok_or(IdentityError::Nobody)?;
        node_of(certificate, &self.cluster)
    }
}

fn build(credentials: &Credentials) -> Result<Identity, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(credentials.authority.clone())
        .map_err(|error| error.to_string())?;
    let roots = Arc::new(roots);
    let verifier = Arc::new(NodeVerifier::new(
        Arc::clone(&roots),
        Arc::clone(&provider),
        credentials.cluster.clone(),
    )?);
    let servers: Arc<dyn ServerCertVerifier> = Arc::<NodeVerifier>::clone(&verifier);
    let chain = vec![credentials.cert.clone()];

    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(servers)
        .with_client_auth_cert(chain.clone(), credentials.key.clone_key())
        .map_err(|error| error.to_string())?;
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A resumed session would outlive the certificate it was made with, and early data can be replayed.
    client.resumption = Resumption::disabled();
    client.enable_early_data = false;

    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, credentials.key.clone_key())
        .map_err(|error| error.to_string())?;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    server.send_tls13_tickets = 0;
    server.max_early_data_size = 0;

    Ok(Identity {
        node: credentials.node,
        cluster: credentials.cluster.clone(),
        client: Arc::new(client),
        server: Arc::new(server),
    })
}

/// The node that a certificate speaks of.
fn node_of(certificate: &[u8], ours: &ClusterName) -> Result<NodeId, IdentityError> {
    match Subject::of_certificate(certificate) {
        None => Err(IdentityError::Nobody),
        Some((theirs, _)) if theirs != *ours => Err(IdentityError::OtherCluster {
            theirs,
            ours: ours.clone(),
        }),
        Some((_, Subject::Node(node))) => Ok(node),
        Some(_) => Err(IdentityError::NotANode),
    }
}

/// Both sides ask the same of the other.
#[derive(Debug)]
struct NodeVerifier {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
    cluster: ClusterName,
}

impl NodeVerifier {
    fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        cluster: ClusterName,
    ) -> Result<Self, String> {
        let algorithms = provider.signature_verification_algorithms;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            roots,
            clients,
            algorithms,
            cluster,
        })
    }

    fn node(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        match node_of(certificate, &self.cluster) {
            Ok(_) => Ok(()),
            Err(error) => Err(CertificateError::Other(OtherError(Arc::new(error))).into()),
        }
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.node(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .clients
            .verify_client_cert(end_entity, intermediates, now)?;
        self.node(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
