//! What a proxy owes the headers: what concerns one connection stays on it, and the app learns who asked.
//!
//! **Invariant:** an app never sees a forwarding header or a probe that a stranger wrote. Only a peer that
//! [`super::front`] believes, such as the Caddy in front, passes its own on.

use std::borrow::Cow;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use http::request;
use landfall_stages::proxy::PROBE_HEADER;
use landfall_stages::proxy::RELEASE_HEADER;
use landfall_stages::proxy::RUN_HEADER;

use super::backend::Backend;
use super::front::Sender;
use crate::server::session::COOKIE as SESSION_COOKIE;

pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// They speak of one connection, not of the message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers that the app trusts because the proxy writes them.
const TRUSTED_BY_APPS: [&str; 5] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix", PROBE_HEADER];

/// Returns the host a request is for, as the client wrote it; `None` when it names none.
///
/// # Errors
///
/// Two hosts in one request are an attempt to be understood differently by two readers.
pub(super) fn host_of(head: &request::Parts) -> Result<Option<HeaderValue>, &'static str> {
    if let Some(authority) = head.uri.authority() {
        return HeaderValue::from_str(authority.as_str())
            .map(Some)
            .map_err(|_| "the address is not plain text");
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next().cloned();
    match hosts.next() {
        Some(_) => Err("the request names more than one host"),
        None => Ok(host),
    }
}

/// Returns the host in the form of the route table: lower case, without port and final dot.
pub(super) fn without_port(host: &str) -> Cow<'_, str> {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = host[..end].trim_end_matches('.');
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

/// Returns the protocol that the client wants this connection to become.
pub(super) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asked).cloned()
}

/// Returns whether the sender asks which release answers, and may know it.
///
/// A proxy in front of this one is on this machine too: what it hands on comes from elsewhere.
pub(super) fn is_probe(headers: &HeaderMap, sender: Sender) -> bool {
    headers.contains_key(PROBE_HEADER) && sender.address.is_loopback() && !is_handed_on(headers)
}

/// Returns whether a request says that somebody else sent it first.
pub(super) fn is_handed_on(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED_FOR) || headers.contains_key(header::FORWARDED)
}

/// Makes a client's headers those that the container receives. `prefix` was taken off the path.
pub(super) fn to_upstream(
    headers: &mut HeaderMap,
    sender: Sender,
    host: Option<HeaderValue>,
    prefix: Option<&str>,
    upgrade: Option<HeaderValue>,
) {
    strip_hop_by_hop(headers);
    strip_doubles(headers);
    keep_sessions_back(headers);
    headers.remove(PROBE_HEADER);
    // It is the proxy that tells the client to go on; the container gets the body at once.
    headers.remove(header::EXPECT);
    forward(headers, sender, host.as_ref(), prefix);
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    if let Some(protocol) = upgrade {
        set_upgrade(headers, protocol);
    }
}

/// Makes a container's headers those that the client receives.
pub(super) fn to_client(headers: &mut HeaderMap, upgraded: Option<HeaderValue>) {
    strip_hop_by_hop(headers);
    headers.remove(RELEASE_HEADER);
    headers.remove(RUN_HEADER);
    refuse_sessions(headers);
    if let Some(protocol) = upgraded {
        set_upgrade(headers, protocol);
    }
}

/// Says which release answered.
pub(super) fn sign(headers: &mut HeaderMap, backend: &Backend) {
    for (name, value) in [(RELEASE_HEADER, &backend.release), (RUN_HEADER, &backend.run)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

/// Takes the dashboard's session out of what a browser sends. Browsers keep cookies by host name and not by port, so on one
/// host every app would be handed whatever the person at the dashboard may do.
fn keep_sessions_back(headers: &mut HeaderMap) {
    let is_session = |pair: &&[u8]| name_of(pair) == SESSION_COOKIE.as_bytes();
    let holds_one =
        |value: &HeaderValue| value.as_bytes().split(|byte| *byte == b';').any(|pair| is_session(&pair));
    if !headers.get_all(header::COOKIE).iter().any(holds_one) {
        return;
    }
    let kept: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !is_session(pair))
        .collect();
    let kept = HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|kept| !kept.is_empty());
    headers.remove(header::COOKIE);
    if let Some(kept) = kept {
        headers.insert(header::COOKIE, kept);
    }
}

/// Keeps an app from putting a session of its own in the place of the dashboard's.
fn refuse_sessions(headers: &mut HeaderMap) {
    let is_session = |value: &HeaderValue| name_of(value.as_bytes()) == SESSION_COOKIE.as_bytes();
    if !headers.get_all(header::SET_COOKIE).iter().any(is_session) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(header::SET_COOKIE).iter().filter(|value| !is_session(value)).cloned().collect();
    headers.remove(header::SET_COOKIE);
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
}

/// Returns the name in `name=value`.
fn name_of(cookie: &[u8]) -> &[u8] {
    cookie.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|option| option.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// WSGI reads `X_Forwarded_For` and `X-Forwarded-For` as one variable; only the second is ours.
fn strip_doubles(headers: &mut HeaderMap) {
    let doubles: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .filter(|name| TRUSTED_BY_APPS.contains(&name.as_str().replace('_', "-").as_str()))
        .cloned()
        .collect();
    for name in doubles {
        headers.remove(name);
    }
}

fn forward(headers: &mut HeaderMap, sender: Sender, host: Option<&HeaderValue>, prefix: Option<&str>) {
    if !sender.believed {
        for name in [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST, FORWARDED_PREFIX, header::FORWARDED] {
            headers.remove(name);
        }
    }
    append(headers, FORWARDED_FOR, ", ", &sender.address.to_string());
    let protocol = if sender.secure { "https" } else { "http" };
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static(protocol));
    if let Some(host) = host {
        headers.entry(FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    if let Some(prefix) = prefix {
        append(headers, FORWARDED_PREFIX, "", prefix);
    }
}

/// Puts a value behind those that are there already.
fn append(headers: &mut HeaderMap, name: HeaderName, between: &str, value: &str) {
    let before = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
    let all = before.chain([value]).collect::<Vec<_>>().join(between);
    if let Ok(all) = HeaderValue::try_from(all) {
        headers.insert(name, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::front::Front;

    const STRANGER: &str = "203.0.113.7:4000";
    const LOCAL: &str = "127.0.0.1:4000";

    fn headers(text: &str) -> HeaderMap {
        let parse = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse) {
            headers.append(name, value);
        }
        headers
    }

    fn sender(peer: &str) -> Sender {
        Front::default().sender(peer.parse().unwrap(), false)
    }

    #[track_caller]
    fn upstream_sees(peer: &str, sent: &str, expected: &str) {
        upstream_sees_from(sender(peer), None, sent, expected);
    }

    #[track_caller]
    fn upstream_sees_from(sender: Sender, prefix: Option<&str>, sent: &str, expected: &str) {
        let mut seen = headers(sent);
        to_upstream(&mut seen, sender, Some(HeaderValue::from_static("shop.test")), prefix, None);
        assert_eq!(seen, headers(expected));
    }

    #[test]
    fn a_host_is_found_whatever_its_case_and_port() {
        for (host, expected) in [
            ("shop.test", "shop.test"),
            ("Shop.TEST:8080", "shop.test"),
            ("shop.test.", "shop.test"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(without_port(host), expected);
        }
    }

    #[test]
    fn no_app_is_handed_the_dashboards_session_or_hands_one_out() {
        upstream_sees(
            STRANGER,
            "cookie: theme=dark; landfall_session=0123; cart=7
             cookie: landfall_session=4567
             cookie: x_landfall_session=a=b",
            "cookie: theme=dark; cart=7; x_landfall_session=a=b
             host: shop.test
             x-forwarded-for: 203.0.113.7
             x-forwarded-proto: http
             x-forwarded-host: shop.test",
        );
        upstream_sees(
            STRANGER,
            "cookie: landfall_session=0123",
            "host: shop.test
             x-forwarded-for: 203.0.113.7
             x-forwarded-proto: http
             x-forwarded-host: shop.test",
        );
        let mut said = headers(
            "set-cookie: cart=7; Path=/
             set-cookie: landfall_session=evil; Path=/
             set-cookie: landfall_sessions=x",
        );
        to_client(&mut said, None);
        assert_eq!(said, headers("set-cookie: cart=7; Path=/\nset-cookie: landfall_sessions=x"));
    }

    #[test]
    fn what_speaks_of_one_connection_stays_on_it() {
        upstream_sees(
            STRANGER,
            "connection: close, X-Custom
             x-custom: 1
             keep-alive: timeout=5
             te: trailers
             transfer-encoding: chunked
             upgrade: h2c
             expect: 100-continue
             accept: */*",
            "accept: */*
             host: shop.test
             x-forwarded-for: 203.0.113.7
             x-forwarded-proto: http
             x-forwarded-host: shop.test",
        );
    }

    #[test]
    fn a_stranger_cannot_say_where_a_request_came_from() {
        upstream_sees(
            STRANGER,
            "x-forwarded-for: 10.0.0.1
             x-forwarded-proto: https
             x-forwarded-host: bank.test
             x-forwarded-prefix: /bank
             forwarded: for=10.0.0.1
             X_Forwarded_For: 10.0.0.1
             x-forwarded_proto: https",
            "host: shop.test
             x-forwarded-for: 203.0.113.7
             x-forwarded-proto: http
             x-forwarded-host: shop.test",
        );
    }

    #[test]
    fn a_proxy_in_front_is_believed() {
        upstream_sees(
            LOCAL,
            "x-forwarded-for: 203.0.113.7
             x-forwarded-proto: https
             x-forwarded-host: www.shop.test",
            "host: shop.test
             x-forwarded-for: 203.0.113.7, 127.0.0.1
             x-forwarded-proto: https
             x-forwarded-host: www.shop.test",
        );
    }

    #[test]
    fn the_app_is_told_that_it_was_reached_encrypted_and_which_prefix_was_taken_off() {
        let sender = Sender { secure: true, ..sender(STRANGER) };
        upstream_sees_from(
            sender,
            Some("/shop"),
            "",
            "host: shop.test
             x-forwarded-for: 203.0.113.7
             x-forwarded-proto: https
             x-forwarded-host: shop.test
             x-forwarded-prefix: /shop",
        );
    }

    #[test]
    fn a_prefix_goes_behind_the_one_that_a_proxy_in_front_took_off() {
        upstream_sees_from(
            sender(LOCAL),
            Some("/shop"),
            "x-forwarded-prefix: /eu
             x-forwarded-proto: https",
            "host: shop.test
             x-forwarded-for: 127.0.0.1
             x-forwarded-proto: https
             x-forwarded-host: shop.test
             x-forwarded-prefix: /eu/shop",
        );
    }

    #[test]
    fn naming_the_host_a_connection_option_does_not_remove_it() {
        upstream_sees(
            STRANGER,
            "host: shop.test
             connection: host, x-forwarded-for",
            "host: shop.test
             x-forwarded-for: 203.0.113.7
             x-forwarded-proto: http
             x-forwarded-host: shop.test",
        );
    }

    #[test]
    fn an_upgrade_is_one_when_the_connection_header_says_so() {
        assert_eq!(
            upgrade_of(&headers("connection: keep-alive, Upgrade\nupgrade: websocket")).unwrap(),
            "websocket"
        );
        assert_eq!(upgrade_of(&headers("upgrade: websocket")), None);
        assert_eq!(upgrade_of(&headers("connection: upgrade")), None);
    }

    #[test]
    fn only_this_machine_itself_may_probe() {
        let probe = headers("landfall-probe: 1");
        assert!(is_probe(&probe, sender(LOCAL)));
        assert!(is_probe(&probe, sender("[::ffff:127.0.0.1]:4000")));
        assert!(!is_probe(&probe, sender(STRANGER)));
        assert!(!is_probe(&headers("accept: */*"), sender(LOCAL)));
        let handed_on = headers("landfall-probe: 1\nx-forwarded-for: 203.0.113.7");
        assert!(!is_probe(&handed_on, sender(LOCAL)));
    }

    #[test]
    fn an_app_cannot_sign_as_a_release() {
        let mut seen = headers("landfall-release: sha256:forged\nlandfall-run: forged\nx-app: 1");
        to_client(&mut seen, None);
        assert_eq!(seen, headers("x-app: 1"));
    }
}
