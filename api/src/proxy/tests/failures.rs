//! An app that does not do its part, or a client that does not do its own.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::Method;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::proxy::limits::Limits;
use crate::proxy::testing::App;
use crate::proxy::testing::World;
use crate::proxy::testing::route;
use crate::proxy::testing::says;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

fn impatient() -> Limits {
    Limits { response: Duration::from_millis(200), ..Limits::default() }
}

/// Starts an app that hangs up on each odd request that comes over a used connection, and returns
/// its port and the count of the requests that reached it.
async fn hangs_up_on_the_second() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            count.fetch_add(1, SeqCst);
            stream.write_all(GOOD).await.unwrap();
            // The next request arrives, and the connection closes instead of an answer.
            if read_head(&mut stream).await {
                count.fetch_add(1, SeqCst);
            }
        }
    });
    (port, seen)
}

/// Reads to the empty line; `false` when the connection ended before it.
async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test]
async fn an_app_that_is_gone_gives_502() {
    let world = World::start().await;
    let app = App::saying("shop").await;
    world.switch(app.route("shop", None)).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "shop").await;
    let addr = app.addr.to_string();
    drop(app);
    let response = world.get("shop.test", "/").send().await.unwrap();
    assert!(!format!("{:?}", response.headers()).contains(&addr), "the answer names the container");
    says(response, 502, "landfall proxy: the app did not answer\n").await;
}

#[tokio::test]
async fn an_app_that_says_nothing_gives_504() {
    let world = World::with(impatient()).await;
    let silent = App::start(|_| std::future::pending()).await;
    world.switch(silent.route("shop", None)).await;
    let response = world.get("shop.test", "/").send().await.unwrap();
    says(response, 504, "landfall proxy: the app took too long to answer\n").await;
    assert_eq!(world.status("shop").await.targets[0].in_flight, 0);
}

#[tokio::test]
async fn an_app_that_takes_its_time_over_the_body_is_not_cut_short() {
    let world = World::with(impatient()).await;
    let (app, mut streams) = App::streaming().await;
    world.switch(app.route("shop", None)).await;
    let mut response = world.get("shop.test", "/").send().await.unwrap();
    let stream = streams.recv().await.unwrap();
    tokio::time::sleep(impatient().response * 2).await;
    stream.send("late").await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_gives_408_and_a_slow_one_does_not() {
    let world = World::with(impatient()).await;
    let app = App::start(|request| async move {
        let body = http_body_util::BodyExt::collect(request.into_body()).await.map(|body| body.to_bytes());
        crate::proxy::testing::text(format!("{:?}", body.unwrap_or_default()))
    })
    .await;
    world.switch(app.route("shop", None)).await;
    let stalled = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf";
    let answer = world.raw(stalled).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");

    let mut slow = TcpStream::connect(world.addr()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\nConnection: close\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    for piece in ["a", "b", "c", "d", "e", "f"] {
        tokio::time::sleep(impatient().response / 2).await;
        slow.write_all(piece.as_bytes()).await.unwrap();
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("b\"abcdef\""), "{answer}");
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let world = World::start().await;
    let app = App::start(|request| async move {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        crate::proxy::testing::text("read")
    })
    .await;
    world.switch(app.route("shop", None)).await;
    let broken = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n";
    let answer = world.raw(broken).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_get_that_met_a_closing_connection_is_sent_again() {
    let world = World::start().await;
    let (port, seen) = hangs_up_on_the_second().await;
    world.switch(route("shop", None, port)).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "good").await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "good").await;
    assert_eq!(seen.load(SeqCst), 3);
}

#[tokio::test]
async fn a_post_that_may_have_been_heard_is_not_sent_again() {
    let world = World::start().await;
    let (port, seen) = hangs_up_on_the_second().await;
    world.switch(route("shop", None, port)).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "good").await;
    assert_eq!(world.request(Method::POST, "shop.test", "/").send().await.unwrap().status(), 502);
    assert_eq!(seen.load(SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_died_unused_costs_no_request() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (closed, mut was_closed) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(GOOD).await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    world.switch(route("shop", None, port)).await;
    for _ in 0..50 {
        let request = world.request(Method::POST, "shop.test", "/").body("order");
        says(request.send().await.unwrap(), 200, "good").await;
        was_closed.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_out_of_the_count() {
    let world = World::start().await;
    let (app, mut streams) = App::streaming().await;
    world.switch(app.route("shop", None)).await;
    let response = world.get("shop.test", "/").send().await.unwrap();
    let stream = streams.recv().await.unwrap();
    assert_eq!(world.status("shop").await.targets[0].in_flight, 1);
    drop(response);
    // The proxy hung up on the app, and so let go of the request.
    stream.closed().await;
    assert_eq!(world.status("shop").await.targets[0].in_flight, 0);
}
