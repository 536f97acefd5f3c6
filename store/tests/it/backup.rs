//! A backup has all that was acknowledged before it and nothing that was not durable, and restores whole or not
//! at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use landfall_engine::core::event::{Envelope, Event, OutputRef};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{EventStore, OutputLog};
use landfall_store::backup::{
    BackupError, BackupOptions, Contents, backup_to_file, backup_to_stream, check_file, restore,
};
use landfall_store::contract::samples::{append, life, new_run, red_life, started};
use landfall_store::{DataDir, OpenError, Opened, Options, OutputDir, open_read_only};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::common::{FIRST, answers, everything, open, open_in_small_segments};

const NOW_MS: u64 = 1_790_000_000_000;
/// How long a checkpoint may take: the keeper collects for a moment, and a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks at a folder.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

const PLAIN: BackupOptions = BackupOptions { with_keys: false };

/// Prints as a stage does, and returns what its event says of it.
fn print(outputs: &OutputDir, run: RunId, stage: &str, lines: usize) -> OutputRef {
    let mut output = outputs.open(run, stage, 1).unwrap();
    for line in 0..lines {
        output.line(&format!("{stage} {run} line {line}")).unwrap();
    }
    output.finish().unwrap()
}

/// Returns a whole life whose tests and build printed something.
fn life_with_outputs(outputs: &OutputDir, run: RunId, lines: usize) -> Vec<Event> {
    let mut events = life(run, "shop");
    for event in &mut events {
        if let Event::StageSucceeded { stage, output, .. } = event
            && ["test", "build"].contains(&stage.name())
        {
            *output = Some(print(outputs, run, stage.name(), lines));
        }
    }
    events
}

async fn live(opened: &Opened, lines: usize) -> (RunId, Vec<Envelope>) {
    let run = new_run();
    let events = life_with_outputs(&opened.outputs, run, lines);
    (run, opened.store.append(append(run, 0, events)).await.unwrap())
}

/// A data folder with a run that went live, one that failed and one that is open; and a key and a checkpoint.
async fn a_folder() -> (TempDir, Opened, Vec<RunId>) {
    let folder = tempfile::tempdir().unwrap();
    let opened = open_in_small_segments(folder.path());
    let (live, _) = live(&opened, 3).await;
    let (failed, going_on) = (new_run(), new_run());
    let ended = opened.store.append(append(failed, 0, red_life("blog"))).await.unwrap();
    opened.store.append(append(going_on, 0, [started("shop")])).await.unwrap();
    print(&opened.outputs, going_on, "checkout", 1);
    until_signed(folder.path(), ended.last().unwrap().global_seq).await;
    for other in ["token", "server.json"] {
        fs::write(folder.path().join(other), "not for others\n").unwrap();
    }
    (folder, opened, vec![live, failed, going_on])
}

/// Waits until the event that ended the last of the runs is covered by a checkpoint.
async fn until_signed(folder: &Path, last_run_ends: u64) {
    let signed = || {
        signed_in(folder)
            .iter()
            .any(|name| name.ends_with(".json") && *name >= format!("{last_run_ends:020}"))
    };
    tokio::time::timeout(PATIENCE, async {
        while !signed() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await
    .unwrap();
}

/// Returns what lies beside the log to show that it is whole.
fn signed_in(folder: &Path) -> Vec<String> {
    names(&folder.join("checkpoints"))
}

fn backed_up(data: &Path, to: &Path) -> Contents {
    backup_to_file(data, to, NOW_MS, PLAIN).unwrap()
}

fn restored_from(file: &Path, to: &Path) -> Result<Contents, BackupError> {
    let input = fs::File::open(file).unwrap();
    let limit = input.metadata().unwrap().len();
    restore(input, Some(limit), to, NOW_MS, false)
}

/// Returns every file below a folder, by path, with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = fs::read(&path).unwrap();
                    found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
                }
            }
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_of_a_held_folder_restores_to_the_same_log_and_leaves_secrets_out() {
    let (data, opened, runs) = a_folder().await;
    let place = tempfile::tempdir().unwrap();
    let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
    let contents = backed_up(data.path(), &file);
    assert_eq!(contents.log_id, opened.store.log_id());
    assert_eq!((contents.runs, contents.open_runs.as_slice()), (3, &runs[2..]));
    assert_eq!((contents.outputs, contents.keys), (2, 0));
    let heads = signed_in(data.path()).iter().filter(|name| name.ends_with(".json")).count();
    assert_eq!(contents.checkpoints, heads as u64, "the public key is none");
    assert!(contents.unsound.is_empty(), "{contents:?}");
    assert_eq!(check_file(&file).unwrap(), contents);
    assert_eq!(names(place.path()), ["backup.tar"], "nothing else is left");

    assert_eq!(restored_from(&file, &to).unwrap(), contents);
    let log = open_read_only(&to).unwrap();
    assert_eq!(answers(&log).await, answers(&*opened.store).await);
    let verified = log.verify().await.unwrap();
    assert_eq!((verified.problems, verified.head), (vec![], contents.head_hash));
    assert_eq!(names(&to), ["META", "RESTORED", "checkpoints", "log", "output"]);
    let outputs = OutputDir::new(to.join("output"));
    assert_eq!(
        outputs.read(runs[0], "test", 1).await.unwrap(),
        opened.outputs.read(runs[0], "test", 1).await.unwrap()
    );
    assert!(
        outputs.list(runs[2]).await.unwrap().is_empty(),
        "an attempt that has not ended has no output yet"
    );
}

#[tokio::test]
async fn a_backup_goes_through_a_pipe() {
    let (data, opened, _) = a_folder().await;
    let to = tempfile::tempdir().unwrap();
    let mut pipe = Vec::new();
    let told = backup_to_stream(data.path(), &mut pipe, NOW_MS, PLAIN).unwrap();
    // An empty folder that is there already will do.
    let contents = restore(&pipe[..], None, to.path(), NOW_MS, true).unwrap();
    assert_eq!(contents, told);
    drop(opened);
    assert_eq!(names(to.path()), ["META", "checkpoints", "log", "output"], "taken over at once");
}

#[tokio::test]
async fn keys_are_in_a_backup_only_when_they_are_asked_for() {
    let (data, _opened, _) = a_folder().await;
    fs::write(data.path().join("checkpoints/other.key"), "another\n").unwrap();
    let place = tempfile::tempdir().unwrap();
    let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
    assert_eq!(backed_up(data.path(), &file).keys, 0);
    let contents = backup_to_file(data.path(), &file, NOW_MS, BackupOptions { with_keys: true }).unwrap();
    assert_eq!(contents.keys, 2);
    restored_from(&file, &to).unwrap();
    let key = |folder: &Path| fs::read_to_string(folder.join("checkpoint.key")).unwrap();
    assert_eq!(key(&to), key(data.path()));
    use std::os::unix::fs::PermissionsExt;
    for private in [file, to.join("checkpoint.key")] {
        assert_eq!(fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn no_engine_starts_on_a_restored_folder_until_somebody_takes_it_over() {
    let (data, opened, runs) = a_folder().await;
    let place = tempfile::tempdir().unwrap();
    let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
    backed_up(data.path(), &file);
    restored_from(&file, &to).unwrap();
    let refused = DataDir::open(&to, &Default::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Restored { created_ms: NOW_MS, .. }), "{refused}");
    assert!(refused.to_string().contains("--take-over"), "{refused}");
    let told = opened.store.events(runs[0]).await.unwrap();
    assert_eq!(open_read_only(&to).unwrap().events(runs[0]).await.unwrap(), told);

    assert!(DataDir::take_over(&to).unwrap());
    assert!(!DataDir::take_over(&to).unwrap(), "once is enough");
    let own = open(&to);
    assert_eq!(own.store.open_runs().await.unwrap(), runs[2..]);
    own.store.append(append(new_run(), 0, red_life("blog"))).await.unwrap();
    assert_eq!(own.store.verify().await.unwrap().problems, []);
    drop(opened);
}

#[tokio::test]
async fn an_empty_log_can_be_backed_up() {
    let data = tempfile::tempdir().unwrap();
    drop(open(data.path()));
    let place = tempfile::tempdir().unwrap();
    let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
    assert_eq!(backed_up(data.path(), &file).head_seq, 0);
    restored_from(&file, &to).unwrap();
    assert!(DataDir::take_over(&to).unwrap());
    open(&to).store.append(append(new_run(), 0, red_life("blog"))).await.unwrap();
}

/// What the writer under load was told is durable.
#[derive(Default)]
struct Told(Mutex<BTreeMap<RunId, Vec<Envelope>>>);

/// Writes whole lives, one for each permit, and prunes every second one of them.
async fn write_and_prune(opened: Arc<Opened>, told: Arc<Told>, permits: Arc<Semaphore>) -> u64 {
    let mut pruned = 0;
    for nth in 0.. {
        // Closed when it is enough.
        let Ok(permit) = permits.acquire().await else { break };
        permit.forget();
        let run = new_run();
        let events = life_with_outputs(&opened.outputs, run, 20);
        let (first, rest) = events.split_at(7);
        let mut known = opened.store.append(append(run, 0, first.to_vec())).await.unwrap();
        told.0.lock().unwrap().insert(run, known.clone());
        known.extend(opened.store.append(append(run, 7, rest.to_vec())).await.unwrap());
        told.0.lock().unwrap().insert(run, known);
        if nth % 2 == 0 {
            pruned += u64::from(opened.outputs.prune(run, NOW_MS, None, false).await.unwrap().is_some());
        }
    }
    pruned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backups_of_a_log_that_grows_rolls_and_is_pruned_all_restore_with_all_that_was_told() {
    let data = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 32 * 1024, ..Options::default() };
    let opened = Arc::new(DataDir::open(data.path(), &options).unwrap());
    let (told, permits) = (Arc::new(Told::default()), Arc::new(Semaphore::new(0)));
    let writers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(write_and_prune(Arc::clone(&opened), Arc::clone(&told), Arc::clone(&permits))))
        .collect();
    let (mut heads, mut copied, mut noted) = (Vec::new(), 0, 0);
    for round in 0..6 {
        permits.add_permits(10);
        let before = told.0.lock().unwrap().clone();
        let (place, folder) = (tempfile::tempdir().unwrap(), data.path().to_owned());
        let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
        let made = {
            let file = file.clone();
            tokio::task::spawn_blocking(move || backup_to_file(&folder, &file, NOW_MS, PLAIN)).await.unwrap()
        };
        let contents = made.unwrap();
        assert!(contents.unsound.is_empty(), "round {round}: {contents:?}");
        assert_eq!(restored_from(&file, &to).unwrap(), contents, "round {round}");
        let log = open_read_only(&to).unwrap();
        assert_eq!(log.verify().await.unwrap().problems, [], "round {round}");
        let everything = everything(&log, contents.head_seq).await;
        for (run, events) in before {
            let found = everything.iter().filter(|event| event.run_id == run).take(events.len());
            assert!(found.eq(&events), "round {round}: it was told, and is not in the copy");
        }
        heads.push(contents.head_seq);
        copied += contents.outputs;
        noted += contents.pruned_runs;
    }
    permits.close();
    let mut pruned = 0;
    for writer in writers {
        pruned += writer.await.unwrap();
    }
    assert!(heads.is_sorted() && heads[0] < heads[5], "the log grew meanwhile: {heads:?}");
    assert!(
        pruned > 0 && noted > 0 && copied > 0,
        "{pruned} pruned, {noted} notes and {copied} outputs copied"
    );
    assert!(fs::read_dir(data.path().join("log")).unwrap().count() > 3, "segments were rolled");
}

#[tokio::test]
async fn an_output_that_is_not_as_the_log_says_is_told_and_copied_as_it_is() {
    let (data, opened, runs) = a_folder().await;
    let (other, _) = live(&opened, 2).await;
    let output = |run: RunId, name: &str| data.path().join(format!("output/{run}/{name}-1.log"));
    fs::write(output(runs[0], "test"), "somebody was here\n").unwrap();
    fs::remove_file(output(other, "build")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
    let contents = backed_up(data.path(), &file);
    let expected = [
        format!("output/{}/test-1.log is not what the log says that was printed", runs[0]),
        format!("output/{other}/build-1.log is not there, and was not pruned"),
    ];
    assert_eq!(contents.unsound, expected);
    assert_eq!(restored_from(&file, &to).unwrap().unsound, expected);
    let restored = to.join(format!("output/{}/test-1.log", runs[0]));
    assert_eq!(fs::read_to_string(restored).unwrap(), "somebody was here\n");
}

#[tokio::test]
async fn a_note_of_a_pruning_that_can_t_be_read_is_told_and_stops_no_backup() {
    let (data, opened, runs) = a_folder().await;
    opened.outputs.prune(runs[0], NOW_MS, None, false).await.unwrap();
    let note = format!("output/{}/pruned.json", runs[0]);
    fs::write(data.path().join(&note), "{").unwrap();
    let place = tempfile::tempdir().unwrap();
    let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
    let contents = backed_up(data.path(), &file);
    let expected = format!("{note} can't be read, so nobody knows what was pruned");
    assert!(contents.unsound.contains(&expected), "{:?}", contents.unsound);
    assert_eq!(restored_from(&file, &to).unwrap(), contents);
    assert_eq!(fs::read_to_string(to.join(note)).unwrap(), "{");
}

#[tokio::test]
async fn a_damaged_log_gives_no_backup_and_the_former_one_stays() {
    let (data, opened, _) = a_folder().await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup.tar");
    backed_up(data.path(), &file);
    let before = fs::read(&file).unwrap();
    let segment = data.path().join("log").join(FIRST);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[600] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let refused = backup_to_file(data.path(), &file, NOW_MS, PLAIN).unwrap_err();
    assert!(matches!(refused, BackupError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains(FIRST), "{refused}");
    assert_eq!((fs::read(&file).unwrap() == before, names(place.path())), (true, vec!["backup.tar".into()]));
    drop(opened);
}

#[tokio::test]
async fn only_an_empty_or_a_new_folder_is_restored_into() {
    let (data, _opened, _) = a_folder().await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup.tar");
    backed_up(data.path(), &file);
    let occupied = place.path().join("occupied");
    fs::create_dir(&occupied).unwrap();
    fs::write(occupied.join("notes.txt"), "mine").unwrap();
    let before = files(&occupied);
    let refused = restored_from(&file, &occupied).unwrap_err();
    assert!(matches!(refused, BackupError::Occupied { .. }), "{refused}");
    let refused = restored_from(&file, &file).unwrap_err();
    assert!(matches!(refused, BackupError::Disk { .. }), "{refused}");
    assert_eq!(files(&occupied), before);
    assert_eq!(names(place.path()), ["backup.tar", "occupied"]);
}

/// One entry of a tar, to be changed.
struct Entry {
    header: tar::Header,
    content: Vec<u8>,
}

/// Packs a backup anew, with its entries changed.
fn repacked(file: &Path, change: impl FnOnce(&mut Vec<Entry>)) -> Vec<u8> {
    let mut archive = tar::Archive::new(fs::File::open(file).unwrap());
    let mut entries = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        entries.push(Entry { header, content });
    }
    change(&mut entries);
    let mut packed = Vec::new();
    for Entry { mut header, mut content } in entries {
        header.set_cksum();
        packed.extend_from_slice(header.as_bytes());
        content.resize(content.len().next_multiple_of(512), 0);
        packed.extend(content);
    }
    packed.resize(packed.len() + 1024, 0);
    packed
}

/// Returns an entry with these bytes for a path, whatever they are.
fn entry(path: &[u8], kind: tar::EntryType, content: &str) -> Entry {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    Entry { header, content: content.into() }
}

#[tokio::test]
async fn what_somebody_else_put_into_the_tar_is_refused_and_nothing_is_written() {
    use tar::EntryType as Kind;
    let (data, _opened, runs) = a_folder().await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup.tar");
    backed_up(data.path(), &file);
    let run = runs[0];
    let insert = |path: &str, kind: Kind, content: &str| {
        repacked(&file, |entries| entries.insert(3, entry(path.as_bytes(), kind, content)))
    };
    let sized = |at: usize, size: u64| repacked(&file, |entries| entries[at].header.set_size(size));
    let linked = repacked(&file, |entries| {
        let mut link = entry(b"log/00000000000000000001.seg", Kind::Symlink, "");
        link.header.set_link_name("/etc/passwd").unwrap();
        entries.insert(3, link);
    });
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a path above", insert("../evil", Kind::Regular, "evil"), "does not belong into a backup"),
        ("an absolute path", insert("/tmp/landfall-evil", Kind::Regular, "evil"), "does not belong"),
        ("a path round about", insert("log/../../evil", Kind::Regular, "evil"), "does not belong"),
        ("the mark of a restore", insert("RESTORED", Kind::Regular, "{}"), "does not belong"),
        ("a token", insert("token", Kind::Regular, "secret"), "does not belong"),
        ("a symbolic link", linked, "is no plain file"),
        ("a hard link", insert("checkpoints/x.json", Kind::Link, ""), "is no plain file"),
        ("a folder", insert("checkpoints/x", Kind::Directory, ""), "is no plain file"),
        ("a device", insert("checkpoints/x", Kind::Block, ""), "is no plain file"),
        ("a long name", insert("././@LongLink", Kind::GNULongName, "../evil"), "is no plain file"),
        ("a sparse file", insert("checkpoints/x", Kind::GNUSparse, "x"), "is no plain file"),
        ("a file twice", insert("META", Kind::Regular, "{}"), "is in it twice"),
        (
            "another note",
            insert(&format!("output/{run}/pruned.json"), Kind::Regular, "{"),
            "not those that were put into it",
        ),
        (
            "another checkpoint",
            insert("checkpoints/x.json", Kind::Regular, "x"),
            "not those that were put into it",
        ),
        ("an absurd size", sized(3, 1 << 62), "is said to have 4611686018427387904 bytes"),
        ("an absurd text", sized(0, 1 << 40), "is said to have"),
        (
            "a tail",
            repacked(&file, |entries| entries.push(entry(b"checkpoints/y", Kind::Regular, "y"))),
            "behind its end",
        ),
        ("no start", repacked(&file, |entries| drop(entries.remove(0))), "it begins with"),
        ("no end", repacked(&file, |entries| drop(entries.pop())), "its end is missing"),
        ("no segment", repacked(&file, |entries| drop(entries.remove(3))), "the backup is damaged"),
        ("no output", repacked(&file, |entries| drop(entries.remove(entries.len() - 2))), "or missing"),
        (
            "a newer format",
            repacked(&file, |entries| {
                let text = String::from_utf8(entries[0].content.clone()).unwrap();
                entries[0].content = text.replace("\"format\":1", "\"format\":9").into();
            }),
            "use a newer landfall",
        ),
        ("no tar", b"hello".repeat(500), "it is no backup of Landfall"),
        ("nothing", Vec::new(), "it is no backup of Landfall"),
        ("zeros", vec![0; 10_240], "it is no backup of Landfall"),
    ];
    for (what, packed, reason) in cases {
        for is_stream in [false, true] {
            let to = place.path().join("restored");
            let limit = (!is_stream).then_some(packed.len() as u64);
            let refused = restore(&packed[..], limit, &to, NOW_MS, false).unwrap_err();
            let said = refused.to_string();
            // A stream has no length, so a size is held against what is free.
            let is_full = is_stream && said.contains("are free (make room");
            let is_refused = match &refused {
                BackupError::Disk { source, .. } => is_full && source.kind() == ErrorKind::StorageFull,
                other => matches!(other, BackupError::Refused { .. }) && said.contains(reason),
            };
            assert!(is_refused, "{what}: {said}");
            assert_eq!(names(place.path()), ["backup.tar"], "{what}");
        }
    }
    assert!(!Path::new("/tmp/landfall-evil").exists());
}

#[tokio::test]
async fn a_backup_that_was_cut_anywhere_is_refused() {
    let (data, _opened, _) = a_folder().await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup.tar");
    backed_up(data.path(), &file);
    let whole = fs::read(&file).unwrap();
    let end = whole.windows(24).position(|window| window == b"landfall-backup-end.json").unwrap();
    let text = whole[end + 512..].iter().position(|byte| *byte == b'\n').unwrap();
    let cuts = (0..end + 512 + text).filter(|cut| cut % 512 == 0 || cut % 41 == 0);
    for cut in cuts {
        fs::write(place.path().join("cut.tar"), &whole[..cut]).unwrap();
        let outcome = check_file(&place.path().join("cut.tar"));
        assert!(matches!(outcome, Err(BackupError::Refused { .. })), "cut at {cut}: {outcome:?}");
        let to = place.path().join("restored");
        if cut % 2_048 == 0 {
            let outcome = restore(&whole[..cut], None, &to, NOW_MS, false);
            assert!(matches!(outcome, Err(BackupError::Refused { .. })), "cut at {cut}: {outcome:?}");
            assert!(!to.exists());
        }
    }
}

#[tokio::test]
async fn no_flipped_bit_of_a_backup_changes_what_is_restored() {
    let (data, _opened, _) = a_folder().await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup.tar");
    let contents = backed_up(data.path(), &file);
    let good = place.path().join("good");
    restored_from(&file, &good).unwrap();
    let (whole, good) = (fs::read(&file).unwrap(), files(&good));
    let (mut refused, mut harmless) = (0, 0);
    // Every seventh byte: with 7 and 8 each bit has its turn.
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        match restore_in_memory(&bytes) {
            Err(BackupError::Refused { .. }) => refused += 1,
            Err(other) => unreachable!("byte {at}: {other}"),
            // Zeros between the files are read by nobody, and a number in octal has more than one spelling.
            Ok(found) => {
                assert_eq!(found, contents, "byte {at}");
                if whole[at] != 0 || harmless % 500 == 0 {
                    let to = place.path().join("restored");
                    restore(&bytes[..], None, &to, NOW_MS, false).unwrap();
                    assert_eq!(files(&to), good, "byte {at}");
                    fs::remove_dir_all(to).unwrap();
                }
                harmless += 1;
            }
        }
    }
    assert!(refused > 1_000, "{refused} flips were refused, {harmless} were of no consequence");
}

/// Verifies bytes as a file that is there only as long as it takes.
fn restore_in_memory(bytes: &[u8]) -> Result<Contents, BackupError> {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    check_file(file.path())
}

#[test]
fn a_backup_of_the_first_format_is_read_for_ever() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/backup-1.tar");
    let place = tempfile::tempdir().unwrap();
    let contents = restored_from(&file, &place.path().join("restored")).unwrap();
    let told = serde_json::to_string_pretty(&contents).unwrap() + "\n";
    assert_eq!(told, include_str!("../../fixtures/backup-1.txt"));
}

#[tokio::test]
async fn an_output_that_is_not_what_its_event_says_is_told_from_those_that_are() {
    let (data, opened, runs) = a_folder().await;
    let events = opened.store.events(runs[0]).await.unwrap();
    assert_eq!(opened.outputs.differing(runs[0], &events).await.unwrap(), Vec::<String>::new());
    let output = data.path().join(format!("output/{}/test-1.log", runs[0]));
    let whole = fs::read(&output).unwrap();
    let mut changed = whole.clone();
    changed[3] ^= 1;
    for other in [&changed[..], &whole[1..]] {
        fs::write(&output, other).unwrap();
        assert_eq!(opened.outputs.differing(runs[0], &events).await.unwrap(), ["test-1.log"]);
    }
}
