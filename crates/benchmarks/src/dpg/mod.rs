//! DPG-Bench (arXiv 2403.05135): 1,065 dense prompts, a graph of questions for each, scores from a model's answers.
//!
//! ```no_run
//! use dmdr_benchmarks::dpg::{Answers, Graph, Quirks};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let graph = Graph::read("dpg_bench.csv", Quirks::OFFICIAL)?;
//! // ... four images an item are made, and a model answers every question about every image ...
//! let score = 100.0 * graph.score(&Answers::read("answers.jsonl")?)?.overall;
//! # Ok(())
//! # }
//! ```

mod answers;
mod error;
mod graph;
mod prompts;
mod quirks;
mod scores;

pub use answers::{Answers, ImageAnswers};
pub use error::DpgError;
pub use graph::{Graph, Item, Question};
pub use prompts::read_prompts;
pub use quirks::{Cascade, Quirks};
pub use scores::Scores;
