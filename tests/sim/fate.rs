//! When the engine dies: the points that its life passes, counted, and the one at which it ends.
//!
//! Between two points nothing leaves the engine: no byte reaches the disk, no request the world, no answer a
//! client. What an engine had in memory is lost by a crash wherever it stood, so a crash at any await of its code
//! equals one at the next point, and to crash at each point is to crash at each await.
//!
//! **Invariant:** once dead, nothing of this life has an effect any more. Who passes a point then waits for ever.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// One life of an engine.
#[derive(Debug)]
pub struct Fate {
    crash_at: u64,
    passed: AtomicU64,
    dead: AtomicBool,
    died: Notify,
    died_at: Mutex<Option<&'static str>>,
    trail: Mutex<Vec<&'static str>>,
}

impl Fate {
    /// Returns a life that ends at this point, counted from 1; 0: it is not cut short.
    pub fn new(crash_at: u64) -> Self {
        Self {
            crash_at,
            passed: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            died: Notify::new(),
            died_at: Mutex::default(),
            trail: Mutex::default(),
        }
    }

    /// Passes a point, and tells whether the engine is dead there.
    pub fn is_dead_at(&self, point: &'static str) -> bool {
        if self.is_dead() {
            return true;
        }
        self.trail.lock().unwrap().push(point);
        let dies = self.passed.fetch_add(1, Ordering::SeqCst) + 1 == self.crash_at;
        if dies {
            self.die(point);
        }
        dies
    }

    /// Passes a point; never returns when the engine is dead there.
    pub async fn pass(&self, point: &'static str) {
        if self.is_dead_at(point) {
            std::future::pending::<()>().await;
        }
    }

    /// Ends the life here and now.
    pub fn die(&self, point: &'static str) {
        *self.died_at.lock().unwrap() = Some(point);
        self.dead.store(true, Ordering::SeqCst);
        self.died.notify_one();
    }

    /// Ends the life from outside.
    pub fn end(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Waits for the end.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    /// Returns the point at which it died.
    pub fn died_at(&self) -> Option<&'static str> {
        *self.died_at.lock().unwrap()
    }

    /// Returns how many points were passed.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// Returns the points that were passed, in order.
    pub fn trail(&self) -> Vec<&'static str> {
        self.trail.lock().unwrap().clone()
    }
}
