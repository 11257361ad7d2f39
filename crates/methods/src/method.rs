//! The contract between a method and the training loop.

use dmdr_data::Prompts;
use dmdr_models::Conditioning;
use dmdr_rewards::RewardError;

use crate::{Losses, Roles, Rollout, rl::Group};

/// Where training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepInfo {
    /// The run's seed, for draws that are a pure function of it and of the place.
    pub seed: u64,
    /// Generator updates done: every curve is read here.
    pub update: u64,
    /// Rollouts of this update done.
    pub rollout: u64,
    /// What a guard leaves of the weight of reinforcement learning beside distribution matching, in `[0, 1]`.
    pub rl_factor: f64,
}

impl StepInfo {
    /// After `update` generator updates of seed 0, at the first rollout, unguarded.
    pub fn at(update: u64) -> Self {
        Self {
            seed: 0,
            update,
            rollout: 0,
            rl_factor: 1.0,
        }
    }
}

/// An algorithm that trains a generator and, in alternation, the networks that judge it.
pub trait Method {
    /// The networks.
    fn roles(&self) -> &Roles;

    /// Runs the generator on its own intermediate states, without gradient.
    ///
    /// # Errors
    /// If libtorch or a model fails.
    fn rollout(
        &self,
        prompts: Prompts,
        cond: Conditioning,
        step: &StepInfo,
    ) -> Result<Rollout, MethodError>;

    /// Losses of the fake score on what the generator made; none if the method has no fake score.
    ///
    /// # Errors
    /// As for [`Self::rollout`].
    fn score_losses(
        &self,
        rollout: &Rollout,
        step: &StepInfo,
    ) -> Result<Option<Losses>, MethodError>;

    /// Samples that are compared with each other, if the reinforcement learning of this step needs them.
    ///
    /// # Errors
    /// As for [`Self::rollout`], or a reward that cannot be computed.
    fn group(&self, rollout: &Rollout, step: &StepInfo) -> Result<Option<Group>, MethodError>;

    /// Generator updates on one rollout.
    fn num_inner_updates(&self, step: &StepInfo) -> usize;

    /// Losses of the generator.
    ///
    /// # Errors
    /// As for [`Self::group`].
    fn generator_losses(
        &self,
        rollout: &Rollout,
        group: Option<&Group>,
        step: &StepInfo,
    ) -> Result<Losses, MethodError>;

    /// Whether the reference is to become a copy of the student as it is at this step.
    fn takes_reference(&self, step: &StepInfo) -> bool;
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
    /// An algorithm on trajectories of another noise schedule than the one it is written for.
    #[error(
        "`{algorithm}` is written for the rectified flow, which this network does not follow; use `refl`"
    )]
    Schedule {
        /// `dpo` or `grpo`.
        algorithm: &'static str,
    },
}
