//! Room that is kept free: a file that can be given back to a disk that is full, and the mark below which nothing new
//! is begun.
//!
//! ```text
//! free ≥ mark            runs are begun
//! free < mark            pushes are refused; what runs goes on, and prints
//! free = 0               the reserve is given back, a piece at a time; what runs is recorded, and prints no more
//! reserve used up        appends wait for somebody to make room
//! ```
//!
//! In pieces, because others write to the same disk: what is given back at once may be gone at once.
//!
//! Whoever wants something of the disk while the reserve is in use asks whether there is room again: a push, and an
//! output. Nobody watches the disk in between.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_engine::ports::Low;
use tokio::runtime::Handle;

use crate::disk::Disk;

/// Name of the file.
const NAME: &str = "reserve";

/// What is given back at a time: room for hundreds of events.
const PIECE_BYTES: u64 = 1024 * 1024;

/// After a disk did not let the reserve be set aside, another try is worth it once its free room differs by so much.
const TRY_AGAIN_BYTES: u64 = 1024 * 1024;

/// No try has failed.
const NEVER: u64 = u64::MAX;

/// Room that is kept free on a disk.
#[derive(Debug)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    /// Where it is, for people.
    place: String,
    /// How large the file is when all is well.
    bytes: u64,
    /// Nothing new is begun with less than this free.
    low_bytes: u64,
    /// How large the file is.
    left: AtomicU64,
    in_use: AtomicBool,
    /// Held while the file changes its length: what is given back and what is set aside are told apart.
    changing: Mutex<()>,
    /// True while a thread sets it aside again for those who print: one is enough.
    is_asked: AtomicBool,
    /// True while the file grows: what is free has fallen, and what is missing has not yet.
    is_growing: AtomicBool,
    /// How much was free when the file last could not grow.
    failed_at: AtomicU64,
}

/// Keeps a flag raised, whatever becomes of the thread.
struct Raised<F: Fn()>(F);

impl<F: Fn()> Drop for Raised<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Reserve {
    /// Sets room aside. A disk that has none is no reason to fail: nothing new is begun on it then.
    pub(crate) fn set_aside(disk: Arc<dyn Disk>, place: String, bytes: u64, low_bytes: u64) -> Self {
        let there = disk.open(NAME).and_then(|file| file.len()).unwrap_or(0);
        let left = AtomicU64::new(there.min(bytes));
        let (in_use, is_asked) = (AtomicBool::new(false), AtomicBool::new(false));
        let (is_growing, failed_at) = (AtomicBool::new(false), AtomicU64::new(NEVER));
        let changing = Mutex::default();
        let reserve =
            Self { disk, place, bytes, low_bytes, left, in_use, changing, is_asked, is_growing, failed_at };
        if there > bytes
            && let Err(error) = reserve.cut(bytes)
        {
            tracing::warn!(%error, place = reserve.place, "the reserve could not be made smaller");
        }
        // Before anything else is written: what is open already is to be recorded to its end.
        if bytes > 0 && reserve.missing() <= reserve.free() {
            reserve.fill_up();
        }
        if let Err(low) = reserve.admits() {
            tracing::warn!(%low, "no new runs are begun");
        }
        reserve
    }

    /// Gives a piece back to the disk. False: there is nothing left to give.
    pub(crate) fn give_back(&self) -> bool {
        let _changing = self.changing();
        let left = self.left.load(Ordering::Acquire);
        self.in_use.store(true, Ordering::Release);
        if left == 0 {
            return false;
        }
        let less = left.saturating_sub(PIECE_BYTES);
        match self.cut(less) {
            Ok(()) => {
                self.left.store(less, Ordering::Release);
                tracing::warn!(place = self.place, left = less, "the disk is full: recording on the reserve");
                true
            }
            Err(error) => {
                tracing::error!(%error, place = self.place, "the reserve could not be given back");
                false
            }
        }
    }

    /// Tells whether there is room to print in: where the disk was full, and has not had room since, what there is, is
    /// for the log alone.
    ///
    /// Asks the disk how much is free and nothing else, so it may be called where others wait: the reserve is set aside
    /// again by another thread.
    pub(crate) fn lets_print(self: &Arc<Self>) -> bool {
        if !self.in_use.load(Ordering::Acquire) {
            return true;
        }
        let free = self.free();
        if free < self.needed() {
            // Asked behind the disk: whoever sets the reserve aside has found room for it and for more.
            return self.is_growing.load(Ordering::Acquire) || !self.in_use.load(Ordering::Acquire);
        }
        if self.is_worth_a_try(free) && !self.is_asked.swap(true, Ordering::AcqRel) {
            let reserve = Arc::clone(self);
            let asked = Raised(move || reserve.is_asked.store(false, Ordering::Release));
            let reserve = Arc::clone(self);
            let set_aside = move || {
                // Dropped with the closure, also where that is never called.
                let _asked = asked;
                if let Err(low) = reserve.admits() {
                    tracing::warn!(%low, "the room that there was is gone again");
                }
            };
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(set_aside)),
                // A thread of its own, which may wait.
                Err(_) => set_aside(),
            }
        }
        true
    }

    /// Tells whether the disk has changed since the reserve could not be set aside: not each line asks for it.
    fn is_worth_a_try(&self, free: u64) -> bool {
        let failed_at = self.failed_at.load(Ordering::Acquire);
        failed_at == NEVER || free.abs_diff(failed_at) >= TRY_AGAIN_BYTES
    }

    /// Tells whether there is room for a new run, and sets the reserve aside again where it was used.
    pub(crate) fn admits(&self) -> Result<(), Low> {
        let _changing = self.changing();
        let (free_bytes, missing) = (self.free(), self.missing());
        let needed_bytes = self.needed();
        let low = || Low { place: self.place.clone(), free_bytes, needed_bytes };
        if free_bytes < needed_bytes {
            return Err(low());
        }
        self.is_growing.store(true, Ordering::Release);
        let _growing = Raised(|| self.is_growing.store(false, Ordering::Release));
        if missing > 0 && !self.fill_up() {
            self.failed_at.store(free_bytes.min(NEVER - 1), Ordering::Release);
            return Err(low());
        }
        self.failed_at.store(NEVER, Ordering::Release);
        // Before the flag falls: whoever finds it down finds this.
        self.in_use.store(false, Ordering::Release);
        Ok(())
    }

    /// Keeps the file as it is while the guard is held.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.changing()
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how much must be free before anything is begun: the reserve comes first.
    fn needed(&self) -> u64 {
        self.low_bytes.saturating_add(self.missing())
    }

    fn missing(&self) -> u64 {
        self.bytes - self.left.load(Ordering::Acquire)
    }

    /// Returns what is free, in bytes. A disk that can't say has plenty, until it is full.
    fn free(&self) -> u64 {
        self.disk.free().ok().flatten().unwrap_or(u64::MAX)
    }

    fn fill_up(&self) -> bool {
        match self.disk.occupy(NAME, self.bytes) {
            Ok(()) => self.left.store(self.bytes, Ordering::Release),
            Err(error) => {
                tracing::warn!(%error, place = self.place, "the reserve could not be set aside");
                return false;
            }
        }
        true
    }

    fn cut(&self, to: u64) -> io::Result<()> {
        let file = self.disk.open(NAME)?;
        file.truncate(to)?;
        // Some file systems hand out what was freed only once that is durable.
        file.sync_data()
    }
}

#[cfg(test)]
#[path = "reserve_tests.rs"]
mod tests;
