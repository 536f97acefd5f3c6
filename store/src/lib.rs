//! What Landfall remembers.
//!
//! - [`DataDir`]: opens a data folder, under a lock.
//! - [`SegmentStore`]: the event log on disk, and its index.
//! - [`ReadOnlyLog`]: the same log, read beside a running server or from a copy.
//! - [`MemoryStore`]: the same rules, without a disk.
//! - [`OutputDir`]: what stages printed.
//! - [`backup`]: a copy of a data folder in one file, made beside a running server, and its restore.
//! - [`contract`]: what every event store promises, as tests.
//! - [`disk`]: the seam below the log, and a disk that fails.

mod admit;
pub mod backup;
pub mod contract;
mod data_dir;
pub mod disk;
mod index;
mod lock;
mod memory;
mod output;
mod read_only;
mod record;
mod segment;
mod upcast;

pub use data_dir::DataDir;
pub use data_dir::OpenError;
pub use data_dir::Opened;
pub use data_dir::Options;
pub use index::IndexReport;
pub use lock::Holder;
pub use memory::MemoryStore;
pub use output::OutputChunk;
pub use output::OutputDir;
pub use output::OutputFile;
pub use output::Pruned;
pub use output::PrunedOutput;
pub use read_only::ReadOnlyLog;
pub use read_only::open_read_only;
pub use segment::OpenReport;
pub use segment::SegmentStore;
pub use segment::verify::Problem;
pub use segment::verify::Verification;
pub use segment::walk::Damage;
pub use segment::walk::TornTail;
