//! The handshake: a stream of plain bytes out of an encrypted one, within a limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Certificates;

/// A handshake is two round trips; one over a bad radio link takes seconds. A client that takes longer
/// holds a place for nothing.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes encrypted connections, by TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Returns an acceptor that shows these certificates and speaks these protocols, the best one first.
    pub fn new(certificates: Arc<Certificates>, protocols: &[&str]) -> Self {
        let provider = Arc::new(default_provider());
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("ring knows both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { tls: TlsAcceptor::from(Arc::new(config)), certificates }
    }

    /// Returns the certificates that it shows.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Makes the handshake.
    ///
    /// # Errors
    ///
    /// What the client did wrong, or that it took too long.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
        }
    }
}
