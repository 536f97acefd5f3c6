//! The folder that the log is written to, as the few calls that the log needs.
//!
//! The seam between what the log does and what a disk may do to it: [`RealDisk`] is the file system,
//! [`FaultyDisk`] keeps files in memory, loses what was not synced, and fails where it is told to.
//!
//! A disk is one flat folder. Nothing here retries, and nothing here hides an error.

mod faulty;
mod real;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use faulty::FaultyDisk;
pub use faulty::Kept;
pub use faulty::Op;
pub use real::RealDisk;
pub(crate) use real::sync_folder;

/// Zeros that are written at a time.
const ZEROS_BYTES: usize = 256 * 1024;

/// A folder of files.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Returns the names of the files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file, or empties the one that is there. Durable after [`sync_dir`](Self::sync_dir).
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it. Durable after [`sync_dir`](Self::sync_dir).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`sync_dir`](Self::sync_dir).
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in the folder durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Returns how many bytes can still be written. None: it can't be told.
    fn free(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Makes a file this long that takes up its room, or lets the one that is there grow. Durable. After an error it is
    /// as long as before.
    fn occupy(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = self.open(name).or_else(|_| self.create(name))?;
        fill(&*file, bytes)?;
        file.sync_data()?;
        self.sync_dir()
    }
}

/// A file that is read and written at offsets, by several threads at once.
pub trait DiskFile: Send + Sync + fmt::Debug + 'static {
    /// Returns its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Tells whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads into `buffer` until it is full or the file ends, and returns how much was read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`, growing the file where needed. After an error any part may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or grows it with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes, and the length, durable. After an error nobody knows what is: don't ask again.
    fn sync_data(&self) -> io::Result<()>;
}

/// Writes zeros behind what is in a file, up to this length, or none.
fn fill(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let before = file.len()?;
    for start in (before..bytes).step_by(ZEROS_BYTES) {
        let len = usize::try_from(bytes - start).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        if let Err(error) = file.write_at(start, &zeros[..len]) {
            _ = file.truncate(before);
            return Err(error);
        }
    }
    Ok(())
}
