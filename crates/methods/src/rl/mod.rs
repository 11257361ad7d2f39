//! Reinforcement learning, one algorithm a file.

mod algorithm;
mod context;
mod dpo;
mod group;
mod grpo;
mod refl;
mod term;

pub use algorithm::{Algorithm, RlLoss};
pub use context::Context;
pub use dpo::{Pairs, dpo, pairs};
pub use group::{Group, sample_group};
pub use grpo::grpo;
pub use refl::{Refl, refl};
pub use term::RlTerm;
