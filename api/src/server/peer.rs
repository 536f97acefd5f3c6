//! Who is at the other end, and what of their word about others is believed.
//!
//! **Invariant:** forwarding headers are read from a peer on this machine alone, where the proxy with HTTPS
//! in front runs. From anybody else they are what they say of themselves.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// The other end of the connection that a request came by; every request of a listener has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl Peer {
    /// Returns whose request this is: the peer's own, or that of whom a proxy on this machine names last.
    pub fn client(&self, headers: &HeaderMap) -> IpAddr {
        let peer = self.address.ip().to_canonical();
        let named = || {
            let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
            last.rsplit(',').next()?.trim().parse::<IpAddr>().ok()
        };
        if peer.is_loopback() { named().unwrap_or(peer).to_canonical() } else { peer }
    }

    /// Tells whether the client's own connection is encrypted, here or at a proxy on this machine.
    pub fn is_encrypted(&self, headers: &HeaderMap) -> bool {
        let told = || headers.get("x-forwarded-proto").is_some_and(|protocol| protocol == "https");
        self.tls || (self.address.ip().to_canonical().is_loopback() && told())
    }

    /// Tells whether the request was made on this machine, and not handed on by a proxy there.
    pub fn is_local(&self, headers: &HeaderMap) -> bool {
        let handed_on = headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded");
        self.address.ip().to_canonical().is_loopback() && !handed_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded_for: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded_for {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let peer = Peer { address: SocketAddr::new(peer.parse().unwrap(), 4_000), tls: false };
        assert_eq!(peer.client(&headers).to_string(), expected);
    }

    #[test]
    fn a_proxy_on_this_machine_says_who_asks_and_nobody_else_does() {
        check("127.0.0.1", &[], "127.0.0.1");
        check("127.0.0.1", &["203.0.113.7"], "203.0.113.7");
        check("::ffff:127.0.0.1", &["203.0.113.7"], "203.0.113.7");
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("192.168.1.9", &["198.51.100.1"], "192.168.1.9");
    }

    #[test]
    fn what_a_client_wrote_before_the_proxy_is_not_believed() {
        check("127.0.0.1", &["1.1.1.1, 203.0.113.7"], "203.0.113.7");
        check("127.0.0.1", &["1.1.1.1", "203.0.113.7"], "203.0.113.7");
        check("127.0.0.1", &["nobody"], "127.0.0.1");
    }

    #[test]
    fn a_request_that_a_proxy_handed_on_is_not_local() {
        let local = Peer { address: ([127, 0, 0, 1], 4_000).into(), tls: false };
        let mut headers = HeaderMap::new();
        assert!(local.is_local(&headers) && !local.is_encrypted(&headers));
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        assert!(local.is_encrypted(&headers));
        headers.insert("x-forwarded-for", "203.0.113.7".parse().unwrap());
        assert!(!local.is_local(&headers));
        let stranger = Peer { address: ([203, 0, 113, 7], 4_000).into(), tls: false };
        assert!(!stranger.is_encrypted(&headers));
    }
}
