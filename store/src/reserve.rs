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

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use landfall_engine::ports::Low;

use crate::disk::Disk;

/// Name of the file.
const NAME: &str = "reserve";

/// What is given back at a time: room for hundreds of events.
const PIECE_BYTES: u64 = 1024 * 1024;

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
}

impl Reserve {
    /// Sets room aside. A disk that has none is no reason to fail: nothing new is begun on it then.
    pub(crate) fn set_aside(disk: Arc<dyn Disk>, place: String, bytes: u64, low_bytes: u64) -> Self {
        let there = disk.open(NAME).and_then(|file| file.len()).unwrap_or(0);
        let left = AtomicU64::new(there.min(bytes));
        let reserve = Self { disk, place, bytes, low_bytes, left, in_use: AtomicBool::new(false) };
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

    /// Tells whether the disk was full and has not had room since: what there is, is for the log alone.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Acquire)
    }

    /// Tells whether there is room for a new run, and sets the reserve aside again where it was used.
    pub(crate) fn admits(&self) -> Result<(), Low> {
        let (free_bytes, missing) = (self.free(), self.missing());
        let needed_bytes = self.low_bytes.saturating_add(missing);
        if free_bytes < needed_bytes || (missing > 0 && !self.fill_up()) {
            return Err(Low { place: self.place.clone(), free_bytes, needed_bytes });
        }
        self.in_use.store(false, Ordering::Release);
        Ok(())
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
