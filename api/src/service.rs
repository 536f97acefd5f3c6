//! What a service manager is told: that this process is ready, and that it stops (sd_notify).
//!
//! Whoever was not started by one has no `$NOTIFY_SOCKET`, and nothing is told.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The environment variable that names the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells that everything which a request needs is there.
pub fn ready() {
    tell("READY=1", std::env::var_os(SOCKET));
}

/// Tells that no new request is taken.
pub fn stopping() {
    tell("STOPPING=1", std::env::var_os(SOCKET));
}

fn tell(what: &str, socket: Option<OsString>) {
    let Some(socket) = socket.filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(what, &socket) {
        // A manager that waits for this word says so itself.
        tracing::warn!(%error, what, "the service manager could not be told");
    }
}

fn send(what: &str, socket: &OsStr) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        let mut text = [0; 64];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[test]
    fn a_manager_is_told_at_a_socket_that_is_a_file_or_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        tell("READY=1", Some(path.into()));
        assert_eq!(heard(&manager), "READY=1");

        let name = format!("landfall-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        tell("STOPPING=1", Some(format!("@{name}").into()));
        assert_eq!(heard(&manager), "STOPPING=1");
    }

    #[test]
    fn nobody_is_told_when_nobody_asks_or_listens() {
        tell("READY=1", None);
        tell("READY=1", Some("".into()));
        tell("READY=1", Some("/nowhere/at/all".into()));
    }
}
