//! The newest segment, cut and bit-flipped: with the store itself at every byte and every bit of its last frames, and
//! a handful of times through the real binary.
//!
//! **What was acknowledged before the damage is never changed in silence**: it is there to the byte, or the log says
//! that it is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{AppendError, Cursor, EventStore};
use landfall_store::contract::samples::{append, begun, new_run, red_life, started};
use landfall_store::contract::take;
use landfall_store::disk::{FaultyDisk, Kept};
use landfall_store::{OpenReport, SegmentStore};
use landfall_tests::counters::{is_long, publish};
use uuid::Uuid;

use crate::alone;
use crate::invariants::{Checked, check};
use crate::witness::Witness;
use crate::yard::{App, Server, Yard, said, wait_for};

const LOG_ID: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_00bb);
const FIRST: &str = "00000000000000000001.seg";

/// Room for all that is written here; what is opened ten thousand times had better be small.
const SEGMENT_BYTES: u64 = 64 * 1024;

/// Bytes of a frame before its records; the length of these stands in bytes 8 to 11.
const HEAD: usize = 56;

fn open(disk: &FaultyDisk) -> (SegmentStore, OpenReport) {
    SegmentStore::on_disk(Arc::new(disk.clone()), LOG_ID, SEGMENT_BYTES).unwrap()
}

/// Returns where each frame of a segment begins and ends.
fn frames(segment: &[u8]) -> Vec<(usize, usize)> {
    let starts = segment.windows(4).enumerate().filter(|(_, window)| *window == [0xff, b'L', b'F', 0xf1]);
    let length = |at: usize| u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap()) as usize;
    starts.map(|(at, _)| (at, at + HEAD + length(at))).collect()
}

fn last_of(log: &Log, frame: usize) -> u64 {
    log.acknowledged[frame].last().unwrap().global_seq
}

async fn everything(store: &SegmentStore, events: u64) -> Vec<Envelope> {
    let count = usize::try_from(events).unwrap();
    take(&mut store.follow(Cursor::start()), count).await.into_iter().map(|(_, envelope)| envelope).collect()
}

/// A log of four frames, and what was acknowledged with each.
struct Log {
    disk: FaultyDisk,
    bytes: Vec<u8>,
    frames: Vec<(usize, usize)>,
    acknowledged: Vec<Vec<Envelope>>,
}

async fn log() -> Log {
    let disk = FaultyDisk::new();
    let (store, _) = open(&disk);
    let (run, other) = (new_run(), new_run());
    let cancel = Event::CancelRequested { reason: "no".into() };
    let mut acknowledged = Vec::new();
    for batch in [
        append(run, 0, red_life("shop")),
        append(other, 0, [started("blog"), begun(Stage::Checkout)]),
        append(other, 2, [cancel]),
        append(new_run(), 0, [started("shop")]),
    ] {
        acknowledged.push(store.append(batch).await.unwrap());
    }
    drop(store);
    let mut bytes = disk.bytes(FIRST).unwrap();
    let frames = frames(&bytes);
    assert_eq!(frames.len(), acknowledged.len(), "an append is a frame");
    bytes.truncate(frames.last().unwrap().1 + 600);
    Log { disk, bytes, frames, acknowledged }
}

#[tokio::test]
async fn a_newest_segment_that_is_cut_or_flipped_anywhere_is_never_changed_in_silence() {
    let log = log().await;
    let before: Vec<Envelope> = log.acknowledged[..3].concat();
    let (last, end) = log.frames[3];
    // The long form flips every bit, the short one a bit or two of every byte.
    let step = if is_long() { 1 } else { 7 };
    let (mut cuts, mut flips, mut torn, mut damaged) = (0_u64, 0_u64, 0_u64, 0_u64);

    // Cut: the log ends with the last whole frame, and says that something was behind it.
    for at in last..end {
        let disk = log.disk.crash(Kept::Everything);
        disk.set_bytes(FIRST, log.bytes[..at].to_vec());
        let (store, report) = open(&disk);
        assert_eq!((report.damage, report.events), (None, before.len() as u64), "cut at {at}");
        assert_eq!(report.recovered.is_some(), at > last, "cut at {at}");
        assert_eq!(everything(&store, report.events).await, before, "cut at {at}");
        cuts += 1;
    }

    // Flipped in the last frame: nobody can tell that from a write that was torn. All before it is there to the byte.
    for bit in (last * 8..end * 8).step_by(step) {
        let disk = log.disk.crash(Kept::Everything);
        let mut bytes = log.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.set_bytes(FIRST, bytes);
        let (store, report) = open(&disk);
        assert!(report.recovered.is_some() || report.damage.is_some(), "bit {bit} was flipped in silence");
        torn += u64::from(report.recovered.is_some());
        damaged += u64::from(report.damage.is_some());
        assert!(report.events >= before.len() as u64, "bit {bit}: {report}");
        assert_eq!(everything(&store, before.len() as u64).await, before, "bit {bit}");
        flips += 1;
    }

    // Flipped with a good frame behind it: the log is read-only, names the run, and changes nothing on the disk.
    for frame in [1, 2] {
        let (start, end) = log.frames[frame];
        let run = log.acknowledged[frame][0].run_id;
        for bit in (start * 8..end * 8).step_by(step) {
            let disk = log.disk.crash(Kept::Everything);
            let mut bytes = log.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            disk.set_bytes(FIRST, bytes.clone());
            let (store, report) = open(&disk);
            let damage = report.damage.unwrap_or_else(|| panic!("bit {bit} was flipped in silence"));
            let problems = store.verify().await.unwrap().problems;
            let is_named =
                damage.runs.contains(&run) || problems.iter().any(|problem| problem.run == Some(run));
            // The one record of the third frame begins with its run's id. Where that is hit, the event's number is named.
            let id = log.bytes[start..end].windows(36).position(|text| text == run.to_string().as_bytes());
            let id = start + id.unwrap()..start + id.unwrap() + 36;
            let is_lost = damage.lost == Some((log.acknowledged[frame][0].global_seq, last_of(&log, frame)));
            let is_all = frame == 2 && id.contains(&(bit / 8));
            assert!(is_named || is_all, "bit {bit}: run {run} is not named: {damage}; {problems:?}");
            assert!(is_lost, "bit {bit}: {damage}");
            let refused = store.append(append(new_run(), 0, [started("blog")])).await;
            assert!(matches!(refused, Err(AppendError::Corrupt { .. })), "bit {bit}: {refused:?}");
            for whole in [0, 3] {
                let history = store.events(log.acknowledged[whole][0].run_id).await.unwrap();
                assert_eq!(history, log.acknowledged[whole], "bit {bit}: a run that was not hit");
            }
            drop(store);
            assert_eq!(disk.bytes(FIRST).unwrap()[..bytes.len()], bytes, "bit {bit}: nothing was mended");
            flips += 1;
            damaged += 1;
        }
    }
    let counted = [
        ("cuts, one at each byte of the last frame", cuts),
        ("bits flipped, each of the last three frames", flips),
        ("opened as torn", torn),
        ("opened read-only", damaged),
        ("violations", 0),
    ];
    let counted = counted.map(|(what, count)| (what.to_owned(), count));
    publish(env!("CARGO_TARGET_TMPDIR"), "faults_of_the_newest_segment", &counted).unwrap();
}

/// Returns the newest segment of a data folder.
fn newest(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    entries.max().unwrap()
}

#[test]
fn a_server_whose_log_is_damaged_says_which_run_and_changes_nothing_and_one_with_a_torn_tail_goes_on() {
    let _alone = alone();
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.edit("tests/test_app.py", |text| {
        text + "\n\ndef test_slowly():\n    import time\n    time.sleep(1)\n"
    });
    let mut server = Server::start(&yard);
    app.version("0.0.0");
    app.push(&server);
    assert_eq!(server.ended()["state"], "live");
    let run = server.newest()["id"].as_str().unwrap().to_owned();
    let witness = Witness::of(&yard);
    witness.listen(&yard);
    let mut checked = Checked::default();

    // Half a frame behind the last whole one, as a crash leaves it: said, cut off, and the open run goes on.
    let version = app.version("1.0.0");
    app.push_and_hang_up(&server);
    server.until_in("test");
    server.kill();
    let segment = newest(yard.data.path());
    let mut bytes = fs::read(&segment).unwrap();
    let (start, end) = *frames(&bytes).last().unwrap();
    let half = bytes[start..start + (end - start) / 2].to_vec();
    bytes[end..end + half.len()].copy_from_slice(&half);
    fs::write(&segment, &bytes).unwrap();
    let said_before = yard.server_log().len();
    server = Server::start(&yard);
    witness.listen(&yard);
    assert!(
        yard.server_log()[said_before..].contains("unfinished write"),
        "{}",
        &yard.server_log()[said_before..]
    );
    assert_eq!(server.ended()["state"], "live");
    assert_eq!(yard.serves(), Some(version.clone()));
    check(&yard, &server, &witness, &mut checked);
    server.kill();

    // A bit in the middle, the last frame cut off, the last frame flipped: acknowledged events are gone. It does not
    // start, says why and where, and users are served all the while.
    let whole = fs::read(&segment).unwrap();
    let all = frames(&whole);
    let (middle, (last, last_end)) = (all[3].0 + 100, *all.last().unwrap());
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    };
    let mut cut = whole.clone();
    cut[last..last_end].fill(0);
    for (name, bytes) in [("middle", flipped(middle)), ("cut", cut), ("last", flipped(last + 80))] {
        fs::write(&segment, &bytes).unwrap();
        let mut serve = yard.landfall();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--proxy-listen", &yard.proxy_flag()]);
        let refused = serve.output().unwrap();
        let text = said(&refused);
        assert!(!refused.status.success() && !text.contains("panicked"), "{name}: {text}");
        assert!(text.contains("damaged"), "{name}: {text}");
        assert_eq!(fs::read(&segment).unwrap(), bytes, "{name}: nothing was mended");
        assert_eq!(yard.serves(), Some(version.clone()), "{name}");
        if name == "middle" {
            assert!(text.contains(&run), "the run is named: {text}");
        }
    }
    fs::write(&segment, &whole).unwrap();
    server = Server::start(&yard);
    witness.listen(&yard);
    wait_for("the run", || (server.runs().len() == 2).then_some(()));
    check(&yard, &server, &witness, &mut checked);
    assert!(checked.violations.is_empty(), "{:#?}", checked.violations);
    server.stop();
}
