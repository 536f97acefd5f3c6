//! Whatever is asked, the segment log answers as the memory store does, through any number of restarts.

use landfall_engine::core::event::Event;
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Append, EventStore};
use landfall_store::MemoryStore;
use landfall_store::contract::samples::{append, begun, started};
use landfall_store::disk::{FaultyDisk, Kept};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::common::{answers, in_segments};

/// Something that is asked of a store.
#[derive(Clone, Debug)]
enum Ask {
    /// Appends to a run, behind its last event plus this.
    Append { run: u8, off: i8, events: u8, claim: Option<u8> },
    /// Repeats an append that was made before, answered or refused.
    Repeat(prop::sample::Index),
    /// Restarts the store after a power cut.
    Restart,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let off = prop_oneof![8 => Just(0_i8), 1 => Just(1), 1 => Just(-1)];
    let append = (0..6_u8, off, 1..4_u8, prop::option::weighted(0.2, 0..3_u8));
    let ask = prop_oneof![
        10 => append.prop_map(|(run, off, events, claim)| Ask::Append { run, off, events, claim }),
        2 => any::<prop::sample::Index>().prop_map(Ask::Repeat),
        1 => Just(Ask::Restart),
    ];
    vec(ask, 1..40)
}

fn events(first: u64, count: u8) -> Vec<Event> {
    let event = |seq| match seq {
        1 => started("shop"),
        seq if seq % 7 == 0 => Event::RunClosed,
        _ => begun(Stage::Checkout),
    };
    (first..first + u64::from(count)).map(event).collect()
}

fn run_of(number: u8) -> RunId {
    RunId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)))
}

async fn compare(asks: Vec<Ask>) {
    let model = MemoryStore::new();
    let mut disk = FaultyDisk::new();
    let mut store = in_segments(&disk, 3_000).0;
    let mut asked: Vec<Append> = Vec::new();
    for ask in asks {
        let next = match ask {
            Ask::Append { run, off, events: count, claim } => {
                let run = run_of(run);
                let expected =
                    (model.events(run).await.unwrap().len() as u64).saturating_add_signed(off.into());
                let claims = claim.map(|claim| format!("delivery-{claim}")).into_iter().collect();
                Append { claims, ..append(run, expected, events(expected + 1, count)) }
            }
            Ask::Repeat(_) if asked.is_empty() => continue,
            Ask::Repeat(which) => asked[which.index(asked.len())].clone(),
            Ask::Restart => {
                drop(store);
                disk = disk.crash(Kept::Nothing);
                store = in_segments(&disk, 3_000).0;
                continue;
            }
        };
        let answer = store.append(next.clone()).await.map_err(|error| error.to_string());
        let expected = model.append(next.clone()).await.map_err(|error| error.to_string());
        assert_eq!(answer, expected, "{next:?}");
        asked.push(next);
    }
    assert_eq!(answers(&store).await, answers(&model).await);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_segment_log_answers_as_the_memory_store_does(asks in asks()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(compare(asks));
    }
}
