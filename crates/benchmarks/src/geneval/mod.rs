//! GenEval (arXiv 2310.11513) in its official formats: 553 prompts with checks, a folder of images, the detections of
//! an external detector, verdicts with reasons, scores.
//!
//! ```no_run
//! use dmdr_benchmarks::geneval::{Detection, ImageResult, Layout, Metadata, Rules, Summary};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let prompts = Metadata::read("prompts/evaluation_metadata.jsonl")?;
//! Layout::new("images").prepare(&prompts)?;
//! // ... four images a prompt are made, and a detector writes what it sees ...
//! let detections = Detection::read("detections.jsonl")?;
//! let results = ImageResult::judge_all(&prompts, 4, &detections, &Rules::default())?;
//! let score = Summary::new(&results)?.overall;
//! # Ok(())
//! # }
//! ```

mod classes;
mod detection;
mod findings;
mod layout;
mod mask;
mod metadata;
mod position;
mod results;
mod summary;
mod verdict;

pub use classes::CLASSES;
pub use detection::{Detection, Detections};
pub use findings::{Findings, Source};
pub use layout::Layout;
pub use mask::Mask;
pub use metadata::{Color, Exclude, Include, Metadata, Relation, Tag};
pub use results::{GenEvalError, ImageResult};
pub use summary::{Summary, TaskScore};
pub use verdict::{MissingColor, Rules, Verdict};
