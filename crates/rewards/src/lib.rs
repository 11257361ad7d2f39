//! Reward models: images and prompts in, one number an image out. Breakdowns are always kept.

mod augmented;
mod clip_score;
mod judge;
mod mix;

use dmdr_data::Prompts;
use dmdr_models::ModelError;
use dmdr_tensor::{Tensor, TensorError};

pub use augmented::Augmented;
pub use clip_score::ClipScore;
pub use judge::JudgeReward;
pub use mix::{Mixed, RewardMix};

/// Scores images against their prompts.
pub trait RewardModel {
    /// Name in configs and metrics.
    fn name(&self) -> &str;

    /// Whether `score` can be differentiated with respect to the images; `ReFL` needs it.
    fn is_differentiable(&self) -> bool;

    /// `images [B, 3, H, W]` in `[0, 1]` -> `[B]`.
    ///
    /// # Errors
    /// If the model cannot score these prompts.
    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError>;
}

/// Errors of reward models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// Weight files.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Tensors.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Towers that read another number of tokens than the prompts have.
    #[error(
        "reward `{name}` reads {expected} tokens a caption; the run's text encoder makes {found}"
    )]
    Tokens {
        /// The reward.
        name: String,
        /// What its text tower takes.
        expected: i64,
        /// What the prompts have.
        found: i64,
    },
}
