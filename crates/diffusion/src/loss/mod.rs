//! Loss functions, one per file, each tested against its analytic gradient.

mod denoise;
mod distribution_matching;

pub use denoise::denoise;
pub use distribution_matching::{DistributionMatching, distribution_matching};
