//! What a run writes and a report reads: the interface between the two. No libtorch here.
//!
//! A run lives in a [`RunDir`]; whoever writes there is its one owner, an [`OwnedRun`]. Its numbers are [`Record`]s in `metrics.jsonl`, mirrored for
//! `TensorBoard` by [`TensorBoardWriter`]; its evaluations are [`EvalReport`]s; where it ran is its
//! [`Environment`]. Files that are replaced as a whole go through [`atomic_write`], so that a killed
//! run leaves either the old or the new content.

mod atomic;
mod clock;
mod crc32c;
mod environment;
mod error;
mod eval;
mod input;
mod metrics;
mod number;
mod run;
mod table;
mod tensorboard;

pub use atomic::atomic_write;
pub use clock::utc_now;
pub use environment::Environment;
pub use error::EventsError;
pub use eval::{EvalReport, Statistic};
pub use input::InputFile;
pub use metrics::{Kind, MetricsWriter, Record, read};
pub use run::RunDir;
pub use run::owned::OwnedRun;
pub use table::table;
pub use tensorboard::TensorBoardWriter;
