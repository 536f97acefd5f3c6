//! The switch on a proxy that pretends.

use landfall_engine::core::settings::Mount;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;

use super::*;
use crate::testing::Lines;
use crate::testing::World;
use crate::testing::order;
use crate::testing::run as a_run;
use crate::testing::world_route;

fn go_live(settings: Settings) -> Order {
    order(a_run(([127, 0, 0, 1], 20_001).into(), None, settings), Stage::GoLive)
}

async fn outcome(context: &Context, order: &Order) -> Outcome {
    run(context, order, &Lines::default().output()).await
}

#[track_caller]
fn reason(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(failure) => failure.reason,
        other => panic!("expected a red answer, found {other:?}"),
    }
}

#[tokio::test]
async fn the_traffic_goes_to_the_candidate_under_the_promised_generation() {
    let world = World::new().await;
    let mut settings = Settings::default();
    settings.proxy.host = Some("shop.example.com".into());
    let order = go_live(settings);
    let expected = Switched { generation: 7, address: format!("http://{}", world.proxy.public) };
    assert_eq!(outcome(&world.context, &order).await, Outcome::Succeeded(Facts::GoLive(expected)));
    let route = world.proxy.route().unwrap();
    assert_eq!(route.target, Some(([127, 0, 0, 1], 20_001).into()));
    assert_eq!((route.generation, route.release.as_str()), (7, "sha256:new"));
    assert_eq!((route.run, route.host.as_deref()), (order.run.id.to_string(), Some("shop.example.com")));
}

#[tokio::test]
async fn an_app_with_a_prefix_takes_that_part_of_the_host_and_no_more() {
    let world = World::new().await;
    let mut settings = Settings::default();
    settings.proxy.host = Some("www.example.com".into());
    settings.proxy.mount = Some(Mount { prefix: "/shop".into(), strip: true });
    let order = go_live(settings.clone());
    outcome(&world.context, &order).await;
    assert_eq!(world.proxy.route().unwrap().mount, settings.proxy.mount);

    world.proxy.set(None);
    world.proxy.take_host("blog/production");
    assert_eq!(
        reason(outcome(&world.context, &order).await),
        "www.example.com/shop belongs to blog/production already: give one of the two another `host` or \
         `path_prefix` in [proxy]"
    );
}

#[tokio::test]
async fn a_repeated_switch_is_the_same_switch() {
    let world = World::new().await;
    let order = go_live(Settings::default());
    let first = outcome(&world.context, &order).await;
    assert_eq!(outcome(&world.context, &order).await, first);
    assert_eq!(world.proxy.switches().len(), 1);
}

#[tokio::test]
async fn somebody_elses_switch_is_named() {
    let world = World::new().await;
    world.proxy.set(Some(world_route(9, None, "")));
    assert_eq!(
        reason(outcome(&world.context, &go_live(Settings::default())).await),
        "the traffic of shop/production was switched by run someone: expected to take generation 7, found 9 in force"
    );
}

#[tokio::test]
async fn a_host_of_another_app_is_named() {
    let world = World::new().await;
    world.proxy.take_host("blog/production");
    let mut settings = Settings::default();
    assert!(
        reason(outcome(&world.context, &go_live(settings.clone())).await)
            .starts_with("blog/production has no `host`")
    );
    settings.proxy.host = Some("www.example.com".into());
    assert_eq!(
        reason(outcome(&world.context, &go_live(settings)).await),
        "the host www.example.com belongs to blog/production already: give one of the two another `host` in [proxy]"
    );
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_no_answer() {
    let world = World::new().await;
    let order = go_live(Settings::default());
    let outcome = outcome(&world.without_proxy(), &order).await;
    assert!(matches!(outcome, Outcome::Errored { .. }), "{outcome:?}");
    assert!(probe(&world.without_proxy(), &order).await.is_err());
}

#[tokio::test]
async fn the_generation_tells_what_became_of_a_switch() {
    let world = World::new().await;
    let order = go_live(Settings::default());
    assert_eq!(probe(&world.context, &order).await, Ok(Probe::NotStarted));
    world.proxy.set(Some(world_route(6, None, "")));
    assert_eq!(probe(&world.context, &order).await, Ok(Probe::NotStarted));
    world.proxy.set(Some(world_route(8, None, "")));
    let Ok(Probe::Unknown(evidence)) = probe(&world.context, &order).await else {
        panic!("expected unknown")
    };
    assert!(evidence.contains("generation 8") && evidence.contains("run someone"), "{evidence}");
    world.proxy.set(None);
    let done = outcome(&world.context, &order).await;
    assert_eq!(probe(&world.context, &order).await, Ok(Probe::Done(done)));
}

#[tokio::test]
async fn the_route_before_is_kept_until_the_switch_and_not_after() {
    let world = World::new().await;
    let before = Route { host: Some("old.example.com".into()), ..world_route(5, None, "") };
    world.proxy.set(Some(before.clone()));
    let order = go_live(Settings::default());
    outcome(&world.context, &order).await;
    outcome(&world.context, &order).await;
    assert_eq!(former_route::recall(&world.context, &order.run).await, Some(before));
}

#[tokio::test]
async fn a_run_that_lacks_what_to_switch_to_gives_no_answer() {
    let world = World::new().await;
    for strip in [
        |run: &mut landfall_engine::core::run::Run| run.candidate = None,
        |run: &mut landfall_engine::core::run::Run| run.image = None,
        |run: &mut landfall_engine::core::run::Run| run.entry = None,
        |run: &mut landfall_engine::core::run::Run| run.settings = None,
    ] {
        let mut run = a_run(([127, 0, 0, 1], 20_001).into(), None, Settings::default());
        strip(&mut run);
        let outcome = outcome(&world.context, &order(run, Stage::GoLive)).await;
        assert!(matches!(outcome, Outcome::Errored { .. }), "{outcome:?}");
    }
    assert!(world.proxy.route().is_none());
}
