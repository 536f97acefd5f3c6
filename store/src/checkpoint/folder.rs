//! The files in `DATA/checkpoints`: one a checkpoint, named after the last event that it covers.

use std::io;

use uuid::Uuid;

use super::note::{CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointFile};
use crate::disk::Disk;

fn name(global_seq: u64) -> String {
    format!("{global_seq:020}.json")
}

/// Tells whether this is the name of a checkpoint.
fn is_one(name: &str) -> bool {
    name.strip_suffix(".json").is_some_and(|digits| digits.len() == 20 && digits.parse::<u64>().is_ok())
}

/// Writes a checkpoint so that it is there as a whole or not at all.
pub(crate) fn write(disk: &dyn Disk, global_seq: u64, bytes: &[u8]) -> io::Result<()> {
    let (name, new) = (name(global_seq), format!("{}.new", name(global_seq)));
    let file = disk.create(&new)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&new, &name)?;
    disk.sync_dir()
}

/// Returns all that are there, oldest first, whatever is in them. A folder without any is no error.
pub(crate) fn read_all(disk: &dyn Disk) -> io::Result<Vec<CheckpointFile>> {
    names(disk)?.into_iter().map(|name| read(disk, name)).collect()
}

/// Returns the newest that was signed for this log, by this folder's key or one that it had before.
pub(crate) fn newest(disk: &dyn Disk, log_id: Uuid) -> io::Result<Option<Checkpoint>> {
    for name in names(disk)?.into_iter().rev() {
        match read(disk, name.clone())?.parse() {
            Ok(found) if found.log_id == log_id => return Ok(Some(found)),
            Ok(_) => tracing::warn!(name, "a checkpoint is of another log; see `landfall verify`"),
            Err(error) => tracing::warn!(name, %error, "a checkpoint is damaged; see `landfall verify`"),
        }
    }
    Ok(None)
}

fn names(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let mut names = match disk.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    names.retain(|name| is_one(name));
    names.sort_unstable();
    Ok(names)
}

fn read(disk: &dyn Disk, name: String) -> io::Result<CheckpointFile> {
    let file = disk.open(&name)?;
    // One byte more than there may be, so that a longer one is told from one that was cut here.
    let wanted = file.len()?.min(CHECKPOINT_BYTES_MAX as u64 + 1);
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or_default()];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(CheckpointFile { name: format!("checkpoints/{name}"), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FaultyDisk;

    #[test]
    fn a_file_that_is_too_long_for_a_checkpoint_is_not_read_and_is_none() {
        let disk = FaultyDisk::new();
        disk.set_bytes(&name(7), vec![b' '; 3 * CHECKPOINT_BYTES_MAX]);
        let found = read_all(&disk).unwrap();
        assert_eq!(found[0].bytes.len(), CHECKPOINT_BYTES_MAX + 1);
        assert!(found[0].parse().unwrap_err().to_string().contains("it is longer than"));
        assert_eq!(newest(&disk, Uuid::from_u128(1)).unwrap(), None);
    }
}
