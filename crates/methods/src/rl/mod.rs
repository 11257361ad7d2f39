//! Reinforcement learning terms, one algorithm a file.

mod refl;

pub use refl::refl;
