//! Reinforcement learning, one algorithm a file.

mod dpo;
mod group;
mod grpo;
mod refl;
mod term;

pub use dpo::{Pairs, dpo, pairs};
pub use group::{Group, sample_group};
pub use grpo::grpo;
pub use refl::refl;
pub use term::{RlLoss, RlTerm};
