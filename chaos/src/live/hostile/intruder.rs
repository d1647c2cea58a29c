//! A client that shows any certificate, believes every server, and sends any bytes: what a stranger can do to the port of block
//! bytes.
//!
//! Responsible for hearing what it is told. It must never know which of its visits should fail.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};
use ultrakv_cluster::lane::tls::{NODE_CERT, NODE_KEY};
use ultrakv_cluster::peer::Refused;
use ultrakv_cluster::wire::{Decoder, Kind, Limits};

/// What nodes agree to speak.
const PROTOCOL: &[u8] = b"ultrakv-frames";
/// How long an intruder listens.
pub(super) const HEARS_FOR: Duration = Duration::from_secs(5);
/// What it hears at most.
const HEARD_BYTES_MAX: u64 = 1 << 20;

/// What an intruder was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// The handshake was refused, in TLS' own words.
    Alert(String),
    /// A frame of refusal with this code.
    Refusal(String),
    /// The connection ended without a word.
    Closed,
    /// A frame that is no refusal: it was let in.
    LetIn,
    /// Nothing, for [`HEARS_FOR`].
    Nothing,
}

/// Believes every server.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
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
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS with the certificate of a folder, or with none.
fn config(folder: Option<&Path>) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    let mut config = match folder {
        Some(folder) => {
            let cert =
                CertificateDer::from_pem_file(folder.join(NODE_CERT)).context("its certificate")?;
            let key = PrivateKeyDer::from_pem_file(folder.join(NODE_KEY)).context("its key")?;
            builder.with_client_auth_cert(vec![cert], key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

/// Connects with the certificate of a folder (or none), sends bytes, and listens until the other side ends it.
pub(super) fn visit(port: SocketAddr, folder: Option<&Path>, bytes: &[u8]) -> Result<Told> {
    let socket = connect(port)?;
    let name = ServerName::try_from("ultrakv")?;
    let connection = ClientConnection::new(Arc::new(config(folder)?), name)?;
    let mut stream = StreamOwned::new(connection, socket);
    // A refusal of the handshake comes while writing or reading; the reader hears it either way.
    let _may_be_refused = stream.write_all(bytes).and_then(|()| stream.flush());
    stream.conn.send_close_notify();
    let _may_be_gone = stream.flush();
    let mut heard = Vec::new();
    let ended = stream.take(HEARD_BYTES_MAX).read_to_end(&mut heard);
    Ok(told(&heard, ended))
}

/// The same without TLS.
pub(super) fn visit_plain(port: SocketAddr, bytes: &[u8]) -> Result<Told> {
    let mut socket = connect(port)?;
    let _may_be_refused = socket.write_all(bytes);
    let _may_be_gone = socket.shutdown(Shutdown::Write);
    let mut heard = Vec::new();
    let ended = socket.take(HEARD_BYTES_MAX).read_to_end(&mut heard);
    // TLS answers what is no TLS with an alert record: type 21.
    if heard.first() == Some(&21) {
        return Ok(Told::Alert("a TLS alert".to_owned()));
    }
    Ok(told(&heard, ended))
}

fn connect(port: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&port, HEARS_FOR).context("connecting")?;
    socket.set_read_timeout(Some(HEARS_FOR))?;
    socket.set_write_timeout(Some(HEARS_FOR))?;
    Ok(socket)
}

fn told(heard: &[u8], ended: io::Result<usize>) -> Told {
    let mut decoder = Decoder::new(Limits::SMALL);
    decoder.push(heard);
    if let Ok(Some(frame)) = decoder.next_frame() {
        return match frame.envelope.kind {
            Kind::Refusal => {
                let code = frame.header::<Refused>().map(|refused| refused.code);
                Told::Refusal(code.unwrap_or_else(|error| error.to_string()))
            }
            _ => Told::LetIn,
        };
    }
    match ended {
        Ok(_) => Told::Closed,
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Told::Nothing,
            io::ErrorKind::InvalidData | io::ErrorKind::Other => Told::Alert(error.to_string()),
            _ => Told::Closed,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use bytes::Bytes;
    use rustls::{ServerConnection, StreamOwned as Owned};
    use ultrakv_actors::Clock;
    use ultrakv_cluster::NodeId;
    use ultrakv_cluster::lane::tls::{Authority, ClusterName, Credentials, Identity, Subject};
    use ultrakv_cluster::wire::{Encoded, Envelope};

    use super::*;

    fn issue(authority: &Authority, pem: &str, folder: &Path, id: u128, days: u32, ago_ms: u64) {
        let now = ultrakv_actors::UnixMs(Clock::machine().unix().0 - ago_ms);
        let issued = authority
            .issue(&Subject::Node(NodeId::from_u128(id)), days, now)
            .unwrap();
        Credentials::write(folder, pem, &issued, true).unwrap();
    }

    /// A node's side of the handshake; answers what it was given with one frame.
    fn serve(listener: &TcpListener, identity: &Identity, answer: &[u8]) {
        let (socket, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(identity.server_config()).unwrap();
        let mut stream = Owned::new(connection, socket);
        let mut heard = Vec::new();
        if stream.read_to_end(&mut heard).is_ok() {
            stream.write_all(answer).unwrap();
            stream.conn.send_close_notify();
        }
        drop(stream.flush());
    }

    #[test]
    fn an_intruder_hears_alerts_and_refusals() {
        let folder = tempfile::tempdir().unwrap();
        let now = Clock::machine().unix();
        let name = ClusterName::parse("blue").unwrap();
        let (authority, ca) = Authority::create(name.clone(), now).unwrap();
        let (stranger, other_ca) = Authority::create(name, now).unwrap();
        let at = |name: &str| folder.path().join(name);
        issue(&authority, &ca.cert_pem, &at("node"), 1, 1, 0);
        issue(&authority, &ca.cert_pem, &at("good"), 2, 1, 0);
        issue(&authority, &ca.cert_pem, &at("old"), 3, 1, 3 * 86_400_000);
        issue(&stranger, &other_ca.cert_pem, &at("strange"), 4, 1, 0);
        let identity = Identity::new(&Credentials::load(&at("node"), now).unwrap()).unwrap();
        let refused = Refused {
            code: "wire_version".to_owned(),
            message: String::new(),
            hint: String::new(),
        };
        let envelope = Envelope {
            kind: Kind::Refusal,
            node: NodeId::from_u128(1),
            request: 0,
        };
        let frame = Encoded::new(envelope, &refused, Bytes::new(), Limits::SMALL)
            .unwrap()
            .to_vec();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap();
        let ask = |folder: Option<&Path>| {
            thread::scope(|scope| {
                let server = scope.spawn(|| serve(&listener, &identity, &frame));
                let told = visit(port, folder, b"anything").unwrap();
                server.join().unwrap();
                told
            })
        };
        assert_eq!(
            ask(Some(&at("good"))),
            Told::Refusal("wire_version".to_owned())
        );
        for (folder, word) in [
            (Some(at("old")), "xpired"),
            // Same name, other key: its signature does not fit.
            (Some(at("strange")), "DecryptError"),
            (None, "ertificate"),
        ] {
            match ask(folder.as_deref()) {
                Told::Alert(alert) => assert!(alert.contains(word), "{word}: {alert}"),
                other => panic!("{folder:?}: {other:?}"),
            }
        }
        let server = thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener, &identity, &frame));
            let told = visit_plain(port, b"GET / HTTP/1.0\r\n\r\n").unwrap();
            server.join().unwrap();
            told
        });
        assert!(matches!(server, Told::Alert(_)), "{server:?}");
    }
}
