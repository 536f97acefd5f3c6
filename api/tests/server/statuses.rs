//! How commits stand is told to forges that pretend, through restarts, hangs and refusals.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use landfall::statuses::{Pace, Parts, Statuses};
use landfall_engine::core::command::Outcome;
use landfall_engine::core::ledger::{Forge, ForgeKind, LedgerEvent, Registration};
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::SystemClock;
use landfall_stages::docker::DockerHandle;
use landfall_stages::executor::{FlaskStages, FlaskStagesConfig};
use landfall_stages::secrets::Secrets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use crate::fixture::{PATIENCE, TestServer, WorkingCopy, until};

/// How a forge answers.
#[derive(Clone, Debug)]
enum Manner {
    Fine,
    Refuses(u16, Value),
    Hangs,
}

/// How the forge behaves, and what it was asked.
type Played = (Manner, Vec<(Method, String, Value)>);

/// A forge that notes what it is told.
#[derive(Clone)]
struct FakeForge {
    url: String,
    inner: Arc<Mutex<Played>>,
}

impl FakeForge {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let forge = Self { url, inner: Arc::new(Mutex::new((Manner::Fine, Vec::new()))) };
        let router = Router::new().fallback(answer).with_state(forge.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        forge
    }

    fn is(&self, manner: Manner) {
        self.inner.lock().unwrap().0 = manner;
    }

    /// Returns what was said of commits, in order: `pending: being checked out and tested`.
    fn statuses(&self) -> Vec<String> {
        self.said(|path| path.contains("/statuses/"))
    }

    /// Returns what was said of deploys.
    fn deployments(&self) -> Vec<String> {
        self.said(|path| path.contains("/deployments/"))
    }

    fn said(&self, of: impl Fn(&str) -> bool) -> Vec<String> {
        let heard = self.inner.lock().unwrap();
        let told = heard.1.iter().filter(|(method, path, _)| method == Method::POST && of(path));
        told.map(|(_, _, body)| {
            let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("state"), text("description"))
        })
        .collect()
    }

    /// Returns how many deployments were made.
    fn made(&self) -> usize {
        self.inner
            .lock()
            .unwrap()
            .1
            .iter()
            .filter(|(method, path, _)| method == Method::POST && path.ends_with("/deployments"))
            .count()
    }
}

async fn answer(State(forge): State<FakeForge>, method: Method, uri: Uri, body: String) -> Response<Body> {
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let manner = {
        let mut inner = forge.inner.lock().unwrap();
        inner.1.push((method.clone(), uri.path().to_owned(), body));
        inner.0.clone()
    };
    match manner {
        Manner::Fine if method == Method::GET => axum::Json(json!([])).into_response(),
        Manner::Fine => (StatusCode::CREATED, axum::Json(json!({ "id": 7 }))).into_response(),
        Manner::Refuses(status, body) => {
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
        }
        Manner::Hangs => std::future::pending().await,
    }
}

/// What tells forges, as one start of a server has it.
struct Telling {
    statuses: Statuses,
    stop: CancellationToken,
}

impl Telling {
    async fn start(server: &TestServer, data: &Path) -> Self {
        let secrets = [("FORGE_TOKEN".to_owned(), "hunter2-hunter2".to_owned())];
        let stages = FlaskStages::new(FlaskStagesConfig {
            data: data.to_owned(),
            secrets: Secrets::new(secrets.into_iter(), None).unwrap(),
            proxy_socket: data.join("none.sock"),
            docker: Some(DockerHandle::connect(Some("unix:///nowhere/docker.sock")).unwrap()),
        });
        let stop = CancellationToken::new();
        let statuses = Statuses::start(Parts {
            store: Arc::clone(server.app.engine.store()),
            ledger: server.app.engine.ledger(),
            forges: stages.unwrap().forges().within(Duration::from_millis(100)),
            clock: Arc::new(SystemClock),
            data: data.to_owned(),
            public_url: Some("https://landfall.example.com/".into()),
            pace: Pace { first: Duration::from_millis(10), longest: Duration::from_millis(40) },
            stop: stop.clone(),
        })
        .await;
        Self { statuses, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.statuses.finished()).await.expect("it ends");
    }
}

/// A server with an app, and a working copy to push from.
struct World {
    data: TempDir,
    server: TestServer,
    copy: WorkingCopy,
    /// A push is there until its run has ended.
    pushes: Mutex<Vec<Child>>,
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = TestServer::start(data.path()).await;
        Self { data, server, copy: WorkingCopy::new().await, pushes: Mutex::default() }
    }

    async fn register(&self, app: &str, kind: ForgeKind, forge: &FakeForge) {
        let forge =
            Forge { kind, api: forge.url.clone(), project: "acme/shop".into(), token: "FORGE_TOKEN".into() };
        let registration = Box::new(Registration { forge: Some(forge), ..Registration::default() });
        let event = LedgerEvent::AppRegistered { app: app.into(), registration };
        self.server.app.engine.record(event, "the test").await.unwrap();
    }

    async fn telling(&self) -> Telling {
        Telling::start(&self.server, self.data.path()).await
    }

    /// Pushes a new commit and returns its run, which is under way.
    async fn push(&self, app: &str) -> RunId {
        let runs = self.server.runs().await.len();
        self.copy.commit("app.py", &format!("app = {runs}\n")).await;
        let push = self.copy.command(&["push", "--quiet", &self.server.remote(app), "main"]).spawn().unwrap();
        self.pushes.lock().unwrap().push(push);
        let begun = async {
            while self.server.runs().await.len() == runs {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.expect("the push begins a run");
        *self.server.runs().await.last().unwrap()
    }

    fn book(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.data.path().join("statuses.json")).unwrap()).unwrap()
    }
}

const PENDING: &str = "pending: being checked out and tested";
const LIVE: &str = "success: live in production";

#[tokio::test]
async fn a_commit_is_told_of_from_its_push_until_it_is_live() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::GitHub, &forge).await;
    let telling = world.telling().await;
    for stage in [Stage::Test, Stage::Build, Stage::Smoke] {
        world.server.stages.hold(stage);
    }
    let run = world.push("shop").await;
    until(|| forge.statuses() == [PENDING]).await;
    world.server.stages.release(Stage::Test);
    until(|| forge.statuses().len() == 2).await;
    assert_eq!(forge.statuses()[1], "pending: tested; on the way to production");
    assert!(forge.deployments().is_empty(), "nothing is deployed yet");
    world.server.stages.release(Stage::Build);
    until(|| forge.deployments().len() == 1).await;
    assert_eq!(forge.deployments(), ["in_progress: tested; on the way to production"]);
    world.server.stages.release(Stage::Smoke);
    world.server.settled(run).await;
    until(|| forge.deployments().last().is_some_and(|said| said == LIVE)).await;
    assert_eq!(forge.statuses().last().unwrap(), LIVE);
    assert_eq!((forge.statuses().len(), forge.deployments().len(), forge.made()), (3, 2, 1));
    // What is over and told is let go of.
    until(|| world.book()["runs"] == json!({})).await;
    telling.stop().await;
}

#[tokio::test]
async fn a_status_has_the_context_of_its_environment_and_a_link() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::Gitea, &forge).await;
    let telling = world.telling().await;
    let run = world.push("shop").await;
    world.server.settled(run).await;
    until(|| forge.statuses().last().is_some_and(|said| said == LIVE)).await;
    let (_, path, body) = forge.inner.lock().unwrap().1.last().cloned().unwrap();
    let sha = world.server.app.engine.run(run).await.unwrap().unwrap().commit().sha.clone();
    assert_eq!(path, format!("/repos/acme/shop/statuses/{sha}"));
    assert_eq!(body["context"], "landfall/production");
    assert_eq!(body["target_url"], format!("https://landfall.example.com/runs/{run}"));
    telling.stop().await;
}

#[tokio::test]
async fn red_tests_are_a_failure_without_a_deployment_and_without_the_reason() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::GitHub, &forge).await;
    let telling = world.telling().await;
    world.server.stages.end(Stage::Test, Outcome::failed("the password is swordfish"));
    let run = world.push("shop").await;
    world.server.settled(run).await;
    let expected = "failure: the tests failed; what serves was not touched";
    until(|| forge.statuses().last().is_some_and(|said| said == expected)).await;
    telling.stop().await;
    assert_eq!((forge.made(), forge.deployments()), (0, Vec::new()));
}

#[tokio::test]
async fn a_red_smoke_check_fails_the_commit_and_its_deployment() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::GitHub, &forge).await;
    let telling = world.telling().await;
    world.server.stages.end(Stage::Smoke, Outcome::failed("503"));
    let run = world.push("shop").await;
    assert_eq!(world.server.settled(run).await.state, RunState::RolledBack);
    let expected = "failure: the smoke checks failed; rolled back";
    until(|| forge.deployments().last().is_some_and(|said| said == expected)).await;
    assert_eq!(forge.statuses().last().unwrap(), expected);
    telling.stop().await;
}

#[tokio::test]
async fn a_run_that_is_stopped_says_nothing_bad_of_its_commit() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::GitLab, &forge).await;
    let telling = world.telling().await;
    world.server.stages.hold(Stage::Test);
    let run = world.push("shop").await;
    world.server.app.engine.cancel(run, "ada", "not today").await.unwrap();
    world.server.settled(run).await;
    let expected = "canceled: cancelled; what serves was not touched";
    until(|| forge.statuses().last().is_some_and(|said| said == expected)).await;
    telling.stop().await;
}

#[tokio::test]
async fn after_a_restart_each_run_is_told_once_as_it_stands_and_nothing_of_old_is() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::GitHub, &forge).await;
    // Long ago, before anybody told forges.
    let old = world.push("shop").await;
    world.server.settled(old).await;
    let telling = world.telling().await;
    world.server.stages.hold(Stage::Test);
    let run = world.push("shop").await;
    until(|| forge.statuses() == [PENDING]).await;
    telling.stop().await;
    // Nothing moved: nothing is told.
    let telling = world.telling().await;
    telling.stop().await;
    assert_eq!(forge.statuses(), [PENDING]);
    // It went through all its states while nobody was there to tell.
    world.server.stages.release(Stage::Test);
    world.server.settled(run).await;
    let telling = world.telling().await;
    until(|| world.book()["runs"] == json!({})).await;
    telling.stop().await;
    assert_eq!(forge.statuses(), [PENDING, LIVE]);
    assert_eq!((forge.made(), forge.deployments().as_slice()), (1, [LIVE.to_owned()].as_slice()));
    let telling = world.telling().await;
    telling.stop().await;
    assert_eq!(forge.statuses().len(), 2);
}

#[tokio::test]
async fn a_run_that_was_open_before_forges_were_told_is_told_of() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.server.stages.hold(Stage::Test);
    world.push("shop").await;
    let telling = world.telling().await;
    assert_eq!(telling.statuses.of("shop"), None);
    // Its forge becomes known while it runs.
    world.register("shop", ForgeKind::Forgejo, &forge).await;
    until(|| forge.statuses() == [PENDING]).await;
    telling.stop().await;
}

#[tokio::test]
async fn a_forge_that_hangs_holds_nobody_up_and_learns_the_latest_when_it_is_back() {
    let (world, dead, alive) = (World::new().await, FakeForge::start().await, FakeForge::start().await);
    world.register("shop", ForgeKind::Gitea, &dead).await;
    world.register("blog", ForgeKind::Gitea, &alive).await;
    dead.is(Manner::Hangs);
    let telling = world.telling().await;
    let run = world.push("shop").await;
    until(|| dead.statuses().len() > 2).await;
    assert_eq!(world.server.settled(run).await.state, RunState::Live);
    let other = world.push("blog").await;
    world.server.settled(other).await;
    until(|| alive.statuses().last().is_some_and(|said| said == LIVE)).await;
    until(|| telling.statuses.of("shop").unwrap().problem.is_some()).await;
    let problem = telling.statuses.of("shop").unwrap().problem.unwrap();
    assert!(!problem.gave_up && problem.reason.contains("no answer within 100ms"), "{problem:?}");
    // What a forge that is back is told begins with how things are then.
    let heard = dead.statuses().len();
    dead.is(Manner::Fine);
    until(|| world.book()["runs"] == json!({})).await;
    let told = dead.statuses().split_off(heard);
    assert!(told.iter().all(|said| said == LIVE) && told.len() <= 2, "{told:?}");
    assert_eq!(telling.statuses.of("shop").unwrap(), Default::default());
    telling.stop().await;
}

#[tokio::test]
async fn a_forge_that_says_no_is_not_asked_again_about_the_same_and_it_shows() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::Gitea, &forge).await;
    forge.is(Manner::Refuses(401, json!({ "message": "who is hunter2-hunter2?" })));
    let telling = world.telling().await;
    world.server.stages.hold(Stage::Test);
    let run = world.push("shop").await;
    until(|| telling.statuses.of("shop").unwrap().problem.is_some()).await;
    let problem = telling.statuses.of("shop").unwrap().problem.unwrap();
    assert!(problem.gave_up && problem.run == run, "{problem:?}");
    assert!(
        problem.reason.contains("401 Unauthorized") && !problem.reason.contains("hunter2"),
        "{problem:?}"
    );
    // Its token is mended; the next state is told, and the last that was refused is not.
    forge.is(Manner::Fine);
    world.server.stages.release(Stage::Test);
    world.server.settled(run).await;
    until(|| world.book()["runs"] == json!({})).await;
    assert_eq!(forge.statuses().iter().filter(|said| *said == PENDING).count(), 1);
    assert_eq!(forge.statuses().last().unwrap(), LIVE);
    telling.stop().await;
}

#[tokio::test]
async fn gitlabs_refusal_of_what_it_knows_is_no_problem() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::GitLab, &forge).await;
    let twice = "Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")";
    forge.is(Manner::Refuses(400, json!({ "message": twice })));
    let telling = world.telling().await;
    world.server.stages.hold(Stage::Test);
    world.push("shop").await;
    until(|| {
        world.book()["runs"]
            .as_object()
            .is_some_and(|runs| runs.values().any(|told| !told["commit"].is_null()))
    })
    .await;
    assert_eq!(telling.statuses.of("shop").unwrap(), Default::default());
    telling.stop().await;
    assert_eq!(forge.statuses().len(), 1);
}

#[tokio::test]
async fn a_book_that_is_damaged_is_begun_anew_at_the_present() {
    let (world, forge) = (World::new().await, FakeForge::start().await);
    world.register("shop", ForgeKind::Gitea, &forge).await;
    let old = world.push("shop").await;
    world.server.settled(old).await;
    std::fs::write(world.data.path().join("statuses.json"), "{ half").unwrap();
    world.server.stages.hold(Stage::Test);
    world.push("shop").await;
    let telling = world.telling().await;
    until(|| forge.statuses() == [PENDING]).await;
    telling.stop().await;
    assert_eq!(forge.statuses(), [PENDING], "what is over is history");
}
