//! The time of a simulated machine: what really passes, and what its wall clock says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use landfall_engine::ports::Clock;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a sleeper believes the wall clock, in milliseconds.
const LOOK_AGAIN_MS: u64 = 600_000;

/// A wall clock that can be set, over a time that only passes. It lives as long as one engine.
#[derive(Debug)]
pub struct SimClock {
    /// The true time at which this life began, in milliseconds.
    began_ms: u64,
    began: Instant,
    /// What the wall clock shows beyond the true time.
    skew_ms: AtomicI64,
    ids: Mutex<Rng>,
}

impl SimClock {
    pub fn new(began_ms: u64, skew_ms: i64, ids: Rng) -> Self {
        Self { began_ms, began: Instant::now(), skew_ms: AtomicI64::new(skew_ms), ids: Mutex::new(ids) }
    }

    /// Returns the true time, in milliseconds.
    pub fn true_ms(&self) -> u64 {
        self.began_ms + u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// Sets the wall clock on, or back.
    pub fn step(&self, by_ms: i64) {
        self.skew_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    pub fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::SeqCst)
    }

    /// Lets true time pass.
    pub async fn pass_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.true_ms().checked_add_signed(self.skew_ms()).unwrap()
    }

    async fn sleep_until(&self, at_ms: u64) {
        while let Some(left) = at_ms.checked_sub(self.now_ms()).filter(|left| *left > 0) {
            self.pass_ms(left.min(LOOK_AGAIN_MS)).await;
        }
    }

    fn uuid(&self) -> Uuid {
        let mut ids = self.ids.lock().unwrap();
        let random = ids.u128(..);
        let time = u128::from(self.now_ms() & ((1 << 48) - 1)) << 80;
        let version = 0x7 << 76;
        let variant = 0x2 << 62;
        let noise = random & !((u128::from(u64::MAX >> 16) << 80) | (0xf << 76) | (0x3 << 62));
        Uuid::from_u128(time | version | variant | noise)
    }
}
