//! What is told of requests before and after a switch: each is counted once, for the release that it was sent to.

use http::StatusCode;
use landfall_stages::proxy::FINE_MS;
use landfall_stages::proxy::Route;
use landfall_stages::proxy::RouteTraffic;
use landfall_stages::proxy::TrafficBucket;
use tokio::net::TcpListener;

use crate::proxy::testing::App;
use crate::proxy::testing::World;
use crate::proxy::testing::says;
use crate::proxy::testing::text;

/// An app that fails when it is asked to.
async fn moody(name: &'static str) -> App {
    App::start(move |request| async move {
        let mut answer = text(name);
        if request.uri().path() == "/broken" {
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        answer
    })
    .await
}

async fn ask(world: &World, path: &str, times: usize) {
    for _ in 0..times {
        world.get("shop.test", path).send().await.unwrap().bytes().await.unwrap();
    }
}

async fn told(world: &World) -> RouteTraffic {
    world.admin.traffic("shop", "production", 0).await.unwrap().unwrap()
}

/// Returns requests, answers with 5xx, and those that the proxy had to answer.
fn sums(buckets: &[TrafficBucket]) -> (u64, u64, u64) {
    let sum = |count: fn(&TrafficBucket) -> u64| buckets.iter().map(count).sum();
    (sum(|b| b.requests), sum(|b| b.server_errors), sum(|b| b.unanswered))
}

#[tokio::test]
async fn requests_and_errors_stand_with_the_release_that_had_them() {
    let world = World::start().await;
    let (one, two) = (moody("one").await, moody("two").await);
    world.switch(one.route("shop", None)).await;
    ask(&world, "/", 5).await;
    ask(&world, "/broken", 2).await;
    world.switch(Route { generation: 2, ..two.route("shop", None) }).await;
    ask(&world, "/", 3).await;
    ask(&world, "/broken", 4).await;
    // The first release again, made live by another run.
    let again = Route { generation: 3, run: "run-of-the-rollback".into(), ..one.route("shop", None) };
    world.switch(again).await;
    ask(&world, "/", 1).await;

    let traffic = told(&world).await;
    let seen: Vec<_> =
        traffic.releases.iter().map(|of| (of.run.as_str(), of.generation, sums(&of.buckets))).collect();
    let (first, second) = (format!("run-{}", one.addr.port()), format!("run-{}", two.addr.port()));
    let expected = [
        (first.as_str(), 1, (7, 2, 0)),
        (second.as_str(), 2, (7, 4, 0)),
        ("run-of-the-rollback", 3, (1, 0, 0)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(traffic.generation, 3);
    for bucket in traffic.releases.iter().flat_map(|of| &of.buckets) {
        assert_eq!((bucket.length_ms, bucket.at_ms % FINE_MS), (FINE_MS, 0));
        assert!(bucket.at_ms + FINE_MS > traffic.since_ms && bucket.at_ms <= traffic.now_ms, "{bucket:?}");
        assert_eq!(bucket.within.iter().sum::<u64>(), bucket.requests);
    }
    let releases: Vec<_> = traffic.releases.iter().map(|of| of.release.clone()).collect();
    assert_eq!(releases[0], releases[2], "one image, live twice");
}

#[tokio::test]
async fn a_release_that_does_not_answer_has_that_counted_and_so_has_nothing_at_all() {
    let world = World::start().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let app = moody("one").await;
    world.switch(app.route("shop", None)).await;
    world.switch(Route { generation: 2, target: Some(nobody), ..app.route("shop", None) }).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 502, "landfall proxy: the app did not answer\n")
        .await;
    let nothing = Route { generation: 3, target: None, release: String::new(), ..app.route("shop", None) };
    world.switch(nothing).await;
    ask(&world, "/", 2).await;

    let traffic = told(&world).await;
    assert_eq!(sums(&traffic.releases[0].buckets), (1, 0, 1));
    assert_eq!(sums(&traffic.nothing_released), (2, 0, 2));
    assert_eq!(traffic.releases.len(), 1, "{traffic:?}");
}

#[tokio::test]
async fn an_answer_that_ends_after_the_switch_is_the_former_releases() {
    let world = World::start().await;
    let (former, mut streams) = App::streaming().await;
    world.switch(former.route("shop", None)).await;
    let slow = tokio::spawn(world.get("shop.test", "/").send());
    let stream = streams.recv().await.unwrap();
    let next = moody("next").await;
    world.switch(Route { generation: 2, ..next.route("shop", None) }).await;
    stream.send("late").await.unwrap();
    slow.await.unwrap().unwrap();
    let traffic = told(&world).await;
    assert_eq!(traffic.releases.len(), 1, "the next one was not asked: {traffic:?}");
    assert_eq!(traffic.releases[0].release, format!("sha256:{}", former.addr.port()));
    assert_eq!(traffic.releases[0].buckets.iter().flat_map(|b| &b.within).sum::<u64>(), 1);
}

#[tokio::test]
async fn what_is_told_over_time_and_what_is_counted_in_all_agree() {
    let world = World::start().await;
    let app = moody("one").await;
    world.switch(app.route("shop", None)).await;
    ask(&world, "/", 3).await;
    ask(&world, "/broken", 1).await;
    let (over_time, in_all) = (told(&world).await, world.status("shop").await);
    let (requests, server_errors, unanswered) = sums(&over_time.releases[0].buckets);
    let counted = &in_all.releases[0];
    assert_eq!((requests, server_errors, unanswered), (4, 1, 0));
    assert_eq!((counted.requests, counted.responses.server_error, counted.unanswered), (4, 1, 0));
    let within: Vec<u64> = over_time.releases[0].buckets.iter().fold(vec![0; 13], |sum, bucket| {
        sum.iter().zip(&bucket.within).map(|(sum, count)| sum + count).collect()
    });
    assert_eq!(within[..12], counted.times.within[..]);
}

#[tokio::test]
async fn a_route_that_nobody_heard_of_has_no_traffic_and_later_is_later() {
    let world = World::start().await;
    assert_eq!(world.admin.traffic("shop", "production", 0).await.unwrap(), None);
    let app = moody("one").await;
    world.switch(app.route("shop", None)).await;
    ask(&world, "/", 1).await;
    let traffic = told(&world).await;
    assert_eq!(traffic.releases.len(), 1);
    let later = world.admin.traffic("shop", "production", traffic.now_ms + FINE_MS).await.unwrap().unwrap();
    assert!(later.releases.is_empty(), "{later:?}");
}
