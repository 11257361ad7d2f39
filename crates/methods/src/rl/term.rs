//! The reinforcement learning term of a method: an algorithm on a mix of rewards.

use dmdr_config::{NetId, RlAlgorithm, RlPart};
use dmdr_diffusion::Schedule;
use dmdr_rewards::RewardMix;
use dmdr_tensor::Tensor;

use super::{Algorithm, Context, Group, Refl, RlLoss, Sampled};
use crate::{MethodError, Rollout, Share, Update};

/// An algorithm with its rewards.
pub struct RlTerm {
    part: RlPart,
    algorithm: Box<dyn Algorithm>,
    rewards: RewardMix,
    times: Vec<f64>,
}

impl std::fmt::Debug for RlTerm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RlTerm")
            .field("part", &self.part)
            .field("rewards", &self.rewards)
            .finish_non_exhaustive()
    }
}

impl RlTerm {
    /// The term for a student on the grid `times` of `schedule`.
    ///
    /// # Errors
    /// An algorithm that needs another schedule, or the gradient of a reward that has none.
    pub fn new(
        part: RlPart,
        rewards: RewardMix,
        times: Vec<f64>,
        schedule: Schedule,
    ) -> Result<Self, MethodError> {
        let needs = part.algorithm.needs();
        if needs.flow && schedule != Schedule::RectifiedFlow {
            return Err(MethodError::Schedule {
                algorithm: part.algorithm.name(),
            });
        }
        match rewards.not_differentiable() {
            Some(reward) if needs.reward_gradient => Err(MethodError::NotDifferentiable {
                reward: reward.to_owned(),
            }),
            _ => Ok(Self {
                algorithm: algorithm(part.algorithm),
                part,
                rewards,
                times,
            }),
        }
    }

    /// `w_rl` of Eq. 2, times what a guard leaves of it.
    pub fn weight(&self, update: &Update<'_>) -> f64 {
        self.part.weight.at(update.index()) * update.factor("rl")
    }

    /// Makes the frozen copy of the student, when it is due.
    pub fn take_reference(&self, update: &Update<'_>) {
        if self.part.takes_reference(update.index()) {
            update.copy(NetId::STUDENT, NetId::REFERENCE);
        }
    }

    /// Updates of the student on one rollout.
    pub fn num_inner_updates(&self) -> usize {
        self.algorithm.num_inner_updates()
    }

    /// Samples groups for the first prompts of `r`, if the algorithm compares samples.
    ///
    /// # Errors
    /// If a reward cannot be computed.
    pub fn group(
        &self,
        update: &mut Update<'_>,
        r: &Rollout,
    ) -> Result<Option<Group>, MethodError> {
        let parts =
            update.in_parts(|part| self.algorithm.sample(&self.context(update, r, part)))?;
        // Those of the first part may be there by now.
        let scored =
            |part: Option<Sampled>| part.map(|part| part.scored(&self.rewards)).transpose();
        let parts = parts.into_iter().map(scored);
        let parts: Option<Vec<Group>> = parts.collect::<Result<_, MethodError>>()?;
        let mut group = parts.map(Group::of_parts);
        if let Some(group) = &mut group {
            let size = group.advantages.numel() as i64;
            let may_leave_out = self.rewards.may_leave_out();
            group.counted.over(update.ranks(), size, may_leave_out)?;
            update.observe(std::mem::take(&mut group.numbers));
        }
        Ok(group)
    }

    /// The loss. `x0` is the student's prediction for the rollout, with gradient. All three are of the same part of the batch.
    ///
    /// # Errors
    /// If a reward cannot be computed.
    pub fn loss(
        &self,
        update: &Update<'_>,
        x0: &Tensor,
        r: &Rollout,
        group: Option<&Group>,
    ) -> Result<RlLoss, MethodError> {
        self.algorithm
            .loss(&self.context(update, r, r.share), x0, group)
    }

    /// Student and reference are called as in training, so that they agree to the bit as long as their weights do.
    fn context<'a>(
        &'a self,
        update: &'a Update<'_>,
        rollout: &'a Rollout,
        share: Share,
    ) -> Context<'a> {
        let reference = self.part.algorithm.needs().reference;
        Context {
            student: update.view(NetId::STUDENT).trained(),
            reference: reference.map(|_| update.view(NetId::REFERENCE).trained()),
            rollout,
            share,
            rewards: &self.rewards,
            times: &self.times,
            update: update.index(),
        }
    }
}

/// What a config names.
fn algorithm(config: RlAlgorithm) -> Box<dyn Algorithm> {
    match config {
        RlAlgorithm::Refl => Box::new(Refl),
        RlAlgorithm::Dpo(dpo) => Box::new(dpo),
        RlAlgorithm::Grpo(grpo) => Box::new(grpo),
    }
}
