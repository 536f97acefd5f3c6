//! The encrypted way in: its port, its certificates, and what is told of them.

use std::net::SocketAddr;
use std::sync::Arc;

use landfall_stages::proxy::TlsInfo;
use tokio::net::TcpListener;

use super::ProxyStartError;
use super::TlsOptions;
use super::front::Redirect;
use super::server::bind;
use crate::tls::Acceptor;
use crate::tls::Certificates;
use crate::tls::Origin;

/// What is spoken inside.
const PROTOCOLS: [&str; 1] = ["http/1.1"];

/// A port for encrypted traffic.
#[derive(Debug)]
pub(super) struct Encrypted {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) acceptor: Acceptor,
    options: TlsOptions,
}

impl Encrypted {
    /// Takes the port. Certificates that can't be used are told of and keep nobody else from being served.
    pub(super) async fn bind(options: &TlsOptions) -> Result<Self, ProxyStartError> {
        let certificates = Certificates::open(Origin::Folder(options.certs.clone()))?;
        let (listener, address) = bind(options.listen).await?;
        let acceptor = Acceptor::new(certificates, &PROTOCOLS);
        Ok(Self { listener, address, acceptor, options: options.clone() })
    }

    /// Returns where plain requests are sent, if they are.
    pub(super) fn redirect(&self) -> Option<Redirect> {
        let certificates = Arc::clone(self.acceptor.certificates());
        self.options.redirect.then_some(Redirect { port: self.address.port(), certificates })
    }

    pub(super) fn info(&self) -> TlsInfo {
        let (certs, redirect) = (self.options.certs.clone(), self.options.redirect);
        now(
            TlsInfo { listen: self.address, certs, redirect, hosts: vec![], problems: vec![] },
            self.acceptor.certificates(),
        )
    }
}

/// Returns what is told of the certificates as they are now.
pub(super) fn now(info: TlsInfo, certificates: &Certificates) -> TlsInfo {
    TlsInfo { hosts: certificates.hosts(), problems: certificates.problems(), ..info }
}
