//! Which app answers, and what it and the client get to see.

use http::Response;
use http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use landfall_stages::proxy::ProxyError;
use landfall_stages::proxy::Route;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::proxy::testing::App;
use crate::proxy::testing::World;
use crate::proxy::testing::says;
use crate::proxy::testing::text;

/// Answers with the request line and the headers it received, one a line.
pub(super) async fn mirror() -> App {
    App::start(|request| async move {
        let mut lines = vec![format!("{} {}", request.method(), request.uri())];
        for (name, value) in request.headers() {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        let mut response = text(lines.join("\n"));
        response.headers_mut().insert("landfall-release", "sha256:forged".parse().unwrap());
        response.headers_mut().insert("x-app", "1".parse().unwrap());
        response
    })
    .await
}

#[tokio::test]
async fn a_request_goes_to_the_app_that_has_its_host() {
    let world = World::start().await;
    let (shop, blog, any) = (App::saying("shop").await, App::saying("blog").await, App::saying("any").await);
    world.switch(shop.route("shop", Some("Shop.test"))).await;
    world.switch(blog.route("blog", Some("blog.test"))).await;
    world.switch(any.route("any", None)).await;
    for (host, expected) in [
        ("shop.test", "shop"),
        ("SHOP.test:8080", "shop"),
        ("shop.test.", "shop"),
        ("blog.test", "blog"),
        ("other.test", "any"),
        ("127.0.0.1", "any"),
    ] {
        says(world.get(host, "/").send().await.unwrap(), 200, expected).await;
    }
    let answer =
        world.raw("GET http://blog.test/ HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("blog"), "the address in the request line counts: {answer}");
}

#[tokio::test]
async fn a_host_without_an_app_is_told_so_by_the_proxy() {
    let world = World::start().await;
    let shop = App::saying("shop").await;
    world.switch(shop.route("shop", Some("shop.test"))).await;
    let response = world.get("other.test", "/").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    says(response, 404, "landfall proxy: no app has this host\n").await;
}

#[tokio::test]
async fn an_app_that_serves_nothing_is_not_mistaken_for_an_unknown_one() {
    let world = World::start().await;
    let (shop, any) = (App::saying("shop").await, App::saying("any").await);
    let first = shop.route("shop", Some("shop.test"));
    world.switch(any.route("any", None)).await;
    world.switch(first.clone()).await;
    world.switch(Route { generation: 2, target: None, release: String::new(), ..first }).await;
    let response = world.get("shop.test", "/").send().await.unwrap();
    says(response, 503, "landfall proxy: nothing is released here yet\n").await;
}

#[tokio::test]
async fn the_app_sees_who_asked_for_what() {
    let world = World::start().await;
    let app = mirror().await;
    world.switch(app.route("shop", Some("shop.test"))).await;
    let request = world.get("shop.test:8080", "/cart?item=%C3%A4&n=1").header("landfall-probe", "1");
    let seen = request.header("accept", "*/*").send().await.unwrap().text().await.unwrap();
    let mut lines: Vec<&str> = seen.lines().collect();
    lines[1..].sort_unstable();
    let expected = [
        "GET /cart?item=%C3%A4&n=1",
        "accept: */*",
        "host: shop.test:8080",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: shop.test:8080",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_probe_from_this_machine_is_told_the_release_and_nobody_else_is() {
    let world = World::start().await;
    let app = mirror().await;
    let route = app.route("shop", Some("shop.test"));
    world.switch(route.clone()).await;

    let probe = world.get("shop.test", "/").header("landfall-probe", "1").send().await.unwrap();
    assert_eq!(probe.headers()["landfall-release"], route.release.as_str());
    assert_eq!(probe.headers()["landfall-run"], route.run.as_str());
    assert_eq!(probe.headers()["x-app"], "1");

    let plain = world.get("shop.test", "/").send().await.unwrap();
    assert!(!plain.headers().contains_key("landfall-release"));
    let handed_on =
        world.get("shop.test", "/").header("landfall-probe", "1").header("x-forwarded-for", "203.0.113.7");
    assert!(!handed_on.send().await.unwrap().headers().contains_key("landfall-release"));

    drop(app);
    let dead = world.get("shop.test", "/").header("landfall-probe", "1").send().await.unwrap();
    assert_eq!(dead.status(), 502);
    assert_eq!(dead.headers()["landfall-release"], route.release.as_str());
}

#[tokio::test]
async fn bodies_pass_whole_in_both_directions() {
    let world = World::start().await;
    let echo = App::start(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::new(body).boxed())
    })
    .await;
    world.switch(echo.route("shop", None)).await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let request = world.request(http::Method::POST, "shop.test", "/").body(sent.clone());
    let received = request.send().await.unwrap().bytes().await.unwrap();
    assert!(received == sent, "{} bytes came back", received.len());

    let chunked = "POST / HTTP/1.1\r\nHost: shop.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\
                   Connection: close\r\n\r\n4\r\nfour\r\n4\r\nmore\r\n0\r\n\r\n";
    let answer = world.raw(chunked).await;
    assert!(answer.ends_with("fourmore"), "{answer}");
}

#[tokio::test]
async fn an_answer_streams_while_it_is_made() {
    let world = World::start().await;
    let (app, mut streams) = App::streaming().await;
    world.switch(app.route("shop", None)).await;
    let mut response = world.get("shop.test", "/events").send().await.unwrap();
    let stream = streams.recv().await.unwrap();
    for piece in ["one", "two", "three"] {
        stream.send(piece).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), piece);
    }
    drop(stream);
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let world = World::start().await;
    let app = App::saying("shop").await;
    world.switch(app.route("shop", None)).await;
    let answer = world.raw("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("shop"), "{answer}");
}

#[tokio::test]
async fn a_request_that_two_readers_could_take_differently_is_refused() {
    let world = World::start().await;
    let app = App::saying("shop").await;
    world.switch(app.route("shop", None)).await;
    let two_hosts = "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\nConnection: close\r\n\r\n";
    assert!(world.raw(two_hosts).await.starts_with("HTTP/1.1 400"));
    let tunnel = "CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal\r\nConnection: close\r\n\r\n";
    assert!(world.raw(tunnel).await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn a_web_socket_passes_and_counts_until_it_ends() {
    let world = World::start().await;
    let app = App::start(|mut request| async move {
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert_eq!(request.headers()["connection"], "upgrade");
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut response = text("");
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        response.headers_mut().insert("sec-websocket-accept", "echo".parse().unwrap());
        response
    })
    .await;
    world.switch(app.route("shop", None)).await;

    let mut socket = TcpStream::connect(world.addr()).await.unwrap();
    let ask = "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    socket.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    for header in ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: echo"] {
        assert!(head.contains(header), "{head}");
    }
    for _ in 0..3 {
        socket.write_all(b"\x81\x05hello").await.unwrap();
        let mut echo = [0; 7];
        socket.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"\x81\x05hello");
    }
    let status = world.status("shop").await;
    assert_eq!((status.targets[0].in_flight, status.releases[0].responses.informational), (1, 1));

    socket.shutdown().await.unwrap();
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0);
    let first = status.route;
    world.switch(Route { generation: 2, target: None, release: String::new(), ..first }).await;
    let drained = world.admin.drained("shop", "production", crate::proxy::testing::PATIENCE).await;
    assert_eq!(drained.unwrap().unwrap().draining(), 0);
}

#[tokio::test]
async fn a_route_the_proxy_cannot_keep_is_refused_with_the_reason() {
    let world = World::start().await;
    let app = App::saying("shop").await;
    let route = app.route("shop", Some("shop.test"));
    world.switch(route.clone()).await;

    let repeated = world.admin.switch(route.clone()).await.unwrap();
    assert!(!repeated.applied);
    let late = world.admin.switch(Route { run: "another".into(), ..route.clone() }).await;
    assert!(matches!(late, Err(ProxyError::Stale { current: 1 })), "{late:?}");
    let thief = world.admin.switch(app.route("blog", Some("SHOP.test"))).await;
    assert!(matches!(&thief, Err(ProxyError::HostTaken { by }) if by == "shop/production"), "{thief:?}");
    let itself = Route { generation: 2, target: Some(world.addr()), ..route.clone() };
    let itself = world.admin.switch(itself).await;
    assert!(
        matches!(&itself, Err(ProxyError::Refused { message }) if message.contains("itself")),
        "{itself:?}"
    );

    assert_eq!(world.status("shop").await.route, route);
    assert_eq!(world.admin.routes().await.unwrap().len(), 1);
    assert_eq!(world.admin.route("blog", "production").await.unwrap(), None);
}
