//! [`MethodError`]: why a method cannot go on.

use dmdr_rewards::RewardError;
use dmdr_tensor::TensorError;

use crate::FeedError;

/// Errors of methods.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// Rewards.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// Libtorch.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Where prompts and images come from.
    #[error(transparent)]
    Feed(FeedError),
    /// `ReFL` with a reward that has no gradient.
    #[error("reward `{reward}` has no gradient; `refl` needs one")]
    NotDifferentiable {
        /// The reward.
        reward: String,
    },
    /// An algorithm on trajectories of another noise schedule than the one it is written for.
    #[error(
        "`{algorithm}` is written for the rectified flow, which this network does not follow; use `refl`"
    )]
    Schedule {
        /// `dpo` or `grpo`.
        algorithm: &'static str,
    },
    /// A method that is not of this workspace, without the program that brings it.
    #[error(
        "`method.external` names `{name}`, which another program brings along; use a method of this one"
    )]
    External {
        /// Its name in the config.
        name: String,
    },
    /// True images where none can be drawn.
    #[error(
        "a loss needs true images, and this world has none; set its weight to 0, or use another method"
    )]
    NoTrueImages,
}
