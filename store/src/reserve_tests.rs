//! The reserve while it is being set aside again, and where that goes wrong.

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::disk::{DiskFile, FaultyDisk};

const MIB: u64 = 1024 * 1024;
const RESERVE: u64 = 3 * MIB;
const LOW: u64 = 2 * MIB;

type Hook = Box<dyn FnMut() -> io::Result<()> + Send>;

/// A disk that does something of its own once it has occupied room, before it says so.
#[derive(Clone)]
struct Hooked(FaultyDisk, Arc<Mutex<Hook>>);

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooked").field(&self.0).finish()
    }
}

impl Disk for Hooked {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }

    fn free(&self) -> io::Result<Option<u64>> {
        self.0.free()
    }

    fn occupy(&self, name: &str, bytes: u64) -> io::Result<()> {
        let before = self.0.bytes(name).map_or(0, |bytes| bytes.len() as u64);
        self.0.occupy(name, bytes)?;
        let outcome = self.1.lock().unwrap_or_else(PoisonError::into_inner)();
        outcome.inspect_err(|_| self.0.open(name).unwrap().truncate(before).unwrap())
    }
}

/// Returns a reserve of which a piece was given back, on a disk that has just enough room again.
fn in_need() -> (Hooked, Arc<Reserve>) {
    let disk = Hooked(FaultyDisk::new(), Arc::new(Mutex::new(Box::new(|| Ok(())))));
    let reserve = Reserve::set_aside(Arc::new(disk.clone()), "the disk".into(), RESERVE, LOW);
    disk.0.set_capacity(Some(disk.0.used()));
    assert!(reserve.give_back());
    disk.0.set_capacity(Some(disk.0.used() + LOW + MIB));
    (disk, Arc::new(reserve))
}

fn on_occupy(disk: &Hooked, hook: impl FnMut() -> io::Result<()> + Send + 'static) {
    *disk.1.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(hook);
}

#[tokio::test]
async fn whoever_prints_while_the_reserve_takes_its_room_is_not_told_that_there_is_none() {
    let (disk, reserve) = in_need();
    let (occupied, is_occupied) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    on_occupy(&disk, move || {
        occupied.send(()).unwrap();
        goes_on.recv().unwrap();
        Ok(())
    });
    assert!(reserve.lets_print());
    is_occupied.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(disk.free().unwrap(), Some(LOW), "less than what is needed, as it was");
    assert!(reserve.lets_print(), "there is room for the reserve and for a second output");
    go_on.send(()).unwrap();
    while reserve.is_asked.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
    assert!(!reserve.in_use.load(Ordering::Acquire) && reserve.lets_print());
}

#[tokio::test]
async fn a_thread_that_dies_while_it_sets_the_reserve_aside_is_not_the_last_that_tries() {
    let (disk, reserve) = in_need();
    on_occupy(&disk, || panic!("the thread dies, as the test wants"));
    assert!(reserve.lets_print());
    while reserve.is_asked.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
    on_occupy(&disk, || Ok(()));
    disk.0.set_capacity(None);
    assert!(reserve.lets_print());
    while reserve.in_use.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_reserve_that_can_not_be_set_aside_is_not_tried_by_each_line() {
    let (disk, reserve) = in_need();
    let tries = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&tries);
    on_occupy(&disk, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Err(io::ErrorKind::StorageFull.into())
    });
    for _ in 0..5 {
        assert!(reserve.lets_print());
    }
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    disk.0.set_capacity(Some(disk.0.used() + LOW + 2 * MIB));
    for _ in 0..5 {
        assert!(reserve.lets_print());
    }
    assert_eq!(tries.load(Ordering::SeqCst), 2, "the disk has changed");
}
