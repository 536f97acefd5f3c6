//! The two addresses that Landfall listens on: free, ours, or whose.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};

use landfall_stages::proxy::ProxyClient;

use super::{Finding, Patient};

/// Looks at the address of the API and the git remote.
pub(super) async fn api(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "port";
    if let Some(server) = &patient.server {
        return vec![match server.server().await {
            Ok(found) => Finding::ok(
                NAME,
                format!("{} is answered by our server, process {}", server.url(), found.pid),
            ),
            Err(error) => Finding::problem(
                NAME,
                format!("our server is running and does not answer: {error}"),
                "look at its log, and start it again",
            ),
        }];
    }
    vec![free(NAME, patient.listen, "landfall serve --listen ADDR")]
}

/// Looks at the address of the apps, and for the proxy process.
pub(super) async fn traffic(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "traffic";
    let ours = ProxyClient::in_dir(&patient.data.join("proxy")).info().await;
    vec![match (ours, &patient.server) {
        (Ok(proxy), _) => Finding::ok(
            NAME,
            format!("{} is answered by our proxy {}, process {}", proxy.listen, proxy.version, proxy.pid),
        ),
        (Err(error), Some(_)) => Finding::problem(
            NAME,
            format!("the server runs and its traffic proxy does not answer: {error}"),
            "start the server again: it starts a proxy; or, where systemd keeps it, `systemctl restart landfall-proxy`",
        ),
        (Err(_), None) => {
            let mut finding = free(NAME, patient.proxy_listen, "--proxy-listen ADDR");
            if finding.advice.is_none() {
                finding.found += "; the proxy is started with the engine";
            }
            finding
        }
    }]
}

/// Tells whether an address can be had.
fn free(name: &'static str, address: SocketAddr, elsewhere: &str) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let owner = owner_of(address.port()).unwrap_or_else(|| "a process of somebody else".into());
            Finding::problem(
                name,
                format!("{address} is taken by {owner}"),
                format!("stop that process, or choose another address: {elsewhere}"),
            )
        }
        Err(error) => Finding::problem(
            name,
            format!("{address} can't be listened on: {error}"),
            format!("choose another address: {elsewhere}"),
        ),
    }
}

/// Returns the process that listens on a port, if we may know it.
fn owner_of(port: u16) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    let sockets: Vec<String> = tables.flat_map(|table| listening(&table, port)).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()) {
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str())) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {} ({})", process.file_name().display(), name.trim()));
        }
    }
    None
}

/// Returns the sockets that listen on a port, as their links in `/proc/PID/fd` read, from one of the kernel's tables.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    let port = format!(":{port:04X}");
    let ours = rows.filter(|row| {
        row.get(1).is_some_and(|local| local.ends_with(&port))
            && row.get(3).is_some_and(|state| *state == LISTEN)
    });
    ours.filter_map(|row| row.get(9).map(|inode| format!("socket:[{inode}]"))).collect()
}
