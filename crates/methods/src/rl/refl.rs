//! `ReFL` (`ImageReward`, arXiv 2304.05977) for a few-step student: the reward's gradient through its clean prediction.
//!
//! Every step of a few-step student predicts a clean image, so no ODE is truncated and the gradient reaches the first
//! step directly (arXiv 2511.13649, section 3.3).

use dmdr_data::Prompts;
use dmdr_rewards::{Mixed, RewardError, RewardMix};
use dmdr_tensor::{Kind, Tensor};

/// `-mean r(decode(x0), c)` and the reward breakdown. `x0 [B, 3, H, W]` in `[-1, 1]`, with gradient.
///
/// # Errors
/// If a reward cannot be computed.
pub fn refl(
    x0: &Tensor,
    prompts: &Prompts,
    rewards: &RewardMix,
    update: u64,
) -> Result<(Tensor, Mixed), RewardError> {
    let images = ((x0 + 1.0) / 2.0).clamp(0.0, 1.0); // what will be seen
    let mixed = rewards.score(&images, prompts, update)?;
    Ok((-mixed.total.mean(Kind::Float), mixed))
}
