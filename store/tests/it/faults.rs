//! What the log says and does when the disk refuses.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{AppendError, Cursor, EventStore};
use landfall_store::contract::samples::{append, begun, life, new_run, started};
use landfall_store::contract::{many_runs, take, takes_appends};
use landfall_store::disk::{FaultyDisk, Kept, Op};

use crate::common::{everything, in_segments, on};

const SMALL: u64 = 20_000;

#[tokio::test]
async fn a_full_disk_refuses_appends_until_there_is_room_and_shows_none_of_them() {
    for room in (0..60_000).step_by(977) {
        let disk = FaultyDisk::new();
        let (store, _) = in_segments(&disk, SMALL);
        disk.set_capacity(Some(disk.used() + room));
        let mut told = Vec::new();
        let refused = loop {
            let run = new_run();
            let asked = append(run, 0, life(run, "shop"));
            match store.append(asked.clone()).await {
                Ok(envelopes) => told.extend(envelopes),
                Err(error) => {
                    assert!(matches!(error, AppendError::Full), "{error}");
                    break asked;
                }
            }
        };
        assert_eq!(store.events(refused.run_id).await.unwrap(), [], "room {room}");
        assert_eq!(everything(&store, told.len() as u64).await, told, "room {room}");
        let (found, report) = in_segments(&disk.crash(Kept::Everything), SMALL);
        assert_eq!((report.events, report.damage), (told.len() as u64, None), "room {room}");
        assert_eq!(found.verify().await.unwrap().problems, [], "room {room}");
        disk.set_capacity(None);
        told.extend(store.append(refused).await.unwrap());
        assert_eq!(everything(&store, told.len() as u64).await, told, "room {room}");
        drop(store);
        let (found, report) = in_segments(&disk.crash(Kept::Nothing), SMALL);
        assert_eq!((report.events, report.damage), (told.len() as u64, None), "room {room}");
        assert_eq!(found.verify().await.unwrap().problems, [], "room {room}");
    }
}

#[tokio::test]
async fn after_a_failed_sync_everybody_is_told_unknown_and_nothing_is_synced_again() {
    let disk = FaultyDisk::new();
    let (store, _) = on(&disk);
    let run = new_run();
    store.append(append(run, 0, [started("shop")])).await.unwrap();
    let syncs = disk.syncs();
    disk.fail(Op::Sync, 0, ErrorKind::Other);
    let asked = append(run, 1, [begun(Stage::Checkout)]);
    let unsure = store.append(asked.clone()).await;
    assert!(matches!(unsure, Err(AppendError::Unknown { .. })), "{unsure:?}");
    let later = store.append(append(new_run(), 0, [started("blog")])).await;
    assert!(matches!(later, Err(AppendError::Unknown { .. })), "{later:?}");
    assert_eq!(disk.syncs(), syncs);
    let reason = tokio::time::timeout(Duration::from_secs(60), store.failed()).await.unwrap();
    assert!(reason.contains("syncing a frame"), "{reason}");
    assert_eq!(store.events(run).await.unwrap().len(), 1, "what may not be durable is not shown");
    drop(store);
    for kept in [Kept::Everything, Kept::Nothing] {
        let (store, _) = on(&disk.crash(kept));
        let told = store.append(asked.clone()).await.unwrap();
        assert_eq!((told.len(), told[0].seq), (1, 2), "asking again is safe after {kept:?}");
        assert_eq!(store.events(run).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_write_that_fails_half_way_is_unknown_and_gone_after_a_restart() {
    let disk = FaultyDisk::new();
    let (store, _) = on(&disk);
    let run = new_run();
    store.append(append(run, 0, [started("shop")])).await.unwrap();
    disk.fail(Op::Write, 0, ErrorKind::Other);
    let unsure = store.append(append(run, 1, [begun(Stage::Checkout)])).await;
    assert!(matches!(unsure, Err(AppendError::Unknown { .. })), "{unsure:?}");
    let (store, report) = on(&disk.crash(Kept::Everything));
    assert!(report.recovered.is_some());
    assert_eq!(store.events(run).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_follower_is_not_shown_what_is_not_durable() {
    let disk = FaultyDisk::new();
    let (store, _) = on(&disk);
    let mut follower = store.follow(Cursor::start());
    store.append(append(new_run(), 0, [started("shop")])).await.unwrap();
    take(&mut follower, 1).await;
    disk.fail(Op::Sync, 0, ErrorKind::Other);
    store.append(append(new_run(), 0, [started("blog")])).await.unwrap_err();
    drop(store);
    assert!(follower.next().await.is_none(), "the stream ends with the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_come_together_share_a_sync() {
    let disk = FaultyDisk::new();
    let (store, _) = on(&disk);
    let store: Arc<dyn EventStore> = Arc::new(store);
    let told = many_runs(&store, 64).await;
    let events: usize = told.values().map(Vec::len).sum();
    let appends: usize = told.len() * 10;
    assert!(disk.syncs() < appends as u64, "{} syncs for {events} events", disk.syncs());
}

/// The loop that matters most: whatever call fails, whenever, nothing acknowledged is lost.
#[tokio::test]
async fn whichever_call_fails_what_was_acknowledged_survives() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::SyncDir, Op::Truncate, Op::Rename] {
        for error in [ErrorKind::Other, ErrorKind::StorageFull] {
            for after in 0..25 {
                let kept = [Kept::Nothing, Kept::Everything, Kept::Sectors(after * 31 + 7)];
                survives(op, error, after, kept[after as usize % 3]).await;
            }
        }
    }
}

async fn survives(op: Op, error: ErrorKind, after: u64, kept: Kept) {
    let what = format!("{op:?} fails with {error:?} after {after}, {kept:?}");
    let disk = FaultyDisk::new();
    let (store, _) = in_segments(&disk, 10_000);
    disk.fail(op, after, error);
    let mut told = Vec::new();
    for n in 0..6 {
        let run = new_run();
        let asked = append(run, 0, life(run, if n % 2 == 0 { "shop" } else { "blog" }));
        match store.append(asked.clone()).await {
            Ok(envelopes) => told.extend(envelopes),
            Err(AppendError::Full) => told.extend(store.append(asked).await.expect(&what)),
            Err(AppendError::Unknown { .. }) => break,
            Err(other) => unreachable!("{what}: {other}"),
        }
    }
    let (found, report) = in_segments(&disk.crash(kept), 10_000);
    assert_eq!(report.damage, None, "{what}");
    let there = everything(&found, report.events).await;
    assert!(there.starts_with(&told), "{what}: {} of {} events", there.len(), told.len());
    assert_eq!(found.verify().await.unwrap().problems, [], "{what}");
    assert!(takes_appends(&found).await, "{what}");
}
