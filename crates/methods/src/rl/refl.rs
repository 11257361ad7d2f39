//! `ReFL` (`ImageReward`, arXiv 2304.05977) for a few-step student: the reward's gradient through its clean prediction.
//!
//! Every step of a few-step student predicts a clean image, so no ODE is truncated and the gradient reaches the first
//! step directly (arXiv 2511.13649, section 3.3).

use dmdr_batches::Prompts;
use dmdr_rewards::{RewardError, RewardMix};
use dmdr_tensor::{Kind, Tensor};

use super::{Algorithm, Context, Group, RlLoss};
use crate::MethodError;

/// The algorithm.
#[derive(Debug, Clone, Copy)]
pub struct Refl;

impl Algorithm for Refl {
    fn loss(
        &self,
        context: &Context<'_>,
        x0: &Tensor,
        _: Option<&Group>,
    ) -> Result<RlLoss, MethodError> {
        let prompts = &context.rollout.prompts;
        Ok(refl(x0, prompts, context.rewards, context.update)?)
    }
}

/// `-mean r(decode(x0), c)` with the reward breakdown. `x0 [B, C, H, W]`, with gradient.
///
/// # Errors
/// If a reward cannot be computed.
pub fn refl(
    x0: &Tensor,
    prompts: &Prompts,
    rewards: &RewardMix,
    update: u64,
) -> Result<RlLoss, RewardError> {
    let mixed = rewards.score(x0, prompts, update)?;
    Ok(RlLoss {
        loss: -mixed.total.mean(Kind::Float),
        numbers: mixed.numbers,
    })
}
