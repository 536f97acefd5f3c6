//! How long the proxy waits for others.

use std::time::Duration;

/// A container on this machine accepts at once or not at all; 5 s covers one that swaps.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the last byte of the request to the first of the answer. gunicorn kills a worker after
/// 30 s, so an answer that takes twice as long is not coming.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client's connection may lie between two requests. Longer than the two minutes of a
/// Caddy or load balancer in front: a proxy there must be the one to hang up.
const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(130);
/// What requests in flight are given when the proxy is asked to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// The waits of one proxy; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) response: Duration,
    pub(super) client_idle: Duration,
    pub(super) shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            response: RESPONSE_TIMEOUT,
            client_idle: CLIENT_IDLE_TIMEOUT,
            shutdown: SHUTDOWN_TIMEOUT,
        }
    }
}
