//! The judge: what is in an image, and does it show what the prompt asks for?

mod answers;
mod candidate;
mod canvas;
mod component;
mod detection;
mod search;
mod template;
mod verdict;

pub use answers::Answers;
pub use detection::{Detection, Judge, Reading};
pub use verdict::Verdict;
