//! A command in a container of its own decides about the candidate.

use std::time::Duration;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::Facts;
use landfall_engine::core::settings::CommandCheck;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::settings::SmokeCheck;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::StageExecutor;

use crate::world::IMAGE;
use crate::world::Lines;
use crate::world::SECRET;
use crate::world::World;
use crate::world::docker;

/// The pause between two looks at what was printed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn command(command: &str, within_ms: Option<u64>) -> Settings {
    let check = CommandCheck { command: command.into(), image: Some(IMAGE.into()), within_ms };
    Settings { smoke: vec![SmokeCheck::Command(check)], ..Settings::default() }
}

#[tokio::test]
async fn a_command_finds_the_candidate_at_landfall_url() {
    let world = World::new().await;
    let ask =
        "python -c \"import os, urllib.request as u; print(u.urlopen(os.environ['LANDFALL_URL']).status)\"";
    let mut run = world.run(command(&format!("until {ask}; do :; done; echo {SECRET}"), None));
    run.candidate = Some(world.start(run.id));
    let lines = Lines::default();
    let outcome = world.stages.execute(&world.order(&run, Stage::Smoke), &lines.output()).await;
    let Outcome::Succeeded(Facts::Smoke(report)) = outcome else { panic!("{outcome:?} {:?}", lines.seen()) };
    assert!(report.checks[0].check.ends_with("` = 0"), "{report:?}");
    let seen = lines.seen();
    assert!(seen.contains(&"200".to_owned()) && seen.contains(&"***".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn a_command_that_ends_red_is_an_answer_with_its_last_lines() {
    let world = World::new().await;
    let mut run = world.run(command(&format!("echo no {SECRET} here; exit 3"), None));
    run.candidate = Some(world.start(run.id));
    let candidate = format!("landfall-edge-{}+", run.id.short());
    let order = world.order(&run, Stage::Smoke);
    let outcome = world.stages.execute(&order, &Lines::default().output()).await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.reason, "`echo no *** here; exit 3` expected exit code 0, found 3");
    assert_eq!(failure.tail, ["no *** here"]);
    assert_eq!(world.containers().len(), 2, "it stays for a probe");
    world.stages.undo(&order).await.unwrap();
    world.stages.undo(&order).await.unwrap();
    assert_eq!(world.containers(), [candidate]);
}

/// Runs a command that ends red when the app is gone, and kills the candidate or the command once it has been answered.
async fn interrupted(kills_candidate: bool) -> Outcome {
    let world = World::new().await;
    let ask =
        "python -c \"import os, urllib.request as u; u.urlopen(os.environ['LANDFALL_URL'])\" 2>/dev/null";
    let script = format!("until {ask}; do :; done; echo answered; while {ask}; do :; done; exit 7");
    let mut run = world.run(command(&script, None));
    let candidate = world.start(run.id);
    run.candidate = Some(candidate.clone());
    let (order, lines) = (world.order(&run, Stage::Smoke), Lines::default());
    let output = lines.output();
    let mut smoking = std::pin::pin!(world.stages.execute(&order, &output));
    while !lines.seen().contains(&"answered".to_owned()) {
        tokio::select! {
            outcome = &mut smoking => panic!("it ended too early: {outcome:?}"),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
    let candidate = candidate.container;
    let mut running =
        world.containers().into_iter().filter_map(|name| Some(name.strip_suffix('+')?.to_owned()));
    let killed = running.find(|name| (*name == candidate) == kills_candidate).unwrap();
    docker(&["kill", &killed]);
    smoking.await
}

#[tokio::test]
async fn a_command_that_ends_red_because_the_candidate_was_stopped_is_no_answer() {
    let outcome = interrupted(true).await;
    let Outcome::Errored { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("found 7: its container was stopped from outside"), "{reason}");
}

#[tokio::test]
async fn a_command_that_somebody_killed_is_no_answer() {
    let outcome = interrupted(false).await;
    let Outcome::Errored { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("was ended from outside (exit code 137)"), "{reason}");
}

#[tokio::test]
async fn a_command_that_ends_by_itself_like_one_that_was_killed_is_red() {
    let world = World::new().await;
    let mut run = world.run(command("exit 137", None));
    run.candidate = Some(world.start(run.id));
    let outcome = world.stages.execute(&world.order(&run, Stage::Smoke), &Lines::default().output()).await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.reason, "`exit 137` expected exit code 0, found 137");
}

#[tokio::test]
async fn a_command_that_does_not_end_in_time_is_red_and_gone() {
    let world = World::new().await;
    let mut run = world.run(command("echo waiting; sleep 600", Some(2_000)));
    run.candidate = Some(world.start(run.id));
    let outcome = world.stages.execute(&world.order(&run, Stage::Smoke), &Lines::default().output()).await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    let said = "`echo waiting; sleep 600` expected an end within 2s, found it still running";
    assert_eq!(failure.reason, said);
    assert_eq!(failure.tail, ["waiting"]);
    assert_eq!(world.containers(), [format!("landfall-edge-{}+", run.id.short())]);
}

#[tokio::test]
async fn a_command_in_an_image_that_is_not_there_says_so() {
    let world = World::new().await;
    let mut settings = command("true", None);
    if let [SmokeCheck::Command(check)] = settings.smoke.as_mut_slice() {
        check.image = Some("127.0.0.1:1/nothing/here:1".into());
    }
    let mut run = world.run(settings);
    run.candidate = Some(world.start(run.id));
    let outcome = world.stages.execute(&world.order(&run, Stage::Smoke), &Lines::default().output()).await;
    let said = format!("{outcome:?}");
    assert!(
        !matches!(outcome, Outcome::Succeeded(_)) && said.contains("127.0.0.1:1/nothing/here:1"),
        "{said}"
    );
}
