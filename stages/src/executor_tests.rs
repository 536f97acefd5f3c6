//! What the executor does around each stage.

use landfall_engine::core::settings::HttpCheck;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::settings::SmokeCheck;

use super::*;
use crate::testing::Lines;
use crate::testing::Reply;
use crate::testing::World;
use crate::testing::order;
use crate::testing::rollback_order;
use crate::testing::run as a_run;
use crate::testing::tcp;

async fn executor(secrets: &[(&str, &str)]) -> (FlaskStages, World) {
    let world = World::with(secrets).await;
    (FlaskStages { context: world.context.clone() }, world)
}

#[tokio::test]
async fn an_executor_is_made_while_nothing_runs() {
    let data = tempfile::tempdir().unwrap();
    let config = FlaskStagesConfig {
        data: data.path().into(),
        secrets: Secrets::default(),
        proxy_socket: data.path().join("admin.sock"),
        docker: Some(DockerHandle::connect(Some("unix:///nonexistent/docker.sock")).unwrap()),
    };
    assert!(FlaskStages::new(config).is_ok());
}

#[tokio::test]
async fn no_secret_leaves_in_output_reason_or_evidence() {
    let (executor, world) = executor(&[("DATABASE_URL", "postgres://u:hunter2!@db/shop")]).await;
    let leak = "can't reach postgres://u:hunter2!@db/shop with hunter2!";
    let (address, _) = tcp(move |_| Reply::new(500, leak)).await;
    let mut settings = Settings::default();
    settings.env.secret = vec!["DATABASE_URL".into()];
    let check = HttpCheck { path: "/".into(), contains: Some("hunter2!".into()), ..HttpCheck::default() };
    settings.smoke = vec![SmokeCheck::Http(HttpCheck { status: Some(500), ..check })];
    settings.smoke.push(SmokeCheck::Http(HttpCheck { path: "/hunter2!".into(), ..HttpCheck::default() }));
    let order = order(a_run(address, None, settings), Stage::Smoke);
    let lines = Lines::default();
    let outcome = executor.execute(&order, &lines.output()).await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert!(failure.reason.starts_with("GET /*** expected a status"), "{failure:?}");
    assert!(failure.reason.contains("can't reach *** with ***"), "{failure:?}");
    let seen = lines.seen().join("\n");
    assert!(seen.contains("failed  GET /*** expected") && !seen.contains("hunter2"), "{seen}");
    let kept = evidence::recall(&world.context, &order.run).await.unwrap();
    assert_eq!((kept.stage, kept.failure), (Stage::Smoke, failure));
}

#[tokio::test]
async fn a_run_that_lacks_everything_gives_no_answer_and_no_panic() {
    let (executor, _world) = executor(&[]).await;
    let mut run = a_run(([127, 0, 0, 1], 9).into(), None, Settings::default());
    (run.settings, run.image, run.candidate, run.entry, run.built) = (None, None, None, None, None);
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Checkout) {
        let order = order(run.clone(), stage);
        let outcome = executor.execute(&order, &Lines::default().output()).await;
        assert!(!matches!(outcome, Outcome::Succeeded(_)), "{stage}: {outcome:?}");
    }
    let order = rollback_order(run);
    let outcome = executor.rollback(&order, &Lines::default().output()).await;
    assert!(matches!(outcome, RollbackOutcome::Errored { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_line_that_is_held_back_is_printed_when_the_stage_is_cut_short() {
    let lines = Lines::default();
    let masker = Masker::new(["first\nsecond"]);
    let shown = shown(&masker, &lines.output());
    shown.line("first");
    assert!(lines.seen().is_empty());
    drop(shown);
    assert_eq!(lines.seen(), ["first"]);
}
