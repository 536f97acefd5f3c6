//! What stages print is kept whole, and can be followed while it is printed.

use std::time::Duration;

use futures_util::StreamExt;
use landfall_engine::core::event::OutputRef;
use landfall_engine::ports::OutputLog;
use landfall_store::contract::samples::new_run;
use landfall_store::{OutputChunk, OutputDir, OutputFile, Pruned, PrunedOutput};
use sha2::{Digest, Sha256};

fn outputs() -> (OutputDir, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (OutputDir::new(folder.path().join("output")), folder)
}

async fn text(
    chunks: &mut (impl futures_util::Stream<Item = std::io::Result<OutputChunk>> + Unpin),
    until: usize,
) -> String {
    let mut text = String::new();
    while text.len() < until {
        let next = tokio::time::timeout(Duration::from_secs(60), chunks.next()).await.unwrap();
        text.push_str(&next.unwrap().unwrap().text);
    }
    text
}

#[tokio::test]
async fn a_finished_output_has_its_length_and_hash() {
    let (outputs, _folder) = outputs();
    let run = new_run();
    let mut writer = outputs.open(run, "test", 1).unwrap();
    let mut whole = String::new();
    for n in 0..30_000 {
        let line = format!("test {n} … größer");
        writer.line(&line).unwrap();
        whole.push_str(&line);
        whole.push('\n');
    }
    let told = writer.finish().unwrap();
    let sha256 = Sha256::digest(&whole).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(told, OutputRef { len: whole.len() as u64, sha256 });
    assert_eq!(writer.finish().unwrap(), told, "finishing twice is finishing once");
    assert!(writer.line("late").is_err());
    assert_eq!(outputs.read(run, "test", 1).await.unwrap(), Some(whole.into_bytes()));
    assert_eq!(outputs.read(run, "test", 2).await.unwrap(), None);
}

#[tokio::test]
async fn a_follower_has_what_is_there_then_what_comes_until_the_end() {
    let (outputs, _folder) = outputs();
    let run = new_run();
    let mut writer = outputs.open(run, "build", 2).unwrap();
    writer.line("one").unwrap();
    let mut chunks = outputs.follow(run, "build", 2, 0);
    assert_eq!(text(&mut chunks, 4).await, "one\n");
    writer.line("two").unwrap();
    assert_eq!(text(&mut chunks, 4).await, "two\n", "a line is seen though little was collected");
    writer.line("three").unwrap();
    writer.finish().unwrap();
    let rest: Vec<OutputChunk> = chunks.map(Result::unwrap).collect().await;
    assert_eq!(rest, [OutputChunk { text: "three\n".into(), next: 14 }]);
    let again: Vec<OutputChunk> = outputs.follow(run, "build", 2, 4).map(Result::unwrap).collect().await;
    assert_eq!(again, [OutputChunk { text: "two\nthree\n".into(), next: 14 }]);
    assert_eq!(outputs.follow(run, "build", 3, 0).count().await, 0, "there is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_a_fast_writer_misses_nothing() {
    let (outputs, _folder) = outputs();
    let run = new_run();
    let mut writer = outputs.open(run, "test", 1).unwrap();
    let mut chunks = outputs.follow(run, "test", 1, 0);
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..50_000 {
            writer.line(&n.to_string()).unwrap();
        }
        writer.finish().unwrap().len
    });
    let (mut next, mut at) = (0, 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        assert!(chunk.text.ends_with('\n'), "lines are whole");
        at += chunk.text.len() as u64;
        assert_eq!(chunk.next, at);
        for line in chunk.text.lines() {
            assert_eq!(line, next.to_string());
            next += 1;
        }
    }
    assert_eq!((next, at), (50_000, writing.await.unwrap()));
}

#[tokio::test]
async fn a_line_that_is_longer_than_a_chunk_comes_in_whole_characters() {
    let (outputs, _folder) = outputs();
    let run = new_run();
    let mut writer = outputs.open(run, "test", 1).unwrap();
    let line = "a€".repeat(50_000);
    writer.line(&line).unwrap();
    writer.finish().unwrap();
    let parts: Vec<String> =
        outputs.follow(run, "test", 1, 0).map(|chunk| chunk.unwrap().text).collect().await;
    assert!(parts.len() > 2);
    assert_eq!(parts.concat(), line + "\n");
}

#[tokio::test]
async fn a_writer_that_is_dropped_ends_its_followers_with_all_that_it_said() {
    let (outputs, _folder) = outputs();
    let run = new_run();
    let mut writer = outputs.open(run, "deploy", 1).unwrap();
    let chunks = outputs.follow(run, "deploy", 1, 0);
    writer.line("starting").unwrap();
    drop(writer);
    let said: Vec<String> = chunks.map(|chunk| chunk.unwrap().text).collect().await;
    assert_eq!(said, ["starting\n"]);
}

#[tokio::test]
async fn opening_again_replaces_what_an_earlier_engine_wrote() {
    let (outputs, _folder) = outputs();
    let run = new_run();
    let mut first = outputs.open(run, "test", 1).unwrap();
    first.line("before the crash").unwrap();
    let followed = outputs.follow(run, "test", 1, 0);
    let mut second = outputs.open(run, "test", 1).unwrap();
    second.line("after").unwrap();
    second.finish().unwrap();
    drop(first);
    assert_eq!(outputs.read(run, "test", 1).await.unwrap(), Some(b"after\n".to_vec()));
    let said: Vec<String> = followed.map(|chunk| chunk.unwrap().text).collect().await;
    assert_eq!(said, ["before the crash\n"]);
}

#[tokio::test]
async fn outputs_of_a_run_are_listed() {
    let (outputs, _folder) = outputs();
    let run = new_run();
    assert_eq!(outputs.list(run).await.unwrap(), []);
    let mut done = outputs.open(run, "push_image", 1).unwrap();
    done.line("pushed").unwrap();
    done.finish().unwrap();
    let mut live = outputs.open(run, "deploy", 12).unwrap();
    live.line("…").unwrap();
    outputs.open(new_run(), "test", 1).unwrap();
    let file = |name: &str, attempt, len, live| OutputFile { name: name.into(), attempt, len, live };
    let listed = outputs.list(run).await.unwrap();
    assert_eq!(listed, [file("deploy", 12, 4, true), file("push_image", 1, 7, false)]);
}

#[tokio::test]
async fn a_name_can_t_leave_the_folder() {
    let (outputs, _folder) = outputs();
    for name in ["", "../META", "a/b", "a b", "ä", "."] {
        assert!(outputs.open(new_run(), name, 1).is_err(), "{name:?}");
        assert!(outputs.read(new_run(), name, 1).await.is_err(), "{name:?}");
    }
}

#[tokio::test]
async fn a_pruned_output_is_gone_and_says_when_and_what_it_was() {
    let (outputs, folder) = outputs();
    let (run, other) = (new_run(), new_run());
    for (run, stage, bytes) in [(run, "test", 1_048_576), (run, "rollback", 10), (other, "test", 5)] {
        let mut writer = outputs.open(run, stage, 1).unwrap();
        writer.line(&"x".repeat(bytes - 1)).unwrap();
        writer.finish().unwrap();
    }
    let before = outputs.list(run).await.unwrap();
    let gone = |name: &str, len| PrunedOutput { name: name.into(), attempt: 1, len };
    let pruned =
        Pruned { at_ms: 7, outputs: vec![gone("rollback", 10), gone("test", 1_048_576)], archive: None };
    assert_eq!(outputs.prune(run, 7, None, true).await.unwrap().as_ref(), Some(&pruned));
    assert_eq!((outputs.list(run).await.unwrap(), outputs.pruned(run).await.unwrap()), (before, None));

    let read = outputs.follow(run, "test", 1, 0);
    assert_eq!(outputs.prune(run, 7, None, false).await.unwrap().as_ref(), Some(&pruned));
    assert_eq!((pruned.bytes(), pruned.of("test", 1).map(|gone| gone.len)), (1_048_586, Some(1_048_576)));
    assert_eq!(outputs.list(run).await.unwrap(), []);
    assert_eq!(outputs.read(run, "test", 1).await.unwrap(), None);
    assert_eq!(outputs.pruned(run).await.unwrap(), Some(pruned.clone()));
    let note = folder.path().join(format!("output/{run}/pruned.json"));
    assert_eq!(
        std::fs::read_to_string(note).unwrap(),
        "{\"at_ms\":7,\"outputs\":[{\"name\":\"rollback\",\"attempt\":1,\"len\":10},\
         {\"name\":\"test\",\"attempt\":1,\"len\":1048576}]}\n",
        "stored for ever"
    );
    let rest: usize = read.map(|chunk| chunk.unwrap().text.len()).fold(0, async |sum, len| sum + len).await;
    assert_eq!(rest, 1_048_576, "whoever reads it reads it to its end");
    assert_eq!(outputs.prune(run, 8, None, false).await.unwrap(), None, "there is nothing left");
    assert_eq!(outputs.pruned(run).await.unwrap(), Some(pruned));
    assert_eq!(outputs.list(other).await.unwrap().len(), 1);
    assert_eq!(outputs.pruned(other).await.unwrap(), None);
}

#[tokio::test]
async fn a_pruning_that_was_cut_short_is_gone_on_with_and_forgets_nothing() {
    let (outputs, folder) = outputs();
    let run = new_run();
    for stage in ["build", "test"] {
        let mut writer = outputs.open(run, stage, 1).unwrap();
        writer.line(stage).unwrap();
        writer.finish().unwrap();
    }
    let place = folder.path().join(format!("output/{run}"));
    let kept = std::fs::read(place.join("test-1.log")).unwrap();
    outputs.prune(run, 7, Some("old.tar".into()), false).await.unwrap();
    // As after a crash between the note and the last file.
    std::fs::write(place.join("test-1.log"), kept).unwrap();
    outputs.prune(run, 8, Some("old.tar".into()), false).await.unwrap();
    let note = outputs.pruned(run).await.unwrap().unwrap();
    assert_eq!((note.outputs.len(), note.archive.as_deref()), (2, Some("old.tar")));
    assert_eq!(outputs.list(run).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_being_written_is_not_pruned() {
    let (outputs, _folder) = outputs();
    let run = new_run();
    let mut writer = outputs.open(run, "test", 1).unwrap();
    writer.line("going on").unwrap();
    assert_eq!(outputs.prune(run, 7, None, false).await.unwrap(), None);
    writer.finish().unwrap();
    assert_eq!(outputs.read(run, "test", 1).await.unwrap(), Some(b"going on\n".to_vec()));
}
