//! What every event store promises, as tests that run on each of them.
//!
//! ```
//! use std::sync::Arc;
//!
//! landfall_store::event_store_contract!((Arc::new(landfall_store::MemoryStore::new()), ()));
//! ```
//!
//! The expression makes an empty store, and whatever must live as long as it.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test says no by panicking")]

pub mod samples;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use landfall_engine::core::event::{Envelope, Event, EventHash};
use landfall_engine::core::lane::{Hold, Lane, LaneId, Pause};
use landfall_engine::core::ledger::{LedgerEvent, ledger_of};
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, ReadError, RunQuery};

use samples::{AT_MS, append, begun, draft, life, new_run, red_life, started};

/// A store that is being tested.
pub type Store = Arc<dyn EventStore>;

/// Nothing that is tested here takes this long; a test that waits longer would wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes one test of each promise, on the store that the expression makes.
#[macro_export]
macro_rules! event_store_contract {
    ($open:expr) => {
        $crate::event_store_contract! { $open;
            seqs_are_dense_and_what_was_recorded_reads_back
            whoever_expects_something_else_conflicts_and_records_nothing
            of_many_appends_behind_the_same_event_one_wins
            the_same_event_ids_are_recorded_once
            an_id_beside_other_events_is_refused
            a_claim_is_won_once
            each_of_several_claims_is_won_once
            an_append_is_recorded_whole_or_not_at_all
            appends_of_many_runs_get_dense_places_in_the_log
            a_follower_sees_each_event_once_in_order_from_any_cursor
            a_cursor_of_another_log_is_refused
            hashes_chain_the_log
            a_lane_is_the_fold_of_its_runs
            open_runs_are_listed_until_they_close
            runs_are_listed_newest_first_in_pages
            the_ledger_is_a_stream_and_no_run
            what_is_not_there_is_not_found
        }
    };
    ($open:expr; $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let (store, _alive) = $open;
                $crate::contract::$name(store).await;
            }
        )*
    };
}

/// Events of a run have places 1, 2, 3…; awkward text survives.
pub async fn seqs_are_dense_and_what_was_recorded_reads_back(store: Store) {
    let run = new_run();
    let mut told = store.append(append(run, 0, [started("shop")])).await.unwrap();
    let awkward = Event::StageErrored {
        stage: Stage::Checkout,
        attempt: 1,
        reason: "a \"quoted\" \\ line\nand \u{1F6A2} \u{0} \u{7f} {\"run_id\":\"".into(),
        retry_due_ms: Some(u64::MAX),
    };
    let mut second = append(run, 1, [begun(Stage::Checkout), awkward]);
    second.events[0].effect_key = Some(format!("{run}/checkout/1"));
    let ids: Vec<_> = second.events.iter().map(|draft| draft.event_id).collect();
    told.extend(store.append(second.clone()).await.unwrap());
    assert_eq!(told.iter().map(|envelope| envelope.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(told[1].event_id, ids[0]);
    assert_eq!(told[1].effect_key, second.events[0].effect_key);
    assert_eq!(told[2].event, second.events[1].event);
    assert_eq!((told[2].recorded_at_ms, told[2].actor.as_str()), (AT_MS + 1, "ada"));
    assert_eq!(store.events(run).await.unwrap(), told);
    assert_eq!(store.run(run).await.unwrap().unwrap().seq, 3);
}

/// `expected` is the version that the caller decided on.
pub async fn whoever_expects_something_else_conflicts_and_records_nothing(store: Store) {
    let run = new_run();
    conflicts(&store, append(run, 1, [begun(Stage::Checkout)]), 0).await;
    store.append(append(run, 0, [started("shop")])).await.unwrap();
    conflicts(&store, append(run, 0, [started("shop")]), 1).await;
    conflicts(&store, append(run, 2, [begun(Stage::Checkout)]), 1).await;
    assert_eq!(store.events(run).await.unwrap().len(), 1);
}

/// Two engines, or two threads, can't both move a run on from the same place.
pub async fn of_many_appends_behind_the_same_event_one_wins(store: Store) {
    let run = new_run();
    store.append(append(run, 0, [started("shop")])).await.unwrap();
    let attempts = (0..32).map(|_| {
        let store = Arc::clone(&store);
        let mine = append(run, 1, [begun(Stage::Checkout), Event::RunClosed]);
        tokio::spawn(async move { store.append(mine).await })
    });
    let (mut won, mut lost) = (0, 0);
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(_) => won += 1,
            Err(AppendError::Conflict { expected: 1, found: 3, .. }) => lost += 1,
            Err(error) => unreachable!("an append said {error}"),
        }
    }
    assert_eq!((won, lost), (1, 31));
    assert_eq!(store.events(run).await.unwrap().len(), 3);
}

/// Whoever was told `Unknown` asks again, and again.
pub async fn the_same_event_ids_are_recorded_once(store: Store) {
    let run = new_run();
    let first = append(run, 0, [started("shop"), begun(Stage::Checkout)]);
    let at_once = (0..8).map(|_| {
        let (store, same) = (Arc::clone(&store), first.clone());
        tokio::spawn(async move { store.append(same).await })
    });
    for attempt in at_once.collect::<Vec<_>>() {
        let told = attempt.await.unwrap().unwrap();
        assert_eq!(told, store.events(run).await.unwrap());
    }
    let later = append(run, 2, [Event::CancelRequested { reason: "enough".into() }]);
    store.append(later).await.unwrap();
    let told = store.append(first).await.unwrap();
    let history = store.events(run).await.unwrap();
    assert_eq!((told.as_slice(), history.len()), (&history[..2], 3));
}

/// An id names one event. Using it for another, or in another company, is a mistake of the caller.
pub async fn an_id_beside_other_events_is_refused(store: Store) {
    let run = new_run();
    let first = append(run, 0, [started("shop")]);
    store.append(first.clone()).await.unwrap();
    let mut second = append(run, 1, [begun(Stage::Checkout)]);
    second.events.insert(0, first.events[0].clone());
    refused(&store, second).await;
    let mut twice = append(run, 1, [begun(Stage::Checkout)]);
    twice.events.push(twice.events[0].clone());
    refused(&store, twice).await;
    assert_eq!(store.events(run).await.unwrap().len(), 1);
}

/// A webhook that is delivered again finds the run that its first delivery made.
pub async fn a_claim_is_won_once(store: Store) {
    let deliveries = (0..16).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let run = new_run();
            let delivery = Append { claims: vec!["delivery-7".into()], ..append(run, 0, [started("shop")]) };
            (run, store.append(delivery).await)
        })
    });
    let mut answers = Vec::new();
    for delivery in deliveries.collect::<Vec<_>>() {
        answers.push(delivery.await.unwrap());
    }
    let winner = answers.iter().find(|(_, answer)| answer.is_ok()).unwrap().0;
    for (run, answer) in answers.iter().filter(|(run, _)| *run != winner) {
        assert!(
            matches!(answer, Err(AppendError::Claimed { by, claim }) if *by == winner && claim == "delivery-7")
        );
        assert_eq!(store.events(*run).await.unwrap(), []);
    }
    assert_eq!(store.claimed("delivery-7").await.unwrap(), Some(winner));
    assert_eq!(store.claimed("delivery-8").await.unwrap(), None);
    let again = Append { claims: vec!["delivery-7".into()], ..append(winner, 1, [begun(Stage::Checkout)]) };
    assert_eq!(store.append(again).await.unwrap()[0].seq, 2, "its own claim is in nobody's way");
}

/// A delivery that comes under another name, of a push that is known, finds the run that the first one made.
pub async fn each_of_several_claims_is_won_once(store: Store) {
    let (first, other) = (new_run(), new_run());
    let events = || [started("shop"), begun(Stage::Checkout)];
    let claims = |ids: [&str; 2]| ids.map(str::to_owned).to_vec();
    let whole = Append { claims: claims(["delivery-1", "push-a"]), ..append(first, 0, events()) };
    store.append(whole).await.unwrap();
    for repeated in [["delivery-2", "push-a"], ["delivery-1", "push-b"]] {
        let again = Append { claims: claims(repeated), ..append(other, 0, events()) };
        let answer = store.append(again).await;
        assert!(matches!(&answer, Err(AppendError::Claimed { by, .. }) if *by == first), "{answer:?}");
    }
    assert_eq!(store.claimed("push-a").await.unwrap(), Some(first));
    // What lost has claimed nothing.
    assert_eq!(store.claimed("delivery-2").await.unwrap(), None);
    refused(&store, Append { claims: claims(["x", "y"]), ..append(other, 0, [started("shop")]) }).await;
}

/// Nothing is ever owed to the ledger, and what it says of a lane is known of the lane.
pub async fn the_ledger_is_a_stream_and_no_run(store: Store) {
    let (ledger, lane) = (ledger_of(store.log_id()), LaneId::production("shop"));
    let (sha, reason) = ("a".repeat(40), "not today".to_owned());
    let decisions = [
        LedgerEvent::LanePaused { lane: lane.clone(), reason: reason.clone() },
        LedgerEvent::CommitHeld { lane: lane.clone(), sha: sha.clone(), reason: reason.clone() },
    ];
    store.append(append(ledger, 0, decisions.map(Event::Ledger))).await.unwrap();
    let run = new_run();
    store.append(append(run, 0, [started("shop")])).await.unwrap();
    let told = store.lane(&lane).await.unwrap();
    assert_eq!(told.paused, Some(Pause { reason: reason.clone(), since_ms: AT_MS }));
    assert_eq!(told.held.get(&sha), Some(&Hold { run: None, reason }));
    assert_eq!(store.open_runs().await.unwrap(), [run]);
    assert_eq!(listed(&store, RunQuery::default()).await, [run]);
    assert_eq!(store.run(ledger).await.unwrap(), None);
    let ends = [
        LedgerEvent::LaneResumed { lane: lane.clone() },
        LedgerEvent::HoldReleased { lane: lane.clone(), sha },
    ];
    conflicts(&store, append(ledger, 0, ends.clone().map(Event::Ledger)), 2).await;
    store.append(append(ledger, 2, ends.map(Event::Ledger))).await.unwrap();
    let told = store.lane(&lane).await.unwrap();
    assert_eq!((told.paused, told.held.len()), (None, 0));
    assert_eq!(store.events(ledger).await.unwrap().len(), 4);
}

/// There is no half of an append.
pub async fn an_append_is_recorded_whole_or_not_at_all(store: Store) {
    let run = new_run();
    let too_large = Event::CancelRequested { reason: "x".repeat(64 * 1024 + 1) };
    refused(&store, append(run, 0, [started("shop"), too_large])).await;
    refused(&store, append(run, 0, [])).await;
    refused(&store, Append { actor: "x".repeat(10_000), ..append(run, 0, [started("shop")]) }).await;
    assert_eq!(store.events(run).await.unwrap(), []);
    assert_eq!(store.run(run).await.unwrap(), None);
    let large = Event::CancelRequested { reason: "x".repeat(60 * 1024) };
    let whole = store.append(append(run, 0, [started("shop"), large])).await.unwrap();
    assert_eq!(store.events(run).await.unwrap(), whole);
}

/// The log has one order, without gaps, whoever writes.
pub async fn appends_of_many_runs_get_dense_places_in_the_log(store: Store) {
    let told = many_runs(&store, 24).await;
    let mut places: Vec<u64> = told.values().flatten().map(|envelope| envelope.global_seq).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=places.len() as u64).collect::<Vec<_>>());
    for (run, told) in told {
        assert_eq!(store.events(run).await.unwrap(), told);
        assert!(told.is_sorted_by_key(|envelope| envelope.global_seq));
    }
}

/// What is recorded already, then what comes; nothing twice, nothing left out.
pub async fn a_follower_sees_each_event_once_in_order_from_any_cursor(store: Store) {
    let mut from_start = store.follow(Cursor::start());
    let before = many_runs(&store, 4).await;
    let count = before.values().flatten().count();
    let old = take(&mut from_start, count).await;
    let live = tokio::spawn({
        let store = Arc::clone(&store);
        async move { many_runs(&store, 8).await }
    });
    let recorded: usize = 8 * before.values().next().unwrap().len();
    let new = take(&mut from_start, recorded).await;
    let live = live.await.unwrap();
    let seen: Vec<(Cursor, Envelope)> = old.into_iter().chain(new).collect();
    let places: Vec<u64> = seen.iter().map(|(_, envelope)| envelope.global_seq).collect();
    assert_eq!(places, (1..=(count + recorded) as u64).collect::<Vec<_>>());
    let mut told: Vec<Envelope> = before.into_values().chain(live.into_values()).flatten().collect();
    told.sort_unstable_by_key(|envelope| envelope.global_seq);
    assert!(seen.iter().map(|(_, envelope)| envelope).eq(&told));
    for (at, (cursor, _)) in seen.iter().enumerate().step_by(7) {
        let rest = take(&mut store.follow(cursor.clone()), seen.len() - at - 1).await;
        assert_eq!(rest, seen[at + 1..], "from the cursor of event {}", at + 1);
    }
    assert_eq!(store.near_end(0).await, seen.last().unwrap().0, "the end is where the last event leads to");
    assert_eq!(store.near_end(2).await, seen[seen.len() - 3].0);
    assert_eq!(store.near_end(1 << 40).await, Cursor::start());
    let mut from_last = store.follow(seen.last().unwrap().0.clone());
    let next = store.append(append(new_run(), 0, [started("next")])).await.unwrap();
    assert_eq!(take(&mut from_last, 1).await[0].1, next[0]);
}

/// A cursor is not a number that fits everywhere.
pub async fn a_cursor_of_another_log_is_refused(store: Store) {
    let foreign = Cursor("12@00000000000000000000000000000000".into());
    let first = store.follow(foreign).next().await.unwrap();
    assert!(matches!(first, Err(ReadError::Backend { .. })), "{first:?}");
}

/// What an append returned, what reads back, and what a follower sees have the same hash, and no two agree.
pub async fn hashes_chain_the_log(store: Store) {
    let told = many_runs(&store, 2).await;
    let mut hashes: Vec<EventHash> = told.values().flatten().map(|envelope| envelope.hash).collect();
    let count = hashes.len();
    hashes.sort_unstable_by_key(|hash| hash.0);
    hashes.dedup();
    assert_eq!(hashes.len(), count);
    assert!(!hashes.contains(&EventHash::default()));
    for (_, envelope) in take(&mut store.follow(Cursor::start()), count).await {
        assert!(told[&envelope.run_id].contains(&envelope));
    }
}

/// Lanes need no bookkeeping of their own: they follow from events.
pub async fn a_lane_is_the_fold_of_its_runs(store: Store) {
    let shop = LaneId::production("shop");
    assert_eq!(store.lane(&shop).await.unwrap(), Lane::default());
    assert_eq!(store.lanes().await.unwrap(), []);
    let (first, second, other) = (new_run(), new_run(), new_run());
    let mut expected = Lane::default();
    let (until_live, rest) = (18, life(second, "shop").len() - 18);
    store.append(append(first, 0, life(first, "shop"))).await.unwrap();
    store.append(append(second, 0, life(second, "shop").into_iter().take(until_live))).await.unwrap();
    for event in life(first, "shop") {
        expected.apply(first, AT_MS, &event);
    }
    for event in &life(second, "shop")[..until_live] {
        expected.apply(second, AT_MS, event);
    }
    assert_eq!(store.lane(&shop).await.unwrap(), expected);
    assert_eq!(expected.holder, Some(second));
    store.append(append(other, 0, [started("blog")])).await.unwrap();
    let ending = life(second, "shop").into_iter().skip(until_live);
    assert_eq!(ending.len(), rest);
    store.append(append(second, until_live as u64, ending)).await.unwrap();
    let lanes: BTreeMap<LaneId, Lane> = store.lanes().await.unwrap().into_iter().collect();
    assert_eq!(lanes.keys().map(|lane| lane.app.as_str()).collect::<Vec<_>>(), ["blog", "shop"]);
    let now = &lanes[&shop];
    assert_eq!((now.holder, now.live.as_ref().map(|live| live.run)), (None, Some(second)));
    assert_eq!(*now, store.lane(&shop).await.unwrap());
}

/// A restart finds everything that something is owed to, oldest first.
pub async fn open_runs_are_listed_until_they_close(store: Store) {
    let (first, second, third) = (new_run(), new_run(), new_run());
    for run in [third, first, second] {
        store.append(append(run, 0, [started("shop")])).await.unwrap();
    }
    assert_eq!(store.open_runs().await.unwrap(), [first, second, third]);
    store.append(append(second, 1, red_life("shop").into_iter().skip(1))).await.unwrap();
    assert_eq!(store.open_runs().await.unwrap(), [first, third]);
    assert!(!store.run(second).await.unwrap().unwrap().open);
}

/// A listing goes back in time page by page, whatever is filtered.
pub async fn runs_are_listed_newest_first_in_pages(store: Store) {
    let mut newest_first = Vec::new();
    for n in 0..25 {
        let run = new_run();
        let app = if n % 2 == 0 { "shop" } else { "blog" };
        let events = if n % 5 == 0 { red_life(app) } else { vec![started(app)] };
        store.append(append(run, 0, events)).await.unwrap();
        newest_first.insert(0, run);
    }
    let all = listed(&store, RunQuery::default()).await;
    assert_eq!(all, newest_first);
    let mut paged = Vec::new();
    loop {
        let page =
            listed(&store, RunQuery { limit: 4, before: paged.last().copied(), ..Default::default() }).await;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 4);
        paged.extend(page);
    }
    assert_eq!(paged, newest_first);
    let blogs = listed(&store, RunQuery { app: Some("blog".into()), ..Default::default() }).await;
    assert_eq!(blogs.len(), 12);
    let failed = RunQuery { state: Some(RunState::Failed), limit: 3, ..Default::default() };
    assert_eq!(listed(&store, failed).await, [newest_first[4], newest_first[9], newest_first[14]]);
    assert_eq!(listed(&store, RunQuery { open: true, ..Default::default() }).await.len(), 20);
}

/// Absence is an answer.
pub async fn what_is_not_there_is_not_found(store: Store) {
    assert_eq!(store.events(new_run()).await.unwrap(), []);
    assert_eq!(store.run(new_run()).await.unwrap(), None);
    assert_eq!(store.runs(RunQuery::default()).await.unwrap(), []);
    assert_eq!(store.open_runs().await.unwrap(), []);
    assert_eq!(store.claimed("").await.unwrap(), None);
}

/// Lives `count` whole lives at once, in appends of different sizes, and returns what was told.
pub async fn many_runs(store: &Store, count: usize) -> BTreeMap<RunId, Vec<Envelope>> {
    let lives = (0..count).map(|n| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let run = new_run();
            let mut told: Vec<Envelope> = Vec::new();
            for events in life(run, &format!("app-{}", n % 3)).chunks(n % 4 + 1) {
                let append = append(run, told.len() as u64, events.to_vec());
                told.extend(store.append(append).await.unwrap());
            }
            (run, told)
        })
    });
    let mut told = BTreeMap::new();
    for life in lives.collect::<Vec<_>>() {
        told.extend([life.await.unwrap()]);
    }
    told
}

/// Takes so many events from a follower.
pub async fn take(
    follower: &mut BoxStream<'static, Result<(Cursor, Envelope), ReadError>>,
    count: usize,
) -> Vec<(Cursor, Envelope)> {
    let taken = follower.take(count).map(|item| item.unwrap()).collect::<Vec<_>>();
    let taken = tokio::time::timeout(PATIENCE, taken).await.unwrap();
    assert_eq!(taken.len(), count);
    taken
}

async fn conflicts(store: &Store, append: Append, there: u64) {
    let (run, seen) = (append.run_id, append.expected);
    match store.append(append).await {
        Err(AppendError::Conflict { run_id, expected, found }) => {
            assert_eq!((run_id, expected, found), (run, seen, there));
        }
        other => unreachable!("expected a conflict, found {other:?}"),
    }
}

async fn refused(store: &Store, append: Append) {
    let answer = store.append(append).await;
    assert!(matches!(answer, Err(AppendError::Refused { .. })), "{answer:?}");
}

async fn listed(store: &Store, query: RunQuery) -> Vec<RunId> {
    store.runs(query).await.unwrap().into_iter().map(|run| run.id).collect()
}

/// Appends one event to a new run, and says whether it is there afterwards.
pub async fn takes_appends(store: &dyn EventStore) -> bool {
    let run = new_run();
    let first = Append { events: vec![draft(started("probe"))], ..append(run, 0, []) };
    store.append(first).await.is_ok() && store.events(run).await.is_ok_and(|events| events.len() == 1)
}
