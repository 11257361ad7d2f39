//! The contract of an algorithm of reinforcement learning.

use dmdr_config::RlAlgorithm;
use dmdr_models::View;
use dmdr_rewards::RewardMix;
use dmdr_tensor::{Numbers, Tensor};

use super::{Group, Refl};
use crate::{MethodError, Rollout};

/// What an algorithm works on.
pub struct Context<'a> {
    /// The student, called as when a gradient is taken.
    pub student: View<'a>,
    /// Its frozen copy, called in the same way, where the algorithm asks for one.
    pub reference: Option<View<'a>>,
    /// The batch.
    pub rollout: &'a Rollout,
    /// What is maximised.
    pub rewards: &'a RewardMix,
    /// The student's time grid, from noise down to 0.
    pub times: &'a [f64],
    /// Updates of the student done.
    pub update: u64,
}

/// A loss and what is worth logging beside it.
#[derive(Debug)]
pub struct RlLoss {
    /// Scalar.
    pub loss: Tensor,
    /// By metric name.
    pub numbers: Numbers,
}

/// How rewards become a loss.
pub trait Algorithm {
    /// Samples that are compared with each other, if the algorithm compares some.
    ///
    /// # Errors
    /// If a reward cannot be computed.
    fn group(&self, context: &Context<'_>) -> Result<Option<Group>, MethodError> {
        let _ = context;
        Ok(None)
    }

    /// Updates of the student on one group.
    fn num_inner_updates(&self) -> usize {
        1
    }

    /// The loss. `x0 [B, C, H, W]` is the student's prediction for the rollout, with gradient; `group` is what
    /// [`Self::group`] gave.
    ///
    /// # Errors
    /// If a reward cannot be computed.
    fn loss(
        &self,
        context: &Context<'_>,
        x0: &Tensor,
        group: Option<&Group>,
    ) -> Result<RlLoss, MethodError>;
}

/// What a config names.
pub(super) fn algorithm(config: RlAlgorithm) -> Box<dyn Algorithm> {
    match config {
        RlAlgorithm::Refl => Box::new(Refl),
        RlAlgorithm::Dpo(dpo) => Box::new(dpo),
        RlAlgorithm::Grpo(grpo) => Box::new(grpo),
    }
}
