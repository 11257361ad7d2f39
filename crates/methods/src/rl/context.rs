//! [`Context`]: what an algorithm works on.

use dmdr_models::View;
use dmdr_rewards::RewardMix;

use crate::{Rollout, Share};

/// What an algorithm works on.
pub struct Context<'a> {
    /// The student, called as when a gradient is taken.
    pub student: View<'a>,
    /// Its frozen copy, called in the same way, where the algorithm asks for one.
    pub reference: Option<View<'a>>,
    /// The batch of this process, or the part of it that [`Self::share`] is.
    pub rollout: &'a Rollout,
    /// What is computed of the batch.
    pub share: Share,
    /// What is maximised.
    pub rewards: &'a RewardMix,
    /// The student's time grid, from noise down to 0.
    pub times: &'a [f64],
    /// Updates of the student done.
    pub update: u64,
}
