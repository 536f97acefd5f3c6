//! Follows a file that another process writes, until that process is gone.
//!
//! Woken by the kernel for both: inotify says that there is more, and a lock that can be taken says that
//! whoever held it has ended.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::lines::LineBuffer;

const PIECE_BYTES: usize = 64 * 1024;

/// Gives out every line of a file until the holder of the lock is gone and all is read.
pub(super) async fn to_the_end(output: &Path, lock: &Path, mut line: impl FnMut(&str)) -> io::Result<()> {
    let changes = Changes::of(output)?;
    let mut reader = Lines::of(output)?;
    let mut ended = std::pin::pin!(released(lock));
    loop {
        reader.read(&mut line)?;
        tokio::select! {
            more = changes.wait() => more?,
            end = &mut ended => {
                end?;
                break;
            }
        }
    }
    reader.read(&mut line)?;
    reader.buffer.finish(line);
    Ok(())
}

/// Gives out every line of a file as it is now. One that can't be read has none.
pub(super) fn read_all(output: &Path, mut line: impl FnMut(&str)) {
    if let Ok(mut reader) = Lines::of(output) {
        let _ = reader.read(&mut line);
        reader.buffer.finish(line);
    }
}

/// Waits until nobody holds the lock.
pub(super) async fn released(lock: &Path) -> io::Result<()> {
    let file = match File::open(lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let (told, free) = oneshot::channel();
    // A thread of its own: one of the runtime's would hold up the engine's end until the tests' end.
    std::thread::Builder::new().name("landfall-lock".into()).spawn(move || {
        let locked = file.lock_shared();
        drop(file);
        let _ = told.send(locked);
    })?;
    free.await.map_err(io::Error::other)?
}

struct Lines {
    file: File,
    buffer: LineBuffer,
}

impl Lines {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, buffer: LineBuffer::default() })
    }

    fn read(&mut self, line: &mut impl FnMut(&str)) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match self.file.read(&mut piece)? {
                0 => return Ok(()),
                read => self.buffer.push(&piece[..read], &mut *line),
            }
        }
    }
}

/// Says when a file has changed.
struct Changes {
    events: AsyncFd<OwnedFd>,
}

impl Changes {
    fn of(path: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, path, inotify::WatchFlags::MODIFY)?;
        // SAFETY: the descriptor is open, owned by the `AsyncFd` and never taken out of it.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        Ok(Self { events: events.map_err(io::Error::from)? })
    }

    async fn wait(&self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            let drained = ready.try_io(|events| {
                let mut events_read = [0; 4_096];
                rustix::io::read(events.get_ref(), &mut events_read).map_err(io::Error::from)
            });
            match drained {
                Ok(read) => return read.map(drop),
                // Somebody else was faster; wait again.
                Err(_would_block) => {}
            }
        }
    }
}
