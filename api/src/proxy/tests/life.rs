//! How a proxy starts, ends, and is found again.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use landfall_stages::proxy::ProxyClient;
use landfall_stages::proxy::Route;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::proxy::ProxyOptions;
use crate::proxy::ProxyStartError;
use crate::proxy::TlsOptions;
use crate::proxy::limits::Limits;
use crate::proxy::server::Proxy;
use crate::proxy::spawn::ENV_KEPT;
use crate::proxy::spawn::SpawnError;
use crate::proxy::spawn::Wanted;
use crate::proxy::spawn::ensure_running;
use crate::proxy::testing::App;
use crate::proxy::testing::PATIENCE;
use crate::proxy::testing::World;
use crate::proxy::testing::options;
use crate::proxy::testing::says;

async fn start(options: &ProxyOptions) -> Result<Proxy, ProxyStartError> {
    Proxy::start(options, Limits::default()).await
}

/// Writes a program that stands in the place of `landfall`.
fn program(dir: &Path, text: &str) -> std::path::PathBuf {
    let path = dir.join("landfall.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_second_proxy_is_told_who_has_the_folder() {
    let world = World::start().await;
    let refused = start(&options(world.dir.path())).await.unwrap_err();
    assert!(
        matches!(&refused, ProxyStartError::AlreadyRunning { pid, .. } if *pid == std::process::id().to_string()),
        "{refused:?}"
    );
    assert!(world.admin.info().await.is_ok(), "the first one was disturbed");
}

#[tokio::test]
async fn what_a_dead_proxy_left_behind_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    for left in ["admin.sock", "admin.new"] {
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(left)).unwrap());
    }
    std::fs::write(dir.path().join("LOCK"), "").unwrap();
    std::fs::write(dir.path().join("proxy.pid"), "999999999\n").unwrap();
    let proxy = start(&options(dir.path())).await.unwrap();
    let info = ProxyClient::in_dir(dir.path()).info().await.unwrap();
    assert_eq!(&info, proxy.info());
    assert_eq!(info.pid, std::process::id());
    assert_ne!(info.listen.port(), 0);
}

#[tokio::test]
async fn only_its_owner_can_steer_a_proxy() {
    let world = World::start().await;
    let mode = std::fs::metadata(world.dir.path().join("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_port_in_use_is_said_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = ProxyOptions { listen, ..options(dir.path()) };
    let error = start(&options).await.unwrap_err().to_string();
    assert!(error.contains(&listen.to_string()) && error.contains("choose another port"), "{error}");
    assert!(!dir.path().join("proxy.pid").exists());
    drop(taken);
    start(&options).await.expect("the folder was let go");
}

#[tokio::test]
async fn a_folder_that_does_not_serve_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let not_a_folder = start(&options(&dir.path().join("file"))).await.unwrap_err();
    assert!(not_a_folder.to_string().contains("choose a folder"), "{not_a_folder}");
    let too_long = start(&options(&dir.path().join("x".repeat(120)))).await.unwrap_err();
    assert!(too_long.to_string().contains("too long"), "{too_long}");
}

#[tokio::test]
async fn a_proxy_that_ends_finishes_what_is_in_flight_while_its_successor_serves() {
    let limits = Limits { shutdown: PATIENCE * 2, ..Limits::default() };
    let World { dir, proxy, admin, http } = World::with(limits).await;
    let (app, mut streams) = App::streaming().await;
    admin.switch(app.route("shop", None)).await.unwrap();
    let listen = proxy.info().listen;
    let url = format!("http://{listen}/");
    let mut slow = http.get(&url).send().await.unwrap();
    let stream = streams.recv().await.unwrap();
    let gone = tokio::spawn({
        let admin = admin.clone();
        async move { admin.until_gone().await }
    });

    let stopping = tokio::spawn(proxy.stop());
    let _ = gone.await.unwrap();
    let successor = async {
        loop {
            match start(&ProxyOptions { listen, ..options(dir.path()) }).await {
                Ok(successor) => return successor,
                // The watch ends a moment before the folder is let go.
                Err(ProxyStartError::AlreadyRunning { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let successor = tokio::time::timeout(PATIENCE, successor).await.expect("the folder was not let go");
    let next = App::saying("next").await;
    admin.switch(Route { generation: 2, ..next.route("shop", None) }).await.unwrap();
    says(http.get(&url).send().await.unwrap(), 200, "next").await;

    stream.send("to the end").await.unwrap();
    drop(stream);
    assert_eq!(slow.chunk().await.unwrap().unwrap(), "to the end");
    assert_eq!(slow.chunk().await.unwrap(), None);
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap();
    successor.stop().await;
    assert!(TcpStream::connect(listen).await.is_err(), "somebody still listens");
}

#[tokio::test]
async fn a_proxy_that_ends_waits_for_no_request_for_ever() {
    let limits = Limits { shutdown: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(limits).await;
    let silent = App::start(|_| std::future::pending()).await;
    world.switch(silent.route("shop", None)).await;
    let asking = tokio::spawn(world.get("shop.test", "/").send());
    while world.status("shop").await.targets[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(PATIENCE, world.proxy.stop()).await.unwrap();
    asking.abort();
}

#[tokio::test]
async fn the_proxy_that_runs_is_adopted_unless_it_has_another_address() {
    let world = World::start().await;
    let never = Path::new("/nonexistent/landfall");
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    for listen in [any_port, world.addr()] {
        assert_eq!(&ensure_running(world.dir.path(), listen, never).await.unwrap(), world.proxy.info());
    }
    let other =
        ensure_running(world.dir.path(), SocketAddr::from(([127, 0, 0, 1], 1)), never).await.unwrap_err();
    assert!(matches!(&other, SpawnError::OtherAddress { has, .. } if *has == world.addr()), "{other:?}");
    let text = other.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains(&world.addr().to_string()), "{text}");
}

#[tokio::test]
async fn a_proxy_that_takes_no_encrypted_traffic_is_not_mistaken_for_one_that_does() {
    let never = Path::new("/nonexistent/landfall");
    let plain = World::start().await;
    let tls =
        TlsOptions { listen: SocketAddr::from(([127, 0, 0, 1], 0)), certs: "/certs".into(), redirect: false };
    let wanted = |world: &World, tls| Wanted { tls: Some(tls), ..Wanted::from(world.addr()) };
    let refused = ensure_running(plain.dir.path(), wanted(&plain, tls.clone()), never).await.unwrap_err();
    assert!(matches!(refused, SpawnError::OtherEncryption { .. }), "{refused:?}");

    let encrypted = World::encrypted(false).await;
    let found = ensure_running(encrypted.dir.path(), wanted(&encrypted, tls), never).await.unwrap();
    assert_eq!(&found, encrypted.proxy.info());
    assert_eq!(Wanted::from(&found).tls.unwrap().listen, found.tls.unwrap().listen);
}

#[tokio::test]
async fn the_last_words_of_a_proxy_that_did_not_start_are_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let exe = program(dir.path(), "echo \"cannot take traffic: port in use\" >&2; exit 1");
    std::fs::write(dir.path().join("proxy.log"), "an older trouble\n").unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let error = ensure_running(dir.path(), listen, &exe).await.unwrap_err();
    assert_eq!(error.to_string(), "the traffic proxy did not start: cannot take traffic: port in use");

    let speechless = program(dir.path(), "exit 3");
    let error = ensure_running(dir.path(), listen, &speechless).await.unwrap_err();
    assert_eq!(error.to_string(), "the traffic proxy did not start: it ended with exit status: 3");
    let missing = ensure_running(dir.path(), listen, Path::new("/nonexistent/landfall")).await.unwrap_err();
    assert!(missing.to_string().contains("cannot start /nonexistent/landfall"), "{missing}");
}

#[tokio::test]
async fn a_spawned_proxy_gets_no_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let exe = program(dir.path(), "env >&2; exit 1");
    let error = ensure_running(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)), &exe)
        .await
        .unwrap_err()
        .to_string();
    let environment = error.split_once("start: ").unwrap().1;
    let names: Vec<_> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // The shell adds these itself.
    let harmless = |name: &str| ENV_KEPT.contains(&name) || ["PWD", "OLDPWD", "SHLVL", "_"].contains(&name);
    assert!(names.contains(&"PATH") && names.iter().all(|name| harmless(name)), "{names:?}");
}
