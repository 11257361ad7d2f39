//! The contract between a method and the training loop.

use dmdr_data::Prompts;
use dmdr_models::Conditioning;
use dmdr_rewards::RewardError;

use crate::{Losses, Rollout};

/// Where training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// Generator updates done: every curve is read here.
    pub update: u64,
}

/// An algorithm that trains a generator and, in alternation, the networks that judge it.
pub trait Method {
    /// Runs the generator on its own intermediate states, without gradient.
    ///
    /// # Errors
    /// If libtorch or a model fails.
    fn rollout(&self, prompts: Prompts, cond: Conditioning) -> Result<Rollout, MethodError>;

    /// Losses of the fake score on what the generator made.
    ///
    /// # Errors
    /// As for [`Self::rollout`].
    fn score_losses(&self, rollout: &Rollout, step: &StepInfo) -> Result<Losses, MethodError>;

    /// Losses of the generator.
    ///
    /// # Errors
    /// As for [`Self::rollout`], or a reward that cannot be computed.
    fn generator_losses(&self, rollout: &Rollout, step: &StepInfo) -> Result<Losses, MethodError>;
}

/// Errors of methods.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// Rewards.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// `ReFL` with a reward that has no gradient.
    #[error("reward `{reward}` has no gradient; `refl` needs one")]
    NotDifferentiable {
        /// The reward.
        reward: String,
    },
}
