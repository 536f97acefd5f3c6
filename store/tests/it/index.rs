//! The index may be lost, damaged, old or somebody else's: the answers stay the same.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Append, EventStore, RunQuery};
use landfall_store::IndexReport;
use landfall_store::contract::samples::{append, life, new_run, red_life, started};
use landfall_store::contract::takes_appends;
use uuid::Uuid;

use crate::common::{Answers, answers, copy, open};

/// Fills a data folder, closes it, and returns what it answered.
async fn filled(folder: &Path) -> Answers {
    let opened = open(folder);
    for n in 0..40 {
        let run = new_run();
        let events = match n % 4 {
            0 => life(run, "shop"),
            1 => red_life("blog"),
            2 => life(run, "blog").into_iter().take(15).collect(),
            _ => vec![started("shop")],
        };
        let claims = (n < 10).then(|| format!("delivery-{n}")).into_iter().collect();
        opened.store.append(Append { claims, ..append(run, 0, events) }).await.unwrap();
    }
    answers(&*opened.store).await
}

/// Opens the folder, and checks that nothing is lost and all goes on.
async fn same_answers(folder: &Path, expected: &Answers, what: &str) -> IndexReport {
    let opened = open(folder);
    assert_eq!(answers(&*opened.store).await, *expected, "{what}");
    assert!(takes_appends(&*opened.store).await, "{what}");
    opened.report.index
}

fn sled(folder: &Path) -> PathBuf {
    folder.join("index.sled")
}

#[tokio::test]
async fn an_index_that_is_there_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let expected = filled(folder.path()).await;
    let report = same_answers(folder.path(), &expected, "untouched").await;
    assert_eq!(report, IndexReport::CaughtUp { events: 0 });
}

#[tokio::test]
async fn an_index_that_is_gone_empty_or_half_written_is_rebuilt() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("gone", |index| fs::remove_dir_all(index).unwrap()),
        ("empty", |index| {
            fs::remove_dir_all(index).unwrap();
            fs::create_dir(index).unwrap();
        }),
        ("a file", |index| {
            fs::remove_dir_all(index).unwrap();
            fs::write(index, "no folder").unwrap();
        }),
        ("a snapshot that was being written", |index| {
            fs::write(index.join("snap.0000000000000000.generating"), "half").unwrap();
        }),
        ("without its data", |index| fs::remove_file(index.join("db")).unwrap()),
    ];
    for (what, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let expected = filled(folder.path()).await;
        damage(&sled(folder.path()));
        let report = same_answers(folder.path(), &expected, what).await;
        assert!(matches!(report, IndexReport::Rebuilt { .. }), "{what}: {report}");
    }
}

#[tokio::test]
async fn a_truncated_index_gives_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let expected = filled(folder.path()).await;
    let whole = fs::read(sled(folder.path()).join("db")).unwrap();
    for part in 0..12 {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let cut = whole.len() * part / 12 + part * 13;
        fs::write(sled(copied.path()).join("db"), &whole[..cut.min(whole.len())]).unwrap();
        same_answers(copied.path(), &expected, &format!("cut at {cut}")).await;
    }
}

#[tokio::test]
async fn noise_in_the_index_gives_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let expected = filled(folder.path()).await;
    for round in 0..24_usize {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let mut names: Vec<PathBuf> =
            fs::read_dir(sled(copied.path())).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.is_file());
        names.sort();
        let path = &names[round % names.len()];
        let mut bytes = fs::read(path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        for (i, byte) in bytes[..used].iter_mut().enumerate() {
            if i % 24 == round {
                *byte ^= 0x3c;
            }
        }
        fs::write(path, bytes).unwrap();
        same_answers(copied.path(), &expected, &format!("noise {round} in {}", path.display())).await;
    }
}

#[tokio::test]
async fn an_index_that_is_behind_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    let opened = open(folder.path());
    let run = new_run();
    let events = life(run, "shop");
    opened.store.append(append(run, 0, events[..12].to_vec())).await.unwrap();
    drop(opened);
    copy(&sled(folder.path()), &sled(old.path()));
    let opened = open(folder.path());
    opened.store.append(append(run, 12, events[12..].to_vec())).await.unwrap();
    opened.store.append(append(new_run(), 0, red_life("blog"))).await.unwrap();
    let expected = answers(&*opened.store).await;
    drop(opened);
    fs::remove_dir_all(sled(folder.path())).unwrap();
    copy(&sled(old.path()), &sled(folder.path()));
    let report = same_answers(folder.path(), &expected, "behind").await;
    assert_eq!(report, IndexReport::CaughtUp { events: events.len() as u64 - 12 + 5 });
}

#[tokio::test]
async fn an_index_of_another_log_is_rebuilt() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = filled(folder.path()).await;
    filled(other.path()).await;
    fs::remove_dir_all(sled(folder.path())).unwrap();
    copy(&sled(other.path()), &sled(folder.path()));
    let report = same_answers(folder.path(), &expected, "another log's").await;
    assert!(matches!(report, IndexReport::Rebuilt { .. }), "{report}");
}

#[tokio::test]
async fn listings_mix_what_is_in_memory_with_what_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let opened = open(folder.path());
    let (oldest, newest) = (RunId(Uuid::from_u128(1)), new_run());
    for run in [oldest, newest] {
        opened.store.append(append(run, 0, [started("mixed")])).await.unwrap();
    }
    let all = opened.store.runs(RunQuery { limit: 1000, ..RunQuery::default() }).await.unwrap();
    assert_eq!((all.first().unwrap().id, all.last().unwrap().id, all.len()), (newest, oldest, 42));
    assert!(all.is_sorted_by_key(|run| Reverse(run.id)));
}
