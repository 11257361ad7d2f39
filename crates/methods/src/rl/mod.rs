//! Reinforcement learning, one algorithm a file.

mod algorithm;
mod context;
mod dpo;
mod group;
mod grpo;
mod pairs;
mod refl;
mod sampled;
mod term;

pub use algorithm::{Algorithm, RlLoss};
pub use context::Context;
pub use dpo::dpo;
pub use group::{Counted, Group};
pub use grpo::grpo;
pub use pairs::{Pairs, pairs};
pub use refl::{Refl, refl};
pub use sampled::{Sampled, sample_group};
pub use term::RlTerm;
