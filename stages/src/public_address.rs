//! The address at which this machine reaches the proxy as its users do.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use crate::context::Context;
use crate::proxy::ProxyError;

/// Returns it, as the proxy that runs now has it.
pub(crate) async fn of(context: &Context) -> Result<SocketAddr, ProxyError> {
    Ok(reachable(context.proxy.info().await?.listen))
}

/// A proxy that listens everywhere is asked through the loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// Says an error with its cause on one line.
pub(crate) fn explain(error: &ProxyError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        // The outer layers of an HTTP client repeat the address of the socket.
        if below.source().is_none() {
            text.push_str(&format!(": {below}"));
        }
        source = below.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_listens_everywhere_is_reached_through_the_loopback() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:80", "127.0.0.1:80");
        check("[::]:80", "[::1]:80");
        check("192.0.2.7:80", "192.0.2.7:80");
    }
}
