//! The embedded world of emoji scenes: prompts with exact ground truth, pictures of them, and a judge.
//!
//! Objects, captions and rules are GenEval's (arXiv 2310.11513); the drawings are Twemoji's (CC-BY 4.0). Everything is
//! a pure function of its arguments: the same seed gives the same prompt, scene and pixels on every machine.

mod audit;
mod caption;
mod contrast;
mod defect;
mod dense;
mod disturbance;
mod error;
mod geometry;
mod grammar;
mod judge;
mod layout;
mod palette;
mod preset;
mod prompt;
mod random;
mod scene;
mod split;
mod sprite;
mod tokenizer;
mod world;

pub use audit::{Audit, Mistake, Rate};
pub use defect::Defect;
pub use dense::{DensePrompt, Fact, Question};
pub use disturbance::Disturbance;
pub use error::WorldError;
pub use geometry::Bounds;
pub use judge::{Answers, Detection, Judge, Reading, Verdict};
pub use prompt::{Clause, ColorId, Kind, ObjectId, Prompt, Relation, Split};
pub use scene::{Item, Scene};
pub use tokenizer::Tokenizer;
pub use world::World;
