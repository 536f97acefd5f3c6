//! Checks on a server that answers as it is told.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use landfall_engine::core::settings::HttpCheck;
use landfall_engine::core::settings::Mount;
use landfall_engine::core::stage::Stage;

use super::*;
use crate::proxy::Route;
use crate::public_smoke;
use crate::testing::FakeDocker;
use crate::testing::Lines;
use crate::testing::Reply;
use crate::testing::Request;
use crate::testing::World;
use crate::testing::order;
use crate::testing::tcp;
use crate::testing::{run as a_run, world_route};

/// The candidate of every run here.
const CANDIDATE: &str = "landfall-shop-new";

fn checks(checks: &[HttpCheck]) -> Settings {
    Settings { smoke: checks.iter().cloned().map(SmokeCheck::Http).collect(), ..Settings::default() }
}

fn get(path: &str) -> HttpCheck {
    HttpCheck { path: path.into(), ..HttpCheck::default() }
}

/// Smokes a candidate that answers like this.
async fn smoked(
    settings: Settings,
    answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Outcome, Vec<Request>, Vec<String>) {
    let world = World::with(&[("DATABASE_URL", "hunter2!")]).await;
    let (address, heard) = tcp(answer).await;
    world.docker.add(CANDIDATE, &[], true, address.port());
    let lines = Lines::default();
    let order = order(a_run(address, None, settings), Stage::Smoke);
    let outcome = run(&world.context, &order, &lines.output()).await;
    let heard = heard.lock().unwrap().clone();
    (outcome, heard, lines.seen())
}

#[track_caller]
fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(failure) => &failure.reason,
        other => panic!("expected a red answer, found {other:?}"),
    }
}

#[tokio::test]
async fn checks_are_made_in_order_with_the_apps_own_host() {
    let mut settings = checks(&[get("/healthz"), get("/api?q=1"), get("/healthz")]);
    settings.proxy.host = Some("shop.example.com".into());
    let (outcome, heard, lines) = smoked(settings, |_| Reply::new(200, "ok")).await;
    let Outcome::Succeeded(Facts::Smoke(report)) = outcome else { panic!("{outcome:?}") };
    let made: Vec<_> = report.checks.iter().map(|passed| passed.check.as_str()).collect();
    assert_eq!(made, ["GET /healthz = 200", "GET /api?q=1 = 200", "GET /healthz = 200"]);
    let targets: Vec<_> = heard.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets, ["/healthz", "/api?q=1", "/healthz"]);
    assert!(heard.iter().all(|request| request.header("host") == Some("shop.example.com")));
    assert!(lines[0].starts_with("passed  GET /healthz = 200 ("), "{lines:?}");
}

#[tokio::test]
async fn the_first_check_that_is_not_passed_ends_the_stage() {
    let settings = checks(&[get("/a"), get("/b"), get("/c")]);
    let (outcome, heard, lines) = smoked(settings, |request| {
        if request.target == "/b" { Reply::new(503, "out of order") } else { Reply::new(200, "ok") }
    })
    .await;
    let said = "GET /b expected a status from 200 to 299, found 503 Service Unavailable (\"out of order\")";
    assert_eq!(reason(&outcome), said);
    assert_eq!(heard.len(), 2);
    assert_eq!(lines[1], format!("failed  {said}"));
}

#[tokio::test]
async fn an_app_without_checks_is_asked_for_its_health_path_and_may_redirect() {
    let mut settings = Settings::default();
    settings.proxy.healthcheck.path = "/login".into();
    let (outcome, heard, _) = smoked(settings, |_| Reply::new(302, "").with("location", "/")).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].target, "/login");
}

#[tokio::test]
async fn where_the_health_path_was_guessed_the_first_page_has_to_answer_as_well() {
    let guessed = |path: &str| {
        let mut settings = checks(&[]);
        settings.proxy.healthcheck.path = path.into();
        settings.proxy.healthcheck.any_answer = true;
        settings
    };
    let broken = |request: &Request| Reply::new(if request.target == "/" { 500 } else { 200 }, "");
    let (outcome, ..) = smoked(guessed("/healthz"), broken).await;
    assert!(reason(&outcome).starts_with("GET / expected a status from 200 to 499"), "{outcome:?}");
    let missing = |request: &Request| Reply::new(if request.target == "/" { 404 } else { 200 }, "");
    let (outcome, heard, _) = smoked(guessed("/healthz"), missing).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "an app may have no first page: {outcome:?}");
    assert_eq!(heard.len(), 2);
    let (_, heard, _) = smoked(guessed("/"), missing).await;
    assert_eq!(heard.len(), 1, "it is asked for once");
}

#[tokio::test]
async fn silence_of_the_candidate_is_an_answer_about_it() {
    let late = HttpCheck { within_ms: Some(50), ..get("/slow") };
    let (outcome, _, _) = smoked(checks(std::slice::from_ref(&late)), |_| Reply::Silence).await;
    assert_eq!(reason(&outcome), "GET /slow expected an answer within 50ms, found none");

    let (outcome, _, _) = smoked(checks(&[get("/")]), |_| Reply::HangUp).await;
    assert!(
        reason(&outcome).starts_with("GET / expected a status from 200 to 299, found no answer ("),
        "{outcome:?}"
    );

    let world = World::new().await;
    world.docker.add(CANDIDATE, &[], true, 1);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let order = order(a_run(nobody, None, checks(&[get("/")])), Stage::Smoke);
    let outcome = run(&world.context, &order, &Lines::default().output()).await;
    let said = "GET / expected a status from 200 to 299, found no answer (connection refused)";
    assert_eq!(reason(&outcome), said);
}

/// Smokes a candidate that hangs up, after this has happened to its container.
async fn hung_up(happens: impl Fn(&FakeDocker) + Send + Sync + 'static) -> Outcome {
    let world = World::new().await;
    let docker = world.docker.clone();
    let (address, _) = tcp(move |_| {
        happens(&docker);
        Reply::HangUp
    })
    .await;
    world.docker.add(CANDIDATE, &[], true, address.port());
    let order = order(a_run(address, None, checks(&[get("/")])), Stage::Smoke);
    run(&world.context, &order, &Lines::default().output()).await
}

/// Expects the lack of an answer, and a reason that says why and what was asked for.
#[track_caller]
fn gave_no_answer(outcome: &Outcome, why: &str) {
    let Outcome::Errored { reason } = outcome else { panic!("expected no answer, found {outcome:?}") };
    assert!(reason.starts_with("GET / ") && reason.contains(why), "{reason}");
}

#[tokio::test]
async fn a_candidate_that_was_stopped_from_outside_has_given_no_answer() {
    gave_no_answer(&hung_up(|docker| docker.stop(CANDIDATE)).await, "stopped from outside");
    gave_no_answer(&hung_up(|docker| docker.restart(CANDIDATE)).await, "started again from outside");
    gave_no_answer(&hung_up(|docker| docker.remove(CANDIDATE)).await, "its container is gone");
    // It ends when somebody waits for that.
    gave_no_answer(&hung_up(|docker| docker.begin_stop(CANDIDATE)).await, "stopped from outside");
}

#[tokio::test]
async fn while_docker_is_away_nobody_can_tell_what_became_of_the_candidate() {
    gave_no_answer(&hung_up(|docker| docker.set_away(true)).await, "is the Docker daemon running?");

    // It came back meanwhile, and what it did to the container is not known.
    let world = World::new().await;
    let docker = world.docker.clone();
    let (address, _) = tcp(move |_| {
        docker.set_away(false);
        Reply::HangUp
    })
    .await;
    world.docker.add(CANDIDATE, &[], true, address.port());
    world.docker.set_away(true);
    let order = order(a_run(address, None, checks(&[get("/")])), Stage::Smoke);
    let outcome = run(&world.context, &order, &Lines::default().output()).await;
    gave_no_answer(&outcome, "Docker did not answer before the first check");
}

#[tokio::test]
async fn an_app_that_ended_by_itself_is_red() {
    let said = "GET / expected a status from 200 to 299, found no answer (";
    let crashed = hung_up(|docker| docker.crash(CANDIDATE)).await;
    assert!(reason(&crashed).starts_with(said), "{crashed:?}");
    // What somebody does to it then changes nothing.
    let stopped_then = hung_up(|docker| {
        docker.crash(CANDIDATE);
        docker.stop(CANDIDATE);
    })
    .await;
    assert!(reason(&stopped_then).starts_with(said), "{stopped_then:?}");
}

#[tokio::test]
async fn an_answer_of_the_app_counts_whatever_became_of_docker() {
    let world = World::new().await;
    let docker = world.docker.clone();
    let (address, _) = tcp(move |_| {
        docker.set_away(true);
        Reply::new(500, "boom")
    })
    .await;
    world.docker.add(CANDIDATE, &[], true, address.port());
    let order = order(a_run(address, None, checks(&[get("/")])), Stage::Smoke);
    let outcome = run(&world.context, &order, &Lines::default().output()).await;
    assert!(reason(&outcome).contains("found 500 Internal Server Error (\"boom\")"), "{outcome:?}");
}

#[tokio::test]
async fn a_candidate_that_was_started_again_from_outside_is_checked_when_it_is_healthy() {
    let world = World::new().await;
    let probes = AtomicU32::new(0);
    let (address, heard) = tcp(move |request| match request.path() {
        "/healthz" if probes.fetch_add(1, Ordering::SeqCst) < 2 => Reply::HangUp,
        _ => Reply::new(200, "ok"),
    })
    .await;
    world.docker.add(CANDIDATE, &[], true, address.port());
    world.docker.restart(CANDIDATE);
    let mut settings = checks(&[get("/page")]);
    settings.proxy.healthcheck.path = "/healthz".into();
    let order = order(a_run(address, None, settings), Stage::Smoke);
    let outcome = run(&world.context, &order, &Lines::default().output()).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    let heard: Vec<_> = heard.lock().unwrap().iter().map(|request| request.target.clone()).collect();
    assert_eq!(heard, ["/healthz", "/healthz", "/healthz", "/page"]);
}

/// Smokes a candidate that was started again from outside and does not become healthy.
async fn never_healthy(deadline_ms: u64, happens: impl Fn(&FakeDocker) + Send + Sync + 'static) -> Outcome {
    let world = World::new().await;
    let docker = world.docker.clone();
    let (address, _) = tcp(move |_| {
        happens(&docker);
        Reply::HangUp
    })
    .await;
    world.docker.add(CANDIDATE, &[], true, address.port());
    world.docker.restart(CANDIDATE);
    let mut settings = checks(&[get("/")]);
    settings.deploy.timeout_ms = 1;
    let order = Order { deadline_ms, ..order(a_run(address, None, settings), Stage::Smoke) };
    run(&world.context, &order, &Lines::default().output()).await
}

#[tokio::test]
async fn a_candidate_that_was_started_again_and_does_not_become_healthy_in_its_time_is_red() {
    let said = "the app did not become healthy within 1ms";
    let outcome = never_healthy(u64::MAX, |_| ()).await;
    assert!(reason(&outcome).starts_with(said), "{outcome:?}");
    // Not in its time: an earlier engine had that, or Docker is restarted once more.
    let outcome = never_healthy(0, |_| ()).await;
    assert!(matches!(&outcome, Outcome::Errored { reason } if reason.starts_with(said)), "{outcome:?}");
    let outcome = never_healthy(u64::MAX, |docker| docker.restart(CANDIDATE)).await;
    assert!(matches!(&outcome, Outcome::Errored { reason } if reason.contains("outside")), "{outcome:?}");
}

#[tokio::test]
async fn a_secret_in_an_error_page_is_masked_before_the_page_is_cut() {
    let mut settings = checks(&[get("/")]);
    settings.env.secret = vec!["DATABASE_URL".into()];
    let page = format!("{}hunter2!", "x".repeat(196));
    let (outcome, _, _) = smoked(settings, move |_| Reply::new(500, page.clone())).await;
    assert!(!reason(&outcome).contains("hunt"), "{outcome:?}");
}

#[tokio::test]
async fn of_an_endless_body_the_beginning_is_read() {
    let check = HttpCheck { contains: Some("needle".into()), ..get("/") };
    let (outcome, _, _) =
        smoked(checks(&[check]), |_| Reply::new(200, "x".repeat(crate::http::BODY_BYTES_MAX + 1))).await;
    assert!(reason(&outcome).ends_with("…\", of which the first 1 MiB was read"), "{outcome:?}");
}

#[tokio::test]
async fn a_run_without_a_candidate_gives_no_answer() {
    let world = World::new().await;
    let mut run_without = a_run(([127, 0, 0, 1], 1).into(), None, Settings::default());
    run_without.candidate = None;
    let without_candidate = order(run_without.clone(), Stage::Smoke);
    let outcome = run(&world.context, &without_candidate, &Lines::default().output()).await;
    assert!(matches!(outcome, Outcome::Errored { .. }), "{outcome:?}");
    run_without.settings = None;
    let without_settings = order(run_without, Stage::Smoke);
    let outcome = run(&world.context, &without_settings, &Lines::default().output()).await;
    assert!(matches!(outcome, Outcome::Errored { .. }), "{outcome:?}");
}

/// Smokes the public address of a world whose proxy serves this release.
async fn publicly(world: &World, release: &str) -> Outcome {
    let address = ([127, 0, 0, 1], 9).into();
    world.docker.add(CANDIDATE, &[], true, 9);
    world.proxy.set(Some(world_route(7, Some(address), release)));
    let order = order(a_run(address, None, checks(&[get("/")])), Stage::PublicSmoke);
    public_smoke::run(&world.context, &order, &Lines::default().output()).await
}

#[tokio::test]
async fn live_means_that_the_proxy_answers_by_this_digest() {
    let world = World::new().await;
    let outcome = publicly(&world, "sha256:new").await;
    let Outcome::Succeeded(Facts::PublicSmoke(report)) = outcome else { panic!("{outcome:?}") };
    let address = world.proxy.public;
    assert_eq!(report.address, format!("http://{address}"));
    let made: Vec<_> = report.checks.iter().map(|passed| passed.check.clone()).collect();
    assert_eq!(
        made,
        [format!("GET / at http://{address} is answered by sha256:new"), "GET / = 200".to_owned()]
    );

    let outcome = publicly(&world, "sha256:other").await;
    let said = format!(
        "GET / at http://{address} expected an answer of sha256:new, found sha256:other (status 200)"
    );
    assert_eq!(reason(&outcome), said);
}

#[tokio::test]
async fn an_app_with_a_prefix_is_asked_where_its_users_find_it() {
    let world = World::new().await;
    let address = ([127, 0, 0, 1], 9).into();
    world.docker.add(CANDIDATE, &[], true, 9);
    let mut settings = checks(&[get("/cart")]);
    settings.proxy.mount = Some(Mount { prefix: "/shop".into(), strip: true });
    let mount = settings.proxy.mount.clone();
    world.proxy.set(Some(Route { mount, ..world_route(7, Some(address), "sha256:new") }));
    let order = order(a_run(address, None, settings), Stage::PublicSmoke);
    let outcome = public_smoke::run(&world.context, &order, &Lines::default().output()).await;
    let Outcome::Succeeded(Facts::PublicSmoke(report)) = outcome else { panic!("{outcome:?}") };
    assert!(report.checks[0].check.starts_with("GET /shop/ at http://"), "{report:?}");
}

#[tokio::test]
async fn a_red_check_of_the_public_address_is_red() {
    let world = World::new().await;
    world.proxy.app_answers(Reply::new(500, "boom"));
    let outcome = publicly(&world, "sha256:new").await;
    assert!(reason(&outcome).contains("found 500 Internal Server Error (\"boom\")"), "{outcome:?}");
}

#[tokio::test]
async fn an_app_that_the_proxy_does_not_reach_is_looked_for_in_docker() {
    for status in [502, 504] {
        let world = World::new().await;
        world.proxy.app_answers(Reply::new(status, "landfall proxy: the app did not answer"));
        let outcome = publicly(&world, "sha256:new").await;
        assert!(reason(&outcome).contains("found 50"), "it runs, so it is red: {outcome:?}");
        world.docker.set_away(true);
        gave_no_answer(&publicly(&world, "sha256:new").await, "is the Docker daemon running?");
        world.proxy.app_answers(Reply::new(500, "boom"));
        assert!(reason(&publicly(&world, "sha256:new").await).contains("found 500"));
    }
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_no_answer() {
    let world = World::new().await;
    let order = order(a_run(([127, 0, 0, 1], 9).into(), None, Settings::default()), Stage::PublicSmoke);
    let outcome = public_smoke::run(&world.without_proxy(), &order, &Lines::default().output()).await;
    assert!(matches!(outcome, Outcome::Errored { .. }), "{outcome:?}");
}

#[tokio::test]
async fn checks_are_made_again_after_a_crash() {
    let world = World::new().await;
    let order = order(a_run(([127, 0, 0, 1], 9).into(), None, Settings::default()), Stage::Smoke);
    assert_eq!(probe(&world.context, &order).await, Ok(Probe::NotStarted));
    assert_eq!(undo(&world.context, &order).await, Ok(()));
}
