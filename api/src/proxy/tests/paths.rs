//! Several apps on one host, each with a part of its paths.

use landfall_engine::core::settings::Mount;
use landfall_stages::proxy::ProxyError;
use landfall_stages::proxy::Route;

use super::routing::mirror;
use crate::proxy::testing::App;
use crate::proxy::testing::World;
use crate::proxy::testing::says;

fn mounted(app: &App, name: &str, prefix: &str, strip: bool) -> Route {
    let mount = Some(Mount { prefix: prefix.into(), strip });
    Route { mount, ..app.route(name, Some("shop.test")) }
}

async fn request_line(world: &World, path: &str) -> String {
    let seen = world.get("shop.test", path).send().await.unwrap().text().await.unwrap();
    seen.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn the_longest_prefix_has_the_request() {
    let world = World::start().await;
    let (shop, blog, posts) =
        (App::saying("shop").await, App::saying("blog").await, App::saying("posts").await);
    let any = App::saying("any").await;
    world.switch(mounted(&blog, "blog", "/blog", true)).await;
    world.switch(shop.route("shop", Some("shop.test"))).await;
    world.switch(mounted(&posts, "posts", "/blog/posts", true)).await;
    world.switch(any.route("any", None)).await;
    for (host, path, expected) in [
        ("shop.test", "/", "shop"),
        ("shop.test", "/blog", "blog"),
        ("shop.test", "/blog/", "blog"),
        ("shop.test", "/blog?page=2", "blog"),
        ("shop.test", "/blogs", "shop"),
        ("shop.test", "/blog/posts/1", "posts"),
        ("shop.test", "/blog/postscript", "blog"),
        ("other.test", "/blog", "any"),
    ] {
        says(world.get(host, path).send().await.unwrap(), 200, expected).await;
    }
}

#[tokio::test]
async fn a_path_that_no_app_of_the_host_has_goes_to_the_one_that_answers_for_any() {
    let world = World::start().await;
    let (blog, any) = (App::saying("blog").await, App::saying("any").await);
    world.switch(mounted(&blog, "blog", "/blog", true)).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 404, "landfall proxy: no app has this host\n")
        .await;
    world.switch(any.route("any", None)).await;
    says(world.get("shop.test", "/").send().await.unwrap(), 200, "any").await;
}

#[tokio::test]
async fn a_prefix_that_is_taken_off_is_told_to_the_app() {
    let world = World::start().await;
    let app = mirror().await;
    world.switch(mounted(&app, "shop", "/shop", true)).await;
    assert_eq!(request_line(&world, "/shop/cart?n=1").await, "GET /cart?n=1");
    assert_eq!(request_line(&world, "/shop").await, "GET /");
    assert_eq!(request_line(&world, "/shop?n=1").await, "GET /?n=1");
    assert_eq!(request_line(&world, "/shop/shop/%2F..").await, "GET /shop/%2F..");
    let seen = world.get("shop.test", "/shop/").send().await.unwrap().text().await.unwrap();
    assert!(seen.contains("x-forwarded-prefix: /shop"), "{seen}");
}

#[tokio::test]
async fn a_prefix_that_stays_is_seen_by_the_app() {
    let world = World::start().await;
    let app = mirror().await;
    world.switch(mounted(&app, "shop", "/shop", false)).await;
    assert_eq!(request_line(&world, "/shop/cart?n=1").await, "GET /shop/cart?n=1");
    let seen = world.get("shop.test", "/shop").send().await.unwrap().text().await.unwrap();
    assert!(!seen.contains("x-forwarded-prefix"), "{seen}");
}

#[tokio::test]
async fn a_prefix_belongs_to_one_app_and_outlives_the_proxy() {
    let world = World::start().await;
    let app = App::saying("blog").await;
    world.switch(mounted(&app, "blog", "/blog", true)).await;
    let thief = world.admin.switch(mounted(&app, "docs", "/blog", false)).await;
    assert!(matches!(&thief, Err(ProxyError::HostTaken { by }) if by == "blog/production"), "{thief:?}");

    let World { dir, proxy, .. } = world;
    proxy.stop().await;
    let world = World::in_dir(dir, Default::default()).await;
    says(world.get("shop.test", "/blog").send().await.unwrap(), 200, "blog").await;
}
