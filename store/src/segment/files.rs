//! The segment files of a log: their names, and handles on them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskFile};
use crate::reserve::Reserve;

/// Open files are kept for the next reader; more than this many are too many.
const OPEN_MAX: usize = 64;

/// Returns the file name of the segment whose first event has this global seq.
pub(crate) fn name(first_seq: u64) -> String {
    format!("{first_seq:020}.seg")
}

/// Returns the name under which a segment is made; it gets its own once it is durable.
pub(crate) fn name_in_the_making(first_seq: u64) -> String {
    format!("{}.new", name(first_seq))
}

/// Returns the global seq of the first event of a segment file; None when it is something else.
pub(crate) fn parse(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?;
    digits.parse().ok()
}

/// The segment files of a log. Clones share their open files.
#[derive(Clone)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    open: Arc<Mutex<HashMap<u64, Arc<dyn DiskFile>>>>,
    /// What is given back to the disk when it is full.
    reserve: Option<Arc<Reserve>>,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, open: Arc::default(), reserve: None }
    }

    /// Returns them with room that was set aside on their disk.
    pub(crate) fn with_reserve(self, reserve: Option<Arc<Reserve>>) -> Self {
        Self { reserve, ..self }
    }

    /// Returns the room that was set aside on their disk.
    pub(crate) fn reserve(&self) -> Option<&Arc<Reserve>> {
        self.reserve.as_ref()
    }

    /// Returns the disk that they are on.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Returns the first seq of each segment, in order.
    pub(crate) fn list(&self) -> io::Result<Vec<u64>> {
        let mut firsts: Vec<u64> = self.disk.list()?.iter().filter_map(|name| parse(name)).collect();
        firsts.sort_unstable();
        Ok(firsts)
    }

    /// Returns a handle on the segment that starts at this seq.
    pub(crate) fn file(&self, first_seq: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.locked().get(&first_seq) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&name(first_seq))?;
        let mut open = self.locked();
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(first_seq, Arc::clone(&file));
        Ok(file)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<dyn DiskFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Segments").field(&self.disk).finish()
    }
}
