//! Reinforcement learning, one algorithm a file.

mod dpo;
mod group;
mod grpo;
mod refl;
mod term;

use dmdr_tensor::Tensor;

pub use dpo::{Pairs, dpo, pairs};
pub use group::{Group, sample_group};
pub use grpo::grpo;
pub use refl::refl;
pub use term::{RlLoss, RlTerm};

/// Images in `[0, 1]`, as they will be seen, of predictions in `[-1, 1]`.
fn to_images(x0: &Tensor) -> Tensor {
    ((x0 + 1.0) / 2.0).clamp(0.0, 1.0)
}
