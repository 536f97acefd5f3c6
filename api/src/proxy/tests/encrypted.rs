//! Encrypted traffic: which certificate is shown, what the app learns of it, and whom the proxy sends there.

use std::net::SocketAddr;
use std::path::Path;

use landfall_stages::proxy::TlsInfo;
use reqwest::Certificate;
use reqwest::StatusCode;

use super::routing::mirror;
use crate::proxy::testing::App;
use crate::proxy::testing::PATIENCE;
use crate::proxy::testing::World;
use crate::proxy::testing::says;

/// Puts a certificate for `host` into the folder, and returns what trusts it.
fn certify(world: &World, host: &str) -> Certificate {
    let pair = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let certs = world.dir.path().join("certs");
    put(&certs.join(format!("{host}.key")), &pair.signing_key.serialize_pem());
    put(&certs.join(format!("{host}.crt")), &pair.cert.pem());
    Certificate::from_der(pair.cert.der()).unwrap()
}

/// A file that is half written is another file for a moment; the proxy has to live with that, and a test need not.
fn put(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, path).unwrap();
}

async fn tls(world: &World) -> TlsInfo {
    world.admin.info().await.unwrap().tls.unwrap()
}

/// Waits until the proxy tells of its certificates what the test waits for.
async fn until(world: &World, holds: impl Fn(&TlsInfo) -> bool) -> TlsInfo {
    let looking = async {
        loop {
            let info = tls(world).await;
            if holds(&info) {
                return info;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it is noticed")
}

fn client(trusted: Certificate, host: &str, listen: SocketAddr) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).resolve(host, listen);
    builder.redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build().unwrap()
}

fn url(host: &str, listen: SocketAddr, path: &str) -> String {
    format!("https://{host}:{}{path}", listen.port())
}

#[tokio::test]
async fn each_host_shows_its_own_certificate_and_the_app_learns_that_it_was_encrypted() {
    let world = World::encrypted(false).await;
    let (shop, blog) = (certify(&world, "shop.test"), certify(&world, "blog.test"));
    let listen = until(&world, |tls| tls.hosts == ["blog.test", "shop.test"]).await.listen;
    world.switch(mirror().await.route("gone", Some("gone.test"))).await;
    let (app, other) = (mirror().await, App::saying("blog").await);
    world.switch(app.route("shop", Some("shop.test"))).await;
    world.switch(other.route("blog", Some("blog.test"))).await;

    let shop = client(shop, "shop.test", listen);
    let request = shop.get(url("shop.test", listen, "/cart")).header("x-forwarded-for", "203.0.113.7");
    let seen = request.send().await.unwrap().text().await.unwrap();
    for line in ["GET /cart", "x-forwarded-proto: https", "x-forwarded-for: 203.0.113.7, 127.0.0.1"] {
        assert!(seen.lines().any(|seen| seen == line), "{line} is not in {seen}");
    }
    let blog = client(blog, "blog.test", listen);
    says(blog.get(url("blog.test", listen, "/")).send().await.unwrap(), 200, "blog").await;
    let stranger = client(certify(&world, "stranger.test"), "shop.test", listen);
    assert!(stranger.get(url("shop.test", listen, "/")).send().await.is_err(), "the wrong one was trusted");
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_break_and_a_bad_one_never_is() {
    let world = World::encrypted(false).await;
    let (app, mut streams) = App::streaming().await;
    world.switch(app.route("shop", None)).await;
    let old = certify(&world, "shop.test");
    let listen = until(&world, |tls| tls.hosts == ["shop.test"]).await.listen;
    let old = client(old, "shop.test", listen);
    let mut open = old.get(url("shop.test", listen, "/")).send().await.unwrap();
    let stream = streams.recv().await.unwrap();

    let certs = world.dir.path().join("certs");
    put(
        &certs.join("shop.test.crt"),
        "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n",
    );
    let info = until(&world, |tls| !tls.problems.is_empty()).await;
    assert!(info.problems[0].contains("shop.test.crt"), "{info:?}");
    assert_eq!(info.hosts, ["shop.test"], "the one before stays in force");
    let again = old.get(url("shop.test", listen, "/")).send().await.unwrap();
    assert_eq!(again.status(), 200);

    let new = certify(&world, "shop.test");
    until(&world, |tls| tls.problems.is_empty()).await;
    let new = client(new, "shop.test", listen);
    assert_eq!(new.get(url("shop.test", listen, "/")).send().await.unwrap().status(), 200);
    stream.send("still there").await.unwrap();
    assert_eq!(open.chunk().await.unwrap().unwrap(), "still there");
}

#[tokio::test]
async fn plain_requests_are_sent_to_the_encrypted_port_where_there_is_a_certificate() {
    let world = World::encrypted(true).await;
    let app = App::saying("shop").await;
    world.switch(app.route("shop", None)).await;
    certify(&world, "shop.test");
    let port = until(&world, |tls| tls.hosts == ["shop.test"]).await.listen.port();
    let from_afar = |host: &str| world.get(host, "/cart?n=1").header("x-forwarded-for", "203.0.113.7");

    let sent = from_afar("shop.test:8080").send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(sent.headers()["location"], format!("https://shop.test:{port}/cart?n=1"));
    let encrypted = from_afar("shop.test").header("x-forwarded-proto", "https").send().await.unwrap();
    says(encrypted, 200, "shop").await;
    says(from_afar("other.test").send().await.unwrap(), 200, "shop").await;
    // The engine's own look at what users get.
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "shop").await;
}

#[tokio::test]
async fn a_client_that_makes_no_handshake_holds_up_nobody_and_a_stop_ends_it() {
    let world = World::encrypted(false).await;
    let app = App::saying("shop").await;
    world.switch(app.route("shop", None)).await;
    let trusted = certify(&world, "shop.test");
    let listen = until(&world, |tls| tls.hosts == ["shop.test"]).await.listen;
    let silent = tokio::net::TcpStream::connect(listen).await.unwrap();
    let client = client(trusted, "shop.test", listen);
    says(client.get(url("shop.test", listen, "/")).send().await.unwrap(), 200, "shop").await;
    drop(client);
    tokio::time::timeout(PATIENCE, world.proxy.stop()).await.expect("it does not wait for the silent one");
    drop(silent);
}
