//! What a switch does to requests that are under way: nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use landfall_stages::proxy::ProxyError;
use landfall_stages::proxy::Route;
use tokio::task::JoinSet;

use crate::proxy::limits::Limits;
use crate::proxy::testing::App;
use crate::proxy::testing::PATIENCE;
use crate::proxy::testing::World;
use crate::proxy::testing::http_client;
use crate::proxy::testing::says;

const CLIENTS: usize = 16;
const SWITCHES: u64 = 200;

/// Keeps asking until it is told to stop; returns the first answer that was not a good one.
async fn keep_asking(url: String, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Option<String> {
    let http = http_client();
    while !stop.load(SeqCst) {
        let response = match http.get(&url).timeout(PATIENCE).send().await {
            Ok(response) => response,
            Err(error) => return Some(format!("{error:?}")),
        };
        let status = response.status();
        match response.text().await {
            Ok(text) if status == 200 && text.starts_with("release ") => answered.fetch_add(1, SeqCst),
            other => return Some(format!("{status}: {other:?}")),
        };
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_releases_under_load_fail_no_request() {
    let world = World::start().await;
    let mut live = App::saying("release 1").await;
    world.switch(live.route("shop", None)).await;

    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let url = format!("http://{}/", world.addr());
        clients.spawn(keep_asking(url, stop.clone(), answered.clone()));
    }
    for generation in 2..=SWITCHES + 1 {
        let name = format!("release {generation}");
        let next = App::saying(&name).await;
        world.switch(Route { generation, ..next.route("shop", None) }).await;
        says(world.get("shop.test", "/").send().await.unwrap(), 200, &name).await;
        let drained = world.admin.drained("shop", "production", PATIENCE).await.unwrap().unwrap();
        assert_eq!(drained.draining(), 0);
        // The former container is gone at once: whoever still needed it would notice.
        drop(std::mem::replace(&mut live, next));
    }
    stop.store(true, SeqCst);
    while let Some(failed) = clients.join_next().await {
        assert_eq!(failed.unwrap(), None, "after {} good answers", answered.load(SeqCst));
    }
    assert!(answered.load(SeqCst) > SWITCHES, "the load was no load: {answered:?} answers");
}

#[tokio::test]
async fn an_answer_under_way_ends_well_after_the_switch() {
    let world = World::start().await;
    let (former, mut streams) = App::streaming().await;
    let first = former.route("shop", None);
    world.switch(first.clone()).await;
    let mut slow = world.get("shop.test", "/").send().await.unwrap();
    let stream = streams.recv().await.unwrap();
    stream.send("before ").await.unwrap();
    assert_eq!(slow.chunk().await.unwrap().unwrap(), "before ");

    let next = App::saying("next").await;
    world.switch(Route { generation: 2, ..next.route("shop", None) }).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "next").await;
    let status = world.status("shop").await;
    let targets: Vec<_> = status.targets.iter().map(|t| (t.target, t.in_flight, t.draining)).collect();
    assert_eq!(targets, [(next.addr, 0, false), (former.addr, 1, true)]);
    let early = world.admin.drained("shop", "production", Duration::from_millis(20)).await.unwrap().unwrap();
    assert_eq!(early.draining(), 1, "the drain is over when its time is up, not when it is asked for");

    stream.send("and after").await.unwrap();
    drop(stream);
    assert_eq!(slow.chunk().await.unwrap().unwrap(), "and after");
    assert_eq!(slow.chunk().await.unwrap(), None);
    let drained = world.admin.drained("shop", "production", PATIENCE).await.unwrap().unwrap();
    assert_eq!(drained.draining(), 0);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut() {
    let world = World::start().await;
    let (former, mut streams) = App::streaming().await;
    world.switch(former.route("shop", None)).await;
    let mut slow = world.get("shop.test", "/").send().await.unwrap();
    let stream = streams.recv().await.unwrap();
    stream.send("one").await.unwrap();
    assert_eq!(slow.chunk().await.unwrap().unwrap(), "one");

    let next = App::saying("next").await;
    world.switch(Route { generation: 2, drain_ms: 50, ..next.route("shop", None) }).await;
    let error = slow.chunk().await.unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
    // The container hears of it too.
    stream.closed().await;
    let drained = world.admin.drained("shop", "production", PATIENCE).await.unwrap().unwrap();
    assert_eq!(drained.targets.len(), 1);
}

#[tokio::test]
async fn a_release_that_gets_its_traffic_back_is_not_cut() {
    let world = World::start().await;
    let (former, mut streams) = App::streaming().await;
    let first = former.route("shop", None);
    world.switch(first.clone()).await;
    let mut slow = world.get("shop.test", "/").send().await.unwrap();
    let stream = streams.recv().await.unwrap();

    let next = App::saying("next").await;
    world.switch(Route { generation: 2, drain_ms: 300, ..next.route("shop", None) }).await;
    world.switch(Route { generation: 3, ..first }).await;
    let status = world.status("shop").await;
    assert_eq!((status.targets[0].target, status.targets[0].in_flight), (former.addr, 1));
    // Past the moment at which the first drain would have cut it.
    tokio::time::sleep(Duration::from_millis(400)).await;
    stream.send("still here").await.unwrap();
    assert_eq!(slow.chunk().await.unwrap().unwrap(), "still here");
}

#[tokio::test]
async fn a_switch_that_cannot_be_written_down_does_not_happen() {
    let world = World::start().await;
    let (live, next) = (App::saying("live").await, App::saying("next").await);
    world.switch(live.route("shop", None)).await;
    let in_the_way = world.dir.path().join("routes.json.tmp");
    std::fs::create_dir(&in_the_way).unwrap();

    let second = Route { generation: 2, ..next.route("shop", None) };
    let refused = world.admin.switch(second.clone()).await;
    assert!(matches!(refused, Err(ProxyError::Unreachable { .. })), "{refused:?}");
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "live").await;

    std::fs::remove_dir(&in_the_way).unwrap();
    world.switch(second).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "next").await;
}

#[tokio::test]
async fn a_restart_keeps_the_routes_and_their_generations() {
    let world = World::start().await;
    let (shop, blog) = (App::saying("shop").await, App::saying("blog").await);
    let first = Route { generation: 7, ..shop.route("shop", Some("shop.test")) };
    world.switch(first.clone()).await;
    let gone = blog.route("blog", Some("blog.test"));
    world.switch(gone.clone()).await;
    world.switch(Route { generation: 9, target: None, release: String::new(), ..gone.clone() }).await;

    world.proxy.stop().await;
    let world = World::in_dir(world.dir, Limits::default()).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "shop").await;
    assert_eq!(world.get("blog.test", "/").send().await.unwrap().status(), 503);
    assert_eq!(world.status("shop").await.route, first);
    let late = world.admin.switch(Route { generation: 8, ..gone }).await;
    assert!(matches!(late, Err(ProxyError::Stale { current: 9 })), "{late:?}");
}

#[tokio::test]
async fn each_release_has_its_own_count() {
    let world = World::start().await;
    let (one, two) = (App::saying("one").await, App::saying("two").await);
    world.switch(one.route("shop", None)).await;
    for _ in 0..3 {
        says(world.get("shop.test", "/").send().await.unwrap(), 200, "one").await;
    }
    world.switch(Route { generation: 2, ..two.route("shop", None) }).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "two").await;
    drop(two);
    assert_eq!(world.get("shop.test", "/").send().await.unwrap().status(), 502);
    let counts: Vec<_> = world
        .status("shop")
        .await
        .releases
        .iter()
        .map(|r| (r.requests, r.responses.success, r.unanswered))
        .collect();
    assert_eq!(counts, [(3, 3, 0), (2, 1, 1)]);
}
