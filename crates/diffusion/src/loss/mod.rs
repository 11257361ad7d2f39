//! Loss functions, one per file, each tested against its analytic gradient.

mod denoise;
mod distribution_matching;
mod dpo;
mod grpo;

pub use denoise::denoise;
pub use distribution_matching::{DistributionMatching, distribution_matching};
pub use dpo::{PairErrors, dpo};
pub use grpo::{advantages, advantages_of_present, gaussian_kl, grpo};
