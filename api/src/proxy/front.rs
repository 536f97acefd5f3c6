//! Who sends requests, what of their word is believed, and whom the proxy asks to come back encrypted.
//!
//! **Invariant:** an app never hears of a forwarding header that a stranger wrote. Believed is whoever
//! asks from this machine, where the Caddy in front runs, and the networks that were named.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ipnet::IpNet;

use super::headers::{self, FORWARDED_PROTO};
use super::reply::{ReplyBody, own_answer};
use crate::tls::Certificates;

/// The usual port of HTTPS, which an address need not name.
const HTTPS_PORT: u16 = 443;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) address: IpAddr,
    /// Whether the connection is encrypted.
    pub(super) secure: bool,
    /// Whether its forwarding headers are true.
    pub(super) believed: bool,
}

/// What holds for every connection.
#[derive(Debug, Default)]
pub(super) struct Front {
    /// Networks that are believed, beside this machine itself.
    pub(super) trusts: Vec<IpNet>,
    /// Where plain requests are sent, when they are.
    pub(super) redirect: Option<Redirect>,
}

/// The way to encrypted connections.
#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) port: u16,
    pub(super) certificates: Arc<Certificates>,
}

impl Front {
    pub(super) fn sender(&self, peer: SocketAddr, secure: bool) -> Sender {
        let address = peer.ip().to_canonical();
        let believed = address.is_loopback() || self.trusts.iter().any(|net| net.contains(&address));
        Sender { address, secure, believed }
    }

    /// Returns the answer to a plain request that is to come again encrypted. `host` is without its port.
    ///
    /// A host without a certificate is served as it is. So is this machine itself, which is how the engine
    /// looks at what users get: it has no certificate to check, and nobody in between.
    pub(super) fn redirect(
        &self,
        sender: Sender,
        headers: &HeaderMap,
        host: &str,
        path: Option<&PathAndQuery>,
    ) -> Option<http::Response<ReplyBody>> {
        let redirect = self.redirect.as_ref()?;
        let came_encrypted = match headers.get(FORWARDED_PROTO).filter(|_| sender.believed) {
            Some(protocol) => protocol == "https",
            None => sender.secure,
        };
        let is_local = sender.address.is_loopback() && !headers::is_handed_on(headers);
        if came_encrypted || is_local || host.is_empty() || !redirect.certificates.serve(host) {
            return None;
        }
        let port = if redirect.port == HTTPS_PORT { String::new() } else { format!(":{}", redirect.port) };
        let path = path.map_or("/", PathAndQuery::as_str);
        let location = HeaderValue::try_from(format!("https://{host}{port}{path}")).ok()?;
        let mut answer = own_answer(StatusCode::PERMANENT_REDIRECT, "landfall proxy: over HTTPS, please\n");
        answer.headers_mut().insert(header::LOCATION, location);
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(trusts: &[&str], peer: &str, believed: bool) {
        let trusts = trusts.iter().map(|net| net.parse().unwrap()).collect();
        let front = Front { trusts, redirect: None };
        let peer = SocketAddr::new(peer.parse().unwrap(), 4_000);
        assert_eq!(front.sender(peer, false).believed, believed, "{peer}");
    }

    #[test]
    fn this_machine_is_believed_and_networks_that_were_named() {
        check(&[], "127.0.0.1", true);
        check(&[], "::1", true);
        check(&[], "::ffff:127.0.0.1", true);
        check(&[], "10.0.0.7", false);
        check(&[], "192.168.1.7", false);
        check(&["10.0.0.0/8"], "10.0.0.7", true);
        check(&["10.0.0.0/8"], "::ffff:10.0.0.7", true);
        check(&["10.0.0.0/8"], "11.0.0.7", false);
        check(&["fd00::/8"], "fd00::7", true);
    }
}
