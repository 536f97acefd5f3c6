//! What Landfall remembers.
//!
//! - [`DataDir`]: opens a data folder, under a lock.
//! - [`SegmentStore`]: the event log on disk, and its index.
//! - [`ReadOnlyLog`]: the same log, read beside a running server or from a copy.
//! - [`MemoryStore`]: the same rules, without a disk.
//! - [`Checkpoint`]: a signed head of the log; [`Audit`] holds the log against what was signed.
//! - [`OutputDir`]: what stages printed.
//! - [`backup`]: a copy of a data folder in one file, made beside a running server, and its restore.
//! - [`contract`]: what every event store promises, as tests.
//! - [`disk`]: the seam below the log, and a disk that fails.

mod admit;
pub mod backup;
mod checkpoint;
pub mod contract;
mod data_dir;
pub mod disk;
mod index;
mod lock;
mod memory;
mod output;
mod read_only;
mod record;
mod reserve;
mod segment;
mod upcast;

pub use checkpoint::audit::Audit;
pub use checkpoint::audit::Seen;
pub use checkpoint::audit::Trust;
pub use checkpoint::dsse::DsseEnvelope;
pub use checkpoint::key::CheckpointKey;
pub use checkpoint::key::KeyError;
pub use checkpoint::key::PublicKey;
pub use checkpoint::note::Checkpoint;
pub use checkpoint::note::CheckpointError;
pub use checkpoint::note::CheckpointFile;
pub use checkpoint::note::Ended;
pub use checkpoint::note::Reached;
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
pub use read_only::StoredEvent;
pub use read_only::open_read_only;
pub use segment::OpenReport;
pub use segment::SegmentStore;
pub use segment::verify::Problem;
pub use segment::verify::Verification;
pub use segment::walk::Damage;
pub use segment::walk::TornTail;
