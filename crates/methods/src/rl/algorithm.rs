//! The contract of an algorithm of reinforcement learning.

use dmdr_tensor::{Numbers, Tensor};

use super::{Context, Group, Sampled};
use crate::MethodError;

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
    /// Samples that are compared with each other, if the algorithm compares some, while their scores are being made.
    ///
    /// # Errors
    /// If a reward cannot be computed.
    fn sample(&self, context: &Context<'_>) -> Result<Option<Sampled>, MethodError> {
        let _ = context;
        Ok(None)
    }

    /// Updates of the student on one group.
    fn num_inner_updates(&self) -> usize {
        1
    }

    /// The loss. `x0 [B, C, H, W]` is the student's prediction for the rollout, with gradient; `group` is what
    /// [`Self::sample`] gave, with its scores.
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
