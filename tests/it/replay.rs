//! What `landfall replay` prints, for each ending, compared with a checked-in text.

use landfall_engine::audit::replay;
use landfall_engine::core::event::Envelope;
use landfall_engine::core::stage::Stage;
use landfall_engine::timeline::render;

use crate::lifecycle::Rig;
use crate::world::{Answer, World};

/// Columns of the terminal that the texts were drawn for.
const WIDTH: usize = 120;

async fn history(red: Option<Stage>) -> Vec<Envelope> {
    let rig = Rig::new(World::new()).await;
    rig.live('a').await;
    rig.world.answer(Stage::Checkout, Some(Answer::Silent(1)));
    if let Some(stage) = red {
        rig.world.answer(stage, Some(Answer::Red));
    }
    let run = rig.push('b').await;
    rig.settled(run).await;
    rig.engine.store().events(run).await.unwrap()
}

/// Compares with a checked-in text; ids differ from run to run and are written as `RUN`.
#[track_caller]
fn same_as_file(name: &str, history: &[Envelope], until: Option<u64>) {
    let id = history[0].run_id.to_string();
    let found = render(&replay(history, until), WIDTH).replace(&id, "RUN");
    let found: String = found.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    let path = format!("{}/it/expected/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == found, "{name} differs (UPDATE_EXPECT=1 writes it anew):\n{found}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_went_live_is_replayed() {
    same_as_file("replay_live", &history(None).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_with_red_tests_is_replayed() {
    same_as_file("replay_red_tests", &history(Some(Stage::Test)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_with_a_red_smoke_test_is_replayed() {
    same_as_file("replay_red_smoke", &history(Some(Stage::Smoke)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_replayed_as_it_was_at_an_earlier_event() {
    same_as_file("replay_at_8", &history(None).await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_history_with_a_missing_event_does_not_verify() {
    let mut history = history(None).await;
    history.remove(4);
    let replayed = replay(&history, None);
    assert_eq!(replayed.problems.len(), 1);
    assert!(replayed.problems[0].contains("event 6"), "{:?}", replayed.problems);
}
