//! The judge: what is in an image, and does it show what the prompt asks for?

mod canvas;
mod component;
mod detection;
mod template;
mod verdict;

pub use detection::{Detection, Judge, Reading};
pub use verdict::Verdict;
