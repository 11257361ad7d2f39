//! Prompt sets of any size: plain text, JSON lines, JSON arrays, CSV, TSV, WebDataset shards, Parquet and Arrow; read in
//! an order that resumes without state. All but the last two may be packed with gzip or zstd.
//!
//! ```no_run
//! use dmdr_prompts::{Options, PromptSet, Source};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let set = PromptSet::read(&[Source::new("PartiPrompts.tsv", "Prompt")?], &Options::default())?;
//! let order = set.order(0, 8, 0, 1);
//! let prompts = set.batch(&order, 1000)?; // the same whether or not iterations 0 to 999 were read
//! # Ok(())
//! # }
//! ```

mod array;
mod arrow;
mod census;
mod claims;
mod columnar;
mod error;
mod fault;
mod file_error;
mod fingerprint;
pub mod json_lines;
mod lines;
mod options;
mod order;
mod row;
mod set;
mod shard;
mod source;
mod spool;
mod table;
pub mod text;
mod text_field;
mod undamaged;

pub use census::Census;
pub use error::PromptsError;
pub use fault::{BadRow, Fault, Position, check};
pub use file_error::FileError;
pub use options::Options;
pub use order::Order;
pub use set::{Overlap, PromptSet};
pub use source::{Format, Source};
use undamaged::undamaged;
